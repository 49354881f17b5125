"""A real PostgreSQL for every test that wants one: one embedded server per session, one database per test.

The server runs as in production, fsync on. Its folder lies beside, not below, pytest's own, which a system user may not
enter. A test's database is a copy of one that was migrated once.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import signal
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest

from ledger.shell import embedded
from ledger.shell.database import create_issuer_database, guard_database
from ledger.shell.door import Door, open_door
from ledger.shell.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ledger.shell.database import Database

TEMPLATE = "template_issuer"
SCHEMA = "issuer"
SERIAL = itertools.count(1)


@dataclass(frozen=True)
class Server:
    """The session's PostgreSQL, and the database that tests get copies of."""

    data_dir: Path
    admin_dsn: str
    template: Database


@dataclass(frozen=True)
class Issuer:
    """A fresh, migrated schema in a database of its own; `admin_dsn` is the superuser's in the same database."""

    schema: str
    owner_dsn: str
    switch_dsn: str
    admin_dsn: str


@pytest.fixture
def database_folder() -> Iterator[Path]:
    """A new folder with a short path that the server's system user can enter."""
    folder = _new_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def database() -> Iterator[Server]:
    """The session's server, with a database that holds a migrated issuer to copy from."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a terminated session stops its server
    folder = _new_folder()
    attachment = embedded.attach(folder, create=True)
    try:
        template = create_issuer_database(attachment.admin_dsn, SCHEMA, database=TEMPLATE)
        migrate(template.owner_dsn, SCHEMA)
        yield Server(folder, attachment.admin_dsn, template)
    finally:
        attachment.detach()
        shutil.rmtree(folder)
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def issuer(database: Server) -> Iterator[Issuer]:
    """A fresh migrated schema in a database of its own, dropped after the test with whoever is still connected."""
    name = f"issuer_{next(SERIAL)}"

    async def make() -> None:
        async with _connected(database.admin_dsn) as admin:
            await admin.execute(f"create database {name} template {TEMPLATE}")
            await guard_database(admin, SCHEMA, name)

    async def drop() -> None:
        async with _connected(database.admin_dsn) as admin:
            await admin.execute(f"drop database {name} with (force)")

    def here(dsn: str) -> str:
        return urlsplit(dsn)._replace(path=f"/{name}").geturl()

    asyncio.run(make())
    yield Issuer(
        SCHEMA, here(database.template.owner_dsn), here(database.template.switch_dsn), here(database.admin_dsn)
    )
    asyncio.run(drop())


@pytest.fixture
async def door(issuer: Issuer) -> AsyncIterator[Door]:
    """The door to the issuer's database, as the switch."""
    async with open_door(issuer.switch_dsn, schema=issuer.schema) as opened:
        yield opened


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


def _new_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="authsrv-", dir="/tmp"))
    folder.chmod(0o711)
    return folder
