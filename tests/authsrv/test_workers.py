"""Several processes on one port: they begin, die and end as one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import trio
from running_switch import LOADED, SOLD
from shop import KEK, OTHER, TILLS, Shop
from wire_client import connect

from protocol.numbers import Command, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WORKERS = 2
PATIENCE_S = 20
CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


@dataclass
class Program:
    """`authsrv serve --workers 2`, and what all its processes log."""

    process: trio.Process
    port: int
    logged: str = ""

    async def logs(self, text: str, times: int) -> None:
        """Wait until this was logged so often."""
        while self.logged.count(text) < times:
            assert await self._read(), self.logged

    async def ends(self) -> int:
        """Its exit status, when no process holds the other end of its log any more."""
        while await self._read():
            pass
        with trio.fail_after(PATIENCE_S):
            return await self.process.wait()

    async def _read(self) -> bool:
        assert self.process.stderr is not None
        with trio.fail_after(PATIENCE_S):
            data = await self.process.stderr.receive_some(4096)
        self.logged += data.decode()
        return bool(data)

    def workers(self) -> list[int]:
        """Their process ids."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    async def does(self, shop: Shop, command: Command, amount: int) -> None:
        """Whoever the kernel gives the connection to, it is approved."""
        async with connect(("127.0.0.1", self.port)) as wire:
            caller = await wire.sign_on(shop, shop.identities[TILLS[0]])
            assert (await caller.ask(command, card=OTHER, amount=amount)).result == Result.APPROVED

    async def sells(self, shop: Shop, amount: int) -> None:
        """The same of a sale."""
        await self.does(shop, Command.SALE, amount)


def sockets(pid: int) -> int:
    """How many TCP connections a process has open."""
    ours = {line.split()[9] for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]}
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(link.removeprefix("socket:[").removesuffix("]") in ours for link in links)


@asynccontextmanager
async def program(shop: Shop, *further: str, taken: socket.socket | None = None) -> AsyncIterator[Program]:
    """Two workers over the shop's database, on a port that is free or that `taken` holds."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = (taken or free).getsockname()[1]
    process = await trio.lowlevel.open_process(
        [
            sys.executable,
            "-m",
            "authsrv",
            "serve",
            "--workers",
            str(WORKERS),
            "--listen",
            f"127.0.0.1:{port}",
            *further,
        ],
        env=os.environ | {"AUTHSRV_DATABASE": shop.switch_dsn, "AUTHSRV_SCHEMA": shop.schema, "AUTHSRV_KEK": KEK.hex()},
        stderr=subprocess.PIPE,
    )
    try:
        yield Program(process, port)
    finally:
        process.kill()
        await process.wait()


async def test_a_killed_worker_is_started_again_and_all_end_on_sigterm(shop: Shop) -> None:
    """Every connection is served, before and after; one SIGTERM to the first process drains them all, exit 0."""
    async with program(shop) as switch:
        await switch.logs("listening on", WORKERS)
        await switch.does(shop, Command.ACTIVATE, LOADED)
        for _ in range(8):
            await switch.sells(shop, 1)
        killed, kept = switch.workers()
        os.kill(killed, signal.SIGKILL)
        await switch.logs("listening on", WORKERS + 1)
        assert "was killed by signal 9" in switch.logged
        now = switch.workers()
        assert kept in now
        assert killed not in now
        assert len(now) == WORKERS
        await switch.sells(shop, SOLD)
        switch.process.send_signal(signal.SIGTERM)
        assert await switch.ends() == 0
        assert switch.logged.count("draining") == WORKERS
    assert await shop.balance(OTHER) == LOADED - 8 - SOLD
    await shop.check_books()


async def test_a_killed_worker_that_cannot_begin_again_ends_nobody(shop: Shop) -> None:
    """While its successor is refused by the database the other one serves; when that is over there are two again."""
    async with program(shop) as switch:
        await switch.logs("listening on", WORKERS)
        await switch.does(shop, Command.ACTIVATE, LOADED)
        [[version]] = await shop.query("select version_num from schema_version")
        await shop.query("update schema_version set version_num = '9999'")
        killed, kept = switch.workers()
        os.kill(killed, signal.SIGKILL)
        await switch.logs("it is tried again", 2)
        await switch.sells(shop, SOLD)
        await shop.query("update schema_version set version_num = $1", version)
        await switch.logs("listening on", WORKERS + 1)
        assert kept in switch.workers()
        switch.process.send_signal(signal.SIGTERM)
        assert await switch.ends() == 0


async def test_where_nobody_is_left_to_serve_all_ends(shop: Shop) -> None:
    """Both are killed and neither can begin again: the first process ends as they did, for whoever watches over it."""
    async with program(shop) as switch:
        await switch.logs("listening on", WORKERS)
        await shop.query("update schema_version set version_num = '9999'")
        for worker in switch.workers():
            os.kill(worker, signal.SIGKILL)
        assert await switch.ends() == 1


async def serving(shop: Shop) -> set[int]:
    """The processes of the server that work for whoever has the switch's role."""
    rows = await shop.query("select pid from pg_stat_activity where usename = $1", urlsplit(shop.switch_dsn).username)
    return {row["pid"] for row in rows}


@pytest.mark.skipif(len(CORES) != WORKERS, reason="there is not one core for each of two workers")
async def test_each_worker_keeps_to_a_core_with_those_that_work_for_it(shop: Shop) -> None:
    """The one that takes a killed one's place too; nobody does where it is not wanted, or they have several lanes."""
    others = await serving(shop)
    try:
        os.sched_setaffinity(min(others), CORES)
    except PermissionError:
        pytest.skip("nobody here may bind the server's processes")

    async def cores(switch: Program) -> tuple[set[frozenset[int]], set[frozenset[int]]]:
        """On which its workers may run, and on which those of the server that work for them."""
        pids = set(switch.workers()), await serving(shop) - others
        workers, servers = [{frozenset(os.sched_getaffinity(pid)) for pid in each} for each in pids]
        return workers, servers

    each_on_its_own, anywhere = {frozenset({core}) for core in CORES}, {frozenset(CORES)}
    async with program(shop) as switch:
        await switch.logs("listening on", WORKERS)
        assert await cores(switch) == (each_on_its_own, each_on_its_own)
        os.kill(switch.workers()[0], signal.SIGKILL)
        await switch.logs("listening on", WORKERS + 1)
        assert await cores(switch) == (each_on_its_own, each_on_its_own)
        assert switch.logged.count("keeping to core") == WORKERS + 1
        switch.process.send_signal(signal.SIGTERM)
        assert await switch.ends() == 0
    for further in (("--keep-to-cores", "false"), ("--lanes", "2")):
        async with program(shop, *further) as switch:
            await switch.logs("listening on", WORKERS)
            assert await cores(switch) == (anywhere, anywhere)
            switch.process.send_signal(signal.SIGTERM)
            assert await switch.ends() == 0


async def test_connections_are_dealt_evenly(shop: Shop) -> None:
    """Of twenty that stay every two are one for each worker, whatever the kernel makes of their addresses; all are
    served."""
    async with program(shop) as switch, AsyncExitStack() as open_ones:
        await switch.logs("listening on", WORKERS)
        before = [sockets(worker) for worker in switch.workers()]
        for each in range(1, 11):
            for till in TILLS[:1] * 2:
                wire = await open_ones.enter_async_context(connect(("127.0.0.1", switch.port)))
                caller = await wire.sign_on(shop, shop.identities[till])
                assert (await caller.ask(Command.ECHO)).result == Result.APPROVED
            after = [sockets(worker) for worker in switch.workers()]
            assert [now - then for now, then in zip(after, before, strict=True)] == [each, each]


async def test_no_worker_outlives_the_first_process(shop: Shop) -> None:
    """Killed without a chance to hand anything on: they find their lifeline gone, drain and end."""
    async with program(shop) as switch:
        await switch.logs("listening on", WORKERS)
        switch.process.kill()
        assert await switch.ends() == -signal.SIGKILL
        assert switch.logged.count("draining") == WORKERS


async def test_a_refusal_ends_all(shop: Shop) -> None:
    """A schema that a worker must not serve is refused by both; it is not tried again, and the exit code is 1."""
    await shop.query("update schema_version set version_num = '9999'")
    async with program(shop) as switch:
        assert await switch.ends() == 1
        assert "9999" in switch.logged
        assert "started again" not in switch.logged


async def test_a_port_of_another_program_is_refused(shop: Shop) -> None:
    """Also of one that would share it: its modules would be half of ours."""
    taken = socket.socket()
    with taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with program(shop, taken=taken) as switch:
            assert await switch.ends() == 1
            assert "give another --listen" in switch.logged
