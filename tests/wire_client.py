"""A client that can send any bytes: the module's end of the protocol over a real socket, and what stands beside it.

`WireClient` is one connection. What comes is kept twice: as frames, whatever the module's end makes of them, and as its
events. `Caller` is one module that has signed on over it and asks as a till does. Nothing waits for ever: what does not
come within `PATIENCE_S` fails the test.
"""

from __future__ import annotations

import secrets
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from shop import Till

from protocol.frame import Splitter
from protocol.messages import Request, Response
from protocol.module import ModuleConnection, ResponseReceived, SessionClosed, Welcomed
from protocol.numbers import FrameType

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from shop import Shop

    from protocol.frame import Frame
    from protocol.module import Event, ModuleSession
    from protocol.numbers import Command
    from protocol.signon import ModuleIdentity

PATIENCE_S = 4.0
READ_BYTES = 65_536

E = TypeVar("E")


class ConnectionEndedError(Exception):
    """The switch has ended the connection, and what was waited for has not come."""


@dataclass
class WireClient:
    """One connection to a switch."""

    stream: trio.abc.Stream
    module: ModuleConnection = field(default_factory=lambda: ModuleConnection(secrets.token_bytes))
    frames: list[Frame] = field(default_factory=list)
    ended: bool = False
    _events: deque[Event] = field(default_factory=deque)
    _splitter: Splitter = field(
        default_factory=lambda: Splitter((FrameType.WELCOME, FrameType.RESPONSE, FrameType.CLOSE))
    )

    async def send(self, data: bytes) -> None:
        """Send these bytes."""
        with trio.fail_after(PATIENCE_S):
            await self.stream.send_all(data)

    async def read(self) -> None:
        """Read once."""
        with trio.fail_after(PATIENCE_S):
            try:
                data = bytes(await self.stream.receive_some(READ_BYTES))
            except trio.BrokenResourceError:
                data = b""
        if not data:
            self.ended = True
            return
        self.frames += self._splitter.split(data)
        self._events += self.module.receive(data, trio.current_time())

    async def event(self, kind: type[E]) -> E:
        """The next event of this kind; what came before it is passed over."""
        while True:
            while self._events:
                event = self._events.popleft()
                if isinstance(event, kind):
                    return event
            if self.ended:
                raise ConnectionEndedError(f"no {kind.__name__} came")
            await self.read()

    async def answer(self, session: ModuleSession, counter: int) -> bytes:
        """The answer to the request of this counter, 1,400 bytes; other sessions' events wait."""
        while True:
            for event in self._events:
                match event:
                    case ResponseReceived() if event.session is session and event.counter == counter:
                        self._events.remove(event)
                        return event.answer
                    case SessionClosed() if event.session is session:
                        raise ConnectionEndedError(f"the session was closed: {event.why}")
            if self.ended:
                raise ConnectionEndedError("no answer came")
            await self.read()

    async def frame(self, kind: FrameType, session: bytes) -> Frame:
        """The next frame of this type under this session id, known to the module's end or not."""
        while True:
            for frame in self.frames:
                if frame.type is kind and frame.session == session:
                    self.frames.remove(frame)
                    return frame
            if self.ended:
                raise ConnectionEndedError(f"no {kind.name} came")
            await self.read()

    async def end(self) -> list[Frame]:
        """Wait until the switch has ended the connection; all frames that are left."""
        while not self.ended:
            await self.read()
        return self.frames

    async def welcome(self, identity: ModuleIdentity) -> ModuleSession:
        """Say HELLO and wait for WELCOME; the switch has no proof yet."""
        hello = self.module.hello(identity, trio.current_time())
        await self.send(hello)
        while True:
            session = (await self.event(Welcomed)).session
            if session.hello == hello:
                return session

    async def sign_on(self, shop: Shop, identity: ModuleIdentity) -> Caller:
        """Sign on as this module; the session is live once it has asked something."""
        session = await self.welcome(identity)
        before = shop.tills.get(identity.module)
        till = Till(shop, identity.module, before.sequence if before else 0, session.access_code_key)
        shop.tills[identity.module] = till
        return Caller(self, session, till)


@dataclass
class Caller:
    """A module that has signed on; its sequence goes on over all its sessions."""

    wire: WireClient
    session: ModuleSession
    till: Till

    def sealed(self, plain: bytes) -> bytes:
        """The next REQUEST frame, with these 320 bytes in it."""
        return self.wire.module.request(self.session, plain, trio.current_time())[1]

    async def post(self, request: Request | bytes) -> int:
        """Send a request; the counter that its answer will name."""
        plain = request if isinstance(request, bytes) else request.encode()
        counter, frame = self.wire.module.request(self.session, plain, trio.current_time())
        await self.wire.send(frame)
        return counter

    async def send(self, request: Request | bytes) -> bytes:
        """Send a request and wait for its answer, 1,400 bytes."""
        return await self.wire.answer(self.session, await self.post(request))

    async def ask(self, command: Command, **fields: Any) -> Response:
        """Ask and read the answer."""
        return Response.decode(await self.send(await self.till.request(command, **fields)))


@asynccontextmanager
async def connect(address: tuple[str, int], tls: ssl.SSLContext | None = None) -> AsyncIterator[WireClient]:
    """A connection to the switch at `address`, ended without ceremony."""
    stream: trio.abc.Stream = await trio.open_tcp_stream(*address)
    if tls is not None:
        stream = trio.SSLStream(stream, tls, server_hostname=address[0])
    try:
        yield WireClient(stream)
    finally:
        await trio.aclose_forcefully(stream)
