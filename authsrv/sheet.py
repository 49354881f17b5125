"""A report as rows and columns, and its forms that are text: a table, CSV, JSON.

What must hold: every form says the same. An amount knows its unit, and is written with that unit's decimals wherever
a person or a spreadsheet reads it; JSON has minor units, as the whole program does. Sums never go over units.
"""

import csv
import datetime as dt
import io
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from authsrv.amounts import Units


class Amount(NamedTuple):
    """So many minor units of a unit."""

    minor: int
    unit: int

    def __repr__(self) -> str:
        return "<Amount>"


Cell = str | int | dt.date | Amount | None


class Align(Enum):
    """At which side of its column a cell stands."""

    LEFT = "left"
    RIGHT = "right"


class Column(NamedTuple):
    """`key` for programs, `title` for people; what is `summed` gets a sum."""

    key: str
    title: str
    align: Align = Align.LEFT
    summed: bool = False


class Sheet(NamedTuple):
    """A report: what it is, what has to be known to read it, and its rows."""

    title: str
    notes: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    units: Units

    def sums(self) -> list[tuple[Cell, ...]]:
        """A row for each unit with the sums of its amounts and counts, where there is something to sum."""
        units = sorted({cell.unit for row in self.rows for cell in row if isinstance(cell, Amount)})
        if not any(column.summed for column in self.columns):
            return []
        return [self._sum(unit) for unit in units]

    def _sum(self, unit: int) -> tuple[Cell, ...]:
        rows = [row for row in self.rows if any(isinstance(cell, Amount) and cell.unit == unit for cell in row)]
        summed: list[Cell] = []
        for place, column in enumerate(self.columns):
            cells = [row[place] for row in rows]
            if not column.summed:
                summed.append("sum" if place == 0 else self.units.name(unit) if column.key == "unit" else None)
            elif any(isinstance(cell, Amount) for cell in cells):
                summed.append(Amount(sum(cell.minor for cell in cells if isinstance(cell, Amount)), unit))
            else:
                summed.append(sum(cell for cell in cells if isinstance(cell, int)))
        return tuple(summed)

    def written(self, cell: Cell) -> str:
        """A cell as people read it."""
        match cell:
            case None:
                return ""
            case Amount(minor, unit):
                return self.units.digits(minor, unit)
            case _:
                return str(cell)


_GAP: Final = "  "


def text(sheet: Sheet) -> tuple[str, ...]:
    """The lines of a table, as wide as what stands in it."""
    lines = [[column.title for column in sheet.columns]]
    lines += [[sheet.written(cell) for cell in row] for row in (*sheet.rows, *sheet.sums())]
    widths = [max(len(line[place]) for line in lines) for place in range(len(sheet.columns))]

    def aligned(line: Sequence[str]) -> str:
        return _GAP.join(
            cell.rjust(width) if column.align is Align.RIGHT else cell.ljust(width)
            for cell, width, column in zip(line, widths, sheet.columns, strict=True)
        ).rstrip()

    head, *body = map(aligned, lines)
    rule = "-" * (sum(widths) + len(_GAP) * (len(widths) - 1))
    rows, sums = body[: len(sheet.rows)], body[len(sheet.rows) :]
    return (sheet.title, *sheet.notes, "", head, rule, *rows, *([rule, *sums] if sums else []))


def comma_separated(sheet: Sheet) -> str:
    """CSV (RFC 4180) with a line of keys; without title, notes and sums, which a program would stumble over."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([column.key for column in sheet.columns])
    writer.writerows([sheet.written(cell) for cell in row] for row in sheet.rows)
    return out.getvalue()


def values(sheet: Sheet) -> dict[str, Any]:
    """What `--json` prints: rows by key, amounts in minor units, days in ISO 8601."""
    return {
        "title": sheet.title,
        "notes": list(sheet.notes),
        "rows": list(_objects(sheet, sheet.rows)),
        "sums": [
            {key: value for key, value in each.items() if value is not None} for each in _objects(sheet, sheet.sums())
        ],
    }


def _objects(sheet: Sheet, rows: Sequence[tuple[Cell, ...]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {column.key: _plain(cell) for column, cell in zip(sheet.columns, row, strict=True)}


def _plain(cell: Cell) -> str | int | None:
    match cell:
        case Amount(minor, _):
            return minor
        case dt.date():
            return cell.isoformat()
        case _:
            return cell
