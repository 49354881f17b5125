"""Cards and their numbers as the ledger keeps them: no digits, only tokens that point to a card."""

import datetime as dt
from enum import IntEnum
from typing import NamedTuple

from ledger.accounts import Balances
from ledger.charges import Charge, due_on
from ledger.holds import Hold
from ledger.passes import Pass


class CardStatus(IntEnum):
    """What a card is; the numbers stand in the database. A block is a mark beside it."""

    ISSUED = 0
    ACTIVE = 1
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
    blocked: int | None  # the reason that was given, by the wire's number
    holds: tuple[Hold, ...]  # open ones
    visits: Pass | None  # None: it does not hold visits, or never did
    charges: tuple[Charge, ...]  # the newest, oldest first, as many as its debt is made of or more
    balances: Balances

    def loads(self, booked_on: dt.date) -> int:
        """How many loads it had on a booked day."""
        return self.loads_today if self.loads_on == booked_on else 0

    @property
    def due_on(self) -> dt.date | None:
        """The first day on which something of its debt is due."""
        return due_on(self.charges, self.balances.debt) if self.charges else None

    @property
    def kept(self) -> tuple[object, ...]:
        """What its row keeps and decisions change; what else there is has rows of its own."""
        return (
            self.status, self.valid_until, self.loads_on, self.loads_today, self.blocked, self.verifier_key,
            self.verifier,
        )  # fmt: skip

    def holding(self, balances: Balances) -> "Card":
        """The same card with other balances."""
        return tuple.__new__(Card, (*self[:-1], balances))  # its own constructor takes three times as long

    def __repr__(self) -> str:
        return f"<Card {self.id} {self.status.name.lower()}>"
