"""What should happen: the shop's rules over dictionaries, one request at a time.

It knows nothing of batches, lanes, accounts or postings. A card has a value, of which open holds keep a part, and what
it owes. Written from the rules, not from the program; slow and obvious on purpose.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from loyalty.programme import Kind
from protocol.numbers import Command, GivenReason, Reason, Result

if TYPE_CHECKING:
    from whole.till import Name, Slip

LOAD_LEAST, LOAD_MOST, BALANCE_MOST, LOADS_A_DAY, TRIES = 500, 50_000, 100_000, 5, 3
VISITS, PASSES_A_DAY, VISITS_A_DAY, LIMIT, LIMIT_MOST = 10, 2, 3, 20_000, 200_000
TERM, YESTERDAY = 90, -1  # days from today
EUR, VISIT = 978, 0x8001
ISSUED, ACTIVE, CLOSED = 0, 1, 3
LOADS = (Command.ACTIVATE, Command.RELOAD)
ENDS_HOLD = (Command.CONFIRM, Command.RELEASE)
NEEDS_CODE = (Command.BALANCE, Command.SALE, Command.HOLD, Command.VISIT, Command.CASH_OUT)
CHANGES = (Command.CHANGE_ACCESS_CODE, Command.REPLACE)
SHOWS_CARD = (
    *(*NEEDS_CODE, *CHANGES, *LOADS, *ENDS_HOLD, Command.REFUND),
    *(Command.BLOCK, Command.UNBLOCK, Command.RESET_TRIES, Command.PAYMENT, Command.LIMIT, Command.FREEZE),
)
THOUGH_BLOCKED = (
    *(*ENDS_HOLD, Command.REFUND, Command.UNBLOCK, Command.REPLACE, Command.RESET_TRIES),
    *(Command.PAYMENT, Command.LIMIT, Command.FREEZE, Command.BLOCK),
)
THOUGH_OVER = (Command.BALANCE, Command.RELOAD, Command.BLOCK, Command.REPLACE, Command.RESET_TRIES)  # of a pass
OF_EVERY_KIND = {
    *(Command.BALANCE, Command.ACTIVATE, Command.BLOCK, Command.UNBLOCK, Command.CHANGE_ACCESS_CODE),
    *(Command.REPLACE, Command.RESET_TRIES),
}
OF_MONEY = {Command.SALE, Command.HOLD, *ENDS_HOLD, Command.REFUND, Command.CASH_OUT}
COMMANDS = {
    Kind.GIFT: OF_EVERY_KIND | OF_MONEY | {Command.RELOAD},
    Kind.VISITS: OF_EVERY_KIND | {Command.RELOAD, Command.VISIT, Command.FREEZE},
    Kind.CREDIT: OF_EVERY_KIND | OF_MONEY | {Command.PAYMENT, Command.LIMIT},
}
DESKS_OWN = (Command.RESET_TRIES, Command.FREEZE, Command.LIMIT)
TOTALS = (
    *(Command.ACTIVATE, Command.RELOAD, Command.SALE, Command.CONFIRM, Command.REFUND, Command.REVERSE),
    *(Command.PAYMENT, Command.VISIT, Command.CASH_OUT),
)
THOUGH_NOT_SOLD = (*ENDS_HOLD, Command.BALANCE, Command.ACTIVATE, Command.BLOCK, Command.RESET_TRIES)
NOT_REVERSIBLE = (
    *(Command.RELEASE, Command.REVERSE, Command.CASH_OUT, Command.BLOCK, Command.UNBLOCK, Command.RESET_TRIES),
    *(*CHANGES, Command.FREEZE, Command.LIMIT, Command.TOTALS),
)
LOST_OR_STOLEN = {GivenReason.LOST: Reason.LOST, GivenReason.STOLEN: Reason.STOLEN}
TOLD = (Result.APPROVED, Result.PARTLY, Result.AMOUNT, Result.FUNDS, Result.AMOUNT_LIMIT, Result.COUNT_LIMIT)


@dataclass(frozen=True)
class Outcome:
    """What an answer must say; `recorded` unless it is the 94 that leaves no trace."""

    result: int
    reason: Reason
    approved: int = 0
    balance: int = 0
    available: int = 0
    recorded: bool = True
    totals: tuple[tuple[int, int], ...] = ()


@dataclass
class Card:
    """A card by the number that it was issued with; `code` is its access code, if it has one; `owed` is 0 or below."""

    home: str
    code: str | None
    kind: Kind = Kind.GIFT
    status: int = ISSUED
    blocked: int = 0
    value: int = 0
    owed: int = 0
    loads: int = 0
    limit: int = 0
    visits: int = 0  # today
    entered: Name | None = None  # the visit of which further entries still are
    entered_by: int = 0
    last_stands: bool = False  # the last visit that was taken off is not undone
    frozen: bool = False
    end: int | None = None  # of a pass: days from today to its last

    @property
    def over(self) -> bool:
        """Whether its days are over."""
        return self.end is not None and self.end < 0

    def bring(self, amount: int) -> None:
        """Value comes: debts first."""
        settled = min(amount, -self.owed)
        self.owed += settled
        self.value += amount - settled


@dataclass
class Entry:
    """A recorded request, and what was undone of it; of a hold also how it ended, and whether its time is over."""

    slip: Slip
    outcome: Outcome
    card: str
    reversed: bool = False
    refunded: int = 0
    ended: Reason | None = None
    over: bool = False
    unit: int = EUR
    term: int | None = None  # days that it brought a pass
    undone_by: Name | None = None

    @property
    def good(self) -> bool:
        """Whether it was approved."""
        return self.outcome.result in (Result.APPROVED, Result.PARTLY)


@dataclass
class Model:
    """The shop; `numbers` say which card a number points to, `issued` which it was issued with."""

    issued: dict[str, Card]
    desk: int
    numbers: dict[str, str] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    tries: Counter[str] = field(default_factory=Counter)
    entries: dict[Name, Entry] = field(default_factory=dict)
    tombstones: set[Name] = field(default_factory=set)
    term: int | None = None  # that the request in hand brings a pass

    def __post_init__(self) -> None:
        self.numbers = self.numbers or {number: number for number in self.issued}

    def copy(self) -> Self:
        """The same shop, to try something out in."""
        return copy.deepcopy(self)

    def card(self, number: str) -> Card | None:
        """What a number points to."""
        return self.issued.get(self.numbers.get(number, ""))

    def held(self, card: Card) -> int:
        """What its open holds reserve."""
        return sum(
            entry.outcome.approved
            for entry in self.entries.values()
            if entry.slip.command is Command.HOLD and entry.card == card.home and entry.good
            and entry.ended is None and not entry.over and not entry.reversed
        )  # fmt: skip

    def available(self, card: Card) -> int:
        """What can be taken."""
        return max(0, card.value + card.owed - self.held(card) + card.limit)

    def let_time_pass(self, number: str) -> None:
        """All open holds of a number's card are over."""
        card = self.card(number)
        for entry in self.entries.values():
            if card is not None and entry.card == card.home and entry.ended is None:
                entry.over = True

    def let_minutes_pass(self, number: str) -> None:
        """Who enters now is on another visit."""
        card = self.card(number)
        if card is not None:
            card.entered = None

    def let_days_pass(self, number: str) -> None:
        """Yesterday was the last day of a pass."""
        card = self.card(number)
        if card is not None:
            card.end = YESTERDAY

    def settle(self, slip: Slip) -> Outcome:
        """One request, first time or not."""
        for pass_ in self.issued.values():
            if pass_.over:
                pass_.value = min(pass_.value, 0)
        if slip.name in self.tombstones:
            return self._no(Reason.REVERSED_BEFORE_ARRIVAL)
        before = self.entries.get(slip.name)
        if before is not None:
            same = _content(before.slip) == _content(slip)
            return before.outcome if same else Outcome(Result.DUPLICATE, Reason.OTHER_CONTENT, recorded=False)
        entry = Entry(slip, self._no(Reason.NONE), self._card_of(slip))
        card = self.issued.get(entry.card)
        coded = card is not None and card.code is not None
        if slip.command is Command.TOTALS:
            entry.unit = slip.unit
        elif card is not None and card.kind is Kind.VISITS:
            entry.unit = VISIT
        outcome = self._only_desk(slip) or self._holder(slip) or self._decide(slip)
        coded = coded or (slip.command is Command.CHANGE_ACCESS_CODE and outcome.result == Result.APPROVED)
        entry.outcome = outcome
        entry.term, self.term = self.term, None
        self.entries[slip.name] = entry
        of_anybody = slip.command in (Command.BLOCK, Command.UNBLOCK)
        proven = (entry.good and not of_anybody) or not coded or slip.code is not None
        tells_nothing = slip.command is Command.REPRINT or outcome.reason is Reason.NOTHING_MOVED
        if card is not None and proven and not tells_nothing and outcome.result in TOLD:
            told = (card.value, self.available(card) if card.status != CLOSED else card.value)
            entry.outcome = Outcome(outcome.result, outcome.reason, outcome.approved, *told)
        return entry.outcome

    def _card_of(self, slip: Slip) -> str:
        """The card that a request is about: its original's, else the one that was shown."""
        if slip.original in self.entries:
            return self.entries[slip.original].card
        shown = slip.command in SHOWS_CARD and slip.original not in self.tombstones
        return self.numbers.get(slip.card, "") if shown else ""

    def _only_desk(self, slip: Slip) -> Outcome | None:
        desk = slip.name.module == self.desk
        return self._no(Reason.COMMAND) if slip.command in DESKS_OWN and not desk else None

    def _holder(self, slip: Slip) -> Outcome | None:
        """Whether the holder has proven to be one."""
        if slip.command not in SHOWS_CARD or not slip.card:
            return None
        card = self.card(slip.card)
        about = self.issued.get(self._card_of(slip))
        needed = about is not None and about.code is not None and (
            slip.command in NEEDS_CODE or (slip.command in CHANGES and slip.name.module != self.desk)
        )  # fmt: skip
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

    def _decide(self, slip: Slip) -> Outcome:  # noqa: PLR0912 - a line for each command
        match slip.command:
            case Command.REVERSE:
                return self._reverse(slip)
            case Command.REFUND:
                return self._refund(slip)
            case Command.REPRINT:
                return self._reprint(slip)
            case Command.CONFIRM | Command.RELEASE:
                return self._end_hold(slip)
            case Command.TOTALS:
                return self._totals(slip)
        card = self.card(slip.card)
        assert card is not None
        barred = self._barred(slip, card)
        if barred is not None:
            return self._no(barred)
        desk = slip.name.module == self.desk
        match slip.command:
            case Command.BALANCE:
                return self._yes(0)
            case Command.SALE | Command.HOLD:
                return self._take(slip, card)
            case Command.CASH_OUT:
                return self._cash_out(card)
            case Command.VISIT:
                return self._visit(slip, card)
            case Command.FREEZE:
                return self._freeze(slip, card)
            case Command.LIMIT if slip.limit > LIMIT_MOST:
                return self._no(Reason.CREDIT_LIMIT)
            case Command.LIMIT:
                card.limit = slip.limit
                return self._yes(0)
            case Command.PAYMENT if card.status == CLOSED and slip.amount > -(card.value + card.owed):
                owes = card.value + card.owed < 0
                return self._no(Reason.BALANCE_LIMIT if owes else Reason.CLOSED)
            case Command.PAYMENT:
                card.bring(slip.amount)
                return self._yes(slip.amount)
            case Command.BLOCK if card.blocked in LOST_OR_STOLEN and not desk:
                return self._no(LOST_OR_STOLEN[GivenReason(card.blocked)])
            case Command.BLOCK:
                card.blocked = slip.reason
            case Command.UNBLOCK if card.blocked in LOST_OR_STOLEN and not desk:
                return self._no(Reason.COMMAND)
            case Command.UNBLOCK:
                card.blocked = 0
            case Command.RESET_TRIES:
                self.tries[slip.card] = 0
            case Command.CHANGE_ACCESS_CODE:
                card.code = slip.new_code
            case Command.REPLACE:
                return self._replace(slip, card, desk)
            case _:
                return self._load(slip, card)
        return self._yes(0)

    def _barred(self, slip: Slip, card: Card) -> Reason | None:
        """What the state of the card says to a command."""
        command = slip.command
        if slip.card in self.dead:
            return Reason.REPLACED
        if card.status == CLOSED and command is not Command.PAYMENT:
            return Reason.CLOSED
        if card.status == CLOSED:
            return self._of_another_kind(command, card)
        if card.blocked:
            if command not in THOUGH_BLOCKED:
                return LOST_OR_STOLEN.get(GivenReason(card.blocked), Reason.BLOCKED)
            return self._of_another_kind(command, card)
        if command is Command.UNBLOCK:
            return Reason.NOT_BLOCKED
        if card.status == ISSUED and command not in THOUGH_NOT_SOLD:
            return Reason.NOT_ACTIVE
        if card.status == ACTIVE and card.over and command not in THOUGH_OVER:
            return self._of_an_ended_pass(command)
        if card.status == ACTIVE and command is Command.ACTIVATE:
            return Reason.ALREADY_ACTIVE
        return self._of_another_kind(command, card)

    def _of_an_ended_pass(self, command: Command) -> Reason:
        goes_on = (*ENDS_HOLD, Command.REFUND, Command.PAYMENT, Command.LIMIT)
        return Reason.NOT_PROGRAMME if command in goes_on else Reason.EXPIRED

    def _of_another_kind(self, command: Command, card: Card) -> Reason | None:
        return None if command in COMMANDS[card.kind] else Reason.NOT_PROGRAMME

    def _load(self, slip: Slip, card: Card) -> Outcome:
        if card.kind is not Kind.GIFT:
            return self._sell_pass(slip, card) if card.kind is Kind.VISITS else self._hand_out(slip, card)
        if not slip.amount:
            return self._no(Reason.AMOUNT_ZERO)
        if slip.amount < LOAD_LEAST:
            return self._no(Reason.BELOW_LIMIT)
        if slip.amount > LOAD_MOST:
            return self._no(Reason.ABOVE_LIMIT)
        if card.loads >= LOADS_A_DAY:
            return self._no(Reason.LOADS_PER_DAY)
        if card.value + card.owed + slip.amount > BALANCE_MOST:
            return self._no(Reason.BALANCE_LIMIT)
        card.status = ACTIVE
        card.loads += 1
        card.bring(slip.amount)
        return self._yes(slip.amount)

    def _sell_pass(self, slip: Slip, card: Card) -> Outcome:
        if slip.amount not in (0, VISITS):
            return self._no(Reason.AMOUNT_FIXED)
        if card.loads >= PASSES_A_DAY:
            return self._no(Reason.LOADS_PER_DAY)
        if slip.command is Command.ACTIVATE:
            card.visits, card.entered, card.last_stands, card.frozen = 0, None, False, False
        if card.end is not None and card.value > -card.owed and not card.over:
            card.end, self.term = card.end + TERM, TERM
        else:
            card.end = None
        card.status = ACTIVE
        card.loads += 1
        card.bring(VISITS)
        return self._yes(VISITS)

    def _hand_out(self, slip: Slip, card: Card) -> Outcome:
        if slip.amount not in (0, LIMIT):
            return self._no(Reason.AMOUNT_FIXED)
        card.status, card.limit = ACTIVE, LIMIT
        return self._yes(0)

    def _visit(self, slip: Slip, card: Card) -> Outcome:
        visits = slip.amount or 1
        if card.frozen:
            return self._no(Reason.FROZEN)
        if card.entered is not None and visits <= card.entered_by:
            return self._yes(0, reason=Reason.SAME_VISIT)
        if card.visits + visits > VISITS_A_DAY:
            return self._no(Reason.VISITS_PER_DAY)
        if visits > card.value:
            return self._no(Reason.VISITS_USED)
        if card.end is None:
            card.end = self.term = TERM
        card.value -= visits
        card.visits += visits
        card.entered, card.entered_by, card.last_stands = slip.name, visits, True
        return self._yes(visits)

    def _freeze(self, slip: Slip, card: Card) -> Outcome:
        if slip.thaw and not card.frozen:
            return self._no(Reason.FREEZE_DAYS)
        if slip.freeze and card.end is not None and card.end - int(card.frozen) < 0:  # over, and blocked besides
            return self._no(Reason.FREEZE_DAYS)
        if card.end is not None:
            card.end += int(slip.freeze) - int(card.frozen)
        again, card.frozen = card.frozen, slip.freeze
        if slip.thaw:
            return self._yes(0, reason=Reason.THAWED)
        return self._yes(0, reason=Reason.REFROZEN if again else Reason.NONE)

    def _totals(self, slip: Slip) -> Outcome:
        assert slip.interval is not None
        first, last = slip.interval

        def within(name: Name | None) -> bool:
            return name is not None and name.module == slip.name.module and first <= name.sequence <= last

        counted = [[0, 0] for _ in range(10)]
        for name, entry in self.entries.items():
            undid = entry.slip.command is Command.REVERSE
            counts = not undid or (entry.outcome.reason is Reason.NONE and not within(entry.slip.original))
            if within(name) and entry.good and entry.unit == slip.unit and counts and not within(entry.undone_by):
                pair = counted[TOTALS.index(entry.slip.command) if entry.slip.command in TOTALS else 9]
                pair[0] += 1
                pair[1] += entry.outcome.approved
        pairs = tuple((count, total) for count, total in counted)
        reason = Reason.TOTALS_DIFFER if pairs != slip.counted else Reason.NONE
        return Outcome(Result.TOTALS_DIFFER if reason else Result.APPROVED, reason, totals=pairs)

    def _take(self, slip: Slip, card: Card) -> Outcome:
        available = self.available(card)
        partial = slip.partial and card.kind is Kind.GIFT
        if slip.amount > available and not (partial and available):
            without_holds = card.value + card.owed + card.limit
            return self._no(Reason.HELD if slip.amount <= without_holds else Reason.FUNDS)
        taken = min(slip.amount, available)
        card.value -= taken if slip.command is Command.SALE else 0
        return self._yes(taken, Result.APPROVED if taken == slip.amount else Result.PARTLY)

    def _cash_out(self, card: Card) -> Outcome:
        if self.held(card):
            return self._no(Reason.OPEN_HOLDS)
        if card.value < 0 or card.owed:
            return self._no(Reason.OWES)
        paid, card.value, card.status = card.value, 0, CLOSED
        return self._yes(paid)

    def _replace(self, slip: Slip, card: Card, desk: bool) -> Outcome:
        new = self.card(slip.new_card)
        if card.blocked in LOST_OR_STOLEN and not desk:
            return self._no(Reason.COMMAND)
        if new is None:
            return self._no(Reason.NEW_CARD_UNKNOWN)
        fresh = new.status == ISSUED and not new.blocked and slip.new_card not in self.dead
        if not fresh or new.value or new.owed or self.held(new):
            return self._no(Reason.NEW_CARD_IN_USE)
        if new.kind is not card.kind:
            return self._no(Reason.PROGRAMME_DIFFERS)
        new.status = CLOSED
        self.numbers[slip.new_card] = card.home
        self.dead.add(slip.card)
        if card.blocked in (GivenReason.LOST, GivenReason.STOLEN, GivenReason.DAMAGED):
            card.blocked = 0
        return self._yes(0, reason=Reason.CODE_STAYS if card.code else Reason.NONE)

    def _end_hold(self, slip: Slip) -> Outcome:
        if slip.original in self.tombstones:
            return self._no(Reason.ALREADY_REVERSED)
        if slip.original not in self.entries:
            return self._no(Reason.ORIGINAL_UNKNOWN)
        foreign = self._foreign(slip)
        if foreign is not None:
            return foreign
        hold = self.entries[slip.original]
        if hold.reversed:
            return self._no(Reason.ALREADY_REVERSED)
        if not hold.good:
            return self._no(Reason.ORIGINAL_DECLINED)
        if hold.slip.command is not Command.HOLD:
            return self._no(Reason.NOT_A_HOLD)
        barred = self._differs_or_barred(slip, hold)
        if barred is not None:
            return self._no(barred)
        if hold.ended is not None or hold.over:
            return self._no(hold.ended or Reason.HOLD_EXPIRED)
        if slip.command is Command.RELEASE:
            hold.ended = Reason.HOLD_RELEASED
            return self._yes(hold.outcome.approved)
        if slip.amount > hold.outcome.approved:
            return self._no(Reason.ABOVE_HOLD)
        hold.ended = Reason.HOLD_CONFIRMED
        self.issued[hold.card].value -= slip.amount
        return self._yes(slip.amount)

    def _differs_or_barred(self, slip: Slip, original: Entry) -> Reason | None:
        if slip.card and self.numbers[slip.card] != original.card:
            return Reason.CARD_DIFFERS
        return self._barred(slip, self.issued[original.card])

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
        if sale.slip.command not in (Command.SALE, Command.CONFIRM):
            return self._no(Reason.NOT_REFUNDABLE)
        barred = self._differs_or_barred(slip, sale)
        if barred is not None:
            return self._no(barred)
        if slip.amount > sale.outcome.approved - sale.refunded:
            return self._no(Reason.REFUND_ABOVE_ORIGINAL)
        sale.refunded += slip.amount
        self.issued[sale.card].bring(slip.amount)
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
        if entry.slip.command in NOT_REVERSIBLE:
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
        outcome = self._undo(entry, approved)
        if entry.reversed:
            entry.undone_by = slip.name
        return outcome

    def _undo(self, entry: Entry, approved: int) -> Outcome:  # noqa: PLR0912 - a line for each command
        card = self.issued.get(entry.card)
        match entry.slip.command:
            case _ if card is None:
                return self._yes(0, reason=Reason.NOTHING_MOVED)
            case Command.ACTIVATE if card.kind is Kind.CREDIT:
                if card.status != ACTIVE:
                    return self._yes(0, reason=Reason.NOTHING_MOVED)
                if card.value or card.owed or self.held(card):
                    return self._no(Reason.OWES)
                card.status, card.limit = ISSUED, 0
            case Command.PAYMENT:
                self._take_back(card, approved)
            case Command.VISIT:
                self._undo_visit(entry, card, approved)
            case Command.ACTIVATE | Command.RELOAD:
                self._take_back(card, approved)
                card.loads -= 1
                if entry.slip.command is Command.ACTIVATE and card.status == ACTIVE:
                    card.status, card.end = ISSUED, None
                elif entry.term is not None and card.end is not None:
                    card.end -= entry.term
            case Command.SALE | Command.CONFIRM:
                card.bring(approved)
            case Command.REFUND:
                assert entry.slip.original is not None
                self._take_back(card, approved)
                self.entries[entry.slip.original].refunded -= approved
            case Command.HOLD if entry.ended is Reason.HOLD_CONFIRMED:
                return self._no(Reason.HOLD_CONFIRMED)
            case Command.HOLD if entry.ended is None and not entry.over:
                pass
            case _:
                return self._yes(0, reason=Reason.NOTHING_MOVED)
        entry.reversed = True
        return self._yes(approved)

    def _undo_visit(self, entry: Entry, card: Card, approved: int) -> None:
        if not approved:
            return
        card.bring(approved)
        card.visits = max(0, card.visits - approved)
        if card.entered == entry.slip.name:
            card.entered, card.last_stands = None, False
        if entry.term == card.end == TERM and not card.last_stands and not card.visits:
            card.end = None

    def _take_back(self, card: Card, amount: int) -> None:
        """What is there and free is taken; the rest is owed."""
        taken = min(amount, self.available(card))
        card.value -= taken
        card.owed -= amount - taken

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
        return self._foreign(slip) or self._yes(0)

    def _foreign(self, slip: Slip) -> Outcome | None:
        assert slip.original is not None
        own = slip.name.module in (slip.original.module, self.desk)
        return None if own else self._no(Reason.FOREIGN_ORIGINAL)

    def _yes(self, approved: int, result: Result = Result.APPROVED, reason: Reason = Reason.NONE) -> Outcome:
        return Outcome(result, reason, approved)

    def _no(self, reason: Reason) -> Outcome:
        return Outcome(reason.result, reason)


def _content(slip: Slip) -> tuple[object, ...]:
    """What makes two requests the same: not the access codes, which are sealed anew each time, nor the flag."""
    return (
        slip.command, slip.card, slip.amount, slip.partial, slip.original, slip.number, slip.new_card, slip.reason,
        slip.limit, slip.freeze, slip.thaw, slip.unit, slip.interval, slip.counted,
    )  # fmt: skip
