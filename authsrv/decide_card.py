"""What becomes of requests about a card itself: blocked, with another code or number, its wrong codes forgotten."""

from typing import Final

from authsrv.facts import Decision, Facts, decline
from authsrv.table import HARD_BLOCKS, State, state_of
from ledger.cards import Card, CardStatus
from loyalty.programme import AccessCode, Programme
from protocol.messages import Request
from protocol.numbers import GivenReason, Reason, Result

_BLOCKS_OF_PLASTIC: Final = frozenset((GivenReason.LOST.value, GivenReason.STOLEN.value, GivenReason.DAMAGED.value))


def block(request: Request, facts: Facts, card: Card, _programme: Programme) -> Decision:
    """Refuse the card from now on, for the reason that is given."""
    if card.blocked in HARD_BLOCKS and not facts.module.desk:
        return decline(HARD_BLOCKS[card.blocked])
    return Decision(Result.APPROVED, card=card._replace(blocked=request.reason.value))


def unblock(_request: Request, facts: Facts, card: Card, _programme: Programme) -> Decision:
    """Serve the card again."""
    if card.blocked in HARD_BLOCKS and not facts.module.desk:
        return decline(Reason.COMMAND)
    return Decision(Result.APPROVED, card=card._replace(blocked=None))


def change_code(_request: Request, facts: Facts, card: Card, programme: Programme) -> Decision:
    """Give the card the code that its holder chose."""
    if programme.access_code is AccessCode.NONE:
        return decline(Reason.NOT_PROGRAMME)
    change = facts.change
    if change is None or change.verifier is None:
        return decline(Reason.BAD_NEW_CODE)
    return Decision(Result.APPROVED, card=card._replace(verifier=change.verifier, verifier_key=change.verifier_key))


def replace(_request: Request, facts: Facts, card: Card, _programme: Programme) -> Decision:
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
    told = Reason.NONE if card.verifier is None else Reason.CODE_STAYS  # whatever code came with the new plastic
    return Decision(Result.APPROVED, told, card=after, given_up=new_card._replace(status=CardStatus.CLOSED))


def reset_tries(_request: Request, _facts: Facts, card: Card, _programme: Programme) -> Decision:
    """Forget the wrong codes."""
    return Decision(Result.APPROVED, card=card, failures=0)


def tell(_request: Request, _facts: Facts, card: Card, _programme: Programme) -> Decision:
    """Say what the card holds."""
    return Decision(Result.APPROVED, card=card)
