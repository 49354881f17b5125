"""One wait for all connections of a process.

A task for each connection would cost about 60 us of CPU for every wake-up and its memory for every idle module. So all
sockets are watched by one selector, whose own descriptor is the one thing that Trio waits for; when it is readable, all
that is ready is dealt with in one sweep, before anybody else runs. So requests that came together meet in one batch.

What must hold: who is called does not block and raises nothing; a sweep gives each socket one turn, so that none can
keep the others waiting; between two sweeps all other tasks run, and also within one that has taken too long. Those who
sign on are watched by a poll of their own with short sweeps: agreeing on keys takes a hundred times longer than reading
a request, and when the power comes back to a whole chain, those who work must not wait for those who come.
"""

import selectors
import socket
from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import Final

import trio

READABLE: Final = selectors.EVENT_READ
WRITABLE: Final = selectors.EVENT_WRITE

Ready = Callable[[int], None]


class Poll:
    """The sockets that are watched, each with whom to call when it is `READABLE`, `WRITABLE` or both."""

    def __init__(self, sweep_s: float = inf) -> None:
        """Let others run after `sweep_s` seconds of a sweep."""
        self._selector = selectors.DefaultSelector()
        self._sweep_s = sweep_s

    def watch(self, watched: socket.socket, events: int, ready: Ready) -> None:
        """Begin to watch a socket; what went wrong with it shows as whatever is watched for."""
        self._selector.register(watched, events, ready)

    def change(self, watched: socket.socket, events: int, ready: Ready) -> None:
        """Watch it for other events."""
        self._selector.modify(watched, events, ready)

    def forget(self, watched: socket.socket) -> None:
        """Watch it no longer; to be called before it is closed."""
        self._selector.unregister(watched)

    async def run(self) -> None:
        """Sweep for ever."""
        select, descriptor = self._selector.select, self._selector.fileno()  # epoll and kqueue have one
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            rest_at = perf_counter() + self._sweep_s
            for key, events in select(0):
                key.data(events)  # one that was forgotten meanwhile is told too, and has to know
                if perf_counter() >= rest_at:
                    await trio.lowlevel.checkpoint()
                    rest_at = perf_counter() + self._sweep_s

    def close(self) -> None:
        """Give the selector's own descriptor back."""
        self._selector.close()
