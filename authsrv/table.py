"""Command x state of the card -> may it go on, or why not.

How to read it: a row is a command, a column the state of the card that would change. `None` goes on to the command's
own checks. A state is the worst that is true of a card: a closed card is not also expired.

Choices that a clerk asks about:
  * Goods brought back are credited to an expired or blocked card too: the money is the holder's, whoever holds the
    plastic, and a new number can be given.
  * A balance is told for an expired card, so that the clerk can say what was lost, and not for a blocked one, since
    whoever shows it may not be the holder.
  * A hold is confirmed or released whatever has become of its card, unless the card is closed: the goods were handed
    over against it. It is so too where the programme has left the branch since, or has ended; but on credit, rules in
    force have to say when it is to be paid.
  * What a holder owes can be paid on a blocked or expired card, and a desk can set the limit of one. On a closed card
    too, if it owes: a payment may have been undone after it was closed.
  * A credit card is paused, or suspended, by a block: at the holder's wish, or on suspicion. What it owes can be paid.
  * Handing out a credit card moves nothing, and undoing that is refused while the card owes, holds or has something.
  * A pass that has ended can be loaded again: its visits have lapsed, and what is sold is a new pass on the old card.
  * Who comes back within the minutes of a visit is on the same visit, over midnight too, but not when the last day of
    the pass ends at that midnight or a freeze begins: then the door stays shut for everybody.
  * A pass can be frozen while it is blocked, since who is ill or has lost the card may ask for it.
  * A card that was never sold can be blocked, so that a stolen box of cards is worth nothing.
  * A blocked card can be blocked for another reason, since what was mislaid may turn out to be stolen; one that is lost
    or stolen stays so until a desk says otherwise.
  * A blocked or expired card can be replaced: that is what lost, stolen and worn cards need.
"""

import datetime as dt
from enum import IntEnum, auto
from typing import Final

from ledger.cards import Card, CardStatus, Number
from ledger.holds import HoldEnd
from loyalty.programme import Kind, expired
from protocol.numbers import Command, GivenReason, Reason, Result


class State(IntEnum):
    """What stands in the way of a card, worst first."""

    __hash__ = int.__hash__

    UNKNOWN = auto()
    REPLACED = auto()
    CLOSED = auto()
    BLOCKED = auto()
    EXPIRED = auto()
    ISSUED = auto()
    ACTIVE = auto()


def state_of(number: Number | None, card: Card | None, today: dt.date) -> State:
    """The state of a card on the issuer's day, as reached through `number` (None: through an original)."""
    if card is None:
        return State.UNKNOWN
    if number is not None and not number.live:
        return State.REPLACED
    if card.blocked is not None and card.status is not _STATUS_CLOSED:
        return State.BLOCKED
    if card.status is _STATUS_ACTIVE:
        return State.EXPIRED if expired(card.valid_until, today) else _STATE_ACTIVE
    return _OTHERWISE[card.status]


_STATUS_ACTIVE: Final = CardStatus.ACTIVE  # bound once, as in `authsrv.decide`
_STATUS_CLOSED: Final = CardStatus.CLOSED
_STATE_ACTIVE: Final = State.ACTIVE
_OTHERWISE: Final = {
    CardStatus.CLOSED: State.CLOSED,
    CardStatus.ISSUED: State.ISSUED,
}
_STATES: Final = (
    State.UNKNOWN, State.REPLACED, State.CLOSED, State.BLOCKED, State.EXPIRED, State.ISSUED, State.ACTIVE,
)  # fmt: skip
_UNKNOWN, _REPLACED, _CLOSED, _BLOCKED = Reason.UNKNOWN_CARD, Reason.REPLACED, Reason.CLOSED, Reason.BLOCKED
_EXPIRED, _NOT_YET, _ALREADY, _FREE = Reason.EXPIRED, Reason.NOT_ACTIVE, Reason.ALREADY_ACTIVE, Reason.NOT_BLOCKED
_ROWS: Final[dict[Command, tuple[Reason | None, ...]]] = {
    #                            unknown   replaced   closed   blocked   expired   issued    active
    Command.BALANCE:            (_UNKNOWN, _REPLACED, _CLOSED, _BLOCKED, None,     None,     None),
    Command.ACTIVATE:           (_UNKNOWN, _REPLACED, _CLOSED, _BLOCKED, _EXPIRED, None,     _ALREADY),
    Command.RELOAD:             (_UNKNOWN, _REPLACED, _CLOSED, _BLOCKED, _EXPIRED, _NOT_YET, None),
    Command.SALE:               (_UNKNOWN, _REPLACED, _CLOSED, _BLOCKED, _EXPIRED, _NOT_YET, None),
    Command.HOLD:               (_UNKNOWN, _REPLACED, _CLOSED, _BLOCKED, _EXPIRED, _NOT_YET, None),
    Command.CONFIRM:            (_UNKNOWN, _REPLACED, _CLOSED, None,     None,     None,     None),
    Command.RELEASE:            (_UNKNOWN, _REPLACED, _CLOSED, None,     None,     None,     None),
    Command.REFUND:             (_UNKNOWN, _REPLACED, _CLOSED, None,     None,     _NOT_YET, None),
    Command.PAYMENT:            (_UNKNOWN, _REPLACED, None,    None,     None,     _NOT_YET, None),
    Command.VISIT:              (_UNKNOWN, _REPLACED, _CLOSED, _BLOCKED, _EXPIRED, _NOT_YET, None),
    Command.CASH_OUT:           (_UNKNOWN, _REPLACED, _CLOSED, _BLOCKED, _EXPIRED, _NOT_YET, None),
    Command.BLOCK:              (_UNKNOWN, _REPLACED, _CLOSED, None,     None,     None,     None),
    Command.UNBLOCK:            (_UNKNOWN, _REPLACED, _CLOSED, None,     _FREE,    _FREE,    _FREE),
    Command.CHANGE_ACCESS_CODE: (_UNKNOWN, _REPLACED, _CLOSED, _BLOCKED, _EXPIRED, _NOT_YET, None),
    Command.REPLACE:            (_UNKNOWN, _REPLACED, _CLOSED, None,     None,     _NOT_YET, None),
    Command.FREEZE:             (_UNKNOWN, _REPLACED, _CLOSED, None,     _EXPIRED, _NOT_YET, None),
    Command.LIMIT:              (_UNKNOWN, _REPLACED, _CLOSED, None,     None,     _NOT_YET, None),
    Command.RESET_TRIES:        (_UNKNOWN, _REPLACED, _CLOSED, None,     None,     None,     None),
}  # fmt: skip

TABLE: Final[dict[tuple[Command, State], Reason | None]] = {
    (command, state): reason for command, row in _ROWS.items() for state, reason in zip(_STATES, row, strict=True)
}

OF_A_PASS: Final[dict[tuple[Command, State], Reason | None]] = {(Command.RELOAD, State.EXPIRED): None}
"""Where a pass differs from the table."""

_OF_EVERY_KIND: Final = (
    *(Command.BALANCE, Command.ACTIVATE, Command.BLOCK, Command.UNBLOCK, Command.CHANGE_ACCESS_CODE),
    *(Command.REPLACE, Command.RESET_TRIES),
)
_OF_PURCHASES: Final = (Command.SALE, Command.HOLD, Command.CONFIRM, Command.RELEASE, Command.REFUND, Command.CASH_OUT)
OF_KIND: Final[dict[Kind, frozenset[Command]]] = {
    Kind.GIFT: frozenset((*_OF_EVERY_KIND, *_OF_PURCHASES, Command.RELOAD)),
    Kind.VISITS: frozenset((*_OF_EVERY_KIND, Command.RELOAD, Command.VISIT, Command.FREEZE)),
    Kind.CREDIT: frozenset((*_OF_EVERY_KIND, *_OF_PURCHASES, Command.PAYMENT, Command.LIMIT)),
}
"""What can be asked of a card of each kind; all else is not the programme's."""

OF_MONEY: Final = frozenset((*_OF_PURCHASES, Command.PAYMENT, Command.LIMIT))
"""What names an amount of money, whatever card it is asked of; of a pass all else names visits."""

SERVED: Final = frozenset((*_ROWS, Command.REVERSE, Command.REPRINT, Command.TOTALS))
"""What this switch decides; any other known command is declined as not built, and echo and page are not decided at
all."""

CARD_SHOWN: Final = frozenset(_ROWS)
"""What is asked with the card at hand; a reversal may carry a card too, and nothing wrong with that must stop it."""

CODE_NEEDED: Final = frozenset(
    (
        *(Command.BALANCE, Command.SALE, Command.HOLD, Command.VISIT, Command.CASH_OUT),
        *(Command.CHANGE_ACCESS_CODE, Command.REPLACE),
    )
)
"""Who takes value or learns of it proves to be the holder, on a card with an access code; who brings it need not."""

CODE_OF_HOLDER_ONLY: Final = frozenset((Command.CHANGE_ACCESS_CODE, Command.REPLACE))
"""What a desk does for a holder who has lost card or code, and has proven to be one in another way."""

DESK_ONLY: Final = frozenset((Command.FREEZE, Command.LIMIT, Command.RESET_TRIES))

NOT_REVERSIBLE: Final = frozenset(
    (
        *(Command.RELEASE, Command.REVERSE, Command.REPLACE, Command.CASH_OUT, Command.BLOCK, Command.UNBLOCK),
        *(Command.CHANGE_ACCESS_CODE, Command.RESET_TRIES, Command.FREEZE, Command.LIMIT, Command.TOTALS),
    )
)

REFUNDABLE: Final = frozenset((Command.SALE, Command.CONFIRM))
LOADS: Final = frozenset((Command.ACTIVATE, Command.RELOAD))
MOVING: Final = REFUNDABLE | LOADS | {Command.REFUND, Command.PAYMENT, Command.VISIT}
"""What leaves postings that a reversal gives back."""

HARD_BLOCKS: Final[dict[int, Reason]] = {GivenReason.LOST: Reason.LOST, GivenReason.STOLEN: Reason.STOLEN}
"""Blocks that only a desk takes away again, and what a clerk is told who meets such a card."""

ENDED: Final[dict[HoldEnd, Reason]] = {
    HoldEnd.CONFIRMED: Reason.HOLD_CONFIRMED,
    HoldEnd.RELEASED: Reason.HOLD_RELEASED,
    HoldEnd.REVERSED: Reason.ALREADY_REVERSED,
    HoldEnd.EXPIRED: Reason.HOLD_EXPIRED,
}
"""Why a hold that has ended cannot be confirmed or released."""

APPROVALS: Final = frozenset((Result.APPROVED, Result.PARTLY))
