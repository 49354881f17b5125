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
from ledger.charges import Charge
from ledger.holds import Hold, HoldEnd
from ledger.names import Name
from ledger.postings import Posting, apply
from ledger.totals import Interval, Pair, Totals
from loyalty.programme import Kind, Programme
from protocol.numbers import VISIT, CodePage, Reason, Result

TRIES_MAX = 3

_VISITS: Final = Kind.VISITS
_APPROVED: Final = Result.APPROVED
_NO_REASON: Final = Reason.NONE


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
    zone: dt.tzinfo

    def day_of(self, moment: dt.datetime) -> dt.date:
        """The calendar day of a decision; what was decided just before midnight may be booked on the next."""
        return moment.astimezone(self.zone).date()


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
        interval: Interval | None = None,
        counted: tuple[Pair, ...] | None = None,
        spent: Pair = (0, 0),
        kind: Kind | None = None,
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
        self.interval: Final = interval  # that is to be counted
        self.counted: Final = counted  # of the interval that is asked for; None: none is, or it is too long
        self.spent: Final = spent  # purchases of the card today, and what they add up to
        self.kind: Final = programme.kind if kind is None and programme is not None else kind  # of the card, for ever
        self.unit: Final = VISIT if self.kind is _VISITS else issuer.currency  # what its value is counted in

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
        floor: int | None = None,
        charge: Charge | None = None,
        totals: Totals | None = None,
        term_days: int | None = None,
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
        self.floor: Final = floor  # of the card's value from now on; None: as it was
        self.charge: Final = charge  # that a purchase adds to the card's debt
        self.totals: Final = totals  # as both sides counted
        self.term_days: Final = term_days  # by which a pass's end is moved, or set from today

    def __repr__(self) -> str:
        return f"<Decision {self.result:02}/{self.reason}>"

    def counting(self, failures: int) -> "Decision":
        """The same decision, and the wrong codes in a row become `failures`."""
        return Decision(
            self.result, self.reason, self.approved, self.still_due, self.postings, self.card, failures, self.bad_card,
            self.undos, self.tombstone, self.hold, self.ended, self.given_up, self.floor, self.charge, self.totals,
            self.term_days,
        )  # fmt: skip


def decline(reason: Reason, failures: int | None = None, bad_card: bool = False) -> Decision:
    """The answer that refuses, with the result that the reason refines, and what it makes of the counts."""
    return Decision(reason.result, reason, failures=failures, bad_card=bad_card)


def moved(
    card: Card,
    postings: tuple[Posting, ...],
    approved: int,
    undos: tuple[Undo, ...] = (),
    result: Result = _APPROVED,
    still_due: int = 0,
    ended: tuple[Name, HoldEnd] | None = None,
    floor: int | None = None,
    charge: Charge | None = None,
    term_days: int | None = None,
) -> Decision:
    """The approval that makes these postings on the card."""
    after = card.holding(apply(card.balances, postings))
    return Decision(
        result,
        _NO_REASON,
        approved,
        still_due,
        postings,
        after,
        undos=undos,
        ended=ended,
        floor=floor,
        charge=charge,
        term_days=term_days,
    )
