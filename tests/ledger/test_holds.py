"""Holds: when their time is over."""

import datetime as dt

from ledger.holds import Hold
from ledger.names import Name

UNTIL = dt.datetime(2026, 10, 25, 1, tzinfo=dt.UTC)


def test_a_hold_is_over_at_its_very_moment() -> None:
    """Not a microsecond before, and at the moment itself, as everywhere else that asks."""
    hold = Hold(Name(1001, dt.date(2026, 10, 25), 1), 100, UNTIL)
    moments = (UNTIL - dt.timedelta(microseconds=1), UNTIL, UNTIL + dt.timedelta(microseconds=1))
    assert [hold.expired(moment) for moment in moments] == [False, True, True]
