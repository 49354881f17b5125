"""A bare ledger for tests: an issuer, two cards, and a hand that calls `record` with whatever it likes.

No rule of the switch stands between a test and the SQL here, as none would for a thief of the switch's role.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from ledger.accounts import Account
from ledger.names import RECORDED_DAYS_AHEAD, RECORDED_DAYS_BACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from ledger.shell.door import Connection

EUR = 978
MODULE = 1001
CARDS = (1, 2)
VALUE, OWED, TENDER, REDEEMED = Account.VALUE, Account.OWED, Account.TENDER, Account.REDEEMED

GATHER = "select * from gather($1, $2, $3, $4)"

_BOOKS = """
select set_issuer(41, 'Kafija SIA', 'Europe/Riga', 978, 'EUR', 2::smallint, 7);
select add_branch(1, 'Brivibas 1');
insert into programmes (name) values ('gift');
insert into cards (programme, status) values (1, 1), (1, 1);
insert into card_numbers (token, token_key, card) values ('first', 1, 1), ('second', 1, 2);
select make_months();
"""
_SERIALS = itertools.count(1)
_CARD = 12  # its place among the columns of an authorization


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


async def record(connection: Connection, **rows: Any) -> None:
    """Call `record` with these rows; what hangs on an authorization names it by its place in the list, from 1."""
    day = await today(connection)
    moment = await connection.fetchval("select clock_timestamp()")
    authorizations = rows.pop("authorizations", [])
    named = dict(enumerate((row[:3] for row in authorizations), start=1))
    nobody = (None, None, None)
    moves: dict[int, list[tuple[int, int, int, int]]] = {}
    cards: dict[int, int | None] = {}
    for place, card, debit, credit, amount in rows.pop("postings", ()):
        moves.setdefault(place, []).append((debit, credit, EUR, amount))
        cards[place] = card
    arrays = {
        "authorizations": [
            (*row[:_CARD], cards.get(place, row[_CARD]), *row[_CARD + 1 :], moves.get(place), None)
            for place, row in enumerate(authorizations, start=1)
        ],
        "undos": [
            (MODULE, date, sequence, reversal, amount, *named.get(place, nobody))
            for place, date, sequence, reversal, amount in rows.pop("undos", ())
        ],
        "pages": [(*named[place], page, answer) for place, page, answer in rows.pop("pages", ())],
        "cards": rows.pop("cards", []),
        "tries": rows.pop("tries", []),
        "bad_cards": rows.pop("bad_cards", []),
        "numbers": rows.pop("numbers", []),
        "holds": [
            (*named[place], card, EUR, amount, expires_at, ended)
            for place, card, amount, expires_at, ended in rows.pop("holds", ())
        ],
        "ended": rows.pop("ended", []),
    } | {name: rows.pop(name, []) for name in ("passes", "lapses", "floors", "charges", "totals")}
    given = {"decided_at": moment, "booked_on": day, "today": day} | rows | arrays
    call = ", ".join(f"p_{name} => ${place}" for place, name in enumerate(given, start=1))
    await connection.execute(f"select record({call})", *given.values())


def names(date: dt.date, *sequences: int, **columns: Any) -> dict[str, Any]:
    """Authorizations of one module; a keyword sets a column in all of them."""
    row = {
        "module": MODULE, "date": date, "sequence": 0, "number": 0, "tombstone": False, "command": 19, "result": 0,
        "reason": 0, "programme": 1, "programme_version": 1, "branch": 1, "unit": EUR, "card": None, "requested": 0,
        "approved": 0, "cashier": 0, "original_module": None, "original_date": None, "original_sequence": None,
        "token_key": 1, "digest_key": 1, "digest": b"digest", "answer": b"answer",
    }  # fmt: skip
    assert columns.keys() <= row.keys(), columns
    return {
        "authorizations": [
            tuple((row | columns | {"sequence": sequence, "number": next(_SERIALS)}).values()) for sequence in sequences
        ]
    }


def postings(*rows: tuple[int, int, int, int, int]) -> dict[str, Any]:
    """Postings, given as (place of the authorization from 1, its card, debit, credit, amount)."""
    return {"postings": list(rows)}


def undos(*rows: tuple[int, dt.date, int, bool, int]) -> dict[str, Any]:
    """Undos, given as (place of who undoes, date and sequence undone, reversal, amount)."""
    return {"undos": list(rows)}


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


async def until_blocked(connection: Connection, blocked: Connection) -> None:
    """Wait until the other connection's statement waits for a lock."""
    pid = blocked.get_server_pid()
    async with asyncio.timeout(20):
        while not await connection.fetchval("select cardinality(pg_blocking_pids($1)) > 0", pid):
            pass  # each question is a round trip


def play(issuer: Any, scene: Callable[[Connection, Connection], Awaitable[None]]) -> None:
    """Run a scene for the owner and the switch over freshly opened books."""

    async def run() -> None:
        async with connected(issuer.owner_dsn) as owner, connected(issuer.switch_dsn) as switch:
            await open_books(owner)
            await scene(owner, switch)

    asyncio.run(run())


async def refused(work: Awaitable[Any], sqlstate: str) -> None:
    """`work` must fail with this SQLSTATE and no other."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        await work
    assert caught.value.sqlstate == sqlstate, caught.value


async def load(connection: Connection, sequence: int, card: int, amount: int, **columns: Any) -> None:
    """Put value on a card."""
    day = await today(connection)
    rows = names(day, sequence, card=card, requested=amount, approved=amount)
    await record(connection, **rows, **postings((1, card, TENDER, VALUE, amount)), **columns)


async def gather(
    connection: Connection,
    dates: list[dt.date],
    token: bytes | None = None,
    coded: bool = False,
    original: int | None = None,
    days: tuple[int, int] = (RECORDED_DAYS_BACK, RECORDED_DAYS_AHEAD),
    wait: bool = True,
    further: Sequence[tuple[Any, ...]] = (),
) -> asyncpg.Record:
    """Begin a batch of requests, each of which may show a card and name an original of its own day, and of `further`
    ones; a name of so many days back and ahead can be recorded."""
    asked = [
        (MODULE, date, sequence, token, coded, *((MODULE, date, original) if original else (None,) * 3), None, None)
        for sequence, date in enumerate(dates, start=1000)
    ]
    row = await connection.fetchrow(GATHER, [*asked, *further], *days, wait)
    assert row is not None
    return row
