"""One wait for all connections of a process.

A task for each connection would cost about 60 us of CPU for every wake-up and its memory for every idle module. So all
sockets are watched by one selector, whose own descriptor is the one thing that Trio waits for; when it is readable, all
that is ready is dealt with in one sweep, before anybody else runs. So requests that came together meet in one batch.

What must hold: who is called does not block and raises nothing; a sweep gives each socket one turn, so that none can
keep the others waiting; between two sweeps all other tasks run.
"""

import selectors
import socket
from collections.abc import Callable
from typing import Final

import trio

READABLE: Final = selectors.EVENT_READ
WRITABLE: Final = selectors.EVENT_WRITE

Ready = Callable[[int], None]


class Poll:
    """The sockets that are watched, each with whom to call when it is `READABLE`, `WRITABLE` or both."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

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
            for key, events in select(0):
                key.data(events)

    def close(self) -> None:
        """Give the selector's own descriptor back."""
        self._selector.close()
