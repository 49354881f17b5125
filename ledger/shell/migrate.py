"""Migrations: Alembic decides which revisions are missing, and each runs a `.sql` file.

Why both: SQL is an API here and wants to be read as SQL; which files ran, in which order, once, is a solved problem.

What must hold: all missing revisions are one transaction, so that a schema is at a revision or at the one before, never
between; concurrent callers wait for each other on an advisory lock; history is never migrated back, so there is no
downgrade; a schema newer than the program is refused.

The files say `@schema@` and `@switch_role@`, which are replaced here: nothing else in SQL says which issuer it is for.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import asyncpg
from alembic import command, op
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from ledger.faults import Unfit
from ledger.shell.door import FOREIGN, translated
from ledger.shell.revisions import FOLDER, HEAD

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

T = TypeVar("T")
SQL = FOLDER.parent / "sql"
IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,40}")
CONNECT_S = 10.0
LOCK_TIMEOUT_MS = 30_000


def checked_identifier(name: str) -> str:
    """`name`, if it can stand in SQL without quotes and leaves room for `_switch` in 63 bytes.

    Raises `ValueError`.
    """
    if not IDENTIFIER.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a schema: a letter, then up to 40 of a-z, 0-9 and _")
    return name


def owner_role(schema: str) -> str:
    """The role that owns the schema: migrations and maintenance."""
    return f"{checked_identifier(schema)}_owner"


def switch_role(schema: str) -> str:
    """The role that the switch runs under: functions and views only."""
    return f"{checked_identifier(schema)}_switch"


def migrate(dsn: str, schema: str, *, revision: str = HEAD) -> None:
    """Bring `schema` up to `revision`, the newest, as its owner; does nothing to one that is there already.

    Blocks and runs an event loop of its own, so Trio calls it in a thread. Raises `Unfit` for a schema newer than this
    program, and the faults of `ledger.faults`.
    """
    _run(dsn, schema, partial(_upgrade, revision=revision))


def status(dsn: str, schema: str) -> tuple[str | None, str]:
    """The revision that `schema` is at (None: never migrated), and the newest one that this program knows.

    Blocks like `migrate`, and raises the same.
    """
    return _run(dsn, schema, lambda connection, _schema: _current(connection)), HEAD


def run_sql(name: str) -> None:
    """Run a file of `ledger/sql/` inside the migration's transaction; for the revisions alone."""
    config = op.get_context().config
    assert config is not None  # noqa: S101 -- Alembic has one whenever it runs a revision
    schema = config.attributes["schema"]
    sql = (SQL / name).read_text(encoding="utf-8")
    sql = sql.replace("@schema@", schema).replace("@switch_role@", switch_role(schema))
    # Many statements in one text: only the driver's own connection takes them, and it is in the same transaction.
    op.get_bind().connection.dbapi_connection.run_async(lambda connection: connection.execute(sql))  # type: ignore[union-attr]


def _run(dsn: str, schema: str, work: Callable[[Connection, str], T]) -> T:
    settings = {
        "application_name": "authsrv migrate",
        "search_path": checked_identifier(schema),
        "lock_timeout": str(LOCK_TIMEOUT_MS),
    }

    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(dsn, timeout=CONNECT_S, server_settings=settings)

    async def run() -> T:
        engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work, schema)
        finally:
            await engine.dispose()

    try:
        return asyncio.run(run())
    except DBAPIError as error:
        fault = translated(error.orig.__cause__ or error) if error.orig else translated(error)
    except FOREIGN as error:
        fault = translated(error)
    raise fault


def _upgrade(connection: Connection, schema: str, revision: str) -> None:
    connection.execute(text("select pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"{schema} migrate"})
    current = _current(connection)
    if current is not None and current > HEAD:
        raise Unfit(
            f"the schema is at revision {current}, this program knows {HEAD} at most; install the newer program"
        )
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes |= {"connection": connection, "schema": schema}
    command.upgrade(config, revision)
    connection.execute(text(f"grant select on schema_version to {switch_role(schema)}"))


def _current(connection: Connection) -> str | None:
    if connection.scalar(text("select to_regclass('schema_version')")) is None:
        return None
    current: str | None = connection.scalar(text("select version_num from schema_version"))
    return current
