"""Holds: value of a card that is reserved and not yet moved.

What must hold: a hold is opened once and ended once; what a card's open holds reserve is what its balances hold back.
"""

import datetime as dt
from enum import IntEnum
from typing import NamedTuple

from ledger.accounts import Balances
from ledger.names import Name


class HoldEnd(IntEnum):
    """How a hold ended; the numbers stand in the database."""

    CONFIRMED = 1
    RELEASED = 2
    REVERSED = 3
    EXPIRED = 4


class Hold(NamedTuple):
    """An open hold of `amount` minor units (> 0), under the name of the authorization that opened it."""

    name: Name
    amount: int
    expires_at: dt.datetime

    def __repr__(self) -> str:
        return f"<Hold {self.name}>"

    def expired(self, at: dt.datetime) -> bool:
        """Whether its time was over at a moment."""
        return self.expires_at <= at


def reserve(balances: Balances, amount: int) -> Balances:
    """The balances with so much more held, or less."""
    return balances._replace(held=balances.held + amount)
