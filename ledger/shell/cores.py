"""One core for a process of ours and those of the server that work for it.

A lane waits while the server works for it, and the server waits while the lane decides, so the two seldom want a core
at the same moment. Left to itself the kernel wakes either on whichever core is idle: there it finds the caches of the
other pair, and must first wake the core. Kept together they did 1 to 12 % more on two busy cores
(`loadtest/RESULTS.md`).

What must hold: it is for speed only (law 8). Where the server is elsewhere, has been given other cores than we have,
shows us no process of its own, or has it under an account that we have no power over, it runs where it did, and so do
we, unless we were bound before. No other process than one of that server's is bound, whatever number the server gives:
it may count its processes in a namespace of its own.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path
from typing import Final, NamedTuple

_CREDENTIALS: Final = struct.Struct("3i")  # process, user, group


class Core(NamedTuple):
    """One of the cores that we may use, by the kernel's numbers."""

    number: int
    among: frozenset[int]


def core_of(place: int, processes: int) -> Core | None:
    """The core for the process at `place` of so many, where there is one for each of them and none besides."""
    if sys.platform != "linux":
        return None
    cores = os.sched_getaffinity(0)
    return Core(sorted(cores)[place], frozenset(cores)) if len(cores) == processes else None


def share_core(core: Core, end: socket.socket, process: int) -> bool:
    """Keep the calling thread and the server's `process` behind a connection to one core.

    Args:
        core: which.
        end: our end of the connection.
        process: the number that the server gives of the process that serves it.

    False, and nobody is bound who was not before, where that process is not to be bound by us.

    """
    if sys.platform != "linux":
        return False
    try:
        listener = _listener(end)
        if not listener or _parent(process) != listener or os.sched_getaffinity(process) != core.among:
            return False
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core.number})
    except (OSError, ValueError, IndexError):
        return False
    try:
        os.sched_setaffinity(process, {core.number})
    except OSError:
        os.sched_setaffinity(0, before)
        return False
    return True


def _listener(end: socket.socket) -> int:
    """The process that listens where a connection was made; 0 where it is elsewhere or we cannot see it."""
    return int(_CREDENTIALS.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0])


def _parent(process: int) -> int:
    # Behind the name, which may hold anything: the state, then the parent.
    return int(Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[1])
