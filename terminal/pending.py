"""What a module must not forget when its power is cut: what it has asked, and the receipts that it still owes.

An entry is written before the first copy of its request leaves, again when its caller has gone, again with the recorded
answer, and is forgotten when the receipt is printed. So whenever the power fails, the next start knows enough:

  * asked: it may be recorded or not. It is asked again under its name, a repeat without access code, as if its caller
    had waited on: what was recorded is answered, what was not is done now, or declined where it needs its code. That
    holds as long as somebody may still stand at the till; when that time is over, what moves value is undone.
  * left: its caller was told that no answer came. What moves value is undone, whatever its age.
  * answered: the recorded answer is here, and only its receipt has to be printed.

No access code is ever in an entry. The entries of a module are sealed together under a key that follows from its root
key, so that a copied file tells nothing and a changed one is refused.
"""

import datetime as dt
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocol.crypto import ForgeryError, Gcm, expand
from protocol.messages import FormatError, Request, RequestName, decode_request
from protocol.numbers import Command, Flag
from protocol.signon import ModuleIdentity
from terminal.answer import Answer

MAGIC: Final = b"authsrv pending 1\n"
KEY_INFO: Final = b"authsrv/1 pending"
KEY_BYTES: Final = 16
NONCE_BYTES: Final = 12

_ENTRY: Final = struct.Struct("> B 320s 320s 1400s")
_NO_REQUEST: Final = bytes(320)
_NEW_CODE: Final = bytes(15) + b"\1"  # stands where the new access code was: the field may not be empty when it is read


class PendingError(Exception):
    """The file of pending requests cannot be used; the message says why."""


class Stage(IntEnum):
    """How far a pending request has come."""

    ASKED = 1
    LEFT = 2
    ANSWERED = 3


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Pending:
    """One request, by its stage; `answered` is what `recorded` answers: the request itself, or its reversal."""

    request: Request
    stage: Stage = Stage.ASKED
    answered: Request | None = None
    recorded: bytes = b""

    def __repr__(self) -> str:
        return f"<Pending {self.request!r} {self.stage.name.lower()}>"

    @property
    def names(self) -> tuple[RequestName, ...]:
        """The names that are in use by it."""
        return (self.request.name,) if self.answered is None else (self.request.name, self.answered.name)

    def answer(self) -> Answer | None:
        """The recorded answer, without its further pages; None where there is none yet."""
        return None if self.answered is None else Answer.read(self.answered, self.recorded)


def can_be_kept(request: Request) -> bool:
    """Whether a request can be read again: one that breaks the format is declined whatever becomes of it."""
    try:
        _read(_plain(request))
    except FormatError:
        return False
    return True


def left_s(request: Request, now: dt.datetime, patience_s: float) -> float:
    """How much longer a request that was cut off may be carried out, in seconds; 0 where its time is over.

    Args:
        request: as it was asked, with the module's local date and time.
        now: the module's local date and time. A clock that stands before the request cannot be believed: 0.
        patience_s: how long after it was asked somebody may still wait for it.

    """
    age_s = (now.replace(tzinfo=None) - dt.datetime.combine(request.date, request.time)).total_seconds()
    return patience_s - age_s if 0 <= age_s < patience_s else 0.0


def seal(entries: Sequence[Pending], identity: ModuleIdentity, nonce: bytes) -> bytes:
    """Write the entries of a module as a file's bytes; a nonce of 12 random bytes is used once."""
    plain = b"".join(map(_packed, entries))
    return MAGIC + nonce + _cipher(identity).seal(nonce, plain, _associated(identity))


def unseal(data: bytes, identity: ModuleIdentity) -> tuple[Pending, ...]:
    """Read what `seal` wrote; raises PendingError for another module's, another key's or a damaged file."""
    if not data.startswith(MAGIC):
        raise PendingError("this is no file of pending requests")
    nonce, sealed = data[len(MAGIC) :][:NONCE_BYTES], data[len(MAGIC) + NONCE_BYTES :]
    try:
        plain = _cipher(identity).open(nonce, sealed, _associated(identity))
        return tuple(map(_unpacked, _ENTRY.iter_unpack(plain)))
    except (ForgeryError, FormatError, ValueError, struct.error):
        raise PendingError(
            "the pending requests cannot be opened by this kit, and were left as they are: they are of an earlier kit"
            " of this module, or another module's, or damaged. After `authsrv module rekey` start once with the old kit"
            " in the place of the new one: it is served until the new one has signed on, and settles and prints what is"
            " pending. Where the old kit is gone, put the file aside: what was recorded stands in the switch's books"
        ) from None


def _cipher(identity: ModuleIdentity) -> Gcm:
    return Gcm(expand(identity.root_key, KEY_INFO, KEY_BYTES))


def _associated(identity: ModuleIdentity) -> bytes:
    return MAGIC + identity.module.to_bytes(4)


def _packed(entry: Pending) -> bytes:
    answered = _NO_REQUEST if entry.answered is None else _plain(entry.answered)
    return _ENTRY.pack(entry.stage, _plain(entry.request), answered, entry.recorded)


def _unpacked(fields: tuple[int, bytes, bytes, bytes]) -> Pending:
    stage, request, answered, recorded = fields
    if answered == _NO_REQUEST:
        return Pending(request=_read(request), stage=Stage(stage))
    return Pending(request=_read(request), stage=Stage(stage), answered=_read(answered), recorded=recorded)


def _plain(request: Request) -> bytes:
    new_code = _NEW_CODE if request.command is Command.CHANGE_ACCESS_CODE else None
    flags = request.flags & ~(Flag.ACCESS_CODE | Flag.REPEAT)
    return request._replace(flags=flags, access_code_block=None, new_access_code_block=new_code).encode()


def _read(plain: bytes) -> Request:
    return decode_request(plain)._replace(new_access_code_block=None)
