"""What finance's commands do: read the books in one snapshot, shape what was read, and report it."""

import datetime as dt
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple

from authsrv.amounts import Units
from authsrv.books import (
    CHECKS,
    HORIZON_DAYS,
    INFORMATION,
    Difference,
    Found,
    Listed,
    Sum,
    summary,
    told,
    told_information,
    told_summary,
)
from authsrv.keys import CARD_BYTES, Purpose
from authsrv.sheet import Sheet, comma_separated, text, values
from authsrv.shell.enrolment import EnrolmentError, load_ring
from authsrv.shell.owner import as_owner
from authsrv.shell.report import Report
from authsrv.shell.settings import Settings, SettingsError
from authsrv.statement import Account, Names, ageing, outstanding, sales, settlement, statement
from ledger.shell import books
from ledger.shell.door import Connection


async def reconcile(settings: Settings, since: dt.date | None, most: int) -> Report:
    """Compute everything anew from the postings, and tell each difference; totals dated `since` or later."""

    async def work(connection: Connection) -> Report:
        await books.prepare(connection)
        units, today = await issuer(connection)
        first = since or today - dt.timedelta(days=HORIZON_DAYS)
        found = await look(connection, first, most)
        listed = [
            Listed(what, count, sums, tuple(rows))
            for what, relation in INFORMATION.items()
            for count, sums, rows in [await books.listed(connection, relation, most)]
        ]
        sums = [
            Sum(row["unit"], row["account"], row["programme_kind"], int(row["above"]), int(row["below"]))
            for row in await books.summary(connection)
        ]
        return _reconciled(units, first, sums, listed, found)

    return await as_owner(settings, work, begin=books.SNAPSHOT)


async def look(connection: Connection, since: dt.date, most: int) -> list[Found]:
    """What every check finds, at most so many rows of each sort; totals dated `since` or later."""
    return [
        Found(sort or check.sort, count, tuple(map(_difference, rows)))
        for check in CHECKS
        for sort, count, rows in await books.differences(
            connection, check.relation, most, since if check.dated else None
        )
    ]


def _difference(row: dict[str, Any]) -> Difference:
    return Difference(**{key: row[key] for key in Difference._fields if key in row})


def _reconciled(units: Units, since: dt.date, sums: list[Sum], listed: list[Listed], found: list[Found]) -> Report:
    many = sum(each.many for each in found)
    return Report(
        {
            "totals_since": since.isoformat(),
            "units": {units.name(unit): lines for unit, lines in summary(sums).items()},
            "information": {
                each.what: {
                    "count": each.many,
                    "sums": {units.name(unit): minor for unit, minor in each.sums.items()},
                    "rows": list(each.rows),
                }
                for each in listed
            },
            "differences": [
                {
                    "sort": each.sort,
                    "count": each.many,
                    "rows": [
                        {key: value for key, value in row._asdict().items() if value is not None} for row in each.rows
                    ],
                }
                for each in found
            ],
        },
        (
            *told_summary(sums, units),
            *told_information(listed, units),
            *told(found, units),
            *([] if found else [f"no differences; totals counted again since {since}"]),
        ),
        (f"authsrv: {many} differences; deploy/BOOKS.md says what each means",) if found else (),
    )


async def issuer(connection: Connection) -> tuple[Units, dt.date]:
    """The issuer's units, and its day; raises `EnrolmentError` where nobody has said whose database it is."""
    row = await books.issuer(connection)
    if not row:
        raise EnrolmentError("the database is nobody's yet; run `authsrv db init --issuer NAME`")
    return Units(row["currency"], row["code"], row["exponent"]), row["today"]


# Reports


FONTS: Final = tuple(
    Path("/usr/share/fonts", place, "DejaVuSans.ttf") for place in ("truetype/dejavu", "dejavu-sans-fonts", "TTF")
)
"""Where Debian, Fedora and Arch put a font that has every letter of Europe; the first one that is there is used."""


class Form(Enum):
    """How a report is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    XLSX = "xlsx"
    PDF = "pdf"


class Paper(NamedTuple):
    """The form of a report, the file that it goes into (None: standard output), and the font of its pages."""

    form: Form
    output: Path | None
    font: Path | None


Reading = Callable[[Connection, Names], Awaitable[Sheet]]


async def report(settings: Settings, paper: Paper, read: Reading) -> Report | None:
    """Read one report from one moment of the ledger, and write it in the form that was asked for."""
    if paper.form in (Form.XLSX, Form.PDF) and paper.output is None and sys.stdout.isatty():
        raise SettingsError(f"--format {paper.form.value} is nothing for a screen; name a file with --output FILE")

    async def work(connection: Connection) -> Sheet:
        await books.prepare(connection)
        return await read(connection, await names(connection))

    return _written(await as_owner(settings, work, begin=books.SNAPSHOT), paper)


def _written(sheet: Sheet, paper: Paper) -> Report | None:
    match paper.form:
        case Form.TABLE:
            content = "\n".join(text(sheet)).encode() + b"\n"
        case Form.CSV:
            content = comma_separated(sheet).encode()
        case Form.JSON:
            content = json.dumps(values(sheet)).encode() + b"\n"
        case Form.XLSX:
            from authsrv.workbook import workbook  # noqa: PLC0415 - only this form needs it

            content = workbook(sheet)
        case Form.PDF:
            from authsrv.paper import FontError, pages  # noqa: PLC0415 - only this form needs it

            try:
                content = pages(sheet, paper.font or next(filter(Path.is_file, FONTS), None))
            except FontError as error:
                raise SettingsError(f"--font: {error}") from None
    if paper.output is not None:
        write_file(paper.output, content)
        return Report(
            values(sheet) | {"file": str(paper.output)}, (f"{sheet.title}: {len(sheet.rows)} rows in {paper.output}",)
        )
    if paper.form is Form.TABLE:
        return Report(values(sheet), text(sheet))
    sys.stdout.buffer.write(content)
    return None


def write_file(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; one that was there is replaced."""
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.write_bytes(content)
    unfinished.replace(file)


async def names(connection: Connection) -> Names:
    """What people call things here."""
    units, _ = await issuer(connection)
    row = await books.issuer(connection)
    return Names(row["name"], units, *await books.names(connection))


async def today(connection: Connection) -> dt.date:
    """The issuer's day."""
    _, day = await issuer(connection)
    return day


async def _period(connection: Connection, first: dt.date | None, last: dt.date | None) -> tuple[dt.date, dt.date]:
    """Booked days from the first to the last; without them, this month until today."""
    until = last or await today(connection)
    since = first or until.replace(day=1)
    if since > until:
        raise EnrolmentError(f"from {since} to {until} is no time; give --from a day that is not behind --to")
    return since, until


def read_sales(first: dt.date | None, last: dt.date | None, by: Sequence[str]) -> Reading:
    """Sales and loads by booked day, branch, module, cashier, programme."""

    async def read(connection: Connection, known: Names) -> Sheet:
        days = await _period(connection, first, last)
        return sales(await books.turnover(connection, *days, by), known, by, *days)

    return read


def read_outstanding(day: dt.date | None) -> Reading:
    """What cards are owed and owe at the end of a booked day."""

    async def read(connection: Connection, known: Names) -> Sheet:
        on = day or await today(connection)
        return outstanding(await books.outstanding(connection, on), known, on)

    return read


def read_ageing(day: dt.date | None, *, by_card: bool) -> Reading:
    """What credit cards owe at the end of a booked day, by age."""

    async def read(connection: Connection, known: Names) -> Sheet:
        on = day or await today(connection)
        return ageing(await books.ageing(connection, on), known, on, by_card=by_card)

    return read


def read_settlement(first: dt.date | None, last: dt.date | None) -> Reading:
    """What each branch took for cards and gave on them."""

    async def read(connection: Connection, known: Names) -> Sheet:
        days = await _period(connection, first, last)
        return settlement(await books.settlement(connection, *days), known, *days)

    return read


def read_statement(
    settings: Settings, number: str | None, card: int | None, first: dt.date | None, last: dt.date | None
) -> Reading:
    """A card's statement, by its number or by its id in the ledger."""
    kek = settings.key_encryption_key() if number is not None else None

    async def read(connection: Connection, known: Names) -> Sheet:
        days = await _period(connection, first, last)
        found = card
        if number is not None and kek is not None:
            ring = await load_ring(connection, kek)
            wire = number.encode("ascii", "replace").ljust(CARD_BYTES, b"\0")
            tokens = [ring.token(wire, version) for version in range(1, ring.current(Purpose.TOKEN) + 1)]
            found = await books.card_of(connection, tokens)
        row = None if found is None else await books.card(connection, found)
        if found is None or row is None:
            raise EnrolmentError("there is no such card")
        shown = f"*{number[-4:]}" if number is not None else str(found)
        account = Account(shown, known.programmes.get(row["programme"], "?"), row["kind"] == "credit", row["unit"])
        return statement(
            account,
            known,
            days,
            opening=await books.card_balance(connection, found, days[0] - dt.timedelta(days=1), account.unit),
            movements=await books.card_movements(connection, found, *days),
            open_charges=await books.open_charges(connection, found, days[1]),
        )

    return read
