"""Cards and their numbers as the ledger keeps them: no digits, only tokens that point to a card."""

import datetime as dt
from enum import IntEnum
from typing import NamedTuple

from ledger.accounts import Balances


class CardStatus(IntEnum):
    """What a card is; the numbers stand in the database."""

    ISSUED = 0
    ACTIVE = 1
    BLOCKED = 2
    CLOSED = 3


class Number(NamedTuple):
    """What is known of a token: the card that it points to, whether it still does, and the wrong codes in a row."""

    card: int | None
    live: bool
    failures: int


class Card(NamedTuple):
    """A card under its lock; `valid_until` is its last local day, `loads_today` counts on the booked day `loads_on`."""

    id: int
    programme: int
    status: CardStatus
    verifier_key: int | None
    verifier: bytes | None
    valid_until: dt.date | None
    loads_on: dt.date | None
    loads_today: int
    balances: Balances

    @property
    def kept(self) -> tuple[CardStatus, dt.date | None, dt.date | None, int]:
        """What its row keeps and decisions change; balances are the accounts'."""
        return self.status, self.valid_until, self.loads_on, self.loads_today

    def holding(self, balances: Balances) -> "Card":
        """The same card with other balances."""
        return tuple.__new__(Card, (*self[:-1], balances))  # its own constructor takes three times as long

    def __repr__(self) -> str:
        return f"<Card {self.id} {self.status.name.lower()}>"
