"""A report as a workbook (XLSX): amounts are numbers with the decimals of their unit, days are days, names are text."""

import datetime as dt
import io
from typing import Any, Final

import xlsxwriter

from authsrv.sheet import Align, Amount, Cell, Sheet

_DIGITS_EXACT: Final = 15
"""How many digits a number in a workbook keeps: it is a double there. A longer amount is written as text."""

_WRITTEN: Final = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - when the file was made is not part of what it says


def workbook(sheet: Sheet) -> bytes:
    """The file's bytes; equal for equal reports."""
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}) as book:
        book.set_properties({"title": sheet.title, "created": _WRITTEN})
        _fill(book, sheet)
    return out.getvalue()


def _fill(book: Any, sheet: Sheet) -> None:
    page = book.add_worksheet(sheet.title[:31].translate(str.maketrans("[]:*?/\\", "       ")))
    bold = book.add_format({"bold": True})
    formats: dict[tuple[int | str, bool], Any] = {}

    def in_format(of: int | str, strong: bool) -> Any:
        if (of, strong) not in formats:
            shown = of if isinstance(of, str) else "#,##0" + ("." + "0" * of if of else "")
            formats[of, strong] = book.add_format({"num_format": shown, "bold": strong})
        return formats[of, strong]

    def put(line: int, place: int, cell: Cell, *, strong: bool) -> None:
        match cell:
            case None:
                pass
            case Amount(minor, unit) if len(str(abs(minor))) <= _DIGITS_EXACT:
                shown = in_format(sheet.units.decimals(unit), strong)
                page.write_number(line, place, float(sheet.units.amount(minor, unit)), shown)
            case int() if len(str(abs(cell))) <= _DIGITS_EXACT:
                page.write_number(line, place, cell, in_format("0", strong))
            case dt.date():
                page.write_datetime(line, place, dt.datetime.combine(cell, dt.time()), in_format("yyyy-mm-dd", strong))
            case _:
                page.write_string(line, place, sheet.written(cell), bold if strong else None)

    page.write_string(0, 0, sheet.title, bold)
    for line, note in enumerate(sheet.notes, start=1):
        page.write_string(line, 0, note)
    head = len(sheet.notes) + 2
    right = book.add_format({"bold": True, "align": "right", "bottom": 1})
    left = book.add_format({"bold": True, "bottom": 1})
    for place, column in enumerate(sheet.columns):
        page.write_string(head, place, column.title, right if column.align is Align.RIGHT else left)
        cells = [column.title, *(sheet.written(row[place]) for row in (*sheet.rows, *sheet.sums()))]
        page.set_column(place, place, min(60, max(map(len, cells)) + 3))
    rows = [*((row, False) for row in sheet.rows), *((row, True) for row in sheet.sums())]
    for line, (row, strong) in enumerate(rows, start=head + 1):
        for place, cell in enumerate(row):
            put(line, place, cell, strong=strong)
    page.freeze_panes(head + 1, 0)
    page.repeat_rows(head)
    page.set_landscape()
    page.set_paper(9)  # A4
    page.fit_to_pages(1, 0)
