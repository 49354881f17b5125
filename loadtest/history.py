"""The past of an issuer, as if its switch had served for some weeks: every card sold once, then goods sold from them.

What must hold:
  * Names are those that modules would have used: each module's sequence grows by one, dates never run backwards.
  * Numbers grow by one within each month of the names' dates, from 1 on.
  * No card is spent below zero, and its balance is what is left.
"""

import datetime as dt
from array import array
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final, NamedTuple

from ledger.names import Name, authorization_number
from loadtest.traffic import OPENING_MINOR, SALE_MINOR_MAX

DAYS: Final = 28  # within the window of names, and so within the months that are made


class Past(NamedTuple):
    """One authorization of the past; `sold` tells the sale of the card from a sale of goods. Amounts in minor units."""

    name: Name
    number: int
    card: int  # its place
    sold: bool
    amount: int
    balance: int  # afterwards


class History:
    """The past of `cards` cards in `authorizations` authorizations, the last of them yesterday."""

    def __init__(
        self, *, cards: int, authorizations: int, modules: Sequence[int], today: dt.date, random: Random
    ) -> None:
        """Raises ValueError where there are more cards than authorizations, for each card is sold by one."""
        if cards > authorizations:
            raise ValueError(f"{cards} cards need as many authorizations at least, to be sold")
        self._authorizations = authorizations
        self._modules = modules
        self._first_day = today - dt.timedelta(days=DAYS)
        self._random = random
        self.balances = array("q", bytes(8 * cards))
        self.serials: dict[dt.date, int] = {}  # the last one of each month, by its first day

    def __iter__(self) -> Iterator[Past]:
        """All authorizations in their order; afterwards `balances` and `serials` are those of today."""
        balances, cards, count = self.balances, len(self.balances), len(self._modules)
        day, month = self._first_day, self._first_day.replace(day=1)
        for place in range(self._authorizations):
            if place % count == 0:
                day = self._first_day + dt.timedelta(days=place * DAYS // self._authorizations)
                month = day.replace(day=1)
            sold = place < cards
            card = place if sold else int(self._random.random() * cards)
            amount = OPENING_MINOR if sold else min(balances[card], 1 + int(self._random.random() * SALE_MINOR_MAX))
            balances[card] += amount if sold else -amount
            serial = self.serials[month] = self.serials.get(month, 0) + 1
            name = Name(self._modules[place % count], day, place // count + 1)
            yield Past(name, authorization_number(day, serial), card, sold, amount, balances[card])
