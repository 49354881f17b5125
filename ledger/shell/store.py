"""The store: a batch's two statements, and the few reads of the switch, each one call of the SQL API.

`transact` is the whole transaction of a batch, in two exchanges with the server: begin and gather, then, when the
caller's pure function has decided, record and commit. It runs on the asyncio side of the door. A batch that records
nothing still commits, and has its COMMIT wait like any other: what it answers from may be visible and not yet safe.

Rows are turned into the ledger's types, and the other way, in `ledger.rows` and nowhere else.
"""

import datetime as dt
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, TypeVar

import asyncpg

from ledger.batch import Gathered, Lookup, Writes
from ledger.faults import TooMuch, Unfit
from ledger.names import RECORDED_DAYS_AHEAD, RECORDED_DAYS_BACK, Name
from ledger.rows import NO_TOTALS, array, asked_rows, gathered, written
from ledger.shell.door import ANSWER_S, Connection, begin, commit, prepare
from ledger.shell.row_types import row_types
from ledger.totals import Pair

T = TypeVar("T")

_GATHER = "select * from gather($1, $2, $3, $4)"
_RECORD = "select record($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
_COUNT_TOTALS = """
    select ordinal, kind, count, sum
      from unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], $5::date[], $6::date[])
               with ordinality i(module, unit, first, last, from_date, to_date, ordinal),
           count_totals(module, unit, first, last, from_date, to_date)
"""
_RECORDED_PAGE = "select * from recorded_page($1, $2, $3, $4, $5)"
_CONFIRM_READ = "select confirm_read()"
_NO_NAME = (None, None, None)
_KINDS_OF_TOTALS = 10
INTERVALS_MAX = 4  # counted in one transaction, whose cards wait meanwhile


def transact(
    lookups: Sequence[Lookup],
    decide: Callable[[Gathered], tuple[T, Writes]],
    watched: Set[int] = frozenset(),
    *,
    wait: bool = True,
) -> Callable[[Connection], Awaitable[T]]:
    """The work of one batch, to be given to `Door.run`: gather, `decide`, record, commit, and then what `decide`
    answered.

    Of cards of the `watched` programmes it is read too what they have spent today. If it is not to `wait` for cards
    that others hold, who asks for those may be `busy` in what was gathered, and nothing is to be decided of them.
    Whatever `decide` raises rolls the transaction back and passes. Raises the classes of `ledger.faults`.
    """

    async def work(connection: Connection) -> T:
        types = await row_types(connection)
        await prepare(connection, _GATHER, _RECORD, _CONFIRM_READ)
        asked = array(types.asked, len(lookups), asked_rows(lookups))
        row = await begin(connection, _GATHER, asked, RECORDED_DAYS_BACK, RECORDED_DAYS_AHEAD, wait)
        if row is None:
            raise ValueError("gather returned no row")
        totals = await _count_totals(connection, lookups)
        found = gathered(row, lookups, totals)
        if watched:
            cards = [card.id for card in found.cards.values() if card.programme in watched]
            spent = await _spent(connection, cards, found.decided_at)
            found = replace(found, spent=spent)
        answers, writes = decide(found)
        if writes.authorizations:
            await commit(connection, _RECORD, *written(row, writes, types))
        else:
            await commit(connection, _CONFIRM_READ)
        return answers

    return work


# Gather


async def _spent(connection: Connection, cards: list[int], at: dt.datetime) -> Mapping[int, Pair]:
    """How often and how much each of these cards has paid on the day of a moment; one statement, or none."""
    if not cards:
        return {}
    rows = await connection.fetch("select card, sales, amount from spent_on_day($1, $2)", cards, at, timeout=ANSWER_S)
    return {card: (sales, amount) for card, sales, amount in rows}


async def _count_totals(connection: Connection, lookups: Sequence[Lookup]) -> Mapping[int, tuple[Pair, ...]]:
    """What stands in the books of each interval that is asked for, by its place; one statement, or none."""
    asked = {place: lookup.interval for place, lookup in enumerate(lookups) if lookup.interval is not None}
    if not asked:
        return NO_TOTALS
    if len(asked) > INTERVALS_MAX:
        raise TooMuch(f"{len(asked)} intervals are to be counted at once")
    columns = [list(column) for column in zip(*asked.values(), strict=True)]
    counted = {place: [(0, 0)] * _KINDS_OF_TOTALS for place in asked}
    places = list(asked)
    for ordinal, kind, count, total in await connection.fetch(_COUNT_TOTALS, *columns, timeout=ANSWER_S):
        counted[places[ordinal - 1]][kind] = (count, total)
    return {place: tuple(pairs) for place, pairs in counted.items()}


# Other reads


def lapse_passes(most: int) -> Callable[[Connection], Awaitable[int]]:
    """Book what at most so many passes lose whose end has passed, on cards that nobody serves just now; how many."""

    async def work(connection: Connection) -> int:
        lapsed: int = await connection.fetchval("select lapse_passes($1)", most, timeout=ANSWER_S)
        return lapsed

    return work


def end_expired_holds(most: int) -> Callable[[Connection], Awaitable[int]]:
    """End at most so many holds whose time is over, on cards that nobody serves just now; how many ended."""

    async def work(connection: Connection) -> int:
        ended: int = await connection.fetchval("select end_expired_holds($1)", most, timeout=ANSWER_S)
        return ended

    return work


async def last_name(connection: Connection, module: int) -> Name | None:
    """The last name that the database knows of a module, for `echo`; None where it knows none."""
    row = await connection.fetchrow("select * from last_name($1)", module, timeout=ANSWER_S)
    return None if row is None or row["date"] is None else Name(module, row["date"], row["sequence"])


async def recorded_page(
    connection: Connection, name: Name | None, number: int | None, page: int
) -> tuple[Name, bytes] | None:
    """A sealed page of a recorded answer, by name or by number; None where there is none.

    A transaction of its own, whose COMMIT waits as a batch's does: what is visible may not be safe yet.
    """
    row = await begin(connection, _RECORDED_PAGE, *(name or _NO_NAME), number, page)
    await commit(connection, _CONFIRM_READ)
    if row is None or row["answer"] is None:
        return None
    return Name(row["module"], row["date"], row["sequence"]), row["answer"]


async def make_months(connection: Connection) -> int:
    """Make the partitions that names may need from now on; how many were missing."""
    made: int = await connection.fetchval("select make_months()", timeout=ANSWER_S)
    return made


async def rules(
    connection: Connection,
) -> tuple[asyncpg.Record, list[asyncpg.Record], list[asyncpg.Record], list[asyncpg.Record]]:
    """The issuer with its count of changes, its modules, its keys and its programmes, all as of one moment.

    It only reads, so the door's rollback ends its transaction.
    """
    await connection.execute("begin isolation level repeatable read, read only", timeout=ANSWER_S)
    keys = await connection.fetch("select * from switch_keys", timeout=ANSWER_S)  # first, see `stand_still`
    issuer = await connection.fetchrow("select * from switch_issuer", timeout=ANSWER_S)
    if issuer is None:
        raise Unfit("the schema holds no issuer; run `authsrv db init --issuer NAME`")
    modules = await connection.fetch("select * from switch_modules", timeout=ANSWER_S)
    programmes = await connection.fetch(
        "select * from switch_programmes order by number, effective_from, version", timeout=ANSWER_S
    )
    return issuer, modules, keys, programmes


def document(row: asyncpg.Record) -> dict[str, Any]:
    """A programme version's rules as they were loaded."""
    read: dict[str, Any] = json.loads(row["document"])
    return read


async def take_generations(
    connection: Connection, registry: int, keys: Sequence[tuple[int, int, bytes, bytes]]
) -> bool:
    """Keep next root keys of modules, as module, generation, wrapped key and check value.

    False where they were wrapped by rules of another count of changes: nothing is kept.
    """
    columns = [list(column) for column in zip(*keys, strict=True)]
    taken: bool = await connection.fetchval(
        "select take_generations($1, $2, $3, $4, $5)", registry, *columns, timeout=ANSWER_S
    )
    return taken


async def retire_generations(connection: Connection, newest: Mapping[int, int]) -> None:
    """Give up all generations of modules below those of which a session is live."""
    await connection.execute("select retire_generations($1, $2)", list(newest), list(newest.values()), timeout=ANSWER_S)


async def registry_version(connection: Connection) -> int:
    """The count of changes of modules, keys and programmes."""
    version: int = await connection.fetchval("select registry from switch_issuer", timeout=ANSWER_S)
    return version
