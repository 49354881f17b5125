"""Amounts as people write them, and as the wire counts them: whole minor units."""

import re
from decimal import Decimal
from typing import Final

_WRITTEN: Final = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)


def minor_units(text: str, exponent: int) -> int:
    """Read an amount such as "12.50" in minor units of a currency with `exponent` decimals.

    Raises ValueError for what is no amount, is negative, or is finer than the currency.
    """
    if not _WRITTEN.fullmatch(text):
        raise ValueError("this is not an amount; write it like 12.50")
    amount = Decimal(text).scaleb(exponent)
    if amount != amount.to_integral_value():
        raise ValueError(f"this is not an amount in a currency with {exponent} decimals")
    return int(amount)


def written(minor: int, exponent: int) -> str:
    """Write an amount of minor units, such as "12.50"."""
    return f"{Decimal(minor).scaleb(-exponent):.{exponent}f}"
