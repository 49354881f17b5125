"""Where an opened request goes: into the lane of its card, into the line of reads, or back where there is no room.

Who takes it from there waits (`lanes.py`, `reads.py`); nothing here does, so that it can be compiled: every request
runs through it.
"""

from collections import deque
from math import ceil
from typing import Final, Protocol

import trio

from authsrv.answer import unrecorded
from authsrv.ask import Ask
from authsrv.registry import Registry
from ledger.names import Name
from protocol.messages import Envelope, date_number
from protocol.numbers import Command, Reason

READ_COMMANDS: Final = frozenset((Command.ECHO.value, Command.PAGE.value))


class Pending(Protocol):
    """A request on its way to its answer; `deadline` by Trio's clock."""

    ask: Ask
    deadline: float
    in_doubt: bool

    def reply(self, answer: bytes, now: float) -> None:
        """Answer it, at `now`."""

    def stay_silent(self) -> None:
        """Give it up: it will never be answered."""


class Queue:
    """Where requests gather, bounded, for who takes as many as there are; lighter than a channel."""

    def __init__(self, waiting_max: int) -> None:
        self._waiting: deque[Pending] = deque()
        self._waiting_max = waiting_max
        self._wanted = 1
        self.filled = trio.Event()
        self.closed = False

    def put(self, pending: Pending) -> bool:
        """False where there is no room, or no more is taken."""
        waiting = self._waiting
        if self.closed or len(waiting) >= self._waiting_max:
            return False
        waiting.append(pending)
        if len(waiting) == self._wanted:
            self.filled.set()
        return True

    def take(self, most: int) -> list[Pending]:
        """At most so many of those that wait; where none does, `filled` is set when one has come or no more will."""
        waiting = self._waiting
        if len(waiting) <= most:
            taken = list(waiting)
            waiting.clear()
        else:
            taken = [waiting.popleft() for _ in range(most)]
        if not taken:
            self.want(1)
        return taken

    def take_late(self, now: float) -> list[Pending]:
        """Those whose deadline has passed, wherever they stand."""
        late = [pending for pending in self._waiting if pending.deadline <= now]
        if late:
            self._waiting = deque([pending for pending in self._waiting if pending.deadline > now])
        return late

    def put_back(self, taken: list[Pending]) -> None:
        """Have these taken first, in their order, also where as many have come in their place meanwhile."""
        self._waiting.extendleft(reversed(taken))

    def want(self, many: int) -> None:
        """Have `filled` set when so many wait, or no more will come."""
        self._wanted = min(many, self._waiting_max)
        if self.closed or len(self._waiting) >= self._wanted:
            self.filled.set()
        elif self.filled.is_set():  # or others wait for the one that there is
            self.filled = trio.Event()

    def close(self) -> None:
        """Take nothing more."""
        self.closed = True
        self.filled.set()


class Queues:
    """The queues of all lanes of a process."""

    def __init__(self, lanes: int, waiting_max: int) -> None:
        self.each = [Queue(ceil(waiting_max / lanes)) for _ in range(lanes)]

    def offer(self, pending: Pending) -> bool:
        """Put a request into the lane of its card; False where that is full or closed."""
        ask = pending.ask
        place = int.from_bytes(ask.token[:2]) if ask.token is not None else ask.name.module
        return self.each[place % len(self.each)].put(pending)


class Rules(Protocol):
    """The rules as they stand; whoever renews them puts another registry here."""

    registry: Registry


class Reads(Protocol):
    """The line of what leaves no record."""

    def offer(self, pending: Pending) -> bool:
        """Put a request in; False where the line is full or closed."""


class Intake:
    """What takes the requests of all connections of a process."""

    def __init__(self, rules: Rules, queues: Queues, reads: Reads) -> None:
        self.draining = False
        self._rules = rules
        self._queues = queues
        self._reads = reads
        self._last: dict[int, Name] = {}

    def take(self, pending: Pending, now: float) -> None:
        """Put a request where it is answered, or answer at once that there is no room."""
        ask = pending.ask
        name = ask.name
        if self.draining:
            pending.reply(self.refused(ask.envelope, name.module, Reason.DRAINING), now)
        elif ask.envelope.command in READ_COMMANDS:
            if not self._reads.offer(pending):
                pending.reply(self.refused(ask.envelope, name.module, Reason.OVERLOADED), now)
        elif self._queues.offer(pending):
            last = self._last.get(name.module)
            if last is None or name.sequence > last.sequence:
                self._last[name.module] = name
        else:
            pending.reply(self.refused(ask.envelope, name.module, Reason.OVERLOADED), now)

    def refused(self, envelope: Envelope, module: int, reason: Reason) -> bytes:
        """An answer that leaves no record."""
        registry = self._rules.registry
        return unrecorded(envelope, registry.issuer, registry.modules[module], reason)

    def last_name(self, module: int) -> tuple[int, int]:
        """The name with the highest sequence that this process has taken from the module, as the wire spells it."""
        last = self._last.get(module)
        return (date_number(last.date), last.sequence) if last is not None else (0, 0)
