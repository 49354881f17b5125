"""What a cashier can choose at a till, and what has to be answered for it: screens as data and as a pure state.

A `Form` is an operation with the answers given so far. It tells the next question, takes an answer or refuses it with
the name of a text, and goes back one question. When nothing is left to ask, it says what to send. Nothing that moves
much, and nothing that cannot be undone, is sent before a last question has been answered with yes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import Any, Final, Self

from protocol.numbers import AMOUNT_END, Command, Flag, GivenReason
from receipts.wording import mask
from terminal.money import minor_units, written
from terminal.stripe import CardError, CardRead, is_stripe, read_card

LAST: Final = "*"
PLACE: Final = "#"
YES: Final = "1"
PERSONS_MAX: Final = 99
PLACE_DIGITS_MAX: Final = 4
_CODE: Final = re.compile(r"[0-9]{4,12}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{12}", re.ASCII)


class Ask(StrEnum):
    """A question; its value is the name of its text."""

    CARD = "ask card"
    NEW_CARD = "ask new card"
    AMOUNT = "ask amount"
    AMOUNT_OR_NONE = "ask amount or none"
    PERSONS = "ask persons"
    CODE = "ask code"
    NEW_CODE = "ask new code"
    NEW_CODE_AGAIN = "ask new code again"
    NUMBER = "ask number"
    REASON = "ask reason"
    UNIT = "ask unit"
    CLOSE = "ask close"
    SURE = "ask sure"

    @property
    def secret(self) -> bool:
        """Whether the answer must not be seen."""
        return self in (Ask.CODE, Ask.NEW_CODE, Ask.NEW_CODE_AGAIN)

    @property
    def optional(self) -> bool:
        """Whether Enter alone is an answer."""
        return self in (Ask.AMOUNT_OR_NONE, Ask.PERSONS, Ask.CODE, Ask.CLOSE)


class Refusal(StrEnum):
    """Why an answer is not taken; its value is the name of its text."""

    CARD = "no card"
    PLACE = "no place"
    AMOUNT = "no amount"
    ZERO = "zero"
    PERSONS = "no persons"
    CODE = "no code"
    CODES_DIFFER = "codes differ"
    NUMBER = "no number"
    NO_LAST = "no last"
    CHOICE = "no choice"
    STRIPE = "stripe"
    EMPTY = "empty"


class RefusedError(Exception):
    """An answer was not taken: `why` names the text that says what is wanted."""

    def __init__(self, why: Refusal):
        self.why = why
        super().__init__(why.value)


class Unit(Enum):
    """What totals are of."""

    MONEY = "money"
    VISITS = "visits"


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that a cashier can choose; `final` where it cannot be undone; `last` where it is about the last one."""

    command: Command
    asks: tuple[Ask, ...]
    final: bool = False
    last: bool = False


OPERATIONS: Final[tuple[tuple[str, tuple[Operation, ...]], ...]] = (
    (
        "group sell",
        (
            Operation(Command.SALE, (Ask.CARD, Ask.AMOUNT, Ask.CODE)),
            Operation(Command.VISIT, (Ask.CARD, Ask.PERSONS, Ask.CODE)),
            Operation(Command.BALANCE, (Ask.CARD, Ask.CODE)),
            Operation(Command.ACTIVATE, (Ask.CARD, Ask.AMOUNT_OR_NONE)),
            Operation(Command.RELOAD, (Ask.CARD, Ask.AMOUNT_OR_NONE)),
            Operation(Command.PAYMENT, (Ask.CARD, Ask.AMOUNT)),
        ),
    ),
    (
        "group undo",
        (
            Operation(Command.REVERSE, (), last=True),
            Operation(Command.REVERSE, (Ask.NUMBER, Ask.AMOUNT_OR_NONE)),
            Operation(Command.REFUND, (Ask.NUMBER, Ask.AMOUNT)),
            Operation(Command.HOLD, (Ask.CARD, Ask.AMOUNT, Ask.CODE)),
            Operation(Command.CONFIRM, (Ask.NUMBER, Ask.AMOUNT)),
            Operation(Command.RELEASE, (Ask.NUMBER,), final=True),
        ),
    ),
    (
        "group card",
        (
            Operation(Command.BLOCK, (Ask.CARD, Ask.REASON), final=True),
            Operation(Command.UNBLOCK, (Ask.CARD, Ask.REASON)),
            Operation(Command.CHANGE_ACCESS_CODE, (Ask.CARD, Ask.CODE, Ask.NEW_CODE, Ask.NEW_CODE_AGAIN)),
            Operation(Command.REPLACE, (Ask.CARD, Ask.NEW_CARD, Ask.CODE), final=True),
            Operation(Command.CASH_OUT, (Ask.CARD, Ask.CODE), final=True),
        ),
    ),
    (
        "group till",
        (
            Operation(Command.REPRINT, (Ask.NUMBER,)),
            Operation(Command.TOTALS, (Ask.UNIT, Ask.CLOSE)),
            Operation(Command.ECHO, ()),
        ),
    ),
)
"""All that there is, in groups that are named by their texts, in the order of the screen."""

CHOICES: Final = tuple(operation for _, operations in OPERATIONS for operation in operations)
REASONS: Final = tuple(reason for reason in GivenReason if reason not in (GivenReason.NONE, GivenReason.NO_ANSWER))
UNITS: Final = tuple(Unit)


def chosen(text: str) -> Operation:
    """The operation with this number on the screen; raises RefusedError."""
    return CHOICES[_place(text, len(CHOICES))]


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Last:
    """What was approved last and can be reversed: what it was, its number, and the amount that it asked for."""

    command: Command
    authorization: str
    amount: int


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Ground:
    """What holds for all forms of a till; amounts in minor units. `cards` are a demo's, that may be named by place."""

    exponent: int
    big_minor: int
    cashier: int = 0
    partial: bool = True
    prefix: str = ""
    suffix: str = ""
    cards: tuple[str, ...] = ()
    last: Last | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Form:
    """An operation and what was answered so far."""

    operation: Operation
    ground: Ground
    given: Mapping[Ask, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Form {self.operation.command.name} {len(self.given)}>"

    @classmethod
    def begin(cls, operation: Operation, ground: Ground) -> Self:
        """The empty form of an operation; raises RefusedError where it is about the last one and there is none."""
        if operation.last and ground.last is None:
            raise RefusedError(Refusal.NO_LAST)
        return cls(operation, ground)

    @property
    def question(self) -> Ask | None:
        """What to ask next; None when all is answered."""
        return next((ask for ask in self._asks if ask not in self.given), None)

    @property
    def big(self) -> bool:
        """Whether the amount is one that has to be looked at twice."""
        return Ask.PERSONS not in self.operation.asks and self.ground.big_minor <= self.amount > 0

    @property
    def amount(self) -> int:
        """The amount, in minor units or visits; 0 where none is given."""
        if self.operation.command is Command.REVERSE and self._of_last and not self.given.get(Ask.AMOUNT_OR_NONE):
            return self.ground.last.amount if self.ground.last else 0
        amount: int = self.given.get(Ask.AMOUNT) or self.given.get(Ask.AMOUNT_OR_NONE) or self.given.get(Ask.PERSONS, 0)
        return amount

    @property
    def _of_last(self) -> bool:
        """Whether it is about the last one, by choice or by its number."""
        last = self.ground.last
        return last is not None and (self.operation.last or self.given.get(Ask.NUMBER) == last.authorization)

    @property
    def _asks(self) -> tuple[Ask, ...]:
        careful = self.operation.final or self.operation.last or self.big
        return (*self.operation.asks, Ask.SURE) if careful else self.operation.asks

    def answered(self, text: str, took_s: float | None = None) -> Self:
        """Take the answer to the question; `took_s` is how long it took to come in, in seconds. Raises RefusedError."""
        ask = self.question
        if ask is None:
            raise ValueError("nothing is asked")
        if ask not in (Ask.CARD, Ask.NEW_CARD) and is_stripe(text):
            raise RefusedError(Refusal.STRIPE)  # the other track of a reader that sends each with an Enter of its own
        if not text.strip() and not ask.optional:
            raise RefusedError(Refusal.EMPTY)
        return replace(self, given={**self.given, ask: self._value(ask, text.strip(), took_s)})

    def back(self) -> Self | None:
        """One question back; None to the choice of operations."""
        if not self.given:
            return None
        return replace(self, given=dict(list(self.given.items())[:-1]))

    def _value(self, ask: Ask, text: str, took_s: float | None) -> Any:
        match ask:
            case Ask.CARD | Ask.NEW_CARD:
                return self._card(text, took_s)
            case Ask.AMOUNT:
                return self._amount(text) or _refuse(Refusal.ZERO)
            case Ask.AMOUNT_OR_NONE:
                return self._amount(text) if text else 0
            case Ask.PERSONS:
                return _place(text or "1", PERSONS_MAX, Refusal.PERSONS) + 1
            case Ask.CODE:
                return _code(text) if text else ""
            case Ask.NEW_CODE:
                return _code(text)
            case Ask.NEW_CODE_AGAIN:
                return text if text == self.given[Ask.NEW_CODE] else _refuse(Refusal.CODES_DIFFER)
            case Ask.NUMBER:
                return self._number(text)
            case Ask.REASON:
                return REASONS[_place(text, len(REASONS))]
            case Ask.UNIT:
                return UNITS[_place(text, len(UNITS))]
            case Ask.CLOSE:
                return text == YES or (_refuse(Refusal.CHOICE) if text else False)
            case Ask.SURE:
                return text == YES or _refuse(Refusal.CHOICE)

    def _card(self, text: str, took_s: float | None) -> CardRead:
        if text.startswith(PLACE) and self.ground.cards:
            place = _place(text.removeprefix(PLACE), len(self.ground.cards), Refusal.PLACE)
            return CardRead(self.ground.cards[place], keyed=True)
        try:
            return read_card(text, took_s, prefix=self.ground.prefix, suffix=self.ground.suffix)
        except CardError:
            # Digits alone are never a place: a number that was cut short would be taken for another's card.
            short = bool(self.ground.cards) and text.isdigit() and len(text) <= PLACE_DIGITS_MAX
            raise RefusedError(Refusal.PLACE if short else Refusal.CARD) from None

    def _amount(self, text: str) -> int:
        try:
            amount = minor_units(text.replace(",", ".", 1), self.ground.exponent)
        except ValueError:
            raise RefusedError(Refusal.AMOUNT) from None
        if amount >= AMOUNT_END:
            raise RefusedError(Refusal.AMOUNT)
        return amount

    def _number(self, text: str) -> str:
        if text == LAST:
            if self.ground.last is None:
                raise RefusedError(Refusal.NO_LAST)
            return self.ground.last.authorization
        if not _NUMBER.fullmatch(text):
            raise RefusedError(Refusal.NUMBER)
        return text

    def shown(self, ask: Ask) -> str:
        """An answer as it may stay on the screen: of a card its last four digits, of a code nothing."""
        value = self.given[ask]
        match ask:
            case Ask.CARD | Ask.NEW_CARD:
                return mask(value.number)
            case Ask.AMOUNT | Ask.AMOUNT_OR_NONE:
                return written(value, self.ground.exponent) if value else "-"
            case Ask.CODE | Ask.NEW_CODE | Ask.NEW_CODE_AGAIN:
                return "****" if value else "-"
            case Ask.PERSONS | Ask.NUMBER:
                return str(value)
            case _:
                return ""

    def fields(self) -> dict[str, Any]:
        """What to send, by the names of a request's fields, without the codes."""
        command, given = self.operation.command, self.given
        fields: dict[str, Any] = {"cashier": self.ground.cashier}
        flags = Flag(0)
        if command in (Command.SALE, Command.HOLD) and self.ground.partial:
            flags |= Flag.PARTIAL
        if Ask.CARD in given:
            fields["card"] = given[Ask.CARD].number
            flags |= Flag.KEYED if given[Ask.CARD].keyed else Flag(0)
        if Ask.NEW_CARD in given:
            fields["new_card"] = given[Ask.NEW_CARD].number
        if self.operation.last and self.ground.last is not None:
            fields["original"] = self.ground.last.authorization
        elif Ask.NUMBER in given:
            fields["original"] = given[Ask.NUMBER]
        if command is Command.REVERSE:
            fields["reason"] = GivenReason.MISTAKE
        elif Ask.REASON in given:
            fields["reason"] = given[Ask.REASON]
        return {**fields, "amount": self.amount, "flags": flags}

    @property
    def access_code(self) -> str | None:
        """The code that the holder keyed in, if one was."""
        return self.given.get(Ask.CODE) or None

    @property
    def new_code(self) -> str | None:
        """The code that the holder has chosen."""
        return self.given.get(Ask.NEW_CODE)


def _place(text: str, count: int, otherwise: Refusal = Refusal.CHOICE) -> int:
    """A number from 1 to `count`, counted from 0."""
    if not (text.isascii() and text.isdigit() and len(text) <= PLACE_DIGITS_MAX and 1 <= int(text) <= count):
        raise RefusedError(otherwise)
    return int(text) - 1


def _code(text: str) -> str:
    if not _CODE.fullmatch(text):
        raise RefusedError(Refusal.CODE)
    return text


def _refuse(why: Refusal) -> Any:
    raise RefusedError(why)
