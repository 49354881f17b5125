"""A day at the tills, on this machine, from nothing: database, issuer, switch, modules, receipts.

The switch runs here, on a real socket; the tills are the module's own program in a process of its own, which knows
nothing but the kit file. Whatever an earlier demo left behind, killed or not, is taken over: its database server is
adopted, its issuer gets further modules and cards. What is not the demo's is left alone: the schema is called `demo`,
and one that holds another issuer is refused.
"""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Final

import asyncpg
import trio

from authsrv.card_number import card_number, serials
from authsrv.shell.enrolment import (
    EnrolmentError,
    ModuleTraits,
    add_branch,
    add_programme,
    create_issuer,
    enroll_modules,
    init_keys,
    issue_cards,
    issuer_row,
    load_ring,
)
from authsrv.shell.key_file import default_file, make_key_file, read_key_file
from authsrv.shell.kit import KitCard, new_kit
from authsrv.shell.serve import run_switch, service_of
from authsrv.shell.settings import Address, Settings
from ledger.shell.database import open_database
from ledger.shell.door import Connection
from ledger.shell.migrate import migrate
from loyalty.programme import Kind, Programme
from loyalty.source import parse_programme, programme_document

SCHEMA: Final = "demo"
ISSUER: Final = "Demo Coffee"
NUMBER: Final = 999
BRANCHES: Final = ((1, "Old Town"), (2, "Harbour"))
TILLS: Final = 4
PROGRAMMES: Final = ("gift", "visits", "credit")
SWIMMING: Final = "swimming"  # a pass of which each entry is a visit
CARDS: Final = (
    *(("gift", place % 2 == 0) for place in range(8)),
    ("visits", False),
    (SWIMMING, False),
    ("credit", True),
)
"""The programme of each card in the kit, and whether it has an access code."""
PREFIX: Final = "637112"
KEY_BYTES: Final = 32


def demo_folder() -> Path:
    """Where a demo lives that is not told: in the user's own folders, for root where the database's user can enter."""
    if os.geteuid() == 0:
        return Path("/var/lib/authsrv-demo")
    data_home = os.environ.get("XDG_DATA_HOME")
    return (Path(data_home) if data_home else Path.home() / ".local" / "share") / "authsrv-demo"


async def demo(settings: Settings, *, once: bool) -> int:
    """Play the day; then end (`once`) or stay until SIGINT or SIGTERM. The exit code of the tills: 0 if all went as
    it should.

    Raises EnrolmentError for a schema that is not a demo's, and what the database, the key file and `run_switch` do.
    """
    folder = settings.data_dir or demo_folder()
    folder.mkdir(parents=True, exist_ok=True)
    key_file = settings.key_file or default_file(folder)
    kit_file = folder / "demo-kit.json"
    dsn = settings.database.get_secret_value() if settings.database else None
    _say(f"Database: {'the server of --database' if dsn else f'embedded, in {folder}'}; schema {SCHEMA}")
    place = {"dsn": dsn} if dsn else {"data_dir": folder}
    async with open_database(**place, schema=SCHEMA, create=True) as database:
        await trio.to_thread.run_sync(migrate, database.owner_dsn, SCHEMA)
        if not key_file.exists():
            make_key_file(key_file, secrets.token_bytes(KEY_BYTES))
        kek = read_key_file(key_file)
        await _as_owner(database.owner_dsn, lambda connection: _found(connection, kek))
        service = service_of(settings)
        stop = trio.Event()
        async with trio.open_nursery() as listening:
            listening.start_soon(_stop_on_signal, stop, listening.cancel_scope)
            async with trio.open_nursery() as serving:
                addresses = await serving.start(run_switch, service, database.switch_dsn, SCHEMA, kek, stop)
                address = Address(*addresses[0])
                kit_file.unlink(missing_ok=True)
                await _as_owner(database.owner_dsn, lambda connection: _furnish(connection, kek, address, kit_file))
                _say(f"Switch:   listening on {address}")
                _say(f"Kit:      {kit_file} (keys of {TILLS} tills and a desk, {len(CARDS)} cards with their codes)\n")
                result = await _play(kit_file, stop)
                if not once and not stop.is_set():
                    _say(_BY_HAND.format(kit=kit_file, place="--database DSN" if dsn else f"--data-dir {folder}"))
                    await stop.wait()
                stop.set()
            listening.cancel_scope.cancel()
        return result


_BY_HAND: Final = """
The switch stays up. In another window, from this folder:

  .venv/bin/authsrv-terminal --help
  .venv/bin/authsrv-terminal --kit {kit} balance --card 1
  .venv/bin/authsrv-terminal --kit {kit} sale 5.00 --card 1
  .venv/bin/authsrv-terminal --kit {kit} till
  .venv/bin/authsrv db status {place}

Ctrl-C ends it."""


async def _stop_on_signal(stop: trio.Event, scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            if stop.is_set():
                scope.cancel()
            stop.set()


async def _as_owner(dsn: str, work: Callable[[Connection], Awaitable[None]]) -> None:
    """Do `work` as the issuer's owner, in one transaction."""

    async def errand() -> None:
        connection = await asyncpg.connect(dsn, server_settings={"search_path": SCHEMA})
        try:
            async with connection.transaction():
                await work(connection)
        finally:
            await connection.close()

    await trio.to_thread.run_sync(lambda: asyncio.run(errand()))


async def _found(connection: Connection, kek: bytes) -> None:
    """Make the demo's issuer with its keys and branches, where an earlier demo has not, and its programmes."""
    name = await connection.fetchval("select name from issuer")
    if name is not None and name != ISSUER:
        raise EnrolmentError(
            f"the schema {SCHEMA} holds the issuer {name}, which is not the demo's; give the demo a place of its own"
        )
    if name is None:
        await create_issuer(connection, NUMBER, ISSUER, zone="Europe/Riga", code="EUR", group=NUMBER)
        await init_keys(connection, kek, secrets.token_bytes)
        for number, branch in BRANCHES:
            await add_branch(connection, number, branch)
    for programme in _programmes():
        await _keep_up(connection, programme)


def _programmes() -> Iterator[Programme]:
    for kind in PROGRAMMES:
        file = files("loyalty").joinpath("programmes", f"{kind}.toml")
        programme = parse_programme(file.read_text("utf-8"), file.name)
        yield programme
        if programme.kind is Kind.VISITS:
            yield replace(programme, name=SWIMMING, title="10 swims", same_visit_minutes=0, visits_per_day=None)


async def _keep_up(connection: Connection, programme: Programme) -> None:
    """Load a programme, or from today on what has changed of it since an earlier demo."""
    loaded = await connection.fetchrow(
        """select p.version, p.effective_from, p.document::text, (clock_timestamp() at time zone i.zone)::date as today
             from switch_programmes p, issuer i where p.name = $1 order by p.version desc limit 1""",
        programme.name,
    )
    if loaded is not None:
        programme = replace(programme, version=loaded["version"], effective_from=loaded["effective_from"])
        if json.loads(loaded["document"]) == programme_document(programme):
            return
        programme = replace(programme, version=loaded["version"] + 1, effective_from=loaded["today"])
    await add_programme(connection, programme)


async def _furnish(connection: Connection, kek: bytes, address: Address, kit_file: Path) -> None:
    """Enrol new tills and issue new cards, and write both into a new kit file."""
    issuer = await issuer_row(connection)
    last = await connection.fetchval("select coalesce(max(number), 1000) from modules")
    modules = [(last + 1 + place, BRANCHES[place % len(BRANCHES)][0], f"Till {place + 1}") for place in range(TILLS)]
    identities = await enroll_modules(connection, kek, modules, random=secrets.token_bytes)
    desk = [(last + 1 + TILLS, BRANCHES[0][0], "Desk")]
    traits = ModuleTraits(desk=True)
    identities += await enroll_modules(connection, kek, desk, traits=traits, random=secrets.token_bytes)
    cards = [(programme, _new_card(coded=coded)) for programme, coded in CARDS]
    ring = await load_ring(connection, kek)
    for programme, card in cards:
        await issue_cards(connection, ring, programme, [card])
    branches = [branch for _, branch, _ in (*modules, *desk)]
    with new_kit(kit_file) as kit:
        kit.begin(address, issuer["currency"], issuer["exponent"], list(zip(identities, branches, strict=True)))
        kit.cards(KitCard(number, code, programme) for programme, (number, code) in cards)
        kit.end()


def _new_card(*, coded: bool) -> tuple[str, str | None]:
    number = card_number(PREFIX, secrets.randbelow(serials(PREFIX)))
    return number, f"{secrets.randbelow(10_000):04d}" if coded else None


async def _play(kit_file: Path, stop: trio.Event) -> int:
    """Let the tills play their day, or as much of it as there is before `stop`.

    Their end of the pipe tells them to end, also when this process is gone, however it went. They have a process group
    of their own, so that a Ctrl-C comes to this process alone.
    """
    tills = [sys.executable, "-m", "terminal", "play", "--end-with-input", "--kit", str(kit_file)]
    run = partial(trio.run_process, tills, stdin=subprocess.PIPE, check=False, start_new_session=True)
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)

        async def end_early() -> None:
            await stop.wait()
            if process.stdin is not None:
                await process.stdin.aclose()

        nursery.start_soon(end_early)
        result = await process.wait()
        nursery.cancel_scope.cancel()
    return result


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - this is what the demo is for
