"""Sequence numbers: each names one request of this module for ever, so none is ever given out twice.

The switch tells the last number that it has recorded. A request that was sent and not recorded is not in there, so a
module that may be killed keeps a file too. The file holds a number that no name has reached: it is moved ahead, and is
on the disk, before any number below it is used. What was reserved and not used when the module stopped is skipped; a
gap harms nobody.
"""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from protocol.messages import RequestName
from protocol.numbers import SEQUENCE_END
from terminal.shell.durable import write_durably

AHEAD: Final = 64
PASSING: Final = 1


class SequenceError(Exception):
    """The file does not hold a number, or the numbers are used up."""


class Sequence:
    """Where a module takes its numbers from; with a `path`, they survive the module."""

    def __init__(self, path: Path | None = None):
        self._path = path
        self._last = 0
        self._reserved = 0
        self._lock = trio.Lock()
        if path is not None and path.exists():
            text = path.read_text("ascii").strip()
            if not text.isdigit():
                raise SequenceError(
                    f"{path} does not hold a sequence number; remove it if the switch knows the last one"
                )
            self._last = self._reserved = int(text)

    def learn(self, last: int) -> None:
        """The number `last` is used, and so may be all below it."""
        self._last = max(self._last, last)

    async def take(self) -> int:
        """A number that was never given out; raises SequenceError when there is none left."""
        async with self._lock:
            if self._last + 1 >= SEQUENCE_END:
                raise SequenceError("all sequence numbers of this module are used: enroll it anew under another number")
            number = self._last + 1
            if self._path is not None and number > self._reserved:
                reserved = min(number + AHEAD, SEQUENCE_END - 1)
                await trio.to_thread.run_sync(write_durably, self._path, b"%d\n" % reserved)
                self._reserved = reserved
            self._last = number
            return number


class Names:
    """What this module calls its requests: its own date and the next number.

    `known` says whether the switch has told the last one, before which none may be taken.
    """

    def __init__(self, module: int, sequence: Sequence, clock: Callable[[], dt.datetime]):
        self.known = False
        self._module = module
        self._sequence = sequence
        self._clock = clock

    def learn(self, last: int, *, known: bool = False) -> None:
        """The number `last` is used; `known` if it is the last one by the switch's records, not only a hint."""
        self._sequence.learn(last)
        self.known = self.known or known

    async def take(self) -> tuple[RequestName, dt.time]:
        """A name for ever, and the time that goes with it."""
        return self._now(await self._sequence.take())

    def passing(self) -> tuple[RequestName, dt.time]:
        """A name for what leaves no record: it uses no number up."""
        return self._now(PASSING)

    def _now(self, number: int) -> tuple[RequestName, dt.time]:
        now = self._clock()
        return RequestName(self._module, now.date(), number), now.time().replace(microsecond=0)
