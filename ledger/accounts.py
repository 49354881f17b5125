"""The accounts of a card and of the issuer, and what the switch may know of a card's balances.

Signs: a credit raises an account and a debit lowers it, for every account, so that each unit sums to zero. A gift
card's value is above zero while the issuer owes the holder; `owed` is never above zero, for it is what the holder
owes the issuer.
"""

from enum import IntEnum
from typing import NamedTuple


class Account(IntEnum):
    """The kind of an account; with a card and a unit, or a unit alone, it is the account.

    The numbers stand in the database.
    """

    VALUE = 1
    OWED = 2
    TENDER = 100
    REDEEMED = 101
    LOSS = 102
    LAPSED = 103

    @property
    def of_card(self) -> bool:
        """Whether each card has one of its own."""
        return self < Account.TENDER


class Balances(NamedTuple):
    """A card's balances in minor units of its one unit; `held` is what its open holds reserve of its value."""

    value: int = 0
    owed: int = 0
    floor: int = 0
    held: int = 0

    def __repr__(self) -> str:
        return "<Balances>"

    @property
    def available(self) -> int:
        """What a movement may still take; what is owed is not there to spend."""
        return max(0, self.value + self.owed - self.held - self.floor)

    @property
    def debt(self) -> int:
        """How far value and what is owed are below zero together, as on a credit card that was used."""
        return max(0, -(self.value + self.owed))
