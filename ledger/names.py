"""The name of a request and the number of an authorization.

The name is what makes a request happen once: the module that asked, the date as the module wrote it, the sequence
that it counted. It is the key of the ledger, so it is a plain tuple that hashes and sorts.

The number is what people type: twelve digits that say in which month to look and that a mistyped digit does not
survive.

A name can be recorded while its date is near the day on which it is decided. One that cannot takes no number either,
for it may come again without end, and a month has only 99,999,999.
"""

import datetime as dt
from typing import NamedTuple

SERIAL_DIGITS = 8
DAYS_BACK = 35
DAYS_AHEAD = 1
RECORDED_DAYS_BACK = DAYS_BACK + 1
RECORDED_DAYS_AHEAD = DAYS_AHEAD + 1


class Name(NamedTuple):
    """What a request is recorded under, once for ever (law 1)."""

    module: int
    date: dt.date
    sequence: int


def in_window(date: dt.date, today: dt.date) -> bool:
    """Whether a new name may carry this date."""
    return date == today or -DAYS_BACK <= (date - today).days <= DAYS_AHEAD


def recordable(date: dt.date, today: dt.date) -> bool:
    """Whether a name of this date can be recorded: in the window and a day beyond, so that a decline is found again."""
    return date == today or -RECORDED_DAYS_BACK <= (date - today).days <= RECORDED_DAYS_AHEAD


def luhn_digit(digits: str) -> int:
    """The check digit that makes `digits` followed by it pass the Luhn test (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, char in enumerate(reversed(digits)):
        doubled = int(char) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return -total % 10


def authorization_number(date: dt.date, serial: int) -> int:
    """The 12 digits of an authorization: month of `date` counted from January 2000 as 001, serial in it, Luhn digit."""
    month = (date.year - 2000) * 12 + date.month
    digits = f"{month:03d}{serial:0{SERIAL_DIGITS}d}"
    return int(digits) * 10 + luhn_digit(digits)


def read_authorization_number(text: str) -> int | None:
    """The number that `text` writes, or None where twelve digits, the month or the check digit are not right."""
    if len(text) != 12 or not (text.isascii() and text.isdigit()):
        return None
    if luhn_digit(text[:-1]) != int(text[-1]) or not text[:3].strip("0"):
        return None
    return int(text)
