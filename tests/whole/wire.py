"""A wire between a till and a switch on which a test can lose what is said, in one direction.

A thread carries it, so that it runs beside tests that wait for a process.
"""

from __future__ import annotations

import select
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE_BYTES = 65_536
LOOK_S = 0.01
PATIENCE_S = 30.0


@dataclass
class Direction:
    """What is said one way: it passes, or is lost, and whoever waits for a loss learns of it."""

    losing: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)

    def lose(self) -> None:
        """Let nothing pass from now on."""
        self.lost.clear()
        self.losing.set()

    def await_lost(self) -> None:
        """Wait until something was lost."""
        assert self.lost.wait(PATIENCE_S), "nothing was said that could be lost"

    def mend(self) -> None:
        """Let everything pass again."""
        self.losing.clear()


@dataclass
class Wire:
    """One port that leads to a switch."""

    port: int
    asking: Direction = field(default_factory=Direction)
    answering: Direction = field(default_factory=Direction)


@contextmanager
def wire_to(address: tuple[str, int]) -> Iterator[Wire]:
    """A wire to this address, until the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire, over = Wire(listener.getsockname()[1]), threading.Event()
        carrier = threading.Thread(target=_carry, args=(wire, listener, address, over))
        carrier.start()
        try:
            yield wire
        finally:
            over.set()
            carrier.join(PATIENCE_S)


def _carry(wire: Wire, listener: socket.socket, address: tuple[str, int], over: threading.Event) -> None:
    ends: dict[socket.socket, tuple[socket.socket, Direction]] = {}
    while not over.is_set():
        for source in select.select([listener, *ends], [], [], LOOK_S)[0]:
            if source is listener:
                till, switch = listener.accept()[0], socket.create_connection(address)
                ends |= {till: (switch, wire.asking), switch: (till, wire.answering)}
            elif source in ends:
                sink, direction = ends[source]
                if not _pass_on(source, sink, direction):
                    for each in (source, sink):
                        del ends[each]
                        each.close()
    for each in ends:
        each.close()


def _pass_on(source: socket.socket, sink: socket.socket, direction: Direction) -> bool:
    """Carry a piece; False where an end has gone."""
    try:
        data = source.recv(PIECE_BYTES)
        if data and direction.losing.is_set():
            direction.lost.set()
        else:
            sink.sendall(data)
    except OSError:
        return False
    return bool(data)
