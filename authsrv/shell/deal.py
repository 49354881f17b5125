"""Connections dealt evenly to the workers of one port.

The kernel gives a connection to one of the sockets that share a port by a hash of its addresses, and there it stays. So
two concentrators with a thousand modules each come to the same of two workers every other time, and of sixteen eleven
may. Whoever accepts a connection therefore hands it to the worker that has the fewest, if that has fewer than itself.

What must hold:
  * It is for speed only (law 8). A worker that can hand over nothing serves what it has accepted, and whatever was
    handed over is let in as if it had been accepted.
  * Nothing is handed to a worker that is not there. It is there from when it begins to accept until it stops, or until
    the first process sees that it has ended; the next one in its place takes what was still on its way to it.
  * One that stands still gets no more than it would take in one turn. One that may open no further file is full until
    it has taken or let go of a connection; what is on its way to it waits.

The counts lie in memory that all processes share, each written by one of them alone; that a number is read a moment
late, or not written as its writer was killed, deals one connection less evenly, and no more.
"""

import mmap
import os
import socket
from contextlib import suppress
from typing import Final

TAKEN_A_TURN: Final = 64
FILES_A_WORKER: Final = 2  # that each process keeps of each
NUMBER_BYTES: Final = 8
ABSENT: Final = 2**62  # more than anybody can have
FULL: Final = 2**61  # the same of one who is there, and has no room


class Table:
    """What the workers know of each other; made by the first process, before there are any."""

    def __init__(self, workers: int) -> None:
        """Nobody is there yet."""
        self.workers: Final = range(workers)
        self._numbers = memoryview(mmap.mmap(-1, NUMBER_BYTES * workers * (2 + workers))).cast("q")
        # Into which a worker is handed, and its own: both stay open everywhere, so that neither ever ends.
        self.ends: Final = [socket.socketpair() for _ in self.workers]
        for end in [end for pair in self.ends for end in pair]:
            end.setblocking(False)
        for worker in self.workers:
            self.set_open(worker, ABSENT)

    def is_there(self, worker: int) -> bool:
        """Whether a worker takes connections, or would if it had room."""
        return self._numbers[worker] < ABSENT

    def load(self, worker: int) -> int:
        """How many connections a worker has or is about to take."""
        return self._numbers[worker] + self.on_the_way(worker)

    def on_the_way(self, worker: int) -> int:
        """How many were handed to a worker that it has not taken."""
        given = sum([self._numbers[self._given(each, worker)] for each in self.workers])
        return given - self._numbers[self._taken(worker)]

    def set_open(self, worker: int, connections: int) -> None:
        """How many connections a worker has open; `FULL`: it has no room; `ABSENT`: it takes none."""
        self._numbers[worker] = connections

    def count_given(self, giver: int, taker: int) -> None:
        """One more is on its way."""
        self._numbers[self._given(giver, taker)] += 1

    def count_taken(self, taker: int) -> None:
        """One more has arrived."""
        self._numbers[self._taken(taker)] += 1

    def _taken(self, taker: int) -> int:
        return len(self.workers) + taker

    def _given(self, giver: int, taker: int) -> int:
        return len(self.workers) * (2 + giver) + taker


class Deal:
    """One worker's part in it."""

    def __init__(self, table: Table, place: int) -> None:
        """Be the worker at `place`."""
        self._table = table
        self._place = place
        self._there = False
        self.inbox: Final = table.ends[place][1]  # readable when there is something to `take`

    def begin(self) -> None:
        """Be there, with no connection."""
        self._there = True
        self.note(0)

    def end(self) -> None:
        """Take no more."""
        self._there = False
        self._table.set_open(self._place, ABSENT)

    def note(self, connections: int) -> None:
        """Tell the others how many connections are open here."""
        if self._there:
            self._table.set_open(self._place, connections)

    def hand_over(self, accepted: socket.socket) -> bool:
        """Give a connection to the worker that has the fewest; False where it is to stay, whatever the reason."""
        table, load = self._table, self._table.load
        takers = [each for each in table.workers if table.on_the_way(each) < TAKEN_A_TURN]
        taker = min(takers, key=load, default=self._place)
        if load(taker) >= min(load(self._place), FULL):
            return False
        try:
            socket.send_fds(table.ends[taker][0], [b"\0"], [accepted.fileno()])
        except OSError:  # it does not come to taking them
            return False
        table.count_given(self._place, taker)
        accepted.close()
        return True

    def take(self) -> socket.socket | None:
        """A connection that was handed over; None where there is none any more.

        Raises OSError where this process may open no further file: then it is full, until it notes how many connections
        it has.
        """
        while True:
            try:
                os.close(os.dup(self.inbox.fileno()))  # a descriptor that there is no room for would be lost
            except OSError:
                self._table.set_open(self._place, FULL)
                raise
            try:
                _, descriptors, _, _ = socket.recv_fds(self.inbox, 1, 1)
            except OSError:
                return None
            self._table.count_taken(self._place)
            for descriptor in descriptors:
                try:
                    return socket.socket(fileno=descriptor)
                except OSError:  # its other end is gone
                    with suppress(OSError):
                        os.close(descriptor)
