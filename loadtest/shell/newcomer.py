"""A newcomer: a module that signs on in the midst of a run, on a connection of its own.

It is live when its first request, an echo, is answered. Who is refused stays away: in a run that is a finding.
"""

import datetime as dt
import errno
import select
import socket
from enum import Enum, auto
from secrets import token_bytes
from typing import Final

from loadtest.shell.till import READ_BYTES, clock
from protocol.messages import Request
from protocol.module import ModuleConnection, ResponseReceived, Welcomed
from protocol.numbers import Command
from protocol.signon import ModuleIdentity

_CONNECTING: Final = (0, errno.EINPROGRESS)


class Step(Enum):
    """Where a newcomer stands."""

    WAITING = auto()
    LIVE = auto()
    REFUSED = auto()


class Newcomer:
    """One module on its way to a live session."""

    def __init__(self, address: tuple[str, int], identity: ModuleIdentity, today: dt.date) -> None:
        """Have the HELLO ready, so that it costs nothing when it is wanted."""
        self._address = address
        self._today = today
        self._protocol = ModuleConnection(token_bytes)
        self._hello = self._protocol.hello(identity, clock())
        self.step = Step.WAITING
        self.started = 0.0
        self.live_at = 0.0
        self.socket: socket.socket

    def connect(self) -> None:
        """Begin to connect."""
        self.started = clock()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        if self.socket.connect_ex(self._address) not in _CONNECTING:
            self.step = Step.REFUSED

    def go_on(self, what: int) -> Step:
        """Deal with what epoll reports of the socket."""
        try:
            if self._hello and what & select.EPOLLOUT:
                self.socket.send(self._hello)
                self._hello = b""
            elif what & ~select.EPOLLOUT:
                self._read()
        except BlockingIOError:
            pass
        except OSError:
            self.step = Step.REFUSED
        return self.step

    def _read(self) -> None:
        data = self.socket.recv(READ_BYTES)
        if not data:
            self.step = Step.REFUSED
        for event in self._protocol.receive(data, clock()):
            match event:
                case Welcomed(session):
                    echo = Request(command=Command.ECHO, module=session.module, date=self._today, sequence=1)
                    self.socket.send(self._protocol.request(session, echo.encode(), clock())[1])
                case ResponseReceived():
                    self.step, self.live_at = Step.LIVE, clock()
                case _:
                    self.step = Step.REFUSED
