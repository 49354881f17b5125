"""What becomes of requests on a local credit card besides purchases: its opening, its limit, payments.

What must hold: a card may owe up to its limit, which is minus the floor of its value; a limit may be cut below the
debt, and then nothing can be bought until enough is paid; payments are taken whatever the limit is.
"""

from authsrv.facts import Decision, Facts, decline, moved
from ledger.accounts import Account
from ledger.cards import Card, CardStatus
from ledger.charges import Charge
from ledger.names import Name
from ledger.postings import bring
from loyalty.programme import Programme
from protocol.messages import Request
from protocol.numbers import AMOUNT_END, Reason, Result


def activate(request: Request, facts: Facts, card: Card, programme: Programme) -> Decision:
    """Hand a card out with the programme's limit; nothing moves."""
    limit = programme.limit_minor or 0
    if request.amount not in (0, limit):
        return decline(Reason.AMOUNT_FIXED)
    opened = card._replace(status=CardStatus.ACTIVE, valid_until=programme.valid_until(facts.moment.today))
    return _limited(opened, limit)


def set_limit(request: Request, _facts: Facts, card: Card, programme: Programme) -> Decision:
    """Raise or cut how much the card may owe; 0: no more purchases."""
    highest = programme.limit_maximum_minor
    if highest is None or request.limit > highest or card.balances.value + request.limit >= AMOUNT_END:
        return decline(Reason.CREDIT_LIMIT)
    return _limited(card, request.limit)


def _limited(card: Card, limit: int) -> Decision:
    after = card.holding(card.balances._replace(floor=-limit))
    return Decision(Result.APPROVED, card=after, floor=-limit)


def withdrawn(card: Card) -> Card:
    """A card that was handed out by mistake and is not any more."""
    return card._replace(status=CardStatus.ISSUED, valid_until=None, balances=card.balances._replace(floor=0))


def pay(request: Request, _facts: Facts, card: Card, _programme: Programme) -> Decision:
    """Take money for what the card owes; what is over stands to its credit."""
    if not request.amount:
        return decline(Reason.AMOUNT_ZERO)
    owes = card.balances.debt
    if card.status is CardStatus.CLOSED and not owes:
        return decline(Reason.CLOSED)
    if card.status is CardStatus.CLOSED and request.amount > owes:
        return decline(Reason.BALANCE_LIMIT)
    if card.balances.value - card.balances.floor + request.amount >= AMOUNT_END:  # more than an answer can say
        return decline(Reason.BALANCE_LIMIT)
    return moved(card, bring(card.balances, Account.TENDER, request.amount), request.amount)


def charge(card: Card, name: Name, facts: Facts, programme: Programme, amount: int) -> tuple[Card, Charge]:
    """The card with what a purchase adds to its debt, and that charge."""
    added = Charge(name, programme.due_on(facts.moment.today), amount)
    return card._replace(charges=(*card.charges, added)), added
