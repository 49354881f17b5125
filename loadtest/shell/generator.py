"""The load: all tills of a run in one loop over plain sockets.

It must cost little, for it shares the machine with what it measures. So requests are sealed before they are needed,
while nothing is measured, and what comes is only cut into frames and kept. A till that runs out of sealed frames seals
the next one in the loop, which `sealed_late` counts.
"""

import select
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from loadtest.shell.newcomer import Newcomer, Step
from loadtest.shell.till import PATIENCE_S, READ_BYTES, Line, Till, clock
from protocol.frame import HEADER_BYTES
from protocol.numbers import FrameType

TICK_S: Final = 1.0
_RESPONSE: Final = FrameType.RESPONSE.value


class Generator:
    """All lines of a run, in one loop."""

    def __init__(self) -> None:
        """Begin without tills. Make it before them: `select` takes low descriptors only."""
        self.tills: list[Till] = []
        self.newcomers: list[Newcomer] = []
        self.sealed_late = 0
        self.wanted_s = array("d")
        self.answered_s = array("d")
        self._lines: dict[int, Line] = {}
        self._signing_on: dict[int, Newcomer] = {}
        self._poll = select.epoll()
        self._idle: deque[Till] = deque()
        self._queue: deque[float] = deque()
        self.started = 0.0  # by `clock`, of what is driven now or was driven last
        self._asking = False
        self._live = False
        self._closed_load = True

    def add(self, line: Line) -> None:
        """Drive a line, and with it its tills."""
        self._lines[line.socket.fileno()] = line
        self._poll.register(line.socket, select.EPOLLIN)
        self.tills += line.tills.values()

    def let_in(self, newcomers: Iterable[Newcomer]) -> None:
        """Let modules sign on, all at once, while the others go on working."""
        for newcomer in newcomers:
            newcomer.connect()
            self.newcomers.append(newcomer)
            self._signing_on[newcomer.socket.fileno()] = newcomer
            self._poll.register(newcomer.socket, select.EPOLLOUT)

    def await_newcomers(self, patience_s: float) -> None:
        """Wait until all newcomers are live."""
        deadline = clock() + patience_s
        while self._signing_on and clock() < deadline:
            self._turn(0.1)

    def settle(self, patience_s: float = PATIENCE_S) -> bool:
        """Send all that is sealed and wait for the answers; nothing is measured.

        False where none came for `patience_s` seconds though some were due.
        """
        self._begin(closed_load=True, live=False)
        seen, deadline = 0, clock() + patience_s
        while self._in_flight() and clock() < deadline:
            self._turn(0.1)
            if len(self.answered_s) > seen:
                seen, deadline = len(self.answered_s), clock() + patience_s
        return not self._in_flight()

    def drive(
        self, duration_s: float, arrivals: Sequence[float] | None = None, tick: Callable[[float], None] | None = None
    ) -> None:
        """Ask for `duration_s`, then wait for what is in flight and for who waits.

        Args:
            duration_s: how long is asked.
            arrivals: when customers come, seconds from the start; None: each module asks again at once.
            tick: is told the time since the start, about every second.

        """
        self.wanted_s, self.answered_s = array("d"), array("d")
        coming = deque(arrivals or ())
        self._begin(closed_load=arrivals is None, live=True)
        next_tick = 0.0
        while (now := clock() - self.started) < duration_s:
            if tick is not None and now >= next_tick:
                tick(now)
                next_tick += TICK_S
            while coming and coming[0] <= now:
                self._come(coming.popleft())
            until = min(duration_s, next_tick, coming[0] if coming else duration_s)
            self._turn(max(0.0, until - (clock() - self.started)))
        if tick is not None:
            tick(now)
        while coming and coming[0] <= duration_s:  # a turn that took too long must not turn a customer away
            self._come(coming.popleft())
        self._asking = bool(self._queue)  # who has come is still served
        deadline = clock() + PATIENCE_S
        while (self._in_flight() or self._queue) and clock() < deadline:
            self._turn(0.1)
        for wanted in self._queue:  # who was not served by then has waited that long at least
            self.wanted_s.append(wanted)
            self.answered_s.append(clock() - self.started)
        self._queue.clear()
        self._asking = False

    def close(self) -> None:
        """Hang up; once more is as well."""
        self._poll.close()
        for line in self._lines.values():
            line.socket.close()
        for newcomer in self.newcomers:
            newcomer.socket.close()

    def _begin(self, *, closed_load: bool, live: bool) -> None:
        self.started = clock()
        self._asking, self._closed_load, self._live = True, closed_load, live
        self._idle = deque(till for till in self.tills if not till.ended and not till.in_flight)
        if closed_load:
            idle, self._idle = self._idle, deque()
            for till in idle:
                self._ask(till, 0.0)
            for line in self._lines.values():
                self._flush(line)

    def _in_flight(self) -> bool:
        return any(till.in_flight for till in self.tills)

    def _come(self, wanted: float) -> None:
        if self._idle:
            till = self._idle.popleft()
            self._ask(till, wanted)
            self._flush(till.line)
        else:
            self._queue.append(wanted)

    def _ask(self, till: Till, wanted: float) -> None:
        if not till.sealed:
            if not self._live:
                return
            self.sealed_late += 1
            till.seal_next(1)
        till.line.unsent += till.sealed.popleft()
        till.sent += 1
        till.in_flight = True
        till.wanted = wanted

    def _turn(self, patience_s: float) -> None:
        # epoll counts in milliseconds; select on its descriptor wakes to the microsecond, which arrivals need
        if not select.select((self._poll,), (), (), patience_s)[0]:
            return
        for number, what in self._poll.poll(0):
            if number in self._signing_on:
                self._welcome(number, what)
                continue
            line = self._lines.get(number)
            if line is None:
                continue  # a newcomer that is live, and has hung up
            if what & ~select.EPOLLOUT:
                self._read(line)
            self._flush(line)

    def _welcome(self, number: int, what: int) -> None:
        newcomer = self._signing_on[number]
        match newcomer.go_on(what):
            case Step.WAITING:
                self._poll.modify(number, select.EPOLLIN)
            case Step.LIVE | Step.REFUSED:
                self._poll.unregister(number)
                del self._signing_on[number]

    def _read(self, line: Line) -> None:
        try:
            data = line.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up(line)
            return
        now = clock() - self.started
        data = line.rest + data if line.rest else data
        at, size = 0, len(data)
        while size - at >= HEADER_BYTES:
            end = at + 2 + (data[at] << 8 | data[at + 1])
            if end > size:
                break
            till = line.tills.get(data[at + 4 : at + 12])
            if till is not None:
                if data[at + 3] == _RESPONSE:
                    till.answers.append(data[at:end])
                    self._answered(till, now)
                else:
                    self._end(till)
            at = end
        line.rest = data[at:]

    def _answered(self, till: Till, now: float) -> None:
        till.in_flight = False
        self.wanted_s.append(till.wanted)
        self.answered_s.append(now)
        if not self._asking:
            return
        if self._closed_load:
            self._ask(till, now)
        elif self._queue:
            self._ask(till, self._queue.popleft())
        else:
            self._idle.append(till)

    def _flush(self, line: Line) -> None:
        if not line.unsent:
            return
        try:
            sent = line.socket.send(line.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._hang_up(line)
            return
        line.unsent = line.unsent[sent:]
        wanted = select.EPOLLIN | (select.EPOLLOUT if line.unsent else 0)
        if wanted != line.watched:
            line.watched = wanted
            self._poll.modify(line.socket, wanted)

    def _hang_up(self, line: Line) -> None:
        self._poll.unregister(line.socket)
        line.unsent = b""
        for till in line.tills.values():
            self._end(till)

    def _end(self, till: Till) -> None:
        till.ended = True
        till.in_flight = False
        if till in self._idle:
            self._idle.remove(till)
