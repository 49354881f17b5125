"""Amounts, read and written in a currency's own decimals."""

from __future__ import annotations

import pytest

from authsrv.amounts import Units
from protocol.numbers import AMOUNT_END, VISIT

EURO, YEN, DINAR = Units(978, "EUR", 2), Units(392, "JPY", 0), Units(414, "KWD", 3)


@pytest.mark.parametrize(
    ("units", "text", "minor"),
    [
        (EURO, "12.50", 1250),
        (EURO, "12.5", 1250),
        (EURO, "0", 0),
        (EURO, "0012.500", 1250),
        (YEN, "12", 12),
        (DINAR, "0.001", 1),
    ],
)
def test_read(units: Units, text: str, minor: int) -> None:
    """By the decimals that the currency has, more of them if they are zero."""
    assert units.minor(text) == minor


SIGNS = ("-1", "+1", "1e3", "1e999999999", "NaN", "1_0", "12,50", "1 000", "١٢")


@pytest.mark.parametrize("text", ["", ".5", "5.", *SIGNS, "12.505", "9" * 30, str(AMOUNT_END)])
def test_what_is_no_amount(text: str) -> None:
    """No sign, no exponent, no digits of other scripts, no part of a cent, nothing that the wire has no room for."""
    with pytest.raises(ValueError, match="digits"):
        EURO.minor(text)


def test_written() -> None:
    """With the unit's own letters and decimals; a unit that is not the issuer's has none."""
    assert EURO.written(-1250, 978) == "-12.50 EUR"
    assert EURO.written(3, VISIT) == "3 VISIT"
    assert DINAR.written(1, 414) == "0.001 KWD"
