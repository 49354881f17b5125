"""Passes: what a card that holds visits is besides its value.

What must hold: a pass's end moves by exactly the days that it stands still. Days are local ones of the issuer, and the
first and the last of a freeze are both frozen.
"""

import datetime as dt
from typing import NamedTuple


class Pass(NamedTuple):
    """When a pass was last used and when it stands still; `entries_today` counts on the local day `entries_on`."""

    entered_at: dt.datetime | None = None  # of the last visit that was taken off
    entered_by: int = 0  # how many persons entered then
    entries_on: dt.date | None = None
    entries_today: int = 0
    frozen_from: dt.date | None = None
    frozen_until: dt.date | None = None

    def __repr__(self) -> str:
        return "<Pass>"

    def frozen(self, today: dt.date) -> bool:
        """Whether it stands still on a day."""
        return (
            self.frozen_from is not None
            and self.frozen_until is not None
            and (self.frozen_from <= today <= self.frozen_until)
        )

    def stands_still(self, today: dt.date) -> bool:
        """Whether it is frozen on a day, or will be."""
        return self.frozen_until is not None and today <= self.frozen_until

    def entries(self, today: dt.date) -> int:
        """How many visits were taken off on a day."""
        return self.entries_today if self.entries_on == today else 0

    def entered(self, at: dt.datetime, today: dt.date, visits: int) -> "Pass":
        """The pass after so many visits more."""
        return self._replace(
            entered_at=at, entered_by=visits, entries_on=today, entries_today=self.entries(today) + visits
        )

    def not_entered(self, at: dt.datetime, on: dt.date, visits: int) -> "Pass":
        """The pass as if the visits that were taken at that moment of that day had not been.

        Others of the same batch have the same moment: of those it is another number of persons that is still inside.
        """
        last = self.entered_at == at and self.entered_by == visits
        entered = (None, 0) if last else (self.entered_at, self.entered_by)
        entries_today = max(0, self.entries_today - visits) if self.entries_on == on else self.entries_today
        return self._replace(entered_at=entered[0], entered_by=entered[1], entries_today=entries_today)

    def thawed(self, day: dt.date) -> tuple["Pass", int]:
        """The pass that goes on from `day`, and how many frozen days that spares it."""
        if self.frozen_from is None or self.frozen_until is None or self.frozen_until < day:
            return self, 0
        spared = (self.frozen_until - max(self.frozen_from, day)).days + 1
        if self.frozen_from >= day:
            return self._replace(frozen_from=None, frozen_until=None), spared
        return self._replace(frozen_until=day - dt.timedelta(days=1)), spared

    def freezing(self, first: dt.date, last: dt.date) -> tuple["Pass", int]:
        """The pass that stands still on these days, and how many they are."""
        return self._replace(frozen_from=first, frozen_until=last), (last - first).days + 1


class Lapse(NamedTuple):
    """What a card loses with its end: so much of a unit, and its last day."""

    unit: int
    amount: int
    ended_on: dt.date

    def __repr__(self) -> str:
        return f"<Lapse on {self.ended_on}>"


def later(day: dt.date | None, days: int) -> dt.date | None:
    """A last day so many days later; none stays none."""
    return day + dt.timedelta(days=days) if day is not None else None
