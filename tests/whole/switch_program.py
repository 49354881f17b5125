"""A program that tests start beside themselves: switches in processes of their own, that can be killed and that can be
made to fail at an exact place.

It imports once and forks a switch for each order, so that fifty deaths cost fifty forks. An order is a line of JSON on
its input, what happens is a line of JSON on its output, with the process that it happened to. When its input ends it
kills what it has started.

The faults are planted from outside, around the seams of the switch (`store.commit`, `lanes.transact`): the product
knows nothing of them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from authsrv.shell import lanes
from authsrv.shell.serve import Service, run_switch
from ledger.shell import door, store
from ledger.shell.exchange import exchange_of
from protocol.switch import Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from ledger.batch import Gathered, Lookup
    from ledger.shell.door import Connection

Decide = Callable[[Any], Any]

LIMITS = Limits(idle_s=3600)  # a test decides itself when a session ends


def tell(pid: int | None = None, **happened: Any) -> None:
    """One line of output, written at once and whole."""
    os.write(1, json.dumps({"pid": pid or os.getpid(), **happened}).encode() + b"\n")


# Faults


def die_after_commit(at: int) -> None:
    """The process is killed when COMMIT number `at` is confirmed, before anybody has heard of it."""
    commit, count = store.commit, itertools.count(1)

    async def commit_and_die(connection: Connection, *sent: Any) -> None:
        await commit(connection, *sent)
        if next(count) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    store.commit = commit_and_die


def kill_server_in_commit(pid_file: str, delays_s: Sequence[float]) -> None:
    """After each SIGUSR1: every process of the PostgreSQL server is killed when the next COMMIT has been sent, one of
    `delays_s` in turn later, and before its answer can be read. Names are told before their COMMIT is sent."""
    commit, transact, delays = store.commit, store.transact, itertools.cycle(delays_s)
    in_hand: dict[Connection, list[list[int]]] = {}
    armed: list[bool] = []
    signal.signal(signal.SIGUSR1, lambda *_: armed.append(True))

    def transact_told(
        lookups: Sequence[Lookup], decide: Decide, *more: Any, **named: Any
    ) -> Callable[[Connection], Awaitable[Any]]:
        async def told(connection: Connection) -> Any:
            def note_and_decide(gathered: Gathered) -> Any:
                answers, writes = decide(gathered)
                in_hand[connection] = [[row.name.module, row.name.sequence] for row in writes.authorizations]
                return answers, writes

            return await transact(lookups, note_and_decide, *more, **named)(connection)

        return told

    def tell_when_it_goes(connection: Connection) -> None:
        exchange = exchange_of(connection)
        send = exchange._send

        def send_told(data: bytes) -> None:
            exchange._send = send
            if b"commit\0" in data:  # a connection that was lost by then sends none
                tell(committing=in_hand[connection])
            send(data)

        exchange._send = send_told

    async def commit_and_kill(connection: Connection, *sent: Any) -> None:
        if not connection.is_closed():
            tell_when_it_goes(connection)
        if not armed:
            await commit(connection, *sent)
            return
        armed.clear()
        server = processes_of_server(Path(pid_file))
        sending = asyncio.ensure_future(commit(connection, *sent))
        await asyncio.sleep(0)  # it runs up to its first wait, which is the one for the answer
        time.sleep(next(delays))  # noqa: ASYNC251 - so that nobody can read the answer meanwhile
        for pid in server:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        tell(killed_at=time.time())
        await sending

    store.commit, lanes.transact = commit_and_kill, transact_told


def stop_in_first_batch(before: str) -> None:
    """The process is stopped in its first batch, with its locks held, before it writes or before it commits."""
    transact, commit, count = store.transact, store.commit, itertools.count(1)

    def stop_once() -> None:
        if next(count) == 1:
            tell(stopping=True)
            os.kill(os.getpid(), signal.SIGSTOP)

    def transact_stopped(
        lookups: Sequence[Lookup], decide: Decide, *more: Any, **named: Any
    ) -> Callable[[Connection], Awaitable[Any]]:
        def stop_and_decide(gathered: Gathered) -> Any:
            stop_once()
            return decide(gathered)

        return transact(lookups, stop_and_decide, *more, **named)

    async def stop_and_commit(connection: Connection, *sent: Any) -> None:
        stop_once()
        await commit(connection, *sent)

    if before == "commit":
        store.commit = stop_and_commit
    else:
        lanes.transact = transact_stopped


def clock_is_off(by_s: float) -> None:
    """The host's clock is so many seconds ahead of the database's, or behind it."""
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + by_s
    time.time_ns = lambda: right_ns() + int(by_s * 10**9)


FAULTS = {
    fault.__name__: fault for fault in (die_after_commit, kill_server_in_commit, stop_in_first_batch, clock_is_off)
}


def processes_of_server(pid_file: Path) -> list[int]:
    """A PostgreSQL server and its children, which would otherwise end in their own time."""
    parent, children = int(pid_file.read_text().split()[0]), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    children.append(int(entry.name))
    return [parent, *children]


# Processes


async def serve(order: dict[str, Any]) -> None:
    """Be a switch until killed."""
    service = Service(port=order["port"], lanes=order["lanes"], limits=LIMITS)
    async with trio.open_nursery() as nursery:
        [(_, port)] = await nursery.start(
            run_switch, service, order["dsn"], order["schema"], bytes.fromhex(order["kek"]), trio.Event()
        )
        tell(port=port)


def be_a_switch(order: dict[str, Any]) -> None:
    """The whole life of a child."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.close(0)
    if "idle_in_transaction_ms" in order:
        door.IDLE_IN_TRANSACTION_TIMEOUT_MS = order["idle_in_transaction_ms"]
    for name, arguments in order["faults"].items():
        FAULTS[name](**arguments)
    try:
        trio.run(serve, order)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise
    finally:
        os._exit(1)


def main() -> None:
    """Fork a switch for each order; tell of each that has ended."""
    living: set[int] = set()

    def reap(*_: object) -> None:
        with suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                living.discard(pid)
                tell(pid, ended=True)

    signal.signal(signal.SIGCHLD, reap)
    for line in iter(sys.stdin.readline, ""):
        pid = os.fork()
        if pid == 0:
            be_a_switch(json.loads(line))
        living.add(pid)
        tell(pid, started=True)
    for pid in list(living):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
