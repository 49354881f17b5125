"""Writing the books as a journal: close the days first, then write what was booked on them.

What must hold: an export never misses a row that a later one would find. So it holds closed days alone: from the mark
on nothing new is booked on a day, and it is closed when every transaction that may not have seen the mark has ended.
Rows go from the database into the file as they come; as many as there are, few lie in memory.
"""

import datetime as dt
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import IO, Any, Final

import trio

from authsrv.journal import Chart, Dialect, Journal, Line, key, opened
from authsrv.shell.enrolment import EnrolmentError
from authsrv.shell.finance import names, today
from authsrv.shell.owner import owner_door, transaction
from authsrv.shell.report import Report
from authsrv.shell.settings import Settings
from ledger.shell import books
from ledger.shell.door import Connection, Door

FIRST_DAY: Final = dt.date(2000, 1, 1)  # no name is older, so that nothing was booked before
AGAIN_S: Final = 0.2


async def export(
    settings: Settings,
    dialect: Dialect,
    days: tuple[dt.date | None, dt.date | None],
    *,
    detail: bool,
    output: Path | None,
    wait_s: float,
) -> Report | None:
    """Close the booked days until the last, and write the journal of them."""
    async with owner_door(settings) as door:
        now = await door.run(transaction(today))
        first, last = days[0] or FIRST_DAY, days[1] or now - dt.timedelta(days=1)
        if last >= now:
            raise EnrolmentError(f"{last} has not ended; give --to a day before {now}")
        if days[1] is None and first > last:
            raise EnrolmentError(
                f"{first} has not ended, and only days that have are exported; give --from {last} or before"
            )
        if first > last:
            raise EnrolmentError(f"from {first} to {last} is no time; give --from a day that is not behind --to")
        await _close(door, last, wait_s)
        with _opened(output) as out:

            async def work(connection: Connection) -> tuple[int, int]:
                await books.prepare(connection)
                return await _write(connection, dialect, (first, last), detail=detail, out=out)

            entries, lines = await door.run(transaction(work, books.SNAPSHOT))
    if output is None:
        return None
    return Report(
        {
            "format": dialect.value, "file": str(output), "from": first.isoformat(), "to": last.isoformat(),
            "transactions": entries, "postings": lines,
        },
        (f"{entries} transactions with {lines} postings, booked from {first} to {last}, are in {output}",),
    )  # fmt: skip


async def _close(door: Door, last: dt.date, wait_s: float) -> None:
    """Close the day and all before it, as soon as nobody can book on them any more."""
    closed = await door.run(transaction(books.closed_until))
    if closed is not None and closed >= last:
        return
    await door.run(transaction(lambda connection: books.mark_day(connection, last)))
    with trio.move_on_after(wait_s) as patience:
        # Nobody is told by the database when another's transaction ends.
        while not await door.run(transaction(lambda connection: books.close_day(connection, last))):  # noqa: ASYNC110
            await trio.sleep(AGAIN_S)
    if patience.cancelled_caught:
        raise EnrolmentError(
            f"a transaction that may book on {last} has been running for {wait_s:g} s; nothing new is booked on that "
            f"day, so run this again when it has ended"
        )


async def _write(
    connection: Connection, dialect: Dialect, days: tuple[dt.date, dt.date], *, detail: bool, out: IO[str]
) -> tuple[int, int]:
    """Write the journal; how many transactions, and how many postings they have."""
    known = await names(connection)
    chart = Chart(known.programmes, await books.programme_kinds(connection))
    journal = Journal(dialect, known.issuer, known.units)
    first, last = days
    out.write(journal.head(first, last, opened(await books.journal_accounts(connection, last), chart)))
    gathered: list[dict[str, Any]] = []
    entries = lines = 0
    async with aclosing(books.journal(connection, first, last, detail=detail)) as rows:
        async for row in rows:
            if gathered and key(row) != key(gathered[0]):
                out.write(journal.entry(chart.entry(gathered)))
                entries, gathered = entries + 1, []
            gathered.append(row)
            lines += 1
    if gathered:
        out.write(journal.entry(chart.entry(gathered)))
        entries += 1
    if first == FIRST_DAY:
        standing = [
            Line(chart.account(row["kind"], row["programme"], None), row["unit"], int(row["debit"]))
            for row in await books.journal_balances(connection, last)
        ]
        if standing:
            out.write(journal.balances(last, standing))
    return entries, lines


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[str]]:
    """A file that is there whole at the end or not at all, or standard output."""
    if output is None:
        yield sys.stdout
        return
    unfinished = output.with_name(f"{output.name}.new")
    try:
        with unfinished.open("w", encoding="utf-8") as out:
            yield out
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
