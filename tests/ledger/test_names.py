"""Authorization numbers: the month, the serial and a Luhn digit, the same in Python and in SQL."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from ledger.names import authorization_number, luhn_digit, read_authorization_number
from ledger.shell.door import open_door

if TYPE_CHECKING:
    from ledger.shell.door import Connection

NUMBER = "323000000014"  # November 2026, serial 1


@pytest.mark.parametrize(
    ("digits", "check"),
    [
        ("0", 0),
        ("1", 8),  # 1 doubled is 2; 2 + 8 = 10
        ("5", 9),  # 5 doubled is 10, less 9 is 1; 1 + 9 = 10
        ("18", 2),  # 8 doubled less 9 is 7, and 1 is 8; 8 + 2 = 10
        ("7992739871", 3),  # 7 9 9 4 7 6 9 7 7 2 are 67
    ],
)
def test_luhn_digit(digits: str, check: int) -> None:
    """With its check digit the sum of a number, each second digit from the right doubled, ends in 0."""
    assert luhn_digit(digits) == check


@pytest.mark.parametrize(
    ("date", "serial", "number"),
    [
        # Month 26 * 12 + 11 = 323. Doubled from the right: 1 -> 2, 3 -> 6, 3 -> 6, and 2: 16, so 4.
        (dt.date(2026, 11, 30), 1, 323_0000_0001_4),
        # Month 1. Doubled from the right: 1 -> 2, and the month's 1 -> 2: 4, so 6.
        (dt.date(2000, 1, 1), 1, 1_0000_0001_6),
        # Month 12. Eight nines: four doubled are 9 each, four are 9 each: 72; 2 -> 4, 1: 77, so 3.
        (dt.date(2000, 12, 31), 99_999_999, 12_9999_9999_3),
    ],
)
def test_authorization_number(date: dt.date, serial: int, number: int) -> None:
    """The month from January 2000 as 001, eight digits of serial, the Luhn digit."""
    assert authorization_number(date, serial) == number


def test_a_number_is_read_back() -> None:
    """What was printed on a receipt is read as the number that it is, leading zeros included."""
    assert read_authorization_number(NUMBER) == 323_000_000_014
    assert read_authorization_number("001000000016") == 1_000_000_016


def test_a_mistyped_digit_is_refused() -> None:
    """No number with one digit changed, at any place, is one."""
    for place, right in enumerate(NUMBER):
        for wrong in set("0123456789") - {right}:
            assert read_authorization_number(NUMBER[:place] + wrong + NUMBER[place + 1 :]) is None


def test_swapped_neighbours_are_refused() -> None:
    """No two different neighbours can be swapped, but 0 and 9, which Luhn's digit does not see."""
    numbers = [f"{authorization_number(dt.date(2026, 11, 1), serial):012d}" for serial in (1, 12_345_678, 87_654_321)]
    for number in numbers:
        for place in range(11):
            first, second = number[place], number[place + 1]
            swapped = number[:place] + second + first + number[place + 2 :]
            if first != second and {first, second} != {"0", "9"}:
                assert read_authorization_number(swapped) is None


@pytest.mark.parametrize(
    "text", ["", "0", NUMBER[1:], NUMBER + "0", "32300000001x", " 23000000014", "٣" * 12, "0" * 12]
)
def test_what_is_no_number_is_refused(text: str) -> None:
    """Twelve ASCII digits are needed, and a month: none is 000."""
    assert read_authorization_number(text) is None


async def test_sql_makes_the_same_numbers(issuer: Any) -> None:
    """For each month from 2000 to 2082 and serials of all sizes, SQL's number and its month are Python's."""
    serials = [1, 2, 9, 10, 49, 12_345_678, 50_505_050, 99_999_998, 99_999_999]

    async def compare(connection: Connection) -> None:
        rows = await connection.fetch(
            """select day, serial, authorization_number(day, serial) as number,
                      number_month(authorization_number(day, serial)) as month
                 from generate_series(date '2000-01-28', date '2082-12-28', interval '1 month') m,
                      lateral (select m::date as day) d, unnest($1::bigint[]) serial""",
            serials,
        )
        assert len(rows) == 83 * 12 * len(serials)
        for row in rows:
            assert row["number"] == authorization_number(row["day"], row["serial"])
            assert row["month"] == row["day"].replace(day=1)
            assert read_authorization_number(f"{row['number']:012d}") == row["number"]

    async with open_door(issuer.owner_dsn, schema=issuer.schema) as owner:
        await owner.run(compare)
