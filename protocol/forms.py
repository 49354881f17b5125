"""The form of a single field: from what stands on the wire to a value, and back.

Each reader takes the raw value and the field's name, and raises FormatError with the reason that answers it.
"""

import datetime
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from protocol.numbers import AMOUNT_END, Reason, TotalsKind

AUTHORIZATION_DIGITS: Final = 12

# Nearly all requests of a second spell the same few.
_DATES_KEPT: Final = 256
_TIMES_KEPT: Final = 256

_PAIRS = tuple((f"count_{kind.name.lower()}", f"sum_{kind.name.lower()}") for kind in TotalsKind)


class FormatError(ValueError):
    """A message breaks a rule of its format; `reason` says which, `field` where. It never holds a value."""

    def __init__(self, reason: Reason, field: str):
        super().__init__(f"{field}: {reason.note}")
        self.reason = reason
        self.field = field


@lru_cache(_DATES_KEPT)
def calendar_date(yyyymmdd: int) -> datetime.date | None:
    """The date that a number spells, or None if there is no such day."""
    try:
        return datetime.date(yyyymmdd // 10_000, yyyymmdd // 100 % 100, yyyymmdd % 100)
    except ValueError:
        return None


def date_number(day: datetime.date | None) -> int:
    """A date as the wire spells it: yyyymmdd, 0 for none."""
    return 0 if day is None else day.year * 10_000 + day.month * 100 + day.day


def amount(number: int, field: str) -> int:
    """An amount, smaller than 2^63."""
    if number >= AMOUNT_END:
        raise FormatError(Reason.AMOUNT_TOO_LARGE, field)
    return number


def digits(raw: bytes, field: str) -> str:
    """ASCII digits at the left of their field, or nothing."""
    found = raw.rstrip(b"\0")
    if found and not found.isdigit():
        raise FormatError(Reason.NOT_DIGITS, field)
    return found.decode("ascii")


def authorization(raw: bytes, field: str) -> str:
    """An authorization number of 12 digits, or nothing."""
    found = digits(raw, field)
    if found and len(found) != AUTHORIZATION_DIGITS:
        raise FormatError(Reason.NOT_DIGITS, field)
    return found


def text(raw: bytes, field: str) -> str:
    """Printable ASCII at the left of its field, or nothing."""
    found = raw.rstrip(b"\0")
    if not found.isascii() or not (decoded := found.decode("ascii")).isprintable():
        raise FormatError(Reason.BAD_TEXT, field)
    return decoded


def date(number: int, field: str) -> datetime.date:
    """A date of the calendar."""
    found = calendar_date(number)
    if found is None:
        raise FormatError(Reason.BAD_DATE, field)
    return found


def optional_date(number: int, field: str) -> datetime.date | None:
    """A date of the calendar, or None for 0."""
    return date(number, field) if number else None


@lru_cache(_TIMES_KEPT)
def time_of_day(hhmmss: int) -> datetime.time | None:
    """The time that a number spells, or None if the day has none such."""
    try:
        return datetime.time(hhmmss // 10_000, hhmmss // 100 % 100, hhmmss % 100)
    except ValueError:
        return None


def time(number: int, field: str) -> datetime.time:
    """A time of the day."""
    found = time_of_day(number)
    if found is None:
        raise FormatError(Reason.BAD_TIME, field)
    return found


def time_number(moment: datetime.time) -> int:
    """A time as the wire spells it: hhmmss."""
    return moment.hour * 10_000 + moment.minute * 100 + moment.second


def sequence(number: int, field: str) -> int:
    """A sequence, which is never 0."""
    if number == 0:
        raise FormatError(Reason.BAD_SEQUENCE, field)
    return number


def read_pairs(raw: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """The ten pairs of `totals`: (count, sum) by kind."""
    return tuple((raw[count], amount(raw[total], total)) for count, total in _PAIRS)


def pair_values(pairs: tuple[tuple[int, int], ...]) -> dict[str, int | bytes]:
    """The ten pairs under their names in the layout."""
    values: dict[str, int | bytes] = {}
    for (count, total), names in zip(pairs, _PAIRS, strict=True):
        values |= {names[0]: count, names[1]: total}
    return values
