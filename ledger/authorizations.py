"""Authorizations: what is written of a decision, and what is read of an earlier one."""

import datetime as dt
from typing import NamedTuple

from ledger.holds import HoldEnd
from ledger.names import Name
from ledger.postings import Posting


class Recorded(NamedTuple):
    """What stands under a name already: an authorization with its sealed answer, or a tombstone without."""

    tombstone: bool
    number: int
    decided_at: dt.datetime
    local_at: dt.datetime
    token_key: int | None
    digest_key: int | None
    digest: bytes | None
    answer: bytes | None

    def __repr__(self) -> str:
        return f"<Recorded {self.number}>"


class Original(NamedTuple):
    """The authorization that a request refers to, with what was undone of it since, or the tombstone in its place."""

    name: Name
    tombstone: bool
    number: int
    command: int
    result: int
    unit: int
    card: int | None
    requested: int
    approved: int
    booked_on: dt.date
    original: Name | None  # what it undid itself
    reversed: bool
    refunded: int
    postings: tuple[Posting, ...]
    answers: tuple[bytes, ...]  # sealed, page by page
    decided_at: dt.datetime
    ended: HoldEnd | None = None  # of a hold
    term_days: int | None = None  # by which it moved a pass's end, or set it from its own day

    def __repr__(self) -> str:
        return f"<Original {self.name}>"


class Undo(NamedTuple):
    """A row hung on an original: its reversal, or a refund of `amount`; a reversed refund hangs a negative one."""

    original: Name
    reversal: bool
    amount: int

    def __repr__(self) -> str:
        return f"<Undo of {self.original}>"


class Authorization(NamedTuple):
    """What is written under a name, with all that hangs on it; a tombstone has neither digest nor answers."""

    name: Name
    number: int
    tombstone: bool
    command: int
    result: int
    reason: int
    branch: int
    unit: int
    cashier: int = 0
    programme: int | None = None
    programme_version: int | None = None
    card: int | None = None
    requested: int = 0
    approved: int = 0
    original: Name | None = None
    token_key: int | None = None
    digest_key: int | None = None
    digest: bytes | None = None
    answers: tuple[bytes, ...] = ()
    postings: tuple[Posting, ...] = ()
    undos: tuple[Undo, ...] = ()
    term_days: int | None = None  # as in `Original`

    def __repr__(self) -> str:
        return f"<Authorization {self.name} {self.result:02}/{self.reason}>"
