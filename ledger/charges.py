"""Charges: what the debt of a local credit card is made of.

What must hold: payments settle the oldest charge first, whatever brings the money. So which charges are open follows
from the charges and the debt alone: the newest ones that add up to it, the oldest of them perhaps in part. Nothing is
kept of which payment paid which charge, and undoing a payment opens what it had settled, with the days that it was due.
"""

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from ledger.names import Name


class Charge(NamedTuple):
    """A purchase on credit, less what was given back of it, under the name of its authorization."""

    name: Name
    due_on: dt.date
    amount: int

    def __repr__(self) -> str:
        return f"<Charge {self.name}>"


def open_charges(charges: Sequence[Charge], debt: int) -> tuple[Charge, ...]:
    """The charges that a debt of `debt` minor units is made of, oldest first, each with what is open of it.

    `charges` are the card's newest ones, oldest first, as many as cover the debt.
    """
    still_open: list[Charge] = []
    for charge in reversed(charges):
        if debt <= 0:
            break
        if charge.amount:
            part = min(charge.amount, debt)
            still_open.append(charge._replace(amount=part))
            debt -= part
    return tuple(reversed(still_open))


def due_on(charges: Sequence[Charge], debt: int) -> dt.date | None:
    """The first day on which something of the debt is due; None where nothing is."""
    return min((charge.due_on for charge in open_charges(charges, debt)), default=None)


def given_back(charges: Sequence[Charge], name: Name, amount: int) -> tuple[Charge, ...]:
    """The charges with so much less on the one of that name; a negative amount puts it on again."""
    return tuple(
        [charge._replace(amount=charge.amount - amount) if charge.name == name else charge for charge in charges]
    )
