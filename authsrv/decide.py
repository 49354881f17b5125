"""`decide(request, facts) -> decision`: the rules of the switch, pure.

Everything was read before; here everything is checked in one ranked order, and after the last check nothing can refuse:

    form                    what the request says of itself                    30, 13, 12
    module                  revoked                                            58
    date, command           in the window, served, not a desk's alone          30, 12, 58
    access code             the module's budget of bad cards, then locked,
                            wrong, missing; an unknown card alike              58, 75, 55, 14
    card                    the table command x state, programme, branch, unit 14, 54, 57, 58, 62, 12
    original                found, whose, its card, what was undone of it      25, 58, 12
    amount                  zero, limits                                       13, 61, 65
    funds                   all, a part where everybody agrees, or nothing     51

What is about an original is about its card, so that the original comes before the card. A reversal is the exception
that the laws ask for: it undoes what was recorded, whatever has become of the card since. Holds that have expired are
ended before anything of their card is decided, by who calls.
"""

import datetime as dt
from collections.abc import Callable
from typing import Final

from authsrv import decide_card, decide_credit, decide_visits
from authsrv.facts import TRIES_MAX, Code, Decision, Facts, decline, moved
from authsrv.table import (
    APPROVALS,
    CARD_SHOWN,
    CODE_NEEDED,
    CODE_OF_HOLDER_ONLY,
    DESK_ONLY,
    ENDED,
    HARD_BLOCKS,
    LOADS,
    MOVING,
    NOT_REVERSIBLE,
    OF_A_PASS,
    OF_KIND,
    REFUNDABLE,
    SERVED,
    TABLE,
    state_of,
)
from ledger.accounts import Account
from ledger.authorizations import Original, Undo
from ledger.cards import Card, CardStatus
from ledger.charges import given_back
from ledger.holds import Hold, HoldEnd, reserve
from ledger.names import Name, in_window
from ledger.postings import bring, pay_out, spend, undo
from ledger.totals import Totals
from loyalty.limits import check_load, check_sale, check_spending
from loyalty.programme import AccessCode, Kind, Programme
from protocol.messages import FormatError, OriginalName, Request
from protocol.numbers import OWN, Command, Flag, Reason, Result

# Bound once: reading a member of an enumeration is a call, and every request reads several.
_APPROVED: Final = Result.APPROVED
_PARTLY: Final = Result.PARTLY
_NO_REASON: Final = Reason.NONE
_ABSENT: Final = Code.ABSENT
_WRONG: Final = Code.WRONG
_SALE: Final = Command.SALE
_REVERSE: Final = Command.REVERSE
_REPRINT: Final = Command.REPRINT
_REFUND: Final = Command.REFUND
_TOTALS: Final = Command.TOTALS
_BLOCKED: Final = Reason.BLOCKED
_CREDIT: Final = Kind.CREDIT
_VISITS: Final = Kind.VISITS
_GIFT: Final = Kind.GIFT
_CODE_REQUIRED: Final = AccessCode.REQUIRED
_CODE_OPTIONAL: Final = AccessCode.OPTIONAL
_HOLDER_IN_ORDER: Final = Decision(_APPROVED)


def decide(request: Request | FormatError, date: dt.date, facts: Facts) -> Decision:
    """What becomes of a new request named on `date`; its name is usable and has no record yet."""
    if isinstance(request, FormatError):
        return decline(request.reason)
    if facts.module.revoked:
        return decline(Reason.COMMAND)
    if not in_window(date, facts.moment.today):
        return decline(Reason.OUTSIDE_WINDOW)
    if request.command not in SERVED:
        return decline(Reason.NOT_BUILT)
    if request.command in DESK_ONLY and not facts.module.desk:
        return decline(Reason.COMMAND)

    proven = _prove_holder(request, facts)
    if proven.result is not _APPROVED:
        return proven
    decision = _by_command(request, facts)
    return decision if proven.failures is None else decision.counting(proven.failures)


def _by_command(request: Request, facts: Facts) -> Decision:
    command = request.command
    if command is _REVERSE:
        return _reverse(request, facts)
    if command is _REPRINT:
        return _reprint(facts)
    if command is _REFUND:
        return _refund(request, facts)
    if command in _OF_A_HOLD:
        return _end_hold(request, facts)
    if command is _TOTALS:
        return _totals(request, facts)
    refusal, card, programme = _admit(request, facts)
    if card is None or programme is None:
        return decline(refusal)
    if command is _SALE:
        return _sale(request, facts, card, programme)
    if command in LOADS:
        return _load(request, facts, card, programme)
    return _RARE[command](request, facts, card, programme)


# Who is asking


def _prove_holder(request: Request, facts: Facts) -> Decision:
    """Approved where the holder's part is in order; `failures` is then what the card's count becomes, if it changes.

    An unknown card and a wrong code are counted and answered alike. The third wrong code locks at once.
    """
    number = facts.number
    if number is None or request.command not in CARD_SHOWN:
        return _HOLDER_IN_ORDER
    if facts.bad_cards >= facts.module.bad_cards_per_day:
        return decline(Reason.BAD_CARDS_BUDGET)
    came = facts.code is not _ABSENT
    needed = _code_needed(request.command, facts)
    if number.failures >= TRIES_MAX and (came or needed):
        return decline(Reason.LOCKED)
    if facts.code is _WRONG:
        failures = number.failures + 1
        reason = Reason.LOCKED if failures >= TRIES_MAX else Reason.WRONG_CODE
        return decline(reason, failures, bad_card=True)
    if number.card is None:
        return decline(Reason.UNKNOWN_CARD, bad_card=True)
    if needed and not came:
        return decline(Reason.CODE_ON_REPEAT if Flag.REPEAT in request.flags else Reason.CODE_MISSING)
    return Decision(_APPROVED, failures=0) if came and number.failures else _HOLDER_IN_ORDER


def _code_needed(command: Command, facts: Facts) -> bool:
    if command not in CODE_NEEDED or facts.card is None or facts.programme is None:
        return False
    if command in CODE_OF_HOLDER_ONLY and (facts.module.desk or facts.card.verifier is None):
        return False
    asked = facts.programme.access_code
    return asked is _CODE_REQUIRED or (asked is _CODE_OPTIONAL and facts.card.verifier is not None)


def _admit(request: Request, facts: Facts) -> tuple[Reason, Card | None, Programme | None]:
    """The card and programme that a command may go on with, or the reason why not; a hold may end without rules."""
    card, programme = facts.card, facts.programme
    cell = (request.command, state_of(facts.number, card, facts.moment.today))
    refusal = TABLE[cell]
    if refusal is not None and programme is not None and programme.kind is _VISITS:
        refusal = OF_A_PASS.get(cell, refusal)
    if refusal is _BLOCKED and card is not None and card.blocked is not None:
        refusal = HARD_BLOCKS.get(card.blocked, refusal)
    ends_hold = request.command in _OF_A_HOLD
    needs_rules = not ends_hold or (facts.kind is _CREDIT and request.command is not Command.RELEASE)
    if refusal is None and programme is None and needs_rules:
        refusal = Reason.NOT_PROGRAMME  # no version of the card's programme is in force
    if refusal is None and programme and request.command not in OF_KIND[programme.kind]:
        refusal = Reason.NOT_PROGRAMME
    if refusal is None and request.programme not in (0, card.programme if card else 0):
        refusal = Reason.PROGRAMME_DIFFERS
    if refusal is None and programme and not ends_hold and not programme.serves(facts.module.branch):
        refusal = Reason.BRANCH
    if refusal is None and request.unit not in (OWN, facts.unit):
        refusal = Reason.UNIT_DIFFERS
    return (_NO_REASON, card, programme) if refusal is None else (refusal, None, None)


# Bringing and taking


def _load(request: Request, facts: Facts, card: Card, programme: Programme) -> Decision:
    if programme.kind is not _GIFT:
        opened = decide_visits.load if programme.kind is _VISITS else decide_credit.activate
        return opened(request, facts, card, programme)
    moment = facts.moment
    activation = request.command is Command.ACTIVATE
    if not activation and not programme.reloadable:
        return decline(Reason.NOT_RELOADABLE)
    if not request.amount and (programme.load_minimum_minor or not activation):  # a card may be sold empty
        return decline(Reason.AMOUNT_ZERO)
    loads_today = card.loads(moment.booked_on)
    limit = check_load(programme, request.amount, card.balances.value + card.balances.owed, loads_today)
    if limit is not None:
        return decline(Reason[limit.name])
    after = card._replace(
        status=CardStatus.ACTIVE,
        valid_until=programme.valid_until(moment.today) if activation else card.valid_until,
        loads_on=moment.booked_on,
        loads_today=loads_today + 1,
    )
    return moved(after, bring(card.balances, Account.TENDER, request.amount), request.amount)


def _sale(request: Request, facts: Facts, card: Card, programme: Programme) -> Decision:
    refusal, taken = _takable(request, facts, card, programme)
    if refusal is not None:
        return decline(refusal)
    charge = None
    if programme.kind is _CREDIT:
        card, charge = decide_credit.charge(card, _name(request), facts, programme, taken)
    if taken == request.amount:
        return moved(card, spend(taken), taken, charge=charge)
    return moved(card, spend(taken), taken, result=_PARTLY, still_due=request.amount - taken, charge=charge)


def _takable(request: Request, facts: Facts, card: Card, programme: Programme) -> tuple[Reason | None, int]:
    """How much of the amount the card can give, all or a part where everybody agrees; or why nothing."""
    if not request.amount:
        return Reason.AMOUNT_ZERO, 0
    if programme.overdue_block_days is not None and programme.overdue(card.due_on, facts.moment.today):
        return Reason.OVERDUE, 0
    limit = check_sale(programme, request.amount)
    if limit is not None:
        return Reason[limit.name], 0
    balances = card.balances
    available = balances.available
    if request.amount <= available:
        return _watched(programme, facts, card, request.amount), request.amount
    if available and Flag.PARTIAL in request.flags and programme.partial and facts.module.partial:
        return _watched(programme, facts, card, available), available
    without_holds = balances.value + balances.owed - balances.floor
    return Reason.HELD if request.amount <= without_holds else Reason.FUNDS, 0


def _watched(programme: Programme, facts: Facts, card: Card, amount: int) -> Reason | None:
    """Why the card may not spend so much more today, open holds counted."""
    if not programme.watches_spending:
        return None
    sales, spent = facts.spent
    limit = check_spending(programme, amount, sales + len(card.holds), spent + card.balances.held)
    return Reason[limit.name] if limit is not None else None


def _cash_out(_request: Request, _facts: Facts, card: Card, programme: Programme) -> Decision:
    """Pay the whole balance out and close the card."""
    if not programme.cash_out:
        return decline(Reason.NOT_PROGRAMME)
    if card.holds:
        return decline(Reason.OPEN_HOLDS)
    if card.balances.debt or card.balances.owed:
        return decline(Reason.OWES)
    closed = card._replace(status=CardStatus.CLOSED)
    return moved(closed, pay_out(card.balances.value), card.balances.value)


# Holds


def _hold(request: Request, facts: Facts, card: Card, programme: Programme) -> Decision:
    if programme.hold_minutes is None:
        return decline(Reason.NOT_PROGRAMME)
    refusal, taken = _takable(request, facts, card, programme)
    if refusal is not None:
        return decline(refusal)
    expires_at = facts.moment.at + dt.timedelta(minutes=programme.hold_minutes)
    hold = Hold(_name(request), taken, expires_at)
    return Decision(
        _APPROVED if taken == request.amount else _PARTLY,
        approved=taken,
        still_due=request.amount - taken,
        card=card._replace(holds=(*card.holds, hold), balances=reserve(card.balances, taken)),
        hold=hold,
    )


def _end_hold(request: Request, facts: Facts) -> Decision:
    """Take an open hold up to its amount, or give it up; what is not taken is free again.

    The rules were asked when it was opened: only when a purchase on credit is to be paid, those in force have to say.
    """
    original = facts.original
    if original is not None and not _own(facts, original):
        return decline(Reason.FOREIGN_ORIGINAL)
    refusal, card, programme = _follow(request, facts, _HOLDS, Reason.NOT_A_HOLD)
    if original is None or card is None:
        return decline(refusal)
    if original.ended is not None:
        return decline(ENDED[original.ended])
    free = _freed(card, original)
    if request.command is Command.RELEASE:
        return Decision(_APPROVED, approved=original.approved, card=free, ended=(original.name, HoldEnd.RELEASED))
    if not request.amount:
        return decline(Reason.AMOUNT_ZERO)
    if request.amount > original.approved:
        return decline(Reason.ABOVE_HOLD)
    charge = None
    if programme is not None and programme.kind is _CREDIT:
        free, charge = decide_credit.charge(free, _name(request), facts, programme, request.amount)
    return moved(free, spend(request.amount), request.amount, ended=(original.name, HoldEnd.CONFIRMED), charge=charge)


def _freed(card: Card, hold: Original) -> Card:
    """The card without this hold."""
    return card._replace(
        holds=tuple([each for each in card.holds if each.name != hold.name]),
        balances=reserve(card.balances, -hold.approved),
    )


# Undoing and telling


def _own(facts: Facts, original: Original) -> bool:
    return facts.module.desk or original.name.module == facts.module.number


def _follow(
    request: Request, facts: Facts, commands: frozenset[Command], otherwise: Reason
) -> tuple[Reason, Card | None, Programme | None]:
    """The card and programme of an original that one of `commands` made and nothing undid, or the reason why not."""
    original = facts.original
    if original is None:
        return Reason.ORIGINAL_UNKNOWN, None, None
    if original.tombstone or original.reversed:
        return Reason.ALREADY_REVERSED, None, None
    if original.result not in APPROVALS:
        return Reason.ORIGINAL_DECLINED, None, None
    if original.command not in commands:
        return otherwise, None, None
    if facts.number is not None and facts.number.card != original.card:
        return Reason.CARD_DIFFERS, None, None
    return _admit(request, facts)


def _refund(request: Request, facts: Facts) -> Decision:
    original = facts.original
    refusal, card, programme = _follow(request, facts, REFUNDABLE, Reason.NOT_REFUNDABLE)
    if original is None or card is None or programme is None:
        return decline(refusal)
    if not programme.refundable:
        return decline(Reason.NOT_REFUNDABLE)
    if not request.amount:
        return decline(Reason.AMOUNT_ZERO)
    if request.amount > original.approved - original.refunded:
        return decline(Reason.REFUND_ABOVE_ORIGINAL)
    back = bring(card.balances, Account.REDEEMED, request.amount)
    if card.charges:
        card = card._replace(charges=given_back(card.charges, original.name, request.amount))
    return moved(card, back, request.amount, (Undo(original.name, reversal=False, amount=request.amount),))


def _reverse(request: Request, facts: Facts) -> Decision:
    original = facts.original
    if original is None:
        return _reverse_unknown(request, facts)
    if not _own(facts, original):
        return decline(Reason.FOREIGN_ORIGINAL)
    if original.tombstone:
        return Decision(Result.APPROVED, Reason.TOMBSTONE)
    if original.command in NOT_REVERSIBLE or original.name == _name(request):
        return decline(Reason.NOT_REVERSIBLE)
    if original.result not in APPROVALS:
        return Decision(Result.APPROVED, Reason.NOTHING_MOVED)
    if request.amount != original.requested and not (facts.module.desk and not request.amount):
        return decline(Reason.ORIGINAL_AMOUNT_DIFFERS)
    if original.reversed:
        return Decision(Result.APPROVED, Reason.AGAIN, approved=original.approved)
    if original.refunded:
        return decline(Reason.REFUNDED)
    card = facts.card
    undos = [Undo(original.name, reversal=True, amount=original.approved)]
    if card is not None and original.command == Command.HOLD:
        return _reverse_hold(card, original, tuple(undos))
    if card is None or original.command not in MOVING:
        return Decision(Result.APPROVED, Reason.NOTHING_MOVED)
    if original.command == Command.REFUND and original.original is not None:
        undos.append(Undo(original.original, reversal=False, amount=-original.approved))
    if original.command == Command.ACTIVATE and facts.kind is _CREDIT:
        return _withdraw(card, original, tuple(undos))
    back = undo(card.balances, original.postings)
    return moved(_before(card, original, facts), back, original.approved, tuple(undos))


def _reverse_hold(card: Card, hold: Original, undos: tuple[Undo, ...]) -> Decision:
    """Undo an open hold; of one that was taken its confirmation is to be reversed, of another nothing is left."""
    if hold.ended is HoldEnd.CONFIRMED:
        return decline(Reason.HOLD_CONFIRMED)
    if hold.ended is not None:
        return Decision(Result.APPROVED, Reason.NOTHING_MOVED)
    return moved(_freed(card, hold), (), hold.approved, undos, ended=(hold.name, HoldEnd.REVERSED))


def _withdraw(card: Card, original: Original, undos: tuple[Undo, ...]) -> Decision:
    """Take a credit card back that was handed out, unless something was bought or paid on it."""
    if card.status is not CardStatus.ACTIVE:
        return Decision(Result.APPROVED, Reason.NOTHING_MOVED)
    if card.balances.value or card.balances.owed or card.holds:
        return decline(Reason.OWES)
    return moved(decide_credit.withdrawn(card), (), original.approved, undos, floor=0)


def _before(card: Card, original: Original, facts: Facts) -> Card:
    """The card without what the original made of it besides its value."""
    if original.command in LOADS:
        return _before_load(card, original, facts)
    if original.command == Command.VISIT:
        return decide_visits.before_visit(card, original, facts.issuer.day_of(original.decided_at), facts.moment.today)
    if not card.charges:
        return card
    if original.command == Command.REFUND and original.original is not None:
        return card._replace(charges=given_back(card.charges, original.original, -original.approved))
    return card._replace(charges=given_back(card.charges, original.name, original.approved))


def _before_load(card: Card, original: Original, facts: Facts) -> Card:
    """The card without an activation or the days of a reload, and with a place more in the day's count."""
    if card.loads_on == original.booked_on:
        card = card._replace(loads_today=max(0, card.loads_today - 1))
    if original.command == Command.ACTIVATE and card.status is CardStatus.ACTIVE:
        return card._replace(status=CardStatus.ISSUED, valid_until=None)
    if facts.kind is not _VISITS:
        return card
    return decide_visits.before_load(card, original, facts.issuer.day_of(original.decided_at), facts.moment.today)


def _reverse_unknown(request: Request, facts: Facts) -> Decision:
    """A reversal before its original leaves a tombstone under the original's name, where that can still arrive."""
    if not isinstance(request.original, OriginalName):
        return decline(Reason.ORIGINAL_UNKNOWN)
    name = Name(request.module, request.original.date, request.original.sequence)
    if name == _name(request):
        return decline(Reason.NOT_REVERSIBLE)
    if not in_window(name.date, facts.moment.today):
        return decline(Reason.ORIGINAL_UNKNOWN)
    return Decision(Result.APPROVED, Reason.TOMBSTONE, tombstone=name)


def _reprint(facts: Facts) -> Decision:
    original = facts.original
    if original is None or original.tombstone:
        return decline(Reason.ORIGINAL_UNKNOWN)
    if not _own(facts, original):
        return decline(Reason.FOREIGN_ORIGINAL)
    return Decision(Result.APPROVED)


def _totals(request: Request, facts: Facts) -> Decision:
    """Compare what the module counted with the books; both are told and kept, whether they agree or not."""
    asked, interval = request.totals, facts.interval
    if asked is None or interval is None or facts.counted is None:
        return decline(Reason.INTERVAL)
    totals = Totals(interval, asked.pairs, facts.counted)
    if asked.pairs != facts.counted:
        return Decision(Result.TOTALS_DIFFER, Reason.TOTALS_DIFFER, totals=totals)
    return Decision(Result.APPROVED, totals=totals)


def _name(request: Request) -> Name:
    return Name(request.module, request.date, request.sequence)


_HOLDS: Final = frozenset((Command.HOLD,))
_OF_A_HOLD: Final = frozenset((Command.CONFIRM, Command.RELEASE))
_RARE: Final[dict[Command, Callable[[Request, Facts, Card, Programme], Decision]]] = {
    Command.BALANCE: decide_card.tell,
    Command.HOLD: _hold,
    Command.PAYMENT: decide_credit.pay,
    Command.VISIT: decide_visits.visit,
    Command.CASH_OUT: _cash_out,
    Command.BLOCK: decide_card.block,
    Command.UNBLOCK: decide_card.unblock,
    Command.CHANGE_ACCESS_CODE: decide_card.change_code,
    Command.REPLACE: decide_card.replace,
    Command.FREEZE: decide_visits.freeze,
    Command.LIMIT: decide_credit.set_limit,
    Command.RESET_TRIES: decide_card.reset_tries,
}
"""Behind sales and loads, which are nearly all that comes."""
