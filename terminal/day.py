"""A day at the tills as data: steps, and what must come of each.

    title = "A day with gift cards"

    [[step]]
    say = "A birthday present: 50.00 on a new card"
    till = 1            # a place in the kit, counted from 1; so is `card`
    do = "activate"     # see `Deed`
    card = 1
    amount = "50.00"
    expect = "00"       # the result, or "reversed": no answer came, and the automatic reversal was approved
    balance = "50.00"   # what the answer must say, if given; of a pass `visits = 9`
    as = "present"      # a later step calls this one so, with `of`

More of a step: `code = true` sends the card's code, `code = "wrong"` a wrong one; `partial = true` takes a part;
`deadline_s` is the till's patience; `cut = true` pulls the cable as soon as the request has left; `hold_back = true`
writes the request and does not send it, `do = "send"` sends it later; steps that follow each other with the same
`together` are played at the same time. `limit = "50.00"` and `days = 7` are what a desk sets; `persons = 5` enter on
one pass; a pass is sold, and a credit card handed out, without an amount. `signature = true` prints the shop's copy
too, with a line to sign on. `do = "totals"` compares what the till has moved in one `unit` ("money" or "visits") since
the day began.
"""

import tomllib
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

REVERSED: Final = "reversed"
HELD_BACK: Final = "held back"
UNITS: Final = ("money", "visits")


class DayError(Exception):
    """The script cannot be played; the message names the step."""


class Deed(Enum):
    """What can be done at a till."""

    ECHO = "echo"
    BALANCE = "balance"
    ACTIVATE = "activate"
    RELOAD = "reload"
    SALE = "sale"
    HOLD = "hold"
    CONFIRM = "confirm"
    RELEASE = "release"
    PAYMENT = "payment"
    VISIT = "visit"
    CASH_OUT = "cash-out"
    BLOCK = "block"
    UNBLOCK = "unblock"
    FREEZE = "freeze"
    THAW = "thaw"
    LIMIT = "limit"
    TOTALS = "totals"
    REFUND = "refund"
    REVERSE = "reverse"
    REPRINT = "reprint"
    REPEAT = "repeat"
    SEND = "send"

    @property
    def of_a_card(self) -> bool:
        """Whether a card is shown."""
        return self not in (Deed.ECHO, Deed.TOTALS, *_OF_AN_ORIGINAL)

    @property
    def of_an_original(self) -> bool:
        """Whether it is about an earlier step."""
        return self in _OF_AN_ORIGINAL

    @property
    def of_an_amount(self) -> bool:
        """Whether an amount has to be entered."""
        return self in (Deed.SALE, Deed.HOLD, Deed.CONFIRM, Deed.PAYMENT, Deed.REFUND)

    @property
    def may_have_an_amount(self) -> bool:
        """Whether one can be entered: of a pass and of a credit card nothing is."""
        return self.of_an_amount or self in (Deed.ACTIVATE, Deed.RELOAD, Deed.REVERSE)


_OF_AN_ORIGINAL: Final = frozenset(
    (Deed.REFUND, Deed.REVERSE, Deed.REPRINT, Deed.REPEAT, Deed.SEND, Deed.CONFIRM, Deed.RELEASE)
)


class Code(Enum):
    """What the holder keys in."""

    NONE = False
    OWN = True
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing done at one till."""

    place: int
    say: str
    till: int
    deed: Deed
    card: int = 0
    amount: str = ""
    code: Code = Code.NONE
    partial: bool = False
    original: str = ""
    name: str = ""
    together: str = ""
    deadline_s: float | None = None
    cut: bool = False
    hold_back: bool = False
    expect: str = "00"
    balance: str | None = None
    visits: int | None = None
    limit: str = ""
    days: int = 0
    persons: int = 0
    unit: str = ""
    signature: bool = False


@dataclass(frozen=True, slots=True)
class Day:
    """A script."""

    title: str
    steps: tuple[Step, ...]


_NAMES: Final = {"do": "deed", "of": "original", "as": "name"}
_KINDS: Final[dict[str, type | tuple[type, ...]]] = {
    "say": str,
    "till": int,
    "do": str,
    "card": int,
    "amount": str,
    "code": (bool, str),
    "partial": bool,
    "of": str,
    "as": str,
    "together": str,
    "deadline_s": (int, float),
    "cut": bool,
    "hold_back": bool,
    "expect": str,
    "balance": str,
    "visits": int,
    "limit": str,
    "days": int,
    "persons": int,
    "unit": str,
    "signature": bool,
}


def read_day(text: str) -> Day:
    """Read a script; raises DayError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DayError(f"the script is not TOML: {error}") from None
    if set(raw) - {"title", "step"} or not isinstance(raw.get("step"), list):
        raise DayError("a script has a title and steps, and nothing else")
    steps: list[Step] = []
    for place, each in enumerate(raw["step"], start=1):
        try:
            steps.append(_step(place, each, steps))
        except ValueError as error:
            raise DayError(f"step {place}: {error}") from None
    return Day(str(raw.get("title", "")), tuple(steps))


def _step(place: int, raw: dict[str, Any], before: list[Step]) -> Step:
    for name, value in raw.items():
        kind = _KINDS.get(name)
        if kind is None:
            raise ValueError(f"{name} is not known; known are {', '.join(_KINDS)}")
        if not isinstance(value, kind) or (isinstance(value, bool) and name in ("till", "card", "deadline_s")):
            raise ValueError(f"{name} has the wrong type")
    if missing := {"say", "till", "do"} - set(raw):
        raise ValueError(f"{', '.join(sorted(missing))} is missing")
    fields = {_NAMES.get(name, name): value for name, value in raw.items()}
    fields["deed"], fields["code"] = Deed(raw["do"]), Code(raw.get("code", False))
    if raw.get("hold_back"):
        fields["expect"] = HELD_BACK
    step = Step(place=place, **fields)
    deed = step.deed
    if deed.of_a_card != bool(step.card):
        raise ValueError(f"{deed.value} {'needs a card' if deed.of_a_card else 'has no card'}")
    if not (deed.of_an_amount <= bool(step.amount) <= deed.may_have_an_amount):
        raise ValueError(f"{deed.value} {'needs an amount' if deed.of_an_amount else 'has no amount'}")
    if (deed is Deed.LIMIT) != bool(step.limit) or (deed is Deed.FREEZE) != bool(step.days):
        raise ValueError("limit and freeze say how much and how long, with `limit` and `days`, and nothing else does")
    if (deed is Deed.TOTALS) != (step.unit in UNITS):
        raise ValueError(f"totals are of one `unit`, {' or '.join(UNITS)}, and nothing else is")
    if deed.of_an_original and step.original not in {each.name for each in before if each.name}:
        raise ValueError(f"{deed.value} needs `of`, the `as` of an earlier step")
    if step.hold_back and not (deed.of_a_card and step.name):
        raise ValueError("what is held back is about a card, and has a name to send it by")
    return step


def groups(day: Day) -> tuple[tuple[Step, ...], ...]:
    """The steps in the order in which they are played; those of one group at the same time."""
    grouped: list[list[Step]] = []
    for step in day.steps:
        if step.together and grouped and grouped[-1][0].together == step.together:
            grouped[-1].append(step)
        else:
            grouped.append([step])
    return tuple(tuple(group) for group in grouped)


def differences(step: Step, outcome: str, balance: str | None, visits: int | None = None) -> tuple[str, ...]:
    """Where a step came out other than its script says: `outcome` as in `expect`, the rest as the answer told it."""
    found = []
    if outcome != step.expect:
        found.append(f"{step.expect} was expected, {outcome} came")
    if step.balance is not None and balance != step.balance:
        found.append(f"a balance of {step.balance} was expected, {balance or 'none'} came")
    if step.visits is not None and visits != step.visits:
        found.append(f"{step.visits} visits left were expected, {visits} came")
    return tuple(found)
