"""What a decision is made from, and what it is.

Everything here was read under the card's lock, in the transaction that will record the decision, at the moment that the
database's clock told. `decide` sees nothing else: no clock, no random number, no query.
"""

import datetime as dt
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from ledger.authorizations import Original, Undo
from ledger.cards import Card, Number
from ledger.holds import Hold, HoldEnd
from ledger.names import Name
from ledger.postings import Posting
from loyalty.programme import Programme
from protocol.numbers import CodePage, Reason, Result

TRIES_MAX = 3


class Code(Enum):
    """The access code that came with a request, compared with the card's."""

    ABSENT = auto()
    RIGHT = auto()
    WRONG = auto()


@dataclass(frozen=True, slots=True)
class Moment:
    """When a batch is decided: UTC, the issuer's local time to the second, and the day that finance books it on."""

    at: dt.datetime
    local: dt.datetime
    booked_on: dt.date
    today: dt.date = field(init=False)  # the issuer's calendar day
    time_of_day: dt.time = field(init=False)

    def __post_init__(self) -> None:
        """Take the local time apart once for a batch."""
        object.__setattr__(self, "today", self.local.date())
        object.__setattr__(self, "time_of_day", self.local.time())


@dataclass(frozen=True, slots=True)
class Issuer:
    """The firm whose cards these are; `exponent` is how many digits of an amount are minor units."""

    number: int
    name: str
    currency: int
    code: str
    exponent: int
    group: int


@dataclass(frozen=True, slots=True)
class Module:
    """Who asks, as its record says."""

    number: int
    branch: int
    branch_name: str
    suite: int
    desk: bool
    partial: bool
    columns: int
    code_page: CodePage
    language: str
    deadline_s: int
    bad_cards_per_day: int
    revoked: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What a command that changes a card's number or code names besides it."""

    number: Number | None  # that is to take the place of the card's
    card: Card | None  # that it is on now
    verifier: bytes | None = field(repr=False)  # of the new code; None: it is malformed
    verifier_key: int


# Plain classes, because each request makes them: compiled, they are made and read without a look-up.


class Facts:
    """All that one decision may know."""

    def __init__(
        self,
        moment: Moment,
        issuer: Issuer,
        module: Module,
        number: Number | None,
        card: Card | None,
        programme: Programme | None,
        original: Original | None,
        code: Code,
        bad_cards: int,
        change: Change | None = None,
    ):
        self.moment: Final = moment
        self.issuer: Final = issuer
        self.module: Final = module
        self.number: Final = number  # None: the request names no card
        self.card: Final = card  # the card that would change: the original's for a reversal or refund
        self.programme: Final = programme  # of that card, in the version in force
        self.original: Final = original
        self.code: Final = code
        self.bad_cards: Final = bad_cards  # of this module, today
        self.change: Final = change  # of number or code; None: another command

    def __repr__(self) -> str:
        return f"<Facts of {self.module.number} at {self.moment.at}>"


class Decision:
    """What is recorded and answered; a decline has a reason and moves nothing."""

    def __init__(
        self,
        result: Result,
        reason: Reason = Reason.NONE,
        approved: int = 0,
        still_due: int = 0,
        postings: tuple[Posting, ...] = (),
        card: Card | None = None,
        failures: int | None = None,
        bad_card: bool = False,
        undos: tuple[Undo, ...] = (),
        tombstone: Name | None = None,
        hold: Hold | None = None,
        ended: tuple[Name, HoldEnd] | None = None,
        given_up: Card | None = None,
    ):
        self.result: Final = result
        self.reason: Final = reason
        self.approved: Final = approved
        self.still_due: Final = still_due
        self.postings: Final = postings
        self.card: Final = card  # as it is afterwards; None: as it was
        self.failures: Final = failures  # wrong codes in a row afterwards; None: as they were
        self.bad_card: Final = bad_card  # counts against the module
        self.undos: Final = undos
        self.tombstone: Final = tombstone
        self.hold: Final = hold  # that is opened
        self.ended: Final = ended  # the hold that it ends, and how
        self.given_up: Final = given_up  # a new card as it is afterwards: its number is the other card's from now on

    def __repr__(self) -> str:
        return f"<Decision {self.result:02}/{self.reason}>"

    def counting(self, failures: int) -> "Decision":
        """The same decision, and the wrong codes in a row become `failures`."""
        return Decision(
            self.result, self.reason, self.approved, self.still_due, self.postings, self.card, failures, self.bad_card,
            self.undos, self.tombstone, self.hold, self.ended, self.given_up,
        )  # fmt: skip


def decline(reason: Reason, failures: int | None = None, bad_card: bool = False) -> Decision:
    """The answer that refuses, with the result that the reason refines, and what it makes of the counts."""
    return Decision(reason.result, reason, failures=failures, bad_card=bad_card)
