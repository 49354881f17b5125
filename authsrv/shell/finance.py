"""What finance's commands do: read the books in one snapshot, shape what was read, and report it."""

import datetime as dt
from typing import Any

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
from authsrv.shell.commands import as_owner
from authsrv.shell.enrolment import EnrolmentError
from authsrv.shell.report import Report
from authsrv.shell.settings import Settings
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
