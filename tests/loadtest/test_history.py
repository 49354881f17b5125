"""A past that could have been."""

import datetime as dt
from collections import defaultdict
from random import Random

import pytest

from ledger.names import luhn_digit
from loadtest.history import DAYS, History, Past
from loadtest.traffic import OPENING_MINOR

TODAY = dt.date(2026, 3, 14)  # so that the past lies in two months
MODULES = (1001, 1002, 1003)


def made(cards: int = 40, authorizations: int = 1000) -> tuple[History, list[Past]]:
    history = History(
        cards=cards,
        authorizations=authorizations,
        modules=MODULES,
        today=TODAY,
        random=Random(2),  # noqa: S311 - which card was used
    )
    return history, list(history)


def test_names_are_those_that_modules_would_have_used() -> None:
    """Each module counts from 1 without a gap, its dates never run backwards and end yesterday, in the window."""
    names = defaultdict(list)
    for past in made()[1]:
        names[past.name.module].append(past.name)
    assert set(names) == set(MODULES)
    for of_module in names.values():
        assert [name.sequence for name in of_module] == list(range(1, len(of_module) + 1))
        assert [name.date for name in of_module] == sorted(name.date for name in of_module)
        assert of_module[0].date == TODAY - dt.timedelta(days=DAYS)
        assert of_module[-1].date == TODAY - dt.timedelta(days=1)


def test_numbers_grow_by_one_within_a_month_and_pass_their_check() -> None:
    """Months from January 2000 as 001: February 2026 is 314, March 315."""
    history, past = made()
    for month, first in ((314, dt.date(2026, 2, 1)), (315, dt.date(2026, 3, 1))):
        digits = [f"{each.number:012d}" for each in past if each.name.date.replace(day=1) == first]
        assert [int(each[3:11]) for each in digits] == list(range(1, len(digits) + 1))
        assert {each[:3] for each in digits} == {str(month)}
        assert all(luhn_digit(each[:11]) == int(each[11]) for each in digits)
        assert history.serials[first] == len(digits)


def test_every_card_is_sold_once_and_first_and_ends_with_what_is_left() -> None:
    """A balance is the opening less the sales, step by step."""
    history, past = made()
    balances: dict[int, int] = {}
    for each in past:
        assert each.sold == (each.card not in balances)
        balances[each.card] = OPENING_MINOR if each.sold else balances[each.card] - each.amount
        assert balances[each.card] == each.balance >= 0
        assert each.amount > 0
    assert balances == dict(enumerate(history.balances))


def test_a_card_cannot_be_there_without_having_been_sold() -> None:
    """More cards than authorizations are refused."""
    with pytest.raises(ValueError, match="41 cards"):
        made(cards=41, authorizations=40)
