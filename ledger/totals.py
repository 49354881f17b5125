"""Totals: what a module moved in an interval of its own requests, as the books have it.

What must hold: both sides count the same. What counts is an approval of a request whose sequence lies in the interval,
in one unit; a reversal and its original within the interval count neither, nor does a reversal that moved nothing.
"""

import datetime as dt
from typing import Final, NamedTuple

Pair = tuple[int, int]
"""How many, and what they add up to in minor units."""

DAYS_MAX: Final = 62
NAMES_MAX: Final = 10_000
"""How far apart the ends of an interval may be: what is counted is counted while other requests wait."""

DATES_AROUND: Final = dt.timedelta(days=38)
"""How far outside the dates of both ends a name of the interval can lie: 36 days back and 2 ahead can be recorded."""

FIRST_DAY: Final = dt.date(2000, 1, 1)
LAST_DAY: Final = dt.date(2999, 12, 31)


class Interval(NamedTuple):
    """A module's sequences from `first` to `last`, the dates of both ends in the order of the calendar, and a unit."""

    module: int
    unit: int
    first: int
    last: int
    from_date: dt.date
    to_date: dt.date

    @property
    def countable(self) -> bool:
        """Whether it is short enough to be counted."""
        dated = self.from_date >= FIRST_DAY and self.to_date <= LAST_DAY
        return dated and (self.to_date - self.from_date).days <= DAYS_MAX and self.last - self.first < NAMES_MAX


class Totals(NamedTuple):
    """What a module counted and what the switch did, in the ten kinds' order."""

    interval: Interval
    asked: tuple[Pair, ...]
    counted: tuple[Pair, ...]

    def __repr__(self) -> str:
        return f"<Totals {self.interval.first} to {self.interval.last}>"
