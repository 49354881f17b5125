"""Card numbers as they are made: the issuer's prefix, a serial, a check digit (ISO/IEC 7812-1)."""

from typing import Final

from ledger.names import luhn_digit

DIGITS: Final = 19  # the longest that the standard has: the fewer of the possible numbers exist, the less a guess finds


class NumberSpaceError(ValueError):
    """There are fewer numbers under the prefix than are asked for; the message says how many there are."""


def serials(prefix: str) -> int:
    """How many serials there are under a prefix of digits. Raises `NumberSpaceError` for what is no prefix."""
    if not (prefix.isascii() and prefix.isdigit() and len(prefix) < DIGITS - 1):
        raise NumberSpaceError(f"the prefix {prefix} cannot be; give 1 to {DIGITS - 2} digits")
    return int(10 ** (DIGITS - 1 - len(prefix)))


def card_number(prefix: str, serial: int) -> str:
    """The number of a serial, 0 to `serials(prefix)` - 1."""
    digits = prefix + str(serial).zfill(DIGITS - 1 - len(prefix))
    return digits + str(luhn_digit(digits))
