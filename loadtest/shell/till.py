"""Tills: the modules of a run, each in one session, many on one line.

What is asked is sealed before it is sent, in the order of the session's counter; what comes is kept as it came, and
opened when the run is over. A till has at most one request in flight, so the answer that comes on its session is the
one to its last request: `exchanges` checks that it says so.
"""

import datetime as dt
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from secrets import token_bytes
from typing import Final

from loadtest.cards import Plastic
from loadtest.traffic import Script
from loadtest.verification import Exchange
from protocol.crypto import ForgeryError
from protocol.frame import HEADER_BYTES, Frame
from protocol.messages import FormatError, Request, Response
from protocol.module import ModuleConnection, ModuleSession, ResponseReceived, Welcomed
from protocol.numbers import Command, FrameType
from protocol.signon import ModuleIdentity

READ_BYTES: Final = 1 << 18
PATIENCE_S: Final = 20.0
_REPLY_BYTES: Final = 8
_COUNTER_BYTES: Final = 8

clock = time.monotonic


class SignOnError(Exception):
    """The modules could not sign on; the message says why."""


class WrongAnswerError(Exception):
    """An answer does not open, cannot be read, or is to another request."""


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

    def exchanges(self) -> Iterator[Exchange]:
        """What was sent and what came back. Raises `WrongAnswerError` at the first answer that is not right."""
        for place, request in enumerate(self.asked[: self.sent]):
            answer = self._opened(place, self.answers[place]) if place < len(self.answers) else None
            if answer is not None and (answer.module, answer.sequence) != (request.module, request.sequence):
                raise WrongAnswerError(f"module {request.module} was answered for another request than its last")
            yield Exchange(request, answer)

    def _opened(self, place: int, raw: bytes) -> Response:
        counter = int.from_bytes(raw[HEADER_BYTES - _COUNTER_BYTES : HEADER_BYTES])
        try:
            plain = self.session.opener.open(Frame(FrameType.RESPONSE, self.session.id, counter, raw))
            if int.from_bytes(plain[:_REPLY_BYTES]) != self._base + place:
                raise WrongAnswerError(f"module {self.session.module} was answered for another frame than its last")
            return Response.decode(plain[_REPLY_BYTES:])
        except (ForgeryError, FormatError) as error:
            raise WrongAnswerError(f"module {self.session.module} got an answer that does not open") from error


class Line:
    """One connection with the tills that it carries."""

    def __init__(self, address: tuple[str, int]) -> None:
        """Connect. Raises `SignOnError`."""
        try:
            self.socket = socket.create_connection(address, timeout=PATIENCE_S)
        except OSError as error:
            raise SignOnError(f"the switch cannot be reached: {error.strerror}") from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.protocol = ModuleConnection(token_bytes)
        self.tills: dict[bytes, Till] = {}
        self.rest = b""
        self.unsent = b""
        self.watched = select.EPOLLIN

    def sign_on(self, identities: Sequence[ModuleIdentity], today: dt.date) -> list[tuple[Till, int]]:
        """Sign these modules on, and tell the last sequence that the database knows of each. Raises `SignOnError`."""
        self._send(b"".join(self.protocol.hello(identity, clock()) for identity in identities))
        last: list[tuple[Till, int]] = []
        deadline = clock() + PATIENCE_S
        while len(last) < len(identities):
            try:
                data = self.socket.recv(READ_BYTES)
            except OSError:
                data = b""
            if not data or clock() > deadline:
                raise SignOnError("the switch did not let all modules sign on")
            for event in self.protocol.receive(data, clock()):
                match event:
                    case Welcomed(session):
                        echo = Request(command=Command.ECHO, module=session.module, date=today, sequence=1)
                        self._send(self.protocol.request(session, echo.encode(), clock())[1])
                    case ResponseReceived(session, _, answer):
                        last.append((Till(self, session), Response.decode(answer).last_sequence))
                    case _:
                        raise SignOnError(f"a module could not sign on: {event}")
        self.tills = {till.session.id: till for till, _ in last}
        self.socket.setblocking(False)
        return last

    def _send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise SignOnError(f"the switch hung up while modules signed on: {error.strerror}") from error
