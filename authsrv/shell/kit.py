"""The kit file: what modules and tills are given of an enrolment, keys, numbers and codes in plain.

It is safe on the disk before the commit is sent, because nobody can read these keys and codes out of the database
again. One card a line, so that a million of them are written without holding them.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from authsrv.shell.handout import Keys
from authsrv.shell.secret_file import SecretFile, new_secret_file
from authsrv.shell.settings import Address
from receipts.catalogue import SOURCE_LANGUAGE


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

    def __init__(self, out: SecretFile) -> None:
        self._out = out
        self._between = "\n"

    def begin(
        self,
        address: Address,
        currency: int,
        exponent: int,
        modules: Sequence[tuple[Keys, int]] = (),
        language: str = SOURCE_LANGUAGE,
    ) -> None:
        """Write where the switch listens, the currency, and the modules with their branches' numbers and language."""
        head: dict[str, Any] = {
            "host": address.host,
            "port": address.port,
            "currency": currency,
            "exponent": exponent,
            "modules": [keys.to_json() | {"branch": branch, "language": language} for keys, branch in modules],
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
        self._out.finish()


@contextmanager
def new_kit(path: Path) -> Iterator[Kit]:
    """Make a new kit file; it is removed again where the body fails for certain. Raises `SecretFileError`."""
    with new_secret_file(path) as file:
        yield Kit(file)
