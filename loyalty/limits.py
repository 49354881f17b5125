"""The limits of a programme, one pure function for each kind of movement.

A limit is a value, not an error: the switch declines with the result that belongs to it. The members are named like the
reasons of the wire that say the same, so that the switch needs no table of its own.
"""

from enum import Enum, auto

from loyalty.programme import Programme


class Limit(Enum):
    """The limit that a movement would pass."""

    BELOW_LIMIT = auto()
    ABOVE_LIMIT = auto()
    LOADS_PER_DAY = auto()
    BALANCE_LIMIT = auto()
    SALES_PER_DAY = auto()
    SPEND_PER_DAY = auto()


def check_load(programme: Programme, amount_minor: int, balance_minor: int, loads_today: int) -> Limit | None:
    """Find the first limit that a load would pass, in the order of `Limit`.

    Args:
        programme: the rules of the card.
        amount_minor: what is put on the card, at its activation or later.
        balance_minor: what the card holds before, less what it owes, since a load settles that first.
        loads_today: loads of this card on this local day, without this one; the activation is one.

    """
    if amount_minor < programme.load_minimum_minor:
        return Limit.BELOW_LIMIT
    if amount_minor > programme.load_maximum_minor:
        return Limit.ABOVE_LIMIT
    if loads_today >= programme.loads_per_day:
        return Limit.LOADS_PER_DAY
    if balance_minor + amount_minor > programme.balance_maximum_minor:
        return Limit.BALANCE_LIMIT
    return None


def check_sale(programme: Programme, amount_minor: int) -> Limit | None:
    """Find the limit that a purchase of this amount would pass; the balance is the ledger's to check."""
    maximum = programme.sale_maximum_minor
    return Limit.ABOVE_LIMIT if maximum is not None and amount_minor > maximum else None


def check_spending(programme: Programme, amount_minor: int, sales: int, spent_minor: int) -> Limit | None:
    """Find the limit of a day that a purchase would pass.

    Args:
        programme: the rules of the card.
        amount_minor: what is taken or held.
        sales: purchases with this card on this local day and open holds of it, without this one.
        spent_minor: what those add up to.

    """
    if programme.sales_per_day is not None and sales >= programme.sales_per_day:
        return Limit.SALES_PER_DAY
    if programme.spend_per_day_minor is not None and spent_minor + amount_minor > programme.spend_per_day_minor:
        return Limit.SPEND_PER_DAY
    return None
