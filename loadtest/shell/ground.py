"""What a run stands on: a folder with the embedded database, an issuer, modules and cards, and what they hold.

The folder may be kept and used again: modules learn their last sequence from the switch, cards stay active. It is
opened without an event loop, for the harness has none, and by one process at a time. The issuer's gift programme is the
one that comes along, with limits so high that no run meets them.
"""

import asyncio
import fcntl
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import files
from math import ceil
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
import trio

from authsrv.keys import KeyRing
from authsrv.registry import Registry
from authsrv.shell import enrolment
from authsrv.shell.enrolment import ModuleTraits
from authsrv.shell.key_file import default_file, make_key_file, read_key_file
from authsrv.shell.rules import Rules
from ledger.shell import embedded
from ledger.shell.database import Database, create_issuer_database
from ledger.shell.door import Connection, open_door
from ledger.shell.migrate import migrate
from loadtest.cards import Cards
from loyalty.source import parse_programme
from protocol.signon import ModuleIdentity

T = TypeVar("T")

KIT: Final = "loadtest.json"
LOCK: Final = "loadtest.lock"
PASSABLE: Final = 0o711  # the database's account must pass through the folder
REMOVED_WITHIN_S: Final = 10.0
PROGRAMME: Final = "gift.toml"
BRANCHES: Final = ((1, "Centre"), (2, "Harbour"))
FIRST_MODULE: Final = 1001
WITHOUT_LIMIT: Final = 10**15
MANY: Final = 30_000
CHUNK: Final = 20_000
MIB: Final = 2**20
LOG_BYTES_A_SECOND: Final = 12 * MIB
LOG_BYTES_MAX: Final = 5120 * MIB  # below max_wal_size, at which the server begins to write over them by itself


class GroundError(Exception):
    """The folder cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a new folder is given."""

    modules: int = 2_560  # the largest profile's, the storm's, and the limit's
    cards: int = 10_000  # that runs use
    fresh_cards: int = 10_000  # that runs sell


@dataclass(frozen=True, slots=True)
class Ground:
    """An opened folder."""

    folder: Path
    database: Database = field(repr=False)
    admin_dsn: str = field(repr=False)
    postmaster: int
    key_encryption_key: bytes = field(repr=False)
    modules: tuple[ModuleIdentity, ...]
    cards: Cards
    fresh_cards: Cards

    def ask(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Let `work` ask the database as the issuer's owner."""
        return asyncio.run(_as_owner(self.database, work))

    async def connect(self) -> Connection:
        """A connection as the issuer's owner, for whoever keeps one open."""
        return await _connect(self.database)

    def rules(self) -> tuple[Registry, KeyRing]:
        """The issuer's rules and keys, as a switch loads them."""

        async def load() -> Rules:
            async with open_door(self.database.switch_dsn, schema=self.database.schema, connections=1) as door:
                rules = Rules(self.key_encryption_key)
                await rules.load(door)
            return rules

        rules = trio.run(load)
        return rules.registry, rules.ring

    def keep_cards(self, cards: int, fresh_cards: int) -> None:
        """Note that the folder holds so many cards for runs to use, and behind them so many to sell."""
        kit = json.loads((self.folder / KIT).read_text()) | {"cards": cards, "fresh_cards": fresh_cards}
        (self.folder / KIT).write_text(json.dumps(kit))

    def make_log(self, seconds: float) -> None:
        """Have the server's log ready for so many seconds of load, as a server has it that served before.

        A new one makes each file of it, full of zeros, when it is needed, and no commit ends meanwhile: 25 to 50 ms for
        every 16 MiB, on two busy cores. What is written through once is used again after the checkpoint behind it.
        Raises `GroundError` where there is no room for it, as there would be none for the load.
        """
        size, free = min(ceil(seconds * LOG_BYTES_A_SECOND), LOG_BYTES_MAX), shutil.disk_usage(self.folder).free
        if size > free:
            raise GroundError(
                f"{self.folder} needs room for {size // MIB} MiB of the server's log, {free // MIB} are left"
            )
        asyncio.run(_write_through(self.admin_dsn, size))

    def query(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Ask one question as the issuer's owner."""
        return self.ask(lambda connection: connection.fetch(sql, *arguments))


@contextmanager
def open_ground(folder: Path | None = None, size: Size = Size()) -> Iterator[Ground]:
    """Open `folder`, made with `size` where it is missing, or a new one that is removed in the end.

    Raises `GroundError` for a folder that another process uses or that holds something else, and the faults of the
    embedded database.
    """
    if folder is not None:
        with _opened(folder, size) as ground:
            yield ground
        return
    folder = Path(tempfile.mkdtemp(prefix="authsrv-loadtest-"))
    folder.chmod(PASSABLE)
    try:
        with _opened(folder, size) as ground:
            yield ground
    finally:
        _remove(folder)


@contextmanager
def _opened(folder: Path, size: Size) -> Iterator[Ground]:
    if folder.is_file():
        raise GroundError(f"{folder} is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()) and not ((folder / KIT).exists() or (folder / LOCK).exists()):
        raise GroundError(f"{folder} holds something else than load tests; give a new folder, or one that they made")
    embedded.make_folder(folder, None, PASSABLE)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GroundError(f"{folder} is used by another run; wait for it or give another folder") from None
        attachment = embedded.attach(folder, create=True)
        try:
            yield _furnished(folder, attachment, size)
        finally:
            attachment.detach()


def _remove(folder: Path) -> None:
    """Remove a folder in which somebody may still be ending: ^C came while the database was made."""
    deadline = time.monotonic() + REMOVED_WITHIN_S
    while True:
        try:
            shutil.rmtree(folder)
        except OSError:
            if folder.exists() and time.monotonic() >= deadline:
                raise
        if not folder.exists():
            return
        time.sleep(0.1)


def _furnished(folder: Path, attachment: embedded.Attachment, size: Size) -> Ground:
    database = create_issuer_database(attachment.admin_dsn)
    migrate(database.owner_dsn, database.schema)
    key_file = default_file(folder)
    if not key_file.exists():
        make_key_file(key_file, secrets.token_bytes(32))
    key = read_key_file(key_file)
    if not (folder / KIT).exists():
        kit = asyncio.run(_as_owner(database, lambda connection: _furnish(connection, key, size)))
        with os.fdopen(os.open(folder / KIT, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump(kit, out)
    try:
        kit = json.loads((folder / KIT).read_text())
        modules = tuple(ModuleIdentity.from_json(module) for module in kit["modules"])
        many, fresh = int(kit["cards"]), int(kit["fresh_cards"])
    except (ValueError, KeyError, TypeError) as error:
        raise GroundError(f"{folder / KIT} is not what a run has left there ({type(error).__name__})") from None
    cards = Cards(range(many + fresh))
    return Ground(
        folder,
        database,
        attachment.admin_dsn,
        int((folder / "postgres" / "postmaster.pid").read_text().split()[0]),
        key,
        modules,
        cards[:many],
        cards[many:],
    )


async def _furnish(connection: Connection, key: bytes, size: Size) -> dict[str, Any]:
    async with connection.transaction():
        await enrolment.create_issuer(connection, 1, "Load test", zone="UTC", code="EUR", group=1)
        await enrolment.init_keys(connection, key, secrets.token_bytes)
        for number, name in BRANCHES:
            await enrolment.add_branch(connection, number, name)
        gift = parse_programme(files("loyalty").joinpath("programmes", PROGRAMME).read_text("utf-8"), PROGRAMME)
        gift = replace(gift, load_maximum_minor=WITHOUT_LIMIT, balance_maximum_minor=WITHOUT_LIMIT, loads_per_day=MANY)
        await enrolment.add_programme(connection, gift)
        identities = await enrolment.enroll_modules(
            connection,
            key,
            [(FIRST_MODULE + place, BRANCHES[place % 2][0], f"till {place}") for place in range(size.modules)],
            traits=ModuleTraits(bad_cards_per_day=2**31 - 1),
            random=secrets.token_bytes,
        )
        ring = await enrolment.load_ring(connection, key)
        cards = [(card.number, card.access_code) for card in Cards(range(size.cards + size.fresh_cards))]
        for start in range(0, len(cards), CHUNK):
            await enrolment.issue_cards(connection, ring, gift.name, cards[start : start + CHUNK])
    for table in ("cards", "card_numbers"):
        await connection.execute(f"analyze {table}")
    return {
        "modules": [identity.to_json() for identity in identities],
        "cards": size.cards,
        "fresh_cards": size.fresh_cards,
    }


async def _write_through(admin_dsn: str, size: int) -> None:
    connection = await asyncpg.connect(admin_dsn)
    try:
        file: int = await connection.fetchval("select setting::bigint from pg_settings where name = 'wal_segment_size'")
        for _ in range(ceil(size / file)):
            await connection.execute(
                "select pg_logical_emit_message(false, 'load test', 'so that the file is not empty')"
            )
            await connection.execute("select pg_switch_wal()")
        await connection.execute("checkpoint")
    finally:
        await connection.close()


async def _as_owner(database: Database, work: Callable[[Connection], Awaitable[T]]) -> T:
    connection = await _connect(database)
    try:
        return await work(connection)
    finally:
        await connection.close()


async def _connect(database: Database) -> Connection:
    connection: Connection = await asyncpg.connect(database.owner_dsn, server_settings={"search_path": database.schema})
    return connection
