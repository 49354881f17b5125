"""Sheets: every form of a report says the same, with the decimals of each unit."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
import zipfile
from decimal import Decimal
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from authsrv.amounts import Units
from authsrv.paper import FontError, pages, spelling
from authsrv.sheet import Align, Amount, Column, Sheet, comma_separated, text, values
from authsrv.workbook import workbook

if TYPE_CHECKING:
    from pathlib import Path

EUR, VISIT = 978, 0x8001
COLUMNS = (
    Column("name", "branch"),
    Column("day", "day"),
    Column("unit", "unit"),
    Column("count", "count", Align.RIGHT, summed=True),
    Column("amount", "amount", Align.RIGHT, summed=True),
)
ROWS = (
    ("Brīvības, 1", dt.date(2026, 1, 31), "EUR", 2, Amount(123456, EUR)),
    ('=1+1 "x"', None, "EUR", 1, Amount(-5, EUR)),
    ("Ķekava", dt.date(2026, 2, 1), "VISIT", 7, Amount(12, VISIT)),
)
SHEET = Sheet("A title: of it", ("a note",), COLUMNS, ROWS, Units(EUR, "EUR", 2))


def test_amounts_have_the_decimals_of_their_unit() -> None:
    """Of a currency its own, whether none, two or three; of visits none; and never a rounding."""
    assert Units(EUR, "EUR", 2).written(-5, EUR) == "-0.05 EUR"
    assert Units(392, "JPY", 0).written(1234, 392) == "1234 JPY"
    assert Units(414, "KWD", 3).written(1234, 414) == "1.234 KWD"
    assert Units(EUR, "EUR", 2).written(12, VISIT) == "12 VISIT"
    assert Units(EUR, "EUR", 2).digits(2**63 - 1, EUR) == "92233720368547758.07"
    assert Units(EUR, "EUR", 2).amount(10**30 + 1, EUR) == Decimal(10**30 + 1) / 100


def test_a_table_lines_up_and_sums_each_unit_alone() -> None:
    """Names at the left, amounts at the right, and a sum for each unit."""
    assert text(SHEET) == (
        "A title: of it",
        "a note",
        "",
        "branch       day         unit   count   amount",
        "----------------------------------------------",
        "Brīvības, 1  2026-01-31  EUR        2  1234.56",
        '=1+1 "x"                 EUR        1    -0.05',
        "Ķekava       2026-02-01  VISIT      7       12",
        "----------------------------------------------",
        "sum                      EUR        3  1234.51",
        "sum                      VISIT      7       12",
    )


def test_a_report_of_nothing_is_its_head() -> None:
    """No rows and no sums."""
    assert text(SHEET._replace(rows=()))[3:] == ("branch  day  unit  count  amount", "--------------------------------")
    assert values(SHEET._replace(rows=()))["sums"] == []


def test_csv_is_read_back_as_it_was() -> None:
    """Keys in the first line, commas and quotes as RFC 4180 says, and no sums."""
    assert list(csv.reader(io.StringIO(comma_separated(SHEET)))) == [
        ["name", "day", "unit", "count", "amount"],
        ["Brīvības, 1", "2026-01-31", "EUR", "2", "1234.56"],
        ['=1+1 "x"', "", "EUR", "1", "-0.05"],
        ["Ķekava", "2026-02-01", "VISIT", "7", "12"],
    ]


def test_json_has_minor_units() -> None:
    """Rows by key, days in ISO 8601, sums by unit."""
    told = values(SHEET)
    assert told["rows"][0] == {
        "name": "Brīvības, 1", "day": "2026-01-31", "unit": "EUR", "count": 2, "amount": 123456,
    }  # fmt: skip
    assert told["sums"] == [
        {"name": "sum", "unit": "EUR", "count": 3, "amount": 123451},
        {"name": "sum", "unit": "VISIT", "count": 7, "amount": 12},
    ]


MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def cells(content: bytes) -> dict[str, tuple[str, str]]:
    """A workbook's cells: what stands in each, and the number format that it is shown in."""
    book = zipfile.ZipFile(io.BytesIO(content))
    strings = [
        "".join(part.itertext())
        for part in ElementTree.fromstring(book.read("xl/sharedStrings.xml"))  # noqa: S314 - ours
    ]
    styles = ElementTree.fromstring(book.read("xl/styles.xml"))  # noqa: S314 - ours
    own = {each.get("numFmtId"): each.get("formatCode") for each in styles.iter(f"{MAIN}numFmt")}
    own |= {"4": "#,##0.00", "3": "#,##0", "1": "0", "0": "text"}
    shown = [own[each.get("numFmtId")] for each in styles.iterfind(f"{MAIN}cellXfs/{MAIN}xf")]
    sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))  # noqa: S314 - ours
    return {
        cell.get("r", ""): (
            strings[int(cell.findtext(f"{MAIN}v") or 0)] if cell.get("t") == "s" else cell.findtext(f"{MAIN}v") or "",
            shown[int(cell.get("s", "0"))] or "",
        )
        for cell in sheet.iter(f"{MAIN}c")
    }


def test_a_workbook_has_numbers_where_there_are_numbers() -> None:
    """Amounts as numbers in the format of their unit, days as days, and nothing of a name is a formula."""
    told = cells(workbook(SHEET))
    assert told["A5"] == ("Brīvības, 1", "text")
    assert told["B5"] == ("46053", "yyyy-mm-dd")  # days since 1899-12-30
    assert told["E5"] == ("1234.56", "#,##0.00")
    assert told["A6"] == ('=1+1 "x"', "text")
    assert told["E7"] == ("12", "#,##0")
    assert told["E8"] == ("1234.51", "#,##0.00")
    assert "B6" not in told


def test_an_amount_that_a_workbook_cannot_keep_is_text() -> None:
    """More digits than a double has are not rounded away."""
    rows = (("x", None, "EUR", 1, Amount(10**17 + 1, EUR)),)
    assert cells(workbook(SHEET._replace(rows=rows)))["E5"] == ("1000000000000000.01", "text")


def test_equal_reports_are_equal_files() -> None:
    """No clock is in them, so that an archive can compare."""
    assert workbook(SHEET) == workbook(SHEET)
    assert pages(SHEET) == pages(SHEET)


def test_a_long_report_has_many_pages() -> None:
    """Each with its number; a single row has one."""
    count = re.compile(rb"/Count (\d+)")
    assert count.search(pages(SHEET))[1] == b"1"  # type: ignore[index]
    assert int(count.search(pages(SHEET._replace(rows=ROWS * 100)))[1]) >= 4  # type: ignore[index]


def test_a_letter_that_a_font_lacks_is_written_otherwise() -> None:
    """The whole word, so that it reads as one."""
    letters = {ord(letter) for letter in "abcdefghijklmnopqrstuvwxyzBK 1ī"}
    assert spelling("Brīvi 1", letters) == "Brīvi 1"
    assert spelling("Кафе Brīvi", letters) == "Kafe Brīvi"


def test_a_wide_name_does_not_push_an_amount_off_the_page() -> None:
    """What is wider than a page is written smaller."""
    wide = SHEET._replace(rows=tuple(("N" * 64, day, "W" * 64, 1, amount) for _, day, _, _, amount in ROWS))
    assert pages(wide).startswith(b"%PDF")


def test_a_file_that_is_no_font_is_named(tmp_path: Path) -> None:
    """And nothing is written."""
    (tmp_path / "no.ttf").write_bytes(b"no")
    with pytest.raises(FontError, match=r"no\.ttf is no TrueType font"):
        pages(SHEET, tmp_path / "no.ttf")
