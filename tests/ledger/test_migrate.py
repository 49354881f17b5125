"""Migrations: whole or not at all, once, one at a time, and never into a schema that a newer program made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from ledger.faults import LedgerFault, Unavailable, Unfit
from ledger.shell.database import Database, create_issuer_database
from ledger.shell.errand import run_errand
from ledger.shell.migrate import checked_identifier, migrate, status
from ledger.shell.revisions import FOLDER, HEAD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def ask(dsn: str, *statements: str) -> list[tuple[object, ...]]:
    """What the last of the statements answers."""

    async def asked() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(dsn)
        try:
            answers = [await connection.fetch(statement) for statement in statements]
        finally:
            await connection.close()
        return [tuple(row) for row in answers[-1]]

    return run_errand(asked())


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
