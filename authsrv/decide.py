"""`decide(request, facts) -> decision`: the rules of the switch, pure.

Everything was read before; here everything is checked in one ranked order, and after the last check nothing can refuse:

    form, date, command     what the request says of itself                    30, 13, 12
    module                  revoked, its budget of bad cards                   58
    access code             locked, wrong, missing; an unknown card alike      75, 55, 14
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

from authsrv.facts import TRIES_MAX, Code, Decision, Facts, decline
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
    REFUNDABLE,
    SERVED,
    TABLE,
    State,
    state_of,
)
from ledger.accounts import Account
from ledger.authorizations import Original, Undo
from ledger.cards import Card, CardStatus
from ledger.holds import Hold, HoldEnd, reserve
from ledger.names import Name
from ledger.postings import Posting, apply, bring, pay_out, spend, undo
from loyalty.limits import check_load, check_sale
from loyalty.programme import AccessCode, Programme
from protocol.messages import FormatError, OriginalName, Request
from protocol.numbers import OWN, Command, Flag, GivenReason, Reason, Result

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
_BLOCKED: Final = Reason.BLOCKED
_CODE_REQUIRED: Final = AccessCode.REQUIRED
_CODE_OPTIONAL: Final = AccessCode.OPTIONAL
_HOLDER_IN_ORDER: Final = Decision(_APPROVED)

DAYS_BACK = 35
DAYS_AHEAD = 1


def in_window(date: dt.date, today: dt.date) -> bool:
    """Whether a new name may carry this date."""
    return date == today or -DAYS_BACK <= (date - today).days <= DAYS_AHEAD


def recordable(date: dt.date, today: dt.date) -> bool:
    """Whether a name of this date can be recorded: in the window and a day beyond, so that a decline is found again."""
    return date == today or -DAYS_BACK - 1 <= (date - today).days <= DAYS_AHEAD + 1


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
    """The card and programme that a command may go on with, or the reason why not."""
    card, programme = facts.card, facts.programme
    refusal = TABLE[request.command, state_of(facts.number, card, facts.moment.today)]
    if refusal is _BLOCKED and card is not None and card.blocked is not None:
        refusal = HARD_BLOCKS.get(card.blocked, refusal)
    if refusal is None and programme is None:
        refusal = Reason.NOT_PROGRAMME  # no version of the card's programme is in force yet
    if refusal is None and request.programme not in (0, card.programme if card else 0):
        refusal = Reason.PROGRAMME_DIFFERS
    if refusal is None and programme and not programme.serves(facts.module.branch):
        refusal = Reason.BRANCH
    if refusal is None and request.unit not in (OWN, facts.issuer.currency):
        refusal = Reason.UNIT_DIFFERS
    return (_NO_REASON, card, programme) if refusal is None else (refusal, None, None)


# Bringing and taking


def _load(request: Request, facts: Facts, card: Card, programme: Programme) -> Decision:
    moment = facts.moment
    activation = request.command is Command.ACTIVATE
    if not activation and not programme.reloadable:
        return decline(Reason.NOT_RELOADABLE)
    if not request.amount and programme.load_minimum_minor:
        return decline(Reason.AMOUNT_ZERO)
    loads_today = card.loads_today if card.loads_on == moment.booked_on else 0
    limit = check_load(programme, request.amount, card.balances.value + card.balances.owed, loads_today)
    if limit is not None:
        return decline(Reason[limit.name])
    after = card._replace(
        status=CardStatus.ACTIVE,
        valid_until=programme.valid_until(moment.today) if activation else card.valid_until,
        loads_on=moment.booked_on,
        loads_today=loads_today + 1,
    )
    return _moved(after, bring(card.balances, Account.TENDER, request.amount), request.amount)


def _sale(request: Request, facts: Facts, card: Card, programme: Programme) -> Decision:
    refusal, taken = _takable(request, facts, card, programme)
    if refusal is not None:
        return decline(refusal)
    if taken == request.amount:
        return _moved(card, spend(taken), taken)
    return _moved(card, spend(taken), taken, result=_PARTLY, still_due=request.amount - taken)


def _takable(request: Request, facts: Facts, card: Card, programme: Programme) -> tuple[Reason | None, int]:
    """How much of the amount the card can give, all or a part where everybody agrees; or why nothing."""
    if not request.amount:
        return Reason.AMOUNT_ZERO, 0
    limit = check_sale(programme, request.amount)
    if limit is not None:
        return Reason[limit.name], 0
    balances = card.balances
    available = balances.available
    if request.amount <= available:
        return None, request.amount
    if available and Flag.PARTIAL in request.flags and programme.partial and facts.module.partial:
        return None, available
    return Reason.HELD if request.amount <= available + balances.held else Reason.FUNDS, 0


def _cash_out(_request: Request, _facts: Facts, card: Card, programme: Programme) -> Decision:
    """Pay the whole balance out and close the card."""
    if not programme.cash_out:
        return decline(Reason.NOT_PROGRAMME)
    if card.holds:
        return decline(Reason.OPEN_HOLDS)
    closed = card._replace(status=CardStatus.CLOSED)
    return _moved(closed, pay_out(card.balances.value), card.balances.value)


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
    """Take an open hold up to its amount, or give it up; what is not taken is free again."""
    original = facts.original
    if original is not None and not _own(facts, original):
        return decline(Reason.FOREIGN_ORIGINAL)
    refusal, card, _ = _follow(request, facts, _HOLDS, Reason.NOT_A_HOLD)
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
    return _moved(free, spend(request.amount), request.amount, ended=(original.name, HoldEnd.CONFIRMED))


def _freed(card: Card, hold: Original) -> Card:
    """The card without this hold."""
    return card._replace(
        holds=tuple([each for each in card.holds if each.name != hold.name]),
        balances=reserve(card.balances, -hold.approved),
    )


# The card itself


def _block(request: Request, _facts: Facts, card: Card, _programme: Programme) -> Decision:
    return Decision(_APPROVED, card=card._replace(blocked=request.reason.value))


def _unblock(_request: Request, facts: Facts, card: Card, _programme: Programme) -> Decision:
    if card.blocked in HARD_BLOCKS and not facts.module.desk:
        return decline(Reason.COMMAND)
    return Decision(_APPROVED, card=card._replace(blocked=None))


def _change_code(_request: Request, facts: Facts, card: Card, programme: Programme) -> Decision:
    if programme.access_code is AccessCode.NONE:
        return decline(Reason.NOT_PROGRAMME)
    change = facts.change
    if change is None or change.verifier is None:
        return decline(Reason.BAD_NEW_CODE)
    return Decision(_APPROVED, card=card._replace(verifier=change.verifier, verifier_key=change.verifier_key))


def _replace(_request: Request, facts: Facts, card: Card, _programme: Programme) -> Decision:
    """Let the number of a new card point to this one; the new card as such is closed, and what was blocked is not.

    A block for suspicion or at the holder's wish stays: it is about the card and not about the plastic.
    """
    change = facts.change
    if card.blocked in HARD_BLOCKS and not facts.module.desk:
        return decline(Reason.COMMAND)
    if change is None or change.card is None:
        return decline(Reason.NEW_CARD_UNKNOWN, bad_card=True)
    new_card = change.card
    left = new_card.balances  # what a sale that was undone may have left
    if (
        state_of(change.number, new_card, facts.moment.today) is not State.ISSUED
        or left.value
        or left.owed
        or left.held
    ):
        return decline(Reason.NEW_CARD_IN_USE)
    if new_card.programme != card.programme:
        return decline(Reason.PROGRAMME_DIFFERS)
    after = card._replace(blocked=None if card.blocked in _BLOCKS_OF_PLASTIC else card.blocked)
    return Decision(_APPROVED, card=after, given_up=new_card._replace(status=CardStatus.CLOSED))


def _reset_tries(_request: Request, _facts: Facts, card: Card, _programme: Programme) -> Decision:
    return Decision(_APPROVED, card=card, failures=0)


def _tell(_request: Request, _facts: Facts, card: Card, _programme: Programme) -> Decision:
    return Decision(_APPROVED, card=card)


def _moved(
    card: Card,
    postings: tuple[Posting, ...],
    approved: int,
    undos: tuple[Undo, ...] = (),
    result: Result = _APPROVED,
    still_due: int = 0,
    ended: tuple[Name, HoldEnd] | None = None,
) -> Decision:
    after = card.holding(apply(card.balances, postings))
    return Decision(result, _NO_REASON, approved, still_due, postings, after, undos=undos, ended=ended)


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
    return _moved(card, back, request.amount, (Undo(original.name, reversal=False, amount=request.amount),))


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
    back = undo(card.balances, original.postings)
    return _moved(_before_load(card, original), back, original.approved, tuple(undos))


def _reverse_hold(card: Card, hold: Original, undos: tuple[Undo, ...]) -> Decision:
    """Undo an open hold; of one that was taken its confirmation is to be reversed, of another nothing is left."""
    if hold.ended is HoldEnd.CONFIRMED:
        return decline(Reason.HOLD_CONFIRMED)
    if hold.ended is not None:
        return Decision(Result.APPROVED, Reason.NOTHING_MOVED)
    return _moved(_freed(card, hold), (), hold.approved, undos, ended=(hold.name, HoldEnd.REVERSED))


def _before_load(card: Card, original: Original) -> Card:
    """The card without what a load made of it besides its value: an activation, and a place in the day's count."""
    if original.command not in LOADS:
        return card
    if card.loads_on == original.booked_on:
        card = card._replace(loads_today=max(0, card.loads_today - 1))
    if original.command == Command.ACTIVATE and card.status is CardStatus.ACTIVE:
        card = card._replace(status=CardStatus.ISSUED, valid_until=None)
    return card


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
    return Decision(Result.APPROVED, approved=original.approved)


def _name(request: Request) -> Name:
    return Name(request.module, request.date, request.sequence)


_HOLDS: Final = frozenset((Command.HOLD,))
_OF_A_HOLD: Final = frozenset((Command.CONFIRM, Command.RELEASE))
_BLOCKS_OF_PLASTIC: Final = frozenset((GivenReason.LOST.value, GivenReason.STOLEN.value, GivenReason.DAMAGED.value))
_RARE: Final[dict[Command, Callable[[Request, Facts, Card, Programme], Decision]]] = {
    Command.BALANCE: _tell,
    Command.HOLD: _hold,
    Command.CASH_OUT: _cash_out,
    Command.BLOCK: _block,
    Command.UNBLOCK: _unblock,
    Command.CHANGE_ACCESS_CODE: _change_code,
    Command.REPLACE: _replace,
    Command.RESET_TRIES: _reset_tries,
}
"""Behind sales and loads, which are nearly all that comes."""
