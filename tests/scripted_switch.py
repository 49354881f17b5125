"""A switch that does as it is told: our own end of the protocol over a stream, without a ledger behind it.

It answers every request with an approval and remembers it under its name, so that a repeat gets the same bytes. A test
lines up `deeds` for the next requests that are to be recorded, and reads in `heard` what came.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

import trio

from protocol import access_code
from protocol.layout import FRAME_BYTES
from protocol.messages import Request, RequestName, Response, date_number, decode_request
from protocol.numbers import Command, Flag, FrameType, Result, Suite
from protocol.signon import ModuleIdentity
from protocol.switch import ConnectionDropped, Limits, ModuleRecord, RequestReceived, SwitchConnection

GROUP = 7
GROUP_KEY = bytes(range(16))
CARD = "6280000000000017"
CODE = "4711"
NOON = dt.datetime(2026, 3, 14, 12, 0, 0, tzinfo=dt.UTC)


class Deed(Enum):
    """What the switch does with a request that it could record."""

    ANSWER = auto()
    RECORD_AND_DROP = auto()
    RECORD_IN_SILENCE = auto()
    SILENCE = auto()
    REFUSE = auto()
    TEAR = auto()
    FORGE = auto()
    SKIP = auto()
    CLOSE = auto()
    DROP = auto()
    MISMATCH = auto()
    DUPLICATE = auto()
    LATE = auto()


@dataclass(frozen=True)
class Heard:
    """A request as it arrived."""

    request: Request
    access_code: str | None
    at: float
    connection: int

    @property
    def repeat(self) -> bool:
        return Flag.REPEAT in self.request.flags


@dataclass
class Switch:
    """The whole peer: what it knows, what it heard, what it shall do."""

    limits: Limits = field(default_factory=Limits)
    deeds: deque[Deed] = field(default_factory=deque)
    always: Deed = Deed.ANSWER
    echoes: deque[Deed] = field(default_factory=deque)
    last_sequence: int = 0
    pages: tuple[bytes, ...] = (b"APPROVED\n",)
    heard: list[Heard] = field(default_factory=list)
    recorded: dict[RequestName, bytes] = field(default_factory=dict)
    dialled: list[float] = field(default_factory=list)
    hellos: list[float] = field(default_factory=list)
    bytes_in: int = 0
    reachable: bool = True
    forge_welcome: bool = False
    silent_pages: bool = False
    forgetful: bool = False

    def of(self, *commands: Command) -> list[Heard]:
        return [each for each in self.heard if each.request.command in commands]

    # directory
    def group_keys(self, group: int) -> tuple[bytes, ...]:
        return (GROUP_KEY,) if group == GROUP else ()

    def module(self, number: int) -> ModuleRecord | None:
        return ModuleRecord(number, GROUP, {1: identity(number).root})

    def may_open(self, module: int) -> bool:
        del module
        return True

    def last_name(self, module: int) -> tuple[int, int]:
        del module
        return (0, 0)

    async def serve(self, stream: trio.abc.Stream) -> None:
        """One connection."""
        connection = Connection(self, stream, len(self.dialled))
        try:
            await connection.run()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)


class Connection:
    """One connection of the switch."""

    def __init__(self, switch: Switch, stream: trio.abc.Stream, number: int):
        self.switch = switch
        self.stream = stream
        self.number = number
        counter = itertools.count(number * 2**32)
        self.protocol = SwitchConnection(
            switch, switch.limits, lambda n: next(counter).to_bytes(8).ljust(n, b"\x5a")[:n], trio.current_time()
        )

    async def run(self) -> None:
        while True:
            data: bytes | bytearray | None = None
            with trio.move_on_at(self.protocol.next_deadline() or trio.current_time()):
                data = await self.stream.receive_some()
            if data == b"":
                return
            now = trio.current_time()
            known = len(self.protocol.sessions)
            if data is None:
                events = self.protocol.tick(now)
            else:
                self.switch.bytes_in += len(data)
                events = self.protocol.receive(bytes(data), now)
            self.switch.hellos += [now] * (len(self.protocol.sessions) - known)
            await self.stream.send_all(self.outgoing())
            for event in events:
                if isinstance(event, ConnectionDropped):
                    return
                if isinstance(event, RequestReceived) and not await self.take(event):
                    return

    def outgoing(self) -> bytes:
        data = self.protocol.data_to_send()
        if self.switch.forge_welcome and len(data) == FRAME_BYTES[FrameType.WELCOME]:
            data = data[:-1] + bytes([data[-1] ^ 1])
        return data

    async def take(self, event: RequestReceived) -> bool:
        """Deal with one request; False ends the connection."""
        switch, session, now = self.switch, event.session, trio.current_time()
        request = decode_request(event.plain)
        code = None
        if request.access_code_block is not None:
            code = access_code.decode(request.access_code_block, request.card, session.access_code_cipher)
        switch.heard.append(Heard(request, code, now, self.number))
        lined_up = switch.echoes if request.command is Command.ECHO else switch.deeds
        usual = Deed.ANSWER if request.command is Command.ECHO else switch.always
        deed = lined_up.popleft() if lined_up else usual
        if switch.silent_pages and request.command is Command.PAGE:
            deed = Deed.SILENCE
        match deed:
            case Deed.SILENCE:
                self.protocol.stay_silent(session)
            case Deed.DROP:
                return False
            case Deed.CLOSE:
                await self.stream.send_all(self.protocol.close(session, now))
            case Deed.REFUSE:
                refusal = answer(request, result=Result.UNAVAILABLE)
                await self.stream.send_all(self.protocol.respond(session, event.counter, refusal))
            case Deed.DUPLICATE:
                refusal = answer(request, result=Result.DUPLICATE)
                await self.stream.send_all(self.protocol.respond(session, event.counter, refusal))
            case _:
                return await self.answer(event, deed, self.record(request))
        return True

    async def answer(self, event: RequestReceived, deed: Deed, recorded: bytes) -> bool:
        """Let a recorded answer go its way; False ends the connection."""
        session = event.session
        match deed:
            case Deed.RECORD_AND_DROP:
                return False
            case Deed.RECORD_IN_SILENCE:
                self.protocol.stay_silent(session)
                return True
            case Deed.LATE:
                await trio.sleep(6)
            case Deed.MISMATCH:
                right = Response.decode(recorded)
                recorded = right._replace(sequence=right.sequence + 1).encode()
            case Deed.SKIP:
                session.sealer.counter += 1
            case _:
                pass
        frame = self.protocol.respond(session, event.counter, recorded)
        if deed is Deed.FORGE:
            frame = frame[:-1] + bytes([frame[-1] ^ 1])
        if deed is Deed.TEAR:
            frame = frame[:700]
        await self.stream.send_all(frame)
        return deed is not Deed.TEAR

    def record(self, request: Request) -> bytes:
        switch = self.switch
        if request.command is Command.ECHO:
            return answer(request, last_sequence=switch.last_sequence)
        if request.command is Command.PAGE:
            return answer(request, pages=len(switch.pages), page=request.page, text=switch.pages[request.page - 1])
        fresh = answer(
            request,
            pages=len(switch.pages),
            page=1,
            approved=request.amount,
            authorization=f"{len(switch.heard):012d}",
            text=switch.pages[0],
        )
        switch.last_sequence = max(switch.last_sequence, request.sequence)
        if switch.forgetful:
            switch.recorded[request.name] = fresh
        return switch.recorded.setdefault(request.name, fresh)


def answer(request: Request, **fields: object) -> bytes:
    """An answer that echoes a request."""
    return Response(
        command=request.command,
        flags=request.flags,
        sequence=request.sequence,
        date=date_number(request.date),
        module=request.module,
        unit=978,
        switch_date=NOON.date(),
        **fields,  # type: ignore[arg-type]
    ).encode()


def identity(module: int, suite: Suite = Suite.SHARED_KEY_X25519) -> ModuleIdentity:
    """A module's identity, with a root key of its own."""
    return ModuleIdentity(module, 1, suite, module.to_bytes(4) * 8, GROUP, GROUP_KEY)
