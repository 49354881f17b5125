"""Amounts as finance reads them: with the decimals of their unit, which is the issuer's currency, visits or points."""

import re
from decimal import Decimal
from typing import Final, NamedTuple

from protocol.numbers import AMOUNT_END, POINT, VISIT

_PLAIN: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,6})?")
_WITHOUT_DECIMALS: Final = {VISIT: "VISIT", POINT: "POINT"}


class Units(NamedTuple):
    """The units of an issuer, whose own is a currency with `exponent` decimals."""

    currency: int
    code: str
    exponent: int

    def name(self, unit: int) -> str:
        """The letters of a unit, or its number where the issuer has no such unit."""
        return self.code if unit == self.currency else _WITHOUT_DECIMALS.get(unit, f"UNIT{unit}")

    def decimals(self, unit: int) -> int:
        """How many digits of an amount of the unit are decimals."""
        return self.exponent if unit == self.currency else 0

    def amount(self, minor: int, unit: int) -> Decimal:
        """An amount in whole units, exactly."""
        return Decimal(minor).scaleb(-self.decimals(unit))

    def digits(self, minor: int, unit: int) -> str:
        """An amount without its unit, such as 1234.50."""
        return f"{self.amount(minor, unit):.{self.decimals(unit)}f}"

    def written(self, minor: int, unit: int) -> str:
        """An amount with its unit, such as 1234.50 EUR."""
        return f"{self.digits(minor, unit)} {self.name(unit)}"

    def minor(self, text: str) -> int:
        """An amount of the issuer's currency as people write it, such as 12.50, in minor units.

        Raises ValueError for what is no amount, or has more decimals than the currency.
        """
        if not _PLAIN.fullmatch(text):
            raise ValueError("not digits, perhaps with a point among them")
        minor = Decimal(text).scaleb(self.exponent)
        if minor != minor.to_integral_value() or minor >= AMOUNT_END:
            raise ValueError("too many digits on one side of the point")
        return int(minor)
