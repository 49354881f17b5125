"""Currencies by ISO 4217."""

import pytest
from babel.numbers import is_currency

from authsrv.currency import CURRENCIES


@pytest.mark.parametrize(
    ("code", "number", "exponent"),
    [
        ("EUR", 978, 2),
        ("PLN", 985, 2),
        ("RON", 946, 2),
        ("ALL", 8, 2),
        ("JPY", 392, 0),
        ("ISK", 352, 0),
        ("KWD", 414, 3),
    ],
)
def test_number_and_digits_are_the_standards(code: str, number: int, exponent: int) -> None:
    """Of each number of digits, and one with leading zeros."""
    currency = CURRENCIES[code]
    assert (currency.code, currency.number, currency.exponent) == (code, number, exponent)


def test_each_currency_is_one() -> None:
    """No two share a number, every number has three digits, and all of their letters are known to others too."""
    assert len({currency.number for currency in CURRENCIES.values()}) == len(CURRENCIES)
    assert all(1 <= currency.number <= 999 for currency in CURRENCIES.values())
    assert all(is_currency(code) for code in CURRENCIES)
