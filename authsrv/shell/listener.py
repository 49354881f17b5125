"""Connections: bytes from sockets to lanes, and answers back.

One task a connection reads, and one writes. What must hold:
  * Answers are numbered and sealed when they go into the outbox, in the order in which they leave it.
  * Every wait has a deadline and every buffer a bound (law 7): a peer that does not read is dropped when its outbox
    is full or a write makes no progress; one that sends nothing, when its sessions' time is over.
  * Nobody harms another: what a connection raises ends that connection alone.
  * A live session displaces the module's older one on another connection; a HELLO alone displaces nothing.
"""

import logging
import secrets
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import trio

from authsrv.answer import unrecorded
from authsrv.ask import open_ask
from authsrv.certificate import CarriedModules, carried_modules
from authsrv.facts import Module
from authsrv.shell.lanes import Lanes, Pending
from authsrv.shell.metrics import ANSWER_SECONDS, ANSWERS, CONNECTIONS, DROPPED, REQUESTS, SESSIONS, SIGN_ONS, SILENCES
from authsrv.shell.reads import READ_COMMANDS, Reads
from authsrv.shell.rules import Rules
from protocol.messages import Envelope, date_number, read_envelope, result_of
from protocol.numbers import Reason
from protocol.switch import (
    ConnectionDropped,
    Event,
    Limits,
    ModuleRecord,
    RequestReceived,
    SessionEnded,
    SessionLive,
    SwitchConnection,
    SwitchSession,
)

logger = logging.getLogger(__name__)

READ_BYTES = 65_536
OUTBOX_BYTES_MAX = 4 * 1024 * 1024
HANDSHAKE_S = 10.0
WRITE_S = 20.0

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


@dataclass(frozen=True, slots=True)
class Caps:
    """What one process takes at most."""

    connections: int = 4096
    sessions: int = 20_000


class Listener:
    """All connections of one process."""

    def __init__(self, rules: Rules, lanes: Lanes, reads: Reads, limits: Limits, caps: Caps) -> None:
        """Serve by `rules`; requests go to `lanes` and `reads`."""
        self.rules = rules
        self.limits = limits
        self._lanes = lanes
        self._reads = reads
        self._caps = caps
        self._taken = 0
        self._connections: set[_Connection] = set()
        self._live: dict[int, tuple[_Connection, SwitchSession]] = {}
        self._last: dict[int, tuple[int, int]] = {}
        self._parted = trio.Event()  # set when a connection has ended
        self.draining = False

    async def serve(self, stream: trio.SocketStream, tls: ssl.SSLContext | None = None) -> None:
        """Serve one connection until it ends; raises nothing."""
        if self._taken >= self._caps.connections:
            await trio.aclose_forcefully(stream)
            return
        self._taken += 1  # from here on, so that unfinished handshakes are bounded too
        try:
            _keep_alive(stream)
            carried = None
            speaking: Stream = stream
            if tls is not None:
                speaking = trio.SSLStream(stream, tls, server_side=True)
                with trio.fail_after(HANDSHAKE_S):
                    await speaking.do_handshake()
                if tls.verify_mode is ssl.CERT_REQUIRED:
                    carried = carried_modules(speaking.getpeercert() or {})
            await self._serve(speaking, carried)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass
        except Exception as error:  # noqa: BLE001 - one connection's fault must not end the listener
            logger.error("a connection ended by %s", type(error).__name__)  # noqa: TRY400 - no locals in a trace
        finally:
            self._taken -= 1
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def _serve(self, stream: Stream, carried: CarriedModules | None) -> None:
        connection = _Connection(self, stream, carried)
        self._connections.add(connection)
        CONNECTIONS.inc()
        try:
            await connection.run()
        finally:
            CONNECTIONS.dec()
            self._connections.discard(connection)
            self._parted.set()
            connection.lost()

    # What a connection asks of the whole

    def may_open(self, module: int) -> bool:
        """Whether one more session of this module fits into this process; one that replaces another always does."""
        return (module in self._live or len(self._live) < self._caps.sessions) and not self.draining

    def last_name(self, module: int) -> tuple[int, int]:
        """The name with the highest sequence that this process has taken from the module."""
        return self._last.get(module, (0, 0))

    def went_live(self, connection: "_Connection", session: SwitchSession) -> None:
        """Let the module's new session displace its older one, wherever that is."""
        older = self._live.get(session.module)
        self._live[session.module] = connection, session
        SIGN_ONS.inc()
        SESSIONS.set(len(self._live))
        if older is not None and older[0] is not connection:
            older[0].close_session(older[1])

    def ended(self, session: SwitchSession) -> None:
        """Forget a session that is over."""
        current = self._live.get(session.module)
        if current is not None and current[1] is session:
            del self._live[session.module]
            SESSIONS.set(len(self._live))

    def take(self, pending: Pending) -> None:
        """Put a request where it is answered, or answer at once that there is no room."""
        ask = pending.ask
        line = self._reads if ask.envelope.command in READ_COMMANDS else self._lanes
        if self.draining or not line.offer(pending):
            reason = Reason.DRAINING if self.draining else Reason.OVERLOADED
            pending.reply(self.refused(ask.envelope, ask.name.module, reason))
        elif line is self._lanes and ask.name.sequence > self.last_name(ask.name.module)[1]:
            self._last[ask.name.module] = date_number(ask.name.date), ask.name.sequence

    def refused(self, envelope: Envelope, module: int, reason: Reason) -> bytes:
        """An answer that leaves no record."""
        registry = self.rules.registry
        return unrecorded(envelope, registry.issuer, registry.modules[module], reason)

    def revoke(self) -> None:
        """End the sessions of modules that the rules have revoked, whatever state they are in."""
        for connection in list(self._connections):
            connection.revoke(self.rules.registry.modules)

    async def hang_up(self) -> None:
        """Close every session, and wait until every connection has written what was left and ended."""
        for connection in list(self._connections):
            connection.hang_up()
        while self._connections:
            await self._parted.wait()
            self._parted = trio.Event()


class _Connection:
    """One connection: the sans-IO protocol between a stream and the lanes; also the directory that its sign-ons see."""

    def __init__(self, listener: Listener, stream: Stream, carried: CarriedModules | None) -> None:
        self._listener = listener
        self._stream = stream
        self._carried = carried
        self._protocol = SwitchConnection(self, listener.limits, secrets.token_bytes, trio.current_time())
        self._outbox = bytearray()
        self._filled = trio.Event()
        self._ending = False
        self._whole = trio.CancelScope()
        self._reading = trio.CancelScope()

    async def run(self) -> None:
        with self._whole:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                with self._reading:
                    await self._read()
                self._ending = True
                self._filled.set()

    # Reading and writing

    async def _read(self) -> None:
        while not self._ending:
            data: bytes | bytearray | None = None
            with trio.move_on_at(self._protocol.next_deadline() or trio.current_time()):
                try:
                    data = await self._stream.receive_some(READ_BYTES)
                except trio.BrokenResourceError:
                    return
            if data == b"":
                return
            now = trio.current_time()
            events = self._protocol.tick(now) if data is None else self._protocol.receive(bytes(data), now)
            self._put(self._protocol.data_to_send())
            self._handle(events, now)

    async def _write(self) -> None:
        try:
            while True:
                await self._filled.wait()
                if not self._outbox:
                    return  # woken with nothing to say: the end
                self._filled = trio.Event()
                data, self._outbox = self._outbox, bytearray()
                with trio.fail_after(WRITE_S):
                    await self._stream.send_all(data)
                if self._ending:
                    self._filled.set()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            self._whole.cancel()

    def _put(self, data: bytes) -> None:
        if not data:
            return
        self._outbox += data
        if len(self._outbox) > OUTBOX_BYTES_MAX:
            self._whole.cancel()
        self._filled.set()

    def hang_up(self) -> None:
        for session in self._protocol.sessions:
            self.close_session(session)
        self._reading.cancel()

    def revoke(self, modules: Mapping[int, Module]) -> None:
        for session in self._protocol.sessions:
            if session.module not in modules or modules[session.module].revoked:
                self.close_session(session)

    def lost(self) -> None:
        self._handle(self._protocol.lost(trio.current_time()), trio.current_time())

    def close_session(self, session: SwitchSession) -> None:
        self._put(self._protocol.close(session, trio.current_time()))
        self._listener.ended(session)

    # Events

    def _handle(self, events: Iterable[Event], now: float) -> None:
        for event in events:
            match event:
                case RequestReceived():
                    self._request(event, now)
                case SessionLive(session):
                    self._listener.went_live(self, session)
                case SessionEnded(session):
                    self._listener.ended(session)
                case ConnectionDropped(why):
                    DROPPED.labels(why.name).inc()
                    self._ending = True

    def _request(self, event: RequestReceived, now: float) -> None:
        REQUESTS.inc()
        session, listener = event.session, self._listener
        reply = partial(self._reply, session, event.counter, now)
        if event.over_limit:
            reply(listener.refused(read_envelope(event.plain), session.module, Reason.OVERLOADED))
            return
        envelope, ask = open_ask(event.plain, session.module, session.access_code_key, listener.rules.ring)
        if isinstance(ask, Reason):
            reply(listener.refused(envelope, session.module, ask))
            return
        deadline_s = listener.rules.registry.modules[session.module].deadline_s
        listener.take(Pending(ask, now + deadline_s, reply, partial(self._silent, session)))

    def _reply(self, session: SwitchSession, counter: int, received: float, answer: bytes) -> None:
        try:
            self._put(self._protocol.respond(session, counter, answer))
        except Exception as error:  # noqa: BLE001 - who calls is a lane, and answers others too
            logger.error("an answer could not be written: %s", type(error).__name__)  # noqa: TRY400 - no locals
            self._whole.cancel()
            return
        ANSWERS.labels(result_of(answer)).inc()
        ANSWER_SECONDS.observe(trio.current_time() - received)

    def _silent(self, session: SwitchSession) -> None:
        SILENCES.inc()
        self._protocol.stay_silent(session)

    # Directory

    def group_key(self, group: int) -> bytes | None:
        return self._listener.rules.group_key(group)

    def module(self, number: int) -> ModuleRecord | None:
        if self._carried is not None and number not in self._carried:
            return None
        return self._listener.rules.module(number)

    def may_open(self, module: int) -> bool:
        return self._listener.may_open(module)

    def last_name(self, module: int) -> tuple[int, int]:
        return self._listener.last_name(module)


def _keep_alive(stream: trio.SocketStream) -> None:
    """Let the kernel find a dead peer within a minute."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
