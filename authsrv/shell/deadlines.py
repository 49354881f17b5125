"""When connections have something to do although nothing came: one timer for all of them.

A connection says when it wants to be called at the latest, and is called then or a little before; it looks at its clock
and says the next time. Most deadlines only move away, with each request that comes, so a later time costs nothing: the
connection finds at the old one that nothing is due. An entry holds its connection weakly, so that those which have
ended leave no more behind than a number until their time has come.
"""

import heapq
from itertools import count
from math import inf
from typing import Protocol
from weakref import ref

import trio


class Bound(Protocol):
    """Who has a deadline; `called_at` is kept here, infinite to begin with."""

    called_at: float

    def due(self, now: float) -> None:
        """Do what is due and set the next deadline."""


class Deadlines:
    """The deadlines of a process, by Trio's clock."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, ref[Bound]]] = []
        self._order = count()
        self._earlier = trio.Event()

    def set(self, bound: Bound, when: float) -> None:
        """Call `bound` at `when` at the latest."""
        if when >= bound.called_at:
            return
        bound.called_at = when
        heapq.heappush(self._entries, (when, next(self._order), ref(bound)))
        if self._entries[0][0] == when:
            self._earlier.set()

    async def run(self) -> None:
        """Call each when its time has come."""
        while True:
            now = trio.current_time()
            while self._entries and self._entries[0][0] <= now:
                when, _, held = heapq.heappop(self._entries)
                bound = held()
                if bound is not None and bound.called_at == when:
                    bound.called_at = inf
                    bound.due(now)
            self._earlier = trio.Event()
            with trio.move_on_at(self._entries[0][0] if self._entries else inf):
                await self._earlier.wait()
