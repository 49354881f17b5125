"""A process of ours and those of the server that work for it on one core; and nobody else there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import pytest
import trio

if sys.platform != "linux":
    pytest.skip("only Linux lets a process keep to a core", allow_module_level=True)

from ledger.shell.cores import core_of, share_core
from ledger.shell.door import open_door

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Issuer

    from ledger.shell.door import Connection

T = TypeVar("T")
CORES = sorted(os.sched_getaffinity(0))
NOBODY = 65_534
pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="on one core all keep to it anyway")


def apart(work: Callable[[], T]) -> T:
    """Do it in a thread of its own, for what is bound is a thread, and this one is to stay as it is."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


@contextmanager
def connected(folder: Path) -> Iterator[socket.socket]:
    """Our end of a connection to a socket that we listen on."""
    with (
        socket.socket(socket.AF_UNIX) as listening,
        socket.socket(socket.AF_UNIX) as end,
    ):
        listening.bind(str(folder / "socket"))
        listening.listen()
        end.connect(str(folder / "socket"))
        yield end


@contextmanager
def child() -> Iterator[int]:
    """A process that whoever listens has begun, as the server begins one for each connection."""
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("usable", [1, 2])
def test_there_is_a_core_for_each_where_there_are_as_many(usable: int) -> None:
    """With a core more or less than processes nobody has one of its own."""

    def cores() -> list[list[int | None]]:
        os.sched_setaffinity(0, CORES[-usable:])
        return [[core_of(place, processes) for place in range(processes)] for processes in (1, 2, 3)]

    of = apart(cores)
    assert of.pop(usable - 1) == CORES[-usable:]
    assert of == [[None] * len(each) for each in of]


@pytest.mark.parametrize("core", CORES[:2])
def test_we_and_all_that_serve_us_keep_to_the_core(issuer: Issuer, core: int) -> None:
    """Of all connections, of one that takes a lost one's place too; the server itself and what serves others do not."""

    async def pid_and_parent(connection: Connection) -> int:
        number: int = await connection.fetchval("select pg_backend_pid()")
        return number

    async def look() -> tuple[list[set[int]], set[int], set[int]]:
        async with (
            open_door(issuer.switch_dsn, schema=issuer.schema, connections=2, core=core) as door,
            open_door(issuer.admin_dsn, schema=issuer.schema, connections=1) as other,
        ):
            ours = [await door.run(pid_and_parent)]
            await other.run(lambda connection: connection.fetchval("select pg_terminate_backend($1, 5000)", ours[0]))
            ours = [await door.run(pid_and_parent)]
            bound = [os.sched_getaffinity(each) for each in (*ours, 0)]
            others = await other.run(pid_and_parent)
            return bound, os.sched_getaffinity(others), os.sched_getaffinity(os.getpid())

    bound, others, main_thread = apart(lambda: trio.run(look))
    assert bound == [{core}, {core}]
    assert others == main_thread == set(CORES)


def test_only_who_serves_the_connection_is_bound(tmp_path: Path) -> None:
    """A number that means somebody else here: the server counts its processes in another namespace, or a pool lies."""

    def share(core: int, process: int) -> tuple[bool, set[int], set[int]]:
        done = share_core(core, end, process)
        return done, os.sched_getaffinity(process), os.sched_getaffinity(0)

    with connected(tmp_path) as end, child() as ours:
        core = CORES[-1]
        assert apart(lambda: share(core, os.getppid())) == (False, set(CORES), set(CORES))
        assert apart(lambda: share(core, ours)) == (True, {core}, {core})


def test_a_server_elsewhere_binds_nobody() -> None:
    """Its numbers mean nothing here."""

    def share() -> tuple[bool, set[int], set[int]]:
        done = share_core(CORES[-1], end, ours)
        return done, os.sched_getaffinity(ours), os.sched_getaffinity(0)

    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as end,
        child() as ours,
    ):
        assert apart(share) == (False, set(CORES), set(CORES))


def test_a_process_that_has_ended_binds_nobody(tmp_path: Path) -> None:
    """It was there when the connection was made."""
    with child() as ended:
        pass
    with connected(tmp_path) as end:
        assert apart(lambda: (share_core(CORES[-1], end, ended), os.sched_getaffinity(0))) == (False, set(CORES))


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another account")
def test_a_process_of_another_account_is_left_alone(tmp_path: Path) -> None:
    """And so are we: bound alone we would wait for it on whichever core it is."""
    with connected(tmp_path) as end, child() as theirs:
        if not (pid := os.fork()):
            os.setresuid(NOBODY, NOBODY, NOBODY)
            alone = not share_core(CORES[-1], end, theirs) and os.sched_getaffinity(0) == set(CORES)
            os._exit(0 if alone else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert os.sched_getaffinity(theirs) == set(CORES)
