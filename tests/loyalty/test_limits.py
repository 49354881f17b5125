"""Limits of a gift programme: the bound itself is allowed, one minor unit beyond it is not."""

from dataclasses import replace
from importlib.resources import files

import pytest

from loyalty.limits import Limit, check_load, check_sale, check_spending
from loyalty.source import parse_programme
from protocol.numbers import Reason

# 5.00 to 500.00 a load, at most 1,000.00 on the card, 5 loads a day.
GIFT = parse_programme(files("loyalty").joinpath("programmes", "gift.toml").read_text("utf-8"), "gift.toml")


@pytest.mark.parametrize(
    ("amount_minor", "balance_minor", "loads_today", "limit"),
    [
        (499, 0, 0, Limit.BELOW_LIMIT),
        (500, 0, 0, None),
        (50_000, 0, 0, None),
        (50_001, 0, 0, Limit.ABOVE_LIMIT),
        (500, 0, 4, None),
        (500, 0, 5, Limit.LOADS_PER_DAY),
        (500, 99_500, 0, None),
        (500, 99_501, 0, Limit.BALANCE_LIMIT),
        (50_000, -40_000, 0, None),
        (501, 100_000, 5, Limit.LOADS_PER_DAY),
        (50_001, 100_000, 5, Limit.ABOVE_LIMIT),
    ],
)
def test_a_load_meets_the_first_limit_it_would_pass(
    amount_minor: int, balance_minor: int, loads_today: int, limit: Limit | None
) -> None:
    """Amount, then loads of the day, then the balance that it would make."""
    assert check_load(GIFT, amount_minor, balance_minor, loads_today) is limit


def test_a_purchase_is_limited_only_where_the_programme_says_so() -> None:
    """Without a maximum the balance alone bounds a purchase."""
    limited = replace(GIFT, sale_maximum_minor=20_000)
    assert check_sale(limited, 20_000) is None
    assert check_sale(limited, 20_001) is Limit.ABOVE_LIMIT
    assert check_sale(GIFT, 2**63 - 1) is None


def test_every_limit_is_a_reason_of_the_wire_by_name() -> None:
    """The switch turns one into the other by name alone."""
    assert {limit.name for limit in Limit} <= {reason.name for reason in Reason}


@pytest.mark.parametrize(
    ("amount", "sales", "spent", "limit"),
    [
        (400, 2, 600, None),
        (401, 2, 600, Limit.SPEND_PER_DAY),
        (1, 3, 0, Limit.SALES_PER_DAY),
        (1001, 0, 0, Limit.SPEND_PER_DAY),
        (1, 3, 1000, Limit.SALES_PER_DAY),
    ],
)
def test_what_a_card_may_spend_in_a_day(amount: int, sales: int, spent: int, limit: Limit | None) -> None:
    """Three purchases and 10.00 a day: the third cent by cent, the fourth not."""
    watched = replace(GIFT, sales_per_day=3, spend_per_day_minor=1000)
    assert check_spending(watched, amount, sales, spent) == limit
    assert check_spending(GIFT, amount, sales, spent) is None
