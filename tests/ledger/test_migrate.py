"""Migrations: whole or not at all, once, one at a time, and never into a schema that a newer program made."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from books import (
    EUR,
    MODULE,
    REDEEMED,
    TENDER,
    VALUE,
    connected,
    names,
    open_books,
    postings,
    record,
    today,
    until_blocked,
)

from ledger.accounts import Balances
from ledger.batch import Lookup, Writes
from ledger.faults import LedgerFault, Unavailable, Unfit
from ledger.names import Name, authorization_number
from ledger.shell.database import Database, create_issuer_database
from ledger.shell.migrate import checked_identifier, migrate, status
from ledger.shell.revisions import FOLDER, HEAD
from ledger.shell.store import transact

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator
    from typing import Any

    from ledger.shell.door import Connection


def ask(dsn: str, *statements: str) -> list[tuple[object, ...]]:
    """What the last of the statements answers."""

    async def asked() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(dsn)
        try:
            answers = [await connection.fetch(statement) for statement in statements]
        finally:
            await connection.close()
        return [tuple(row) for row in answers[-1]]

    return asyncio.run(asked())


@pytest.fixture
def empty(database: Any) -> Iterator[Database]:
    """An issuer whose schema is there and empty."""
    yield create_issuer_database(database.admin_dsn, "bare", database="bare")
    ask(database.admin_dsn, "drop database bare with (force)")
    ask(database.admin_dsn, "drop role bare_owner", "drop role bare_switch")


TABLES = "select count(*) from pg_class join pg_namespace on pg_namespace.oid = relnamespace where nspname = 'bare'"


def test_up_once(empty: Database) -> None:
    """An empty schema is brought to the newest revision; the second time nothing changes."""
    assert status(empty.owner_dsn, "bare") == (None, HEAD)
    migrate(empty.owner_dsn, "bare")
    assert status(empty.owner_dsn, "bare") == (HEAD, HEAD)
    before = ask(empty.owner_dsn, "select oid, xmin::text from pg_class order by oid")
    migrate(empty.owner_dsn, "bare")
    after = ask(empty.owner_dsn, "select oid, xmin::text from pg_class order by oid")
    changed = {oid for oid, _ in set(after) ^ set(before)}
    assert changed <= {oid for (oid,) in ask(empty.owner_dsn, "select 'bare.schema_version'::regclass::oid")}


def test_everything_is_in_the_issuers_schema(empty: Database) -> None:
    """The files say nowhere which issuer they are for; all they make belongs to the owner, in its schema."""
    migrate(empty.owner_dsn, "bare")
    made = ask(
        empty.owner_dsn,
        "select distinct nspname::text, relowner::regrole::text from pg_class "
        "join pg_namespace on pg_namespace.oid = relnamespace "
        "where nspname not in ('pg_catalog', 'information_schema', 'pg_toast')",
    )
    assert made == [("bare", "bare_owner")]


def test_concurrent_callers_wait_for_each_other(empty: Database) -> None:
    """Two at once: both return, and the schema is migrated once."""
    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(migrate, empty.owner_dsn, "bare") for _ in range(2)]:
            done.result()
    assert ask(empty.owner_dsn, "select version_num from bare.schema_version") == [(HEAD,)]


def test_a_failure_leaves_nothing(empty: Database) -> None:
    """A file that fails after its first table takes that one back with it, and the revision stays what it was."""
    ask(empty.owner_dsn, "create table bare.postings (in_the_way int)")
    with pytest.raises(LedgerFault, match="42P07"):
        migrate(empty.owner_dsn, "bare")
    assert ask(empty.owner_dsn, "select relname::text from pg_class where relnamespace = 'bare'::regnamespace") == [
        ("postings",)
    ]
    assert status(empty.owner_dsn, "bare") == (None, HEAD)


def test_a_newer_schema_is_refused(empty: Database) -> None:
    """A schema that a newer program made is left alone, and the message says what to do."""
    migrate(empty.owner_dsn, "bare")
    ask(empty.owner_dsn, "update bare.schema_version set version_num = '9999'")
    with pytest.raises(Unfit, match="install the newer program"):
        migrate(empty.owner_dsn, "bare")
    assert ask(empty.owner_dsn, "select version_num from bare.schema_version") == [("9999",)]


def test_the_switch_may_not_migrate(empty: Database) -> None:
    """The switch's role can make nothing in the schema."""
    with pytest.raises(Unavailable, match="42501"):
        migrate(empty.switch_dsn, "bare")
    assert ask(empty.owner_dsn, TABLES) == [(0,)]


def test_no_server() -> None:
    """Without a server it is `Unavailable`, in the ledger's words."""
    with pytest.raises(Unavailable):
        migrate("postgresql://bare_owner:x@/bare?host=/nowhere", "bare")


@pytest.mark.parametrize("name", ["", "Bare", "1st", "a-b", 'a"b', "a b", "a;drop", "x" * 42, "a\n"])
def test_a_name_that_could_break_out_is_refused(name: str) -> None:
    """What replaces `@schema@` can be nothing but a plain identifier."""
    with pytest.raises(ValueError, match="no name for a schema"):
        checked_identifier(name)


def test_the_newest_revision_is_the_migrations_own() -> None:
    """The number that the switch compares with is the head of the migrations, which are one line in order."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    scripts = ScriptDirectory.from_config(config)
    line = [script.revision for script in scripts.walk_revisions()]
    assert scripts.get_heads() == [HEAD]
    assert line == sorted(line, reverse=True)


def test_books_of_the_first_revision_are_carried_on(empty: Database) -> None:
    """A schema that has served at revision 0001 keeps every row; what was recorded is found, and serving goes on."""
    migrate(empty.owner_dsn, "bare", revision="0001")
    assert status(empty.owner_dsn, "bare") == ("0001", HEAD)

    async def recorded(owner: Connection) -> list[str]:
        """All that was recorded, whatever table it stands in."""
        rows = await owner.fetch(
            """select (to_jsonb(a) - 'postings' - 'term_days')::text from authorizations a
                union all select to_jsonb(p)::text from postings p
                union all select (to_jsonb(c) - 'held')::text from accounts c
                union all select to_jsonb(u)::text from undos u
                union all select to_jsonb(g)::text from pages g order by 1"""
        )
        return [row[0] for row in rows]

    async def serve() -> tuple[dt.date, list[str]]:
        async with connected(empty.owner_dsn, "bare") as owner, connected(empty.switch_dsn, "bare") as switch:
            await open_books(owner)
            day = await today(owner)
            await owner.execute("select reserve_numbers(array[$1::date])", day)
            moment = await owner.fetchval("select clock_timestamp()")
            call = "select record($1, $2, $2, $3, $4, $5, $6, '{}', '{}', '{}')"
            [load] = names(day, 1, card=1, requested=500, approved=500)["authorizations"]
            name = load[:3]
            moves = [(*name, 1, TENDER, VALUE, EUR, 1, 700), (*name, 2, VALUE, REDEEMED, EUR, 1, 200)]
            await switch.execute(call, moment, day, [load], moves, [], [(*name, 2, b"second page")])
            [refund] = names(day, 2)["authorizations"]
            await switch.execute(call, moment, day, [refund], [], [(*name, False, 200, *refund[:3])], [])
            await owner.execute("update cards set status = 2, loads_on = case id when 1 then current_date end")
            return day, await recorded(owner)

    day, before = asyncio.run(serve())
    assert len(before) == 7  # two authorizations, two postings, an account, an undo, a page
    migrate(empty.owner_dsn, "bare")

    async def serve_on() -> None:
        async with (
            connected(empty.owner_dsn, "bare") as owner,
            connected(empty.switch_dsn, "bare") as switch,
            connected(empty.switch_dsn, "bare") as serving,
        ):
            assert await recorded(owner) == before
            assert not await owner.fetch("select from unbalanced_accounts")
            assert not await owner.fetch("select from unbalanced_holds")
            cards = await owner.fetch("select status, blocked from cards order by id")
            assert [tuple(card) for card in cards] == [(1, 0), (0, 0)]  # blocked, and what they were before
            lookups = [
                Lookup(Name(MODULE, day, 1), b"first", False, None, None),
                Lookup(Name(MODULE, day, 3), None, False, Name(MODULE, day, 1), None),
            ]
            found = await transact(lookups, lambda gathered: (gathered, Writes()))(serving)
            assert found.recorded.keys() == {0}
            assert list(found.serials) == [None, authorization_number(day, 2)]
            assert found.cards[1].balances == Balances(500, 0, 0)
            assert (found.originals[1].refunded, found.originals[1].answers) == (200, (b"answer", b"second page"))
            spend = names(day, 3, card=1, requested=500, approved=500) | postings((1, 1, VALUE, REDEEMED, 500))
            await record(switch, **spend)
            assert await owner.fetchval("select count(*) from unbalanced_accounts") == 0
            assert await owner.fetchval("select balance from accounts where card = 1 and kind = 1") == 0

    asyncio.run(serve_on())


@pytest.mark.parametrize(
    ("revision", "call"),
    [("0015", "select serials from gather($1)"), ("0016", "select serials from gather($1, 36, 2)")],
)
def test_a_batch_that_waits_while_its_schema_is_upgraded_goes_on(empty: Database, revision: str, call: str) -> None:
    """A switch of before 0016 or 0017 calls the function that it knows, may wait for a card in it, and goes on after:
    the next call waits for its card too."""
    migrate(empty.owner_dsn, "bare", revision=revision)

    async def serve() -> None:
        async with (
            connected(empty.owner_dsn, "bare") as owner,
            connected(empty.owner_dsn, "bare") as holder,
            connected(empty.switch_dsn, "bare") as switch,
        ):
            await open_books(owner)
            day = await today(owner)
            asking = await switch.prepare(call)
            batch = [(MODULE, day, 1, b"first", False, *(None,) * 5)]
            for number in (1, 2):
                await holder.execute("begin; select from cards where id = 1 for no key update")
                waiting = asyncio.create_task(asking.fetchval(batch))
                await until_blocked(owner, switch)
                await asyncio.to_thread(migrate, empty.owner_dsn, "bare")
                await holder.execute("commit")
                assert await waiting == [authorization_number(day, number)]

    asyncio.run(serve())
