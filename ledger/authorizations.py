"""Authorizations: what is written of a decision, and what is read of an earlier one."""

import datetime as dt
from dataclasses import dataclass, field

from ledger.names import Name
from ledger.postings import Posting


@dataclass(frozen=True, slots=True)
class Recorded:
    """What stands under a name already: an authorization with its sealed answer, or a tombstone without."""

    tombstone: bool
    number: int
    decided_at: dt.datetime
    local_at: dt.datetime
    token_key: int | None
    digest_key: int | None
    digest: bytes | None = field(repr=False)
    answer: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Original:
    """The authorization that a request refers to, or the tombstone under that name, with what was undone of it
    since."""

    name: Name
    tombstone: bool
    number: int
    command: int
    result: int
    unit: int
    card: int | None
    requested: int = field(repr=False)
    approved: int = field(repr=False)
    booked_on: dt.date
    original: Name | None  # what it undid itself
    reversed: bool
    refunded: int = field(repr=False)
    postings: tuple[Posting, ...] = field(repr=False)
    answers: tuple[bytes, ...] = field(repr=False)  # sealed, page by page


@dataclass(frozen=True, slots=True)
class Undo:
    """A row hung on an original: its reversal, or a refund of `amount`; a reversed refund hangs a negative one."""

    original: Name
    reversal: bool
    amount: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authorization:
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
    requested: int = field(default=0, repr=False)
    approved: int = field(default=0, repr=False)
    original: Name | None = None
    token_key: int | None = None
    digest_key: int | None = None
    digest: bytes | None = field(default=None, repr=False)
    answers: tuple[bytes, ...] = field(default=(), repr=False)
    postings: tuple[Posting, ...] = field(default=(), repr=False)
    undos: tuple[Undo, ...] = ()
