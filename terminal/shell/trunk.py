"""The way to the switch: one connection at a time, and the sessions of one module or many on it.

What must hold:
  * A request is numbered, sealed and put into the outbox in one step, so that the order of counters is the order on the
    wire, whichever task asked.
  * Nothing waits for ever: dialling, signing on and writing have deadlines, and a connection on which two waits in a
    row have heard nothing is taken for dead, because a broken path gives no sign.
  * A trunk dials only when a module wants to sign on. It never redials by itself: the modules rest, each for its own
    time, before they come back, so that a switch that restarts is not met by all of them at once.
"""

import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from protocol.frame import SESSION
from protocol.messages import result_of
from protocol.module import (
    WELCOME_S,
    ConnectionDropped,
    Event,
    ModuleConnection,
    ModuleSession,
    ResponseReceived,
    SessionClosed,
    SessionOverError,
    Welcomed,
)
from protocol.session import Ended
from protocol.signon import ModuleIdentity
from terminal.dialogue import NOT_FINAL

READ_BYTES: Final = 65_536
OUTBOX_BYTES_MAX: Final = 1024 * 1024
DIAL_S: Final = 10.0
WRITE_S: Final = 20.0
FLUSH_S: Final = 1.0
UNUSED_S: Final = 60.0
REPLIES_PER_SLOT: Final = 8
SILENCES_MAX: Final = 2

Dial = Callable[[], Awaitable[trio.abc.Stream]]
"""Opens a stream to the switch; raises OSError or a trio error if it cannot."""


class SignOnError(Exception):
    """No session could be had: no connection, no WELCOME in time, or a CLOSE instead, which is `refused`."""

    def __init__(self, why: str, *, refused: bool = False):
        self.refused = refused
        super().__init__(why)


class Reply:
    """Where the answer to a request comes in, whichever of its copies it answers."""

    def __init__(self) -> None:
        self._woken = trio.Event()
        self._answer: bytes | None = None

    def give(self, answer: bytes) -> None:
        """Take an answer; one that is not final never replaces another."""
        if self._answer is None or result_of(self._answer) in NOT_FINAL:
            self._answer = answer
        self.wake()

    def wake(self) -> None:
        """Let the one who waits look again."""
        self._woken.set()

    async def wait(self, seconds: float) -> None:
        """Wait for an answer or the end of the session, so many seconds at most."""
        with trio.move_on_after(seconds):
            await self._woken.wait()

    def take(self) -> bytes | None:
        """The answer, if one has come; the next copy waits for another."""
        answer, self._answer, self._woken = self._answer, None, trio.Event()
        return answer


class Line:
    """One session on a connection."""

    def __init__(self, wire: "Wire", session: ModuleSession):
        self._wire = wire
        self.session = session
        self.opened = trio.Event()
        self.stirred = trio.Event()  # it is over or spent
        self.why: Ended | None = None
        self.slots: trio.Semaphore
        self._replies: dict[int, Reply] = {}

    @property
    def usable(self) -> bool:
        """Whether it takes new requests."""
        return self.session.live

    def send(self, plain: bytes, reply: Reply) -> None:
        """Send a request of 320 bytes; raises SessionOverError, and nothing was sent, if the session is over."""
        now = trio.current_time()
        try:
            counter = self._wire.send(self.session, plain, now)
        except SessionOverError:
            if self.usable:
                self.close()
            raise
        self._replies[counter] = reply
        if len(self._replies) > REPLIES_PER_SLOT * self.session.terms.in_flight_max:
            self._replies.pop(next(iter(self._replies)))  # a copy that was given up long ago
        if self.session.renewal_due(now):
            self.stirred.set()

    async def wait(self, reply: Reply, seconds: float) -> bytes | None:
        """The answer to what was sent with this reply, or None: the session ended, or nothing came in time."""
        await reply.wait(seconds)
        answer = reply.take()
        if answer is None and self.why is None:
            self._wire.silent()
        return answer

    def close(self) -> None:
        """End the session from here."""
        self._wire.close(self)

    def answer(self, counter: int, answer: bytes) -> None:
        """The answer to the request with this counter came."""
        if (reply := self._replies.pop(counter, None)) is not None:
            reply.give(answer)

    def welcome(self) -> None:
        """The switch has proven itself."""
        self.slots = trio.Semaphore(max(1, self.session.terms.in_flight_max))
        self.opened.set()

    def over(self, why: Ended) -> None:
        """The session has ended: whoever waits for an answer learns it at once."""
        self.why = why
        self.opened.set()
        self.stirred.set()
        for reply in self._replies.values():
            reply.wake()
        self._replies.clear()


class Wire:
    """One connection: the sans-IO protocol between a stream and the lines on it."""

    def __init__(self, stream: trio.abc.Stream, random: Callable[[int], bytes]):
        self._stream = stream
        self._protocol = ModuleConnection(random)
        self._lines: dict[bytes, Line] = {}
        self._outbox = bytearray()
        self._filled = trio.Event()
        self._silences = 0
        self._scope = trio.CancelScope()
        self._written = trio.Event()
        self.gone = False

    async def run(self) -> None:
        """Carry bytes until the connection ends; raises nothing but a cancellation."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            self.gone = True
            self._handle(self._protocol.lost())
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._stream)

    def hello(self, identity: ModuleIdentity) -> Line:
        """Ask for a session; the line opens when the switch has welcomed it. Raises SignOnError at the cap."""
        try:
            hello = self._protocol.hello(identity, trio.current_time())
        except SessionOverError:
            raise SignOnError("too many sessions on this connection") from None
        session = next(each for each in self._protocol.sessions if each.id == hello[SESSION])
        line = self._lines[session.id] = Line(self, session)
        self._put(hello)
        return line

    def send(self, session: ModuleSession, plain: bytes, now: float) -> int:
        """Number, seal and send a request; its counter."""
        counter, frame = self._protocol.request(session, plain, now)
        self._put(frame)
        return counter

    def close(self, line: Line) -> None:
        """End one session, with a CLOSE for the switch."""
        if line.why is None:
            self._put(self._protocol.close(line.session))
            self._end(line, Ended.HERE)

    def silent(self) -> None:
        """A wait heard nothing; after two in a row nobody is there."""
        self._silences += 1
        if self._silences >= SILENCES_MAX:
            self.drop()

    def drop(self) -> None:
        """End the connection now."""
        self.gone = True
        self._scope.cancel()

    async def flush(self) -> None:
        """Let what is in the outbox leave, a second at most."""
        with trio.move_on_after(FLUSH_S):
            while self._outbox and not self.gone:
                self._written = trio.Event()
                await self._written.wait()

    async def _read(self) -> None:
        while not self.gone:
            data: bytes | bytearray | None = None
            deadline = self._protocol.next_deadline()
            with trio.CancelScope(deadline=trio.current_time() + UNUSED_S if deadline is None else deadline):
                try:
                    data = await self._stream.receive_some(READ_BYTES)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
            now = trio.current_time()
            if data is None:
                if not self._protocol.sessions:
                    return
                events = self._protocol.tick(now)
            elif data:
                self._silences = 0
                events = self._protocol.receive(bytes(data), now)
            else:
                return
            self._put(self._protocol.data_to_send())
            self._handle(events)

    async def _write(self) -> None:
        try:
            while True:
                await self._filled.wait()
                self._filled = trio.Event()
                data = bytes(self._outbox)
                with trio.fail_after(WRITE_S):
                    await self._stream.send_all(data)
                del self._outbox[: len(data)]
                if self._outbox:
                    self._filled.set()
                else:
                    self._written.set()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            self.drop()

    def _put(self, data: bytes) -> None:
        if not data:
            return
        self._outbox += data
        if len(self._outbox) > OUTBOX_BYTES_MAX:
            self.drop()
        self._filled.set()

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Welcomed(session):
                    self._lines[session.id].welcome()
                case ResponseReceived(session, counter, answer):
                    self._lines[session.id].answer(counter, answer)
                case SessionClosed(session, why):
                    self._end(self._lines[session.id], why)
                case ConnectionDropped():
                    self.drop()

    def _end(self, line: Line, why: Ended) -> None:
        del self._lines[line.session.id]
        line.over(why)


class Trunk:
    """Signs modules on, over one connection that is dialled when it is needed."""

    def __init__(self, nursery: trio.Nursery, dial: Dial, random: Callable[[int], bytes]):
        self.nursery = nursery
        self._dial = dial
        self._random = random
        self._dialling = trio.Lock()
        self._wire: Wire | None = None

    async def sign_on(self, identity: ModuleIdentity) -> Line:
        """A welcomed session of this module; raises SignOnError."""
        wire = await self._connected()
        line = wire.hello(identity)
        with trio.move_on_after(WELCOME_S):
            await line.opened.wait()
        if line.why is not None:
            raise SignOnError(line.why.value, refused=line.why is Ended.BY_PEER)
        if not line.opened.is_set():
            wire.silent()
            line.close()
            raise SignOnError("no WELCOME in time")
        return line

    async def flush(self) -> None:
        """Let what was put out leave, a second at most."""
        if self._wire is not None:
            await self._wire.flush()

    async def _connected(self) -> Wire:
        async with self._dialling:
            if self._wire is None or self._wire.gone:
                try:
                    with trio.fail_after(DIAL_S):
                        stream = await self._dial()
                except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
                    raise SignOnError("no connection") from error
                self._wire = Wire(stream, self._random)
                self.nursery.start_soon(self._wire.run)
            return self._wire


@asynccontextmanager
async def open_trunk(dial: Dial, *, random: Callable[[int], bytes] = secrets.token_bytes) -> AsyncIterator[Trunk]:
    """A trunk over streams that `dial` opens; `random` gives that many random bytes."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        trunk = Trunk(nursery, dial, random)
        try:
            yield trunk
        except Exception as error:  # noqa: BLE001 - leaves below as it came, not in the nursery's group
            failure = error
        await trunk.flush()
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def dialling(host: str, port: int, tls: ssl.SSLContext | None = None) -> Dial:
    """How to open a TCP connection, with TLS if a context is given."""

    async def dial() -> trio.abc.Stream:
        stream = await trio.open_tcp_stream(host, port)
        if tls is None:
            return stream
        secured = trio.SSLStream(stream, tls, server_hostname=host)
        try:
            await secured.do_handshake()
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
            raise
        return secured

    return dial
