"""A module that blocks: plain calls over a plain socket, for tests that are not asynchronous themselves.

A `Line` is one session with one switch process; several requests may be in flight on it. A `Slip` is what somebody at a
till wants, before any session has sealed it: the same slip sent twice, over whichever lines, is a repeat.
"""

from __future__ import annotations

import datetime as dt
import secrets
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol import access_code
from protocol.messages import Freeze, OriginalName, Request, Response, Totals
from protocol.module import ModuleConnection, ResponseReceived, SessionClosed, Welcomed
from protocol.numbers import OWN, Command, Flag, GivenReason

if TYPE_CHECKING:
    from protocol.signon import ModuleIdentity

PATIENCE_S = 20.0
NOTHING = ((0, 0),) * 10
LENGTH_BYTES = 65_536


class LineEndedError(Exception):
    """The switch has gone, or has ended the session: what was in flight has no answer."""


@dataclass(frozen=True, order=True)
class Name:
    """The name of a request, all on one day."""

    module: int
    sequence: int

    def __repr__(self) -> str:
        return f"{self.module}/{self.sequence}"


@dataclass(frozen=True)
class Slip:
    """What is asked. `number` refers to the original by its authorization number instead of by its name."""

    name: Name
    command: Command
    card: str = ""
    amount: int = 0
    code: str | None = None
    partial: bool = False
    original: Name | None = None
    number: str = ""
    new_card: str = ""
    new_code: str | None = None
    reason: GivenReason = GivenReason.NONE
    limit: int = 0
    freeze: bool = False  # for today
    thaw: bool = False
    unit: int = OWN
    interval: tuple[int, int] | None = None  # of sequences: first and last
    counted: tuple[tuple[int, int], ...] = NOTHING  # by the till, in the interval
    repeat: bool = False  # as flagged; whether it is one is for the ledger to say

    def __repr__(self) -> str:
        said = [f"{self.name} {self.command.name}"]
        said += [f"card {self.card[-3:]}"] if self.card else []
        said += [str(self.amount)] if self.amount else []
        said += [f"code {self.code}"] if self.code else []
        said += ["or part"] if self.partial else []
        said += [f"of {self.original}"] if self.original or self.number else []
        said += [f"by number {self.number}"] if self.number else []
        said += ["freeze"] if self.freeze else ["thaw"] if self.thaw else []
        said += [f"limit {self.limit}"] if self.command is Command.LIMIT else []
        said += [f"of {self.interval} in {self.unit}"] if self.interval else []
        said += ["flagged as repeat"] if self.repeat else []
        return f"<{' '.join(said)}>"

    def request(self, date: dt.date, access_code_key: bytes) -> Request:
        """The request, its code sealed for one session."""
        block = None
        if self.code is not None:
            block = access_code.encode(self.code, self.card, access_code_key, secrets.token_bytes(8))
        new_block = None
        if self.new_code is not None:
            new_block = access_code.encode(self.new_code, self.card, access_code_key, secrets.token_bytes(8))
        original: OriginalName | str | None = self.number or None
        if self.original is not None and not self.number:
            original = OriginalName(date, self.original.sequence)
        freeze = Freeze(date, date if self.freeze else None) if self.freeze or self.thaw else None
        totals = None
        if self.interval is not None:
            first, last = self.interval
            totals = Totals(OriginalName(date, first), OriginalName(date, last), self.counted)
        flags = {Flag.PARTIAL: self.partial, Flag.ACCESS_CODE: block is not None, Flag.REPEAT: self.repeat}
        return Request(
            command=self.command,
            flags=Flag(sum(flag for flag, is_set in flags.items() if is_set)),
            amount=self.amount,
            reason=self.reason,
            limit=self.limit,
            freeze=freeze,
            unit=self.unit,
            totals=totals,
            new_card=self.new_card,
            new_access_code_block=new_block,
            sequence=self.name.sequence,
            date=date,
            time=dt.time(12),
            module=self.name.module,
            card=self.card,
            access_code_block=block,
            original=original,
        )


class Line:
    """A live session of one module with one switch process."""

    def __init__(self, identity: ModuleIdentity, address: tuple[str, int], date: dt.date) -> None:
        """Sign on at `address`; requests are dated `date`."""
        self._date = date
        self._module = identity.module
        self._answers: dict[int, bytes] = {}
        self._protocol = ModuleConnection(secrets.token_bytes)
        self._socket = socket.create_connection(address, PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.sendall(self._protocol.hello(identity, time.monotonic()))
            self._welcomed: Welcomed | None = None
            while self._welcomed is None:
                self._read()
            self.ask(Slip(Name(identity.module, 1), Command.ECHO))
        except BaseException:
            self._socket.close()
            raise

    def post(self, slip: Slip) -> int:
        """Send a request; the counter that its answer will name."""
        assert self._welcomed is not None
        session = self._welcomed.session
        plain = slip.request(self._date, session.access_code_key).encode()
        counter, frame = self._protocol.request(session, plain, time.monotonic())
        try:
            self._socket.sendall(frame)
        except OSError as error:
            raise LineEndedError from error
        return counter

    def answer(self, counter: int) -> bytes:
        """Wait for the answer to the request of this counter, 1,400 bytes."""
        while counter not in self._answers:
            self._read()
        return self._answers.pop(counter)

    def ask(self, slip: Slip) -> Response:
        """Send a request and wait for its answer."""
        return Response.decode(self.answer_of(slip))

    def answer_of(self, slip: Slip) -> bytes:
        """Send a request and wait for its answer, 1,400 bytes."""
        return self.answer(self.post(slip))

    def hear_out(self) -> None:
        """Read until the session ends, which raises LineEndedError; a switch that says nothing raises TimeoutError."""
        while True:
            self._read()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(LENGTH_BYTES)
        except TimeoutError:
            raise
        except OSError as error:
            raise LineEndedError from error
        if not data:
            raise LineEndedError
        for event in self._protocol.receive(data, time.monotonic()):
            match event:
                case Welcomed():
                    self._welcomed = event
                case ResponseReceived():
                    self._answers[event.counter] = event.answer
                case SessionClosed():
                    raise LineEndedError
                case _:
                    pass
