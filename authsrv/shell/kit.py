"""The kit file: what modules and tills are given of an enrolment, keys, numbers and codes in plain.

It is safe on the disk before the commit is sent, because nobody can read these keys and codes out of the database
again; where the work fails it is taken back, but not where the commit is in doubt. It is ours alone (0600) and never
overwritten. One card a line, so that a million of them are written without holding them.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from authsrv.shell.settings import Address
from ledger.faults import InDoubt
from protocol.signon import ModuleIdentity

MODE: Final = 0o600


class KitError(Exception):
    """The kit file cannot be made; the message says why."""


@dataclass(frozen=True, slots=True)
class KitCard:
    """A card as its holder gets it."""

    number: str
    access_code: str | None
    programme: str

    def __repr__(self) -> str:
        return "<KitCard>"


class Kit:
    """A kit file that is being written: `begin` once, `cards` as often as there are more."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._between = "\n"

    def begin(
        self, address: Address, currency: int, exponent: int, modules: Sequence[tuple[ModuleIdentity, int]] = ()
    ) -> None:
        """Write where the switch listens, the currency, and the modules with the numbers of their branches."""
        head: dict[str, Any] = {
            "host": address.host,
            "port": address.port,
            "currency": currency,
            "exponent": exponent,
            "modules": [identity.to_json() | {"branch": branch} for identity, branch in modules],
        }
        self._out.write(json.dumps(head)[:-1] + ', "cards": [')

    def cards(self, cards: Iterable[KitCard]) -> None:
        """Write further cards."""
        for card in cards:
            line = {"number": card.number, "access_code": card.access_code, "programme": card.programme}
            self._out.write(self._between + json.dumps(line))
            self._between = ",\n"

    def end(self) -> None:
        """Finish the file and have it on the disk; nothing may be committed before."""
        self._out.write("]}\n")
        self._out.flush()
        os.fsync(self._out.fileno())


@contextmanager
def new_kit(path: Path) -> Iterator[Kit]:
    """Make a new kit file; it is removed again where the body fails for certain. Raises `KitError`."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError:
        raise KitError(f"there is a file {path} already; name another one for --kit, or move it away") from None
    except OSError as error:
        raise KitError(f"the kit file {path} cannot be made: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        try:
            yield Kit(out)
        except InDoubt:
            raise
        except BaseException:
            path.unlink(missing_ok=True)
            raise
