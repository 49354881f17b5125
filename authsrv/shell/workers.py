"""Several processes that serve one port: one interpreter runs on one core, and a host has several.

Workers share nothing but the port, the database and the dealing of connections (`deal.py`), so that nothing here is
needed for any law (law 8). What must hold:
  * Whoever stops the first process stops them all: it hands SIGTERM on, and SIGINT as SIGTERM.
  * No worker outlives it: each holds one end of a pipe whose other end only the first process has.
  * A worker that was killed is started again after a moment, and again where it cannot begin just then (the database
    takes no connection): the others serve meanwhile.
  * One of the first that ends by itself has a reason that the others share (a database that is not fit, a port that is
    taken), so all of them end, with its exit code. So do they where nobody is left to serve.

The first process forks before anything has been started, holds no connection and waits for signals alone.
"""

import logging
import os
import signal
from collections.abc import Iterator
from typing import Final, NamedTuple

from authsrv.shell.deal import ABSENT, Deal, Table

logger = logging.getLogger(__name__)

AGAIN_S: Final = 1.0
_STOPPING: Final = frozenset((signal.SIGTERM, signal.SIGINT))
_WAITED: Final = _STOPPING | {signal.SIGCHLD}


class Worker(NamedTuple):
    """One of the processes; `lifeline` is a file descriptor that ends when the first process is gone."""

    place: int  # from 0
    lifeline: int
    deal: Deal


def fork(count: int) -> Worker:
    """Return in each of `count` new processes; the process that calls ends with them, by SystemExit."""
    lifeline, held = os.pipe()
    table = Table(count)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    to_begin, running = list(range(count)), dict[int, int]()
    to_begin_again: list[int] = []
    killed: set[int] = set()
    stopping, code = False, 0
    while True:
        for place in to_begin:
            pid = os.fork()
            if not pid:
                os.close(held)
                os.setpgid(0, 0)  # ^C comes from the first process alone, and once
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED)
                return Worker(place, lifeline, Deal(table, place))
            running[pid] = place
        to_begin = []
        if not running and not to_begin_again:
            raise SystemExit(code)
        told = signal.sigtimedwait(_WAITED, AGAIN_S) if to_begin_again else signal.sigwaitinfo(_WAITED)
        if told is None:
            to_begin, to_begin_again = to_begin_again, []
        elif told.si_signo in _STOPPING:
            stopping = True
            _stop(running)
        for pid, status in _ended():
            place = running.pop(pid)
            table.set_open(place, ABSENT)
            if os.WIFSIGNALED(status) and not stopping:
                logger.error("worker %d was killed by signal %d; it is started again", place, os.WTERMSIG(status))
                killed.add(place)
                to_begin_again.append(place)
                continue
            serving = any(each not in killed or table.is_there(each) for each in running.values())
            if place in killed and serving and not stopping:
                logger.error("worker %d could not go on in its place; it is tried again", place)
                to_begin_again.append(place)
                continue
            code = code or abs(os.waitstatus_to_exitcode(status))
            if not stopping:
                stopping = True
                _stop(running)
        if stopping:
            to_begin_again = []


def _stop(running: dict[int, int]) -> None:
    for pid in running:
        os.kill(pid, signal.SIGTERM)


def _ended() -> Iterator[tuple[int, int]]:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, status
