"""A process of ours and those of the server that work for it on one core; and nobody else there."""

from __future__ import annotations

import os
import shutil
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

from ledger.shell.cores import Core, core_of, share_core
from ledger.shell.door import open_door

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Issuer

    from ledger.shell.door import Connection

T = TypeVar("T")
CORES = sorted(os.sched_getaffinity(0))
LAST = Core(CORES[-1], frozenset(CORES))
NOBODY = 65_534
pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="on one core all keep to it anyway")


def bindable(process: int) -> bool:
    """The server runs under an account of its own where we are root, and root may lack the power over it."""
    try:
        os.sched_setaffinity(process, os.sched_getaffinity(process))
    except PermissionError:
        return False
    return True


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
def child(program: bytes = b"/bin/sleep") -> Iterator[int]:
    """A process that whoever listens has begun, as the server begins one for each connection."""
    with subprocess.Popen([program, b"60"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("usable", [1, 2])
def test_there_is_a_core_for_each_where_there_are_as_many(usable: int) -> None:
    """With a core more or less than processes nobody has one of its own."""

    def cores() -> list[list[Core | None]]:
        os.sched_setaffinity(0, CORES[-usable:])
        return [[core_of(place, processes) for place in range(processes)] for processes in (1, 2, 3)]

    of = apart(cores)
    assert of.pop(usable - 1) == [Core(each, frozenset(CORES[-usable:])) for each in CORES[-usable:]]
    assert of == [[None] * len(each) for each in of]


@pytest.mark.parametrize("core", CORES[:2])
def test_we_and_all_that_serve_us_keep_to_the_core(issuer: Issuer, core: int) -> None:
    """Of all connections, of one that takes a lost one's place too; the server itself and what serves others do not."""

    async def serving(connection: Connection) -> int:
        number: int = await connection.fetchval("select pg_backend_pid()")
        return number

    async def look() -> tuple[list[set[int]], set[int], set[int]] | None:
        async with (
            open_door(issuer.switch_dsn, schema=issuer.schema, connections=2, core=LAST._replace(number=core)) as door,
            open_door(issuer.admin_dsn, schema=issuer.schema, connections=1) as other,
        ):
            others = await other.run(serving)
            if not bindable(others):
                return None
            lost = await door.run(serving)
            await other.run(lambda connection: connection.fetchval("select pg_terminate_backend($1, 5000)", lost))
            bound = [os.sched_getaffinity(each) for each in (await door.run(serving), 0)]
            return bound, os.sched_getaffinity(others), os.sched_getaffinity(os.getpid())

    seen = apart(lambda: trio.run(look))
    if seen is None:
        pytest.skip("nobody here may bind the server's processes")
    bound, others, main_thread = seen
    assert bound == [{core}, {core}]
    assert others == main_thread == set(CORES)


def shared(end: socket.socket, process: int) -> tuple[bool, set[int], set[int]]:
    """Whether they share the last core, and where the process and the thread that asked for it may run then."""
    return apart(lambda: (share_core(LAST, end, process), os.sched_getaffinity(process), os.sched_getaffinity(0)))


def test_only_who_serves_the_connection_is_bound(tmp_path: Path) -> None:
    """A number that means somebody else here: the server counts its processes in another namespace, or a pool lies."""
    with connected(tmp_path) as end, child() as ours:
        somebody = os.sched_getaffinity(os.getppid())
        assert shared(end, os.getppid()) == (False, somebody, set(CORES))
        assert shared(end, ours) == (True, {LAST.number}, {LAST.number})


def test_a_process_may_have_any_name(tmp_path: Path) -> None:
    """The kernel tells its parent behind its name, whatever bytes and brackets that has."""
    program = os.fsencode(tmp_path) + b"/caf\xe9) S ("
    shutil.copy("/bin/sleep", program)
    with connected(tmp_path) as end, child(program) as ours:
        assert shared(end, ours) == (True, {LAST.number}, {LAST.number})


def test_a_server_that_was_given_other_cores_keeps_them(tmp_path: Path) -> None:
    """Somebody has dealt the cores between the switch and the database."""
    with connected(tmp_path) as end, child() as ours:
        os.sched_setaffinity(ours, CORES[:1])
        assert shared(end, ours) == (False, set(CORES[:1]), set(CORES))


def test_a_server_elsewhere_binds_nobody() -> None:
    """Its numbers mean nothing here."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as end,
        child() as ours,
    ):
        assert shared(end, ours) == (False, set(CORES), set(CORES))


def test_a_process_that_has_ended_binds_nobody(tmp_path: Path) -> None:
    """It was there when the connection was made."""
    with child() as ended:
        pass
    with connected(tmp_path) as end:
        assert apart(lambda: (share_core(LAST, end, ended), os.sched_getaffinity(0))) == (False, set(CORES))


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another account")
def test_a_process_of_another_account_is_left_alone(tmp_path: Path) -> None:
    """And so are we: bound alone we would wait for it on whichever core it is."""
    with connected(tmp_path) as end, child() as theirs:
        if not (pid := os.fork()):
            alone = False
            try:
                os.setresuid(NOBODY, NOBODY, NOBODY)
                alone = not share_core(LAST, end, theirs) and os.sched_getaffinity(0) == set(CORES)
            finally:
                os._exit(0 if alone else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert os.sched_getaffinity(theirs) == set(CORES)
