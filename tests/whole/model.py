"""What should happen: the shop's rules over dictionaries, one request at a time.

It knows nothing of batches, lanes, accounts or postings. A card has one number, its net worth: what is above zero can
be spent, what is below is owed. Written from the rules, not from the program; slow and obvious on purpose.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from protocol.numbers import Command, Reason, Result

if TYPE_CHECKING:
    from whole.till import Name, Slip

LOAD_LEAST, LOAD_MOST, BALANCE_MOST, LOADS_A_DAY, TRIES = 500, 50_000, 100_000, 5, 3
LOADS = (Command.ACTIVATE, Command.RELOAD)
SHOWS_CARD = (Command.BALANCE, Command.SALE, Command.REFUND, *LOADS)
NEEDS_CODE = (Command.BALANCE, Command.SALE)
TOLD = (Result.APPROVED, Result.PARTLY, Result.AMOUNT, Result.FUNDS, Result.AMOUNT_LIMIT, Result.COUNT_LIMIT)


@dataclass(frozen=True)
class Outcome:
    """What an answer must say; `recorded` unless it is the 94 that leaves no trace."""

    result: int
    reason: Reason
    approved: int = 0
    balance: int = 0
    recorded: bool = True


@dataclass
class Card:
    """A card; `code` is its access code, if it has one."""

    code: str | None
    active: bool = False
    net: int = 0
    loads: int = 0

    @property
    def value(self) -> int:
        """What can be spent."""
        return max(self.net, 0)


@dataclass
class Entry:
    """A recorded request, and what was undone of it."""

    slip: Slip
    outcome: Outcome
    card: str
    reversed: bool = False
    refunded: int = 0

    @property
    def good(self) -> bool:
        """Whether it was approved."""
        return self.outcome.result in (Result.APPROVED, Result.PARTLY)


@dataclass
class Model:
    """The shop."""

    cards: dict[str, Card]
    desk: int
    tries: Counter[str] = field(default_factory=Counter)
    entries: dict[Name, Entry] = field(default_factory=dict)
    tombstones: set[Name] = field(default_factory=set)

    def copy(self) -> Self:
        """The same shop, to try something out in."""
        return copy.deepcopy(self)

    def settle(self, slip: Slip) -> Outcome:
        """One request, first time or not."""
        if slip.name in self.tombstones:
            return self._no(Reason.REVERSED_BEFORE_ARRIVAL)
        before = self.entries.get(slip.name)
        if before is not None:
            same = _content(before.slip) == _content(slip)
            return before.outcome if same else Outcome(Result.DUPLICATE, Reason.OTHER_CONTENT, recorded=False)
        entry = Entry(slip, self._no(Reason.NONE), self._card_of(slip))
        outcome = self._holder(slip) or self._decide(slip)
        card = self.cards.get(entry.card)
        good = outcome.result in (Result.APPROVED, Result.PARTLY)
        proven = card is not None and (good or card.code is None or slip.code is not None)
        tells_nothing = slip.command is Command.REPRINT or outcome.reason is Reason.NOTHING_MOVED
        told = card.value if card is not None and proven and not tells_nothing and outcome.result in TOLD else 0
        entry.outcome = Outcome(outcome.result, outcome.reason, outcome.approved, told)
        self.entries[slip.name] = entry
        return entry.outcome

    def _card_of(self, slip: Slip) -> str:
        """The card that a request is about: its original's, else the one that was shown."""
        if slip.original in self.entries:
            return self.entries[slip.original].card
        shown = slip.command in SHOWS_CARD and slip.card in self.cards and slip.original not in self.tombstones
        return slip.card if shown else ""

    def _holder(self, slip: Slip) -> Outcome | None:
        """Whether the holder has proven to be one."""
        if slip.command not in SHOWS_CARD or not slip.card:
            return None
        card = self.cards.get(slip.card)
        needed = card is not None and card.code is not None and slip.command in NEEDS_CODE
        if self.tries[slip.card] >= TRIES and (needed or slip.code):
            return self._no(Reason.LOCKED)
        if slip.code and (card is None or card.code != slip.code):
            self.tries[slip.card] += 1
            return self._no(Reason.LOCKED if self.tries[slip.card] >= TRIES else Reason.WRONG_CODE)
        if card is None:
            return self._no(Reason.UNKNOWN_CARD)
        if needed and not slip.code:
            return self._no(Reason.CODE_ON_REPEAT if slip.repeat else Reason.CODE_MISSING)
        if slip.code:
            self.tries[slip.card] = 0
        return None

    def _decide(self, slip: Slip) -> Outcome:
        match slip.command:
            case Command.REVERSE:
                return self._reverse(slip)
            case Command.REFUND:
                return self._refund(slip)
            case Command.REPRINT:
                return self._reprint(slip)
        card = self.cards[slip.card]
        match slip.command:
            case Command.BALANCE:
                return self._yes(0)
            case Command.ACTIVATE if card.active:
                return self._no(Reason.ALREADY_ACTIVE)
            case Command.RELOAD | Command.SALE if not card.active:
                return self._no(Reason.NOT_ACTIVE)
            case Command.SALE:
                return self._sale(slip, card)
            case _:
                return self._load(slip, card)

    def _load(self, slip: Slip, card: Card) -> Outcome:
        if slip.amount < LOAD_LEAST:
            return self._no(Reason.BELOW_LIMIT)
        if slip.amount > LOAD_MOST:
            return self._no(Reason.ABOVE_LIMIT)
        if card.loads >= LOADS_A_DAY:
            return self._no(Reason.LOADS_PER_DAY)
        if card.net + slip.amount > BALANCE_MOST:
            return self._no(Reason.BALANCE_LIMIT)
        card.active = True
        card.loads += 1
        card.net += slip.amount
        return self._yes(slip.amount)

    def _sale(self, slip: Slip, card: Card) -> Outcome:
        if slip.amount > card.value and not (slip.partial and card.value):
            return self._no(Reason.FUNDS)
        taken = min(slip.amount, card.value)
        card.net -= taken
        return self._yes(taken, Result.APPROVED if taken == slip.amount else Result.PARTLY)

    def _refund(self, slip: Slip) -> Outcome:
        if slip.original in self.tombstones:
            return self._no(Reason.ALREADY_REVERSED)
        if slip.original not in self.entries:
            return self._no(Reason.ORIGINAL_UNKNOWN)
        sale = self.entries[slip.original]
        if sale.reversed:
            return self._no(Reason.ALREADY_REVERSED)
        if not sale.good:
            return self._no(Reason.ORIGINAL_DECLINED)
        if sale.slip.command is not Command.SALE:
            return self._no(Reason.NOT_REFUNDABLE)
        if slip.card and slip.card != sale.card:
            return self._no(Reason.CARD_DIFFERS)
        card = self.cards[sale.card]
        if not card.active:
            return self._no(Reason.NOT_ACTIVE)
        if slip.amount > sale.outcome.approved - sale.refunded:
            return self._no(Reason.REFUND_ABOVE_ORIGINAL)
        sale.refunded += slip.amount
        card.net += slip.amount
        return self._yes(slip.amount)

    def _reverse(self, slip: Slip) -> Outcome:
        if slip.original in self.tombstones:
            return self._foreign(slip) or self._yes(0, reason=Reason.TOMBSTONE)
        if slip.original not in self.entries:
            return self._reverse_unknown(slip)
        entry = self.entries[slip.original]
        foreign = self._foreign(slip)
        if foreign is not None:
            return foreign
        if entry.slip.command is Command.REVERSE:
            return self._no(Reason.NOT_REVERSIBLE)
        if not entry.good:
            return self._yes(0, reason=Reason.NOTHING_MOVED)
        if slip.amount != entry.slip.amount and not (slip.name.module == self.desk and not slip.amount):
            return self._no(Reason.ORIGINAL_AMOUNT_DIFFERS)
        approved = entry.outcome.approved
        if entry.reversed:
            return self._yes(approved, reason=Reason.AGAIN)
        if entry.refunded:
            return self._no(Reason.REFUNDED)
        return self._undo(entry, approved)

    def _undo(self, entry: Entry, approved: int) -> Outcome:
        card = self.cards.get(entry.card)
        match entry.slip.command:
            case _ if card is None:
                return self._yes(0, reason=Reason.NOTHING_MOVED)
            case Command.ACTIVATE | Command.RELOAD:
                card.net -= approved
                card.loads -= 1
                card.active = card.active and entry.slip.command is not Command.ACTIVATE
            case Command.SALE:
                card.net += approved
            case Command.REFUND:
                assert entry.slip.original is not None
                card.net -= approved
                self.entries[entry.slip.original].refunded -= approved
            case _:
                return self._yes(0, reason=Reason.NOTHING_MOVED)
        entry.reversed = True
        return self._yes(approved)

    def _reverse_unknown(self, slip: Slip) -> Outcome:
        if slip.number:
            return self._no(Reason.ORIGINAL_UNKNOWN)
        assert slip.original is not None
        if slip.original == slip.name:
            return self._no(Reason.NOT_REVERSIBLE)
        self.tombstones.add(slip.original)
        return self._yes(0, reason=Reason.TOMBSTONE)

    def _reprint(self, slip: Slip) -> Outcome:
        if slip.original not in self.entries:
            return self._no(Reason.ORIGINAL_UNKNOWN)
        return self._foreign(slip) or self._yes(self.entries[slip.original].outcome.approved)

    def _foreign(self, slip: Slip) -> Outcome | None:
        assert slip.original is not None
        own = slip.name.module in (slip.original.module, self.desk)
        return None if own else self._no(Reason.FOREIGN_ORIGINAL)

    def _yes(self, approved: int, result: Result = Result.APPROVED, reason: Reason = Reason.NONE) -> Outcome:
        return Outcome(result, reason, approved)

    def _no(self, reason: Reason) -> Outcome:
        return Outcome(reason.result, reason)


def _content(slip: Slip) -> tuple[object, ...]:
    """What makes two requests the same: not the access code, which is sealed anew each time, nor the flag."""
    return slip.command, slip.card, slip.amount, slip.partial, slip.original, slip.number
