"""A bare ledger for tests: an issuer, two cards, and a hand that calls `record` with whatever it likes.

No rule of the switch stands between a test and the SQL here, as none would for a thief of the switch's role.
"""

from __future__ import annotations

import datetime as dt
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from ledger.accounts import Account

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from ledger.shell.door import Connection

EUR = 978
MODULE = 1001
CARDS = (1, 2)
VALUE, OWED, TENDER, REDEEMED = Account.VALUE, Account.OWED, Account.TENDER, Account.REDEEMED

_BOOKS = """
select set_issuer(41, 'Kafija SIA', 'Europe/Riga', 978, 'EUR', 2::smallint, 7);
select add_branch(1, 'Brivibas 1');
insert into programmes (name) values ('gift');
insert into cards (programme, status) values (1, 1), (1, 1);
insert into card_numbers (token, token_key, card) values ('first', 1, 1), ('second', 1, 2);
select make_months();
"""
_SERIALS = itertools.count(1)


@asynccontextmanager
async def connected(dsn: str, schema: str = "issuer") -> AsyncIterator[Connection]:
    """A connection in the issuer's schema."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": schema})
    try:
        yield connection
    finally:
        connection.terminate()


async def open_books(owner: Connection) -> None:
    """Set up the issuer, two active cards that have the tokens `first` and `second`, and the months of today."""
    await owner.execute(_BOOKS)


async def today(connection: Connection) -> dt.date:
    """The day by the database's clock, in the issuer's zone, whoever asks."""
    day: dt.date = await connection.fetchval("select (clock_timestamp() at time zone 'Europe/Riga')::date")
    return day


async def record(connection: Connection, **columns: Any) -> None:
    """Call `record` with these parameters, named without their `p_`; arrays that are not given are empty."""
    day = await today(connection)
    moment = await connection.fetchval("select clock_timestamp()")
    names = await connection.fetchval("select proargnames from pg_proc where oid = 'record'::regproc")
    given = {"decided_at": moment, "booked_on": day, "today": day} | columns
    call = ", ".join(f"{name} => ${place}" for place, name in enumerate(names, start=1))
    await connection.execute(f"select record({call})", *(given.pop(name.removeprefix("p_"), []) for name in names))
    assert not given, given


def names(date: dt.date, *sequences: int, **columns: Any) -> dict[str, Any]:
    """The columns of authorizations of one module; a keyword sets a column in all of them."""
    count = len(sequences)
    row = {
        "module": MODULE, "date": date, "tombstone": False, "command": 19, "result": 0, "reason": 0, "programme": 1,
        "programme_version": 1, "branch": 1, "unit": EUR, "card": None, "requested": 0, "approved": 0, "cashier": 0,
        "original_module": None, "original_date": None, "original_sequence": None,
        "token_key": 1, "digest_key": 1, "digest": b"digest", "answer": b"answer",
    } | columns  # fmt: skip
    arrays: dict[str, Any] = {column: [value] * count for column, value in row.items()}
    return arrays | {"sequence": list(sequences), "number": [next(_SERIALS) for _ in sequences]}


def postings(*rows: tuple[int, int, int, int, int], unit: int = EUR) -> dict[str, Any]:
    """The columns of postings, given as (place of the authorization from 1, card, debit, credit, amount)."""
    return {
        "posting_of": [row[0] for row in rows],
        "posting_ordinal": [[row[0] for row in rows[: place + 1]].count(rows[place][0]) for place in range(len(rows))],
        "posting_card": [row[1] for row in rows],
        "posting_debit": [row[2] for row in rows],
        "posting_credit": [row[3] for row in rows],
        "posting_unit": [unit] * len(rows),
        "posting_amount": [row[4] for row in rows],
    }


def undos(*rows: tuple[int, dt.date, int, bool, int]) -> dict[str, Any]:
    """The columns of undos, given as (place of who undoes, date and sequence undone, reversal, amount)."""
    return {
        "undo_of": [row[0] for row in rows],
        "undo_module": [MODULE] * len(rows),
        "undo_date": [row[1] for row in rows],
        "undo_sequence": [row[2] for row in rows],
        "undo_reversal": [row[3] for row in rows],
        "undo_amount": [row[4] for row in rows],
    }


async def contents(owner: Connection, besides: Iterable[str] = ()) -> dict[str, str | None]:
    """A digest of all rows of each table but those `besides`: equal before and after means that nothing changed."""
    tables = await owner.fetch(
        """select relname::text as name from pg_class
            where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p') and not relispartition"""
    )
    return {
        table["name"]: await owner.fetchval(
            f"select md5(string_agg(row::text, E'\\n' order by row::text)) from {table['name']} row"  # noqa: S608 - its name
        )
        for table in tables
        if table["name"] not in besides
    }
