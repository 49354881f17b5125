"""When connections have something to do although nothing came: one timer for all of them.

A connection says when it wants to be called at the latest, and is called then or a little before; it looks at its clock
and says the next time. Most deadlines only move away, with each request that comes, so a later time costs nothing: the
connection finds at the old one that nothing is due. An entry holds an alarm, which lets go of a connection that has
ended, so that it leaves no more behind than a number until its time has come.
"""

import heapq
from collections.abc import Callable
from itertools import count
from math import inf

import trio


class Alarm:
    """Whom to call, and when: never, to begin with."""

    __slots__ = ("_call", "when")

    def __init__(self, call: Callable[[float], None]) -> None:
        """Call `call` with the time of the call; it does what is due and sets the next deadline."""
        self._call: Callable[[float], None] | None = call
        self.when = inf

    def ring(self, now: float) -> None:
        """Call, unless nobody is there any more."""
        self.when = inf
        if self._call is not None:
            self._call(now)

    def let_go(self) -> None:
        """Hold nobody any longer: who had to be called has ended."""
        self._call = None


class Deadlines:
    """The deadlines of a process, by Trio's clock."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Alarm]] = []
        self._order = count()
        self._earlier = trio.Event()

    def set(self, alarm: Alarm, when: float) -> None:
        """Ring `alarm` at `when` at the latest."""
        if when >= alarm.when:
            return
        alarm.when = when
        heapq.heappush(self._entries, (when, next(self._order), alarm))
        if self._entries[0][0] == when:
            self._earlier.set()

    async def run(self) -> None:
        """Call each when its time has come."""
        while True:
            now = trio.current_time()
            while self._entries and self._entries[0][0] <= now:
                when, _, alarm = heapq.heappop(self._entries)
                if alarm.when == when:
                    alarm.ring(now)
            self._earlier = trio.Event()
            with trio.move_on_at(self._entries[0][0] if self._entries else inf):
                await self._earlier.wait()
