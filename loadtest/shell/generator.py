"""The modules of a run: many sessions in one loop over plain sockets.

It must cost little, for it shares the machine with what it measures. So requests are sealed before they are needed,
while nothing is measured, and what comes is only cut into frames and kept; tags are verified and answers read when the
run is over. A module that runs out of sealed frames seals the next one in the loop, which `sealed_late` counts.

A module has at most one request in flight, so the answer that comes on its session is the one to its last request;
`exchanges` checks that it says so.
"""

import datetime as dt
import select
import socket
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from secrets import token_bytes
from typing import Final

from loadtest.traffic import Plastic, Script
from loadtest.verification import Exchange
from protocol.frame import Frame
from protocol.messages import Request, Response
from protocol.module import ModuleConnection, ModuleSession, ResponseReceived, Welcomed
from protocol.numbers import Command, FrameType
from protocol.signon import ModuleIdentity

READ_BYTES: Final = 1 << 18
PATIENCE_S: Final = 20.0
TICK_S: Final = 1.0
_HEADER_BYTES: Final = 20
_REPLY_BYTES: Final = 8
_RESPONSE: Final = FrameType.RESPONSE.value

clock = time.monotonic


class GeneratorError(Exception):
    """The modules could not sign on, or the switch broke the protocol."""


class Till:
    """One module in one session: what it will send, what it has sent, what came back."""

    __slots__ = (
        "_base",
        "_script",
        "answers",
        "asked",
        "ended",
        "in_flight",
        "line",
        "sealed",
        "sent",
        "session",
        "wanted",
    )

    def __init__(self, line: "Line", session: ModuleSession) -> None:
        self.line = line
        self.session = session
        self.asked: list[Request] = []
        self.sealed: deque[bytes] = deque()
        self.sent = 0
        self.answers: list[bytes] = []
        self.in_flight = False
        self.ended = False
        self.wanted = 0.0
        self._script: Script
        self._base = session.sealer.counter

    def begin(self, script: Script) -> None:
        """Ask what this script says, from now on."""
        self._script = script

    def seal(self, request: Request) -> None:
        """Seal a request behind those that wait."""
        _, frame = self.line.protocol.request(self.session, request.encode(), clock())
        self.asked.append(request)
        self.sealed.append(frame)

    def seal_next(self, count: int) -> None:
        """Have at least `count` sealed requests of the script waiting."""
        while len(self.sealed) < count:
            self.seal(self._script.next())

    def activate(self, card: Plastic) -> None:
        """Seal the sale of a card."""
        self.seal(self._script.activation(card))

    def exchanges(self) -> Iterable[Exchange]:
        """What was sent and what came back; raises `GeneratorError` or `ForgeryError` where an answer is not right."""
        for place in range(self.sent):
            request = self.asked[place]
            if place >= len(self.answers):
                yield Exchange(request, None)
                continue
            raw = self.answers[place]
            counter = int.from_bytes(raw[12:_HEADER_BYTES])
            plain = self.session.opener.open(Frame(FrameType.RESPONSE, self.session.id, counter, raw))
            answer = Response.decode(plain[_REPLY_BYTES:])
            if int.from_bytes(plain[:_REPLY_BYTES]) != self._base + place or answer.sequence != request.sequence:
                raise GeneratorError(f"module {request.module} got an answer to another request than its last")
            yield Exchange(request, answer)


class Line:
    """One connection with the tills that it carries."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.protocol = ModuleConnection(token_bytes)
        self.tills: dict[bytes, Till] = {}
        self.rest = b""
        self.unsent = b""
        self.watched = select.EPOLLIN

    def sign_on(self, identities: Sequence[ModuleIdentity], today: dt.date) -> list[tuple[Till, int]]:
        """Sign on these modules; each with the last sequence that the database knows of it. Blocks."""
        self.socket.sendall(b"".join(self.protocol.hello(identity, clock()) for identity in identities))
        last: list[tuple[Till, int]] = []
        deadline = clock() + PATIENCE_S
        while len(last) < len(identities):
            data = self.socket.recv(READ_BYTES)
            if not data or clock() > deadline:
                raise GeneratorError("the switch did not let all modules sign on")
            for event in self.protocol.receive(data, clock()):
                match event:
                    case Welcomed(session):
                        echo = Request(command=Command.ECHO, module=session.module, date=today, sequence=1)
                        self.socket.sendall(self.protocol.request(session, echo.encode(), clock())[1])
                    case ResponseReceived(session, _, answer):
                        last.append((Till(self, session), Response.decode(answer).last_sequence))
                    case _:
                        raise GeneratorError(f"a module could not sign on: {event}")
        self.tills = {till.session.id: till for till, _ in last}
        self.socket.setblocking(False)
        return last


class Generator:
    """All lines of a run, in one loop."""

    def __init__(self, tills: Sequence[Till]) -> None:
        """Drive these tills; their lines are driven with them."""
        self.tills = list(tills)
        self.sealed_late = 0
        self.wanted_s = array("d")
        self.answered_s = array("d")
        self._lines = {till.line.socket.fileno(): till.line for till in tills}
        self._poll = select.epoll()
        self._idle: deque[Till] = deque(self.tills)
        self._queue: deque[float] = deque()
        self._started = 0.0
        self._asking = False
        self._live = False
        self._closed_load = True
        for number in self._lines:
            self._poll.register(number, select.EPOLLIN)

    def settle(self, patience_s: float = 60.0) -> None:
        """Send all that is sealed and wait for the answers; nothing is measured."""
        self._begin(closed_load=True, live=False)
        deadline = clock() + patience_s
        while self._in_flight() and clock() < deadline:
            self._turn(0.1)

    def drive(
        self, duration_s: float, arrivals: Sequence[float] | None = None, tick: Callable[[float], None] | None = None
    ) -> None:
        """Ask for `duration_s`, then wait for what is in flight.

        Args:
            duration_s: how long is asked.
            arrivals: when customers come, seconds from the start; None: each module asks again at once.
            tick: is told the time since the start, about every second.

        """
        self.wanted_s, self.answered_s = array("d"), array("d")
        coming = deque(arrivals or ())
        self._begin(closed_load=arrivals is None, live=True)
        next_tick = 0.0
        while (now := clock() - self._started) < duration_s:
            if tick is not None and now >= next_tick:
                tick(now)
                next_tick += TICK_S
            while coming and coming[0] <= now:
                self._come(coming.popleft())
            until = min(duration_s, next_tick, coming[0] if coming else duration_s)
            self._turn(max(0.0, until - (clock() - self._started)))
        if tick is not None:
            tick(now)
        self._asking = False
        self._queue.clear()
        deadline = clock() + PATIENCE_S
        while self._in_flight() and clock() < deadline:
            self._turn(0.1)

    def close(self) -> None:
        """Hang up."""
        self._poll.close()
        for line in self._lines.values():
            line.socket.close()

    def _begin(self, *, closed_load: bool, live: bool) -> None:
        self._started = clock()
        self._asking, self._closed_load, self._live = True, closed_load, live
        self._idle = deque(till for till in self.tills if not till.ended)
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
            line = self._lines[number]
            if what & ~select.EPOLLOUT:
                self._read(line)
            self._flush(line)

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
        now = clock() - self._started
        data = line.rest + data if line.rest else data
        at, size = 0, len(data)
        while size - at >= _HEADER_BYTES:
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
