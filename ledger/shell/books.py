"""Reading the books for finance: one consistent snapshot, as the issuer's owner, beside a switch that serves.

What must hold: nothing here writes, and everything of one reading is of one moment: a transaction that is REPEATABLE
READ and READ ONLY. The database does the work; what comes over is bounded.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncGenerator, Sequence

    import asyncpg

    from ledger.shell.door import Connection

SNAPSHOT = "begin isolation level repeatable read, read only"

# Sorts and hashes over whole tables; a reading is one at a time.
PREPARE = "set local work_mem = '64MB'; set local idle_in_transaction_session_timeout = 0; set local lock_timeout = 0"

PREFETCH = 5_000  # rows that lie in memory at once, of as many as there are

_ROWS = """
    select sort, row, many
      from (select sort, row, count(*) over (partition by sort) as many, row_number() over (partition by sort) as place
              from (select coalesce(to_jsonb(d) ->> 'difference', '') as sort, to_jsonb(d) as row
                      from {relation} d) each) numbered
     where place <= $1
     order by sort, place
"""
_LISTED = """
    with each as materialized (select to_jsonb(d) as row from {relation} d)
    select (select count(*) from each) as count,
           (select jsonb_object_agg(unit, amount) from (
               select row ->> 'unit' as unit, sum((row ->> 'amount')::numeric) as amount from each
                where row ? 'amount' group by 1) u) as sums,
           array(select row from each limit $1) as rows
"""


async def prepare(connection: Connection) -> None:
    """Make room for a long reading in the transaction that has begun."""
    await connection.execute(PREPARE)


async def issuer(connection: Connection) -> dict[str, Any]:
    """The issuer's row, and its day by the database's clock."""
    row = await connection.fetchrow("select *, (clock_timestamp() at time zone zone)::date as today from issuer")
    return dict(row or {})


async def differences(
    connection: Connection, relation: str, most: int, since: dt.date | None = None
) -> list[tuple[str, int, list[dict[str, Any]]]]:
    """The rows of a view of differences, or of a function of a first day.

    Args:
        connection: in a snapshot, as for all functions here.
        relation: the name of the view or function.
        most: how many rows of each sort are returned.
        since: the first day, for a function.

    Returns:
        For each sort of row that the relation names, or for the one without a name: the sort, how many rows there are,
        and the first of them.

    """
    given = relation if since is None else f"{relation}('{since:%Y-%m-%d}')"
    sorts: dict[str, tuple[str, int, list[dict[str, Any]]]] = {}
    for sort, row, many in await connection.fetch(_ROWS.format(relation=given), most):
        sorts.setdefault(sort, (sort, many, []))[2].append(json.loads(row))
    return list(sorts.values())


async def listed(connection: Connection, relation: str, most: int) -> tuple[int, dict[int, int], list[dict[str, Any]]]:
    """How many rows a view has, what their amounts add up to by unit, and the first of them."""
    row = await connection.fetchrow(_LISTED.format(relation=relation), most)
    assert row is not None  # noqa: S101 -- a select without a from has one row
    sums = {int(unit): int(amount) for unit, amount in json.loads(row["sums"] or "{}").items()}
    return row["count"], sums, [json.loads(each) for each in row["rows"]]


async def summary(connection: Connection) -> list[dict[str, Any]]:
    """What stands on the accounts of each kind, by unit."""
    return [
        dict(row) for row in await connection.fetch("select * from book_summary order by unit, account, programme_kind")
    ]


async def names(connection: Connection) -> tuple[dict[int, str], dict[int, str], dict[int, str]]:
    """What people call branches, modules and programmes, by number."""
    branches, modules, programmes = [
        {row["number"]: row["name"] for row in await connection.fetch(f"select number, name from {table}")}  # noqa: S608
        for table in ("branches", "modules", "programmes")
    ]
    return branches, modules, programmes


async def programme_kinds(connection: Connection) -> dict[int, str | None]:
    """The kind of each programme, by number."""
    rows = await connection.fetch("select * from programme_kinds")
    return {row["programme"]: row["kind"] for row in rows}


async def turnover(connection: Connection, first: dt.date, last: dt.date, by: Sequence[str]) -> list[dict[str, Any]]:
    """What was moved on booked days, by some of day, branch, module, cashier and programme."""
    return [dict(row) for row in await connection.fetch("select * from turnover($1, $2, $3)", first, last, list(by))]


async def outstanding(connection: Connection, day: dt.date) -> list[dict[str, Any]]:
    """What cards are owed and owe at the end of a booked day, by programme."""
    return [dict(row) for row in await connection.fetch("select * from outstanding_on($1)", day)]


async def ageing(connection: Connection, day: dt.date) -> list[dict[str, Any]]:
    """What each credit card owes at the end of a booked day, by how long it has been due."""
    return [dict(row) for row in await connection.fetch("select * from ageing_on($1)", day)]


async def settlement(connection: Connection, first: dt.date, last: dt.date) -> list[dict[str, Any]]:
    """What each branch took for cards and gave on them on booked days."""
    return [dict(row) for row in await connection.fetch("select * from settlement($1, $2)", first, last)]


async def card(connection: Connection, card: int) -> asyncpg.Record | None:
    """A card's programme and unit; None where there is no such card."""
    return await connection.fetchrow("select * from card_kinds where card = $1", card)


async def card_of(connection: Connection, tokens: Sequence[bytes]) -> int | None:
    """The card that one of these tokens leads to."""
    found: int | None = await connection.fetchval("select card from card_numbers where token = any ($1)", list(tokens))
    return found


async def card_balance(connection: Connection, card: int, day: dt.date, unit: int) -> int:
    """What a card held, less what it owed, at the end of a booked day."""
    return int(
        await connection.fetchval(
            "select coalesce(sum(balance), 0) from card_balance_on($1, $2) where unit = $3", card, day, unit
        )
    )


async def card_movements(connection: Connection, card: int, first: dt.date, last: dt.date) -> list[dict[str, Any]]:
    """What happened to a card on booked days, in order."""
    return [dict(row) for row in await connection.fetch("select * from card_movements($1, $2, $3)", card, first, last)]


async def open_charges(connection: Connection, card: int, day: dt.date) -> list[dict[str, Any]]:
    """What a credit card's debt was made of at the end of a booked day, oldest first."""
    return [dict(row) for row in await connection.fetch("select * from open_charges_on($1, $2)", day, card)]


async def closed_until(connection: Connection) -> dt.date | None:
    """The last booked day that is closed; so are all before it. None where none is."""
    day: dt.date | None = await connection.fetchval("select max(day) from closed_days where closed_at is not null")
    return day


async def mark_day(connection: Connection, day: dt.date) -> None:
    """Let nothing be booked any more on a day that has ended, from the commit on; not in a snapshot."""
    await connection.execute("select mark_day($1)", day)


async def close_day(connection: Connection, day: dt.date) -> bool:
    """Close a marked day, unless a transaction that may still book on it is running; not in a snapshot."""
    closed: bool = await connection.fetchval("select close_day($1)", day)
    return closed


async def journal_accounts(connection: Connection, last: dt.date) -> list[dict[str, Any]]:
    """The accounts that have moved until the end of a booked day, each with its first."""
    return [dict(row) for row in await connection.fetch("select * from journal_accounts($1)", last)]


async def journal_balances(connection: Connection, day: dt.date) -> list[dict[str, Any]]:
    """What stood on the accounts at the end of a closed day, not by postings."""
    return [dict(row) for row in await connection.fetch("select * from journal_balances($1)", day)]


async def journal(
    connection: Connection, first: dt.date, last: dt.date, *, detail: bool
) -> AsyncGenerator[dict[str, Any], None]:
    """The lines of the journal of booked days, by day and branch or by authorization, one after the other."""
    by = "journal_by_authorization" if detail else "journal_by_day"
    lines = f"select * from {by}($1, $2)"  # noqa: S608 - ours
    async for row in connection.cursor(lines, first, last, prefetch=PREFETCH):
        yield dict(row)
