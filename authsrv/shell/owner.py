"""The issuer's owner at work in the database: how commands reach it, one transaction after another."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from authsrv.shell.settings import Settings
from ledger.faults import Unfit
from ledger.shell.database import open_database
from ledger.shell.door import Connection, Door, commit, open_door
from ledger.shell.revisions import HEAD

T = TypeVar("T")


@asynccontextmanager
async def owner_door(settings: Settings) -> AsyncIterator[Door]:
    """The door to the issuer's database, as the owner of its schema; one connection."""
    async with (
        open_database(**settings.place) as database,
        open_door(
            database.owner_dsn, schema=database.schema, connections=1, connect_s=10.0, application="authsrv desk"
        ) as door,
    ):
        yield door


def transaction(work: Callable[[Connection], Awaitable[T]]) -> Callable[[Connection], Awaitable[T]]:
    """`work` as one whole transaction, to be given to `Door.run`; raises `Unfit` for a schema of another revision."""

    async def whole(connection: Connection) -> T:
        await connection.execute("begin")
        await connection.execute("set local statement_timeout = 0")  # a person waits, and can break it off
        await _check_revision(connection)
        result = await work(connection)
        await commit(connection)
        return result

    return whole


async def _check_revision(connection: Connection) -> None:
    migrated = await connection.fetchval("select to_regclass('schema_version') is not null")
    revision = await connection.fetchval("select version_num from schema_version") if migrated else None
    if revision != HEAD:
        raise Unfit(f"the schema is at revision {revision}, this program works with {HEAD}; run `authsrv db migrate`")
