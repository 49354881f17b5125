"""A programme's own rules: days, branches, versions."""

import datetime as dt
from dataclasses import replace

from loyalty.programme import AccessCode, Kind, Programme, expired, version_on

GIFT = Programme(
    name="gift",
    version=1,
    title="Gift card",
    kind=Kind.GIFT,
    effective_from=dt.date(2025, 1, 1),
    access_code=AccessCode.NONE,
    currency="EUR",
    partial=True,
    reloadable=True,
    refundable=True,
    load_minimum_minor=500,
    load_maximum_minor=50_000,
    balance_maximum_minor=100_000,
    loads_per_day=5,
)


def test_rules_count_from_their_first_to_the_end_of_their_last_day() -> None:
    """Both days are inside; without a last day there is no end."""
    closed = replace(GIFT, effective_until=dt.date(2025, 6, 30))
    assert not closed.in_effect(dt.date(2024, 12, 31))
    assert closed.in_effect(dt.date(2025, 1, 1))
    assert closed.in_effect(dt.date(2025, 6, 30))
    assert not closed.in_effect(dt.date(2025, 7, 1))
    assert GIFT.in_effect(dt.date(2999, 1, 1))


def test_the_latest_version_in_effect_is_chosen() -> None:
    """A later version takes over on its first day, whatever order they come in; before the first there is none."""
    second = replace(GIFT, version=2, effective_from=dt.date(2025, 7, 1))
    for versions in ([GIFT, second], [second, GIFT]):
        assert version_on(versions, dt.date(2024, 12, 31)) is None
        assert version_on(versions, dt.date(2025, 6, 30)) is GIFT
        assert version_on(versions, dt.date(2025, 7, 1)) is second


def test_a_version_that_ended_gives_way_to_the_earlier_one() -> None:
    """A version for December alone."""
    december = replace(GIFT, version=2, effective_from=dt.date(2025, 12, 1), effective_until=dt.date(2025, 12, 31))
    assert version_on([GIFT, december], dt.date(2025, 12, 31)) is december
    assert version_on([GIFT, december], dt.date(2026, 1, 1)) is GIFT


def test_a_card_is_valid_at_the_branches_named_or_everywhere() -> None:
    """No list means all branches."""
    assert GIFT.serves(7)
    assert replace(GIFT, branches=(1, 7)).serves(7)
    assert not replace(GIFT, branches=(1, 2)).serves(7)


def test_a_card_is_valid_for_days_or_months_after_activation() -> None:
    """A short month ends on its last day, a long term passes the year."""
    assert GIFT.valid_until(dt.date(2025, 1, 31)) is None
    assert replace(GIFT, valid_days=1).valid_until(dt.date(2025, 12, 31)) == dt.date(2026, 1, 1)
    months = {1: dt.date(2025, 2, 28), 11: dt.date(2025, 12, 31), 12: dt.date(2026, 1, 31), 37: dt.date(2028, 2, 29)}
    for valid_months, last in months.items():
        assert replace(GIFT, valid_months=valid_months).valid_until(dt.date(2025, 1, 31)) == last


def test_a_card_lives_through_the_end_of_its_last_day() -> None:
    """It is expired on the next day, and never without a last day."""
    last = dt.date(2025, 11, 22)
    assert not expired(last, dt.date(2025, 11, 22))
    assert expired(last, dt.date(2025, 11, 23))
    assert not expired(None, dt.date.max)
