"""One connection: bytes from its socket to the lanes, and answers back.

What must hold:
  * Answers are numbered and sealed when they go into the outbox, in the order in which they leave it.
  * Every wait has a deadline and every buffer a bound (law 7): a peer that does not read is dropped when its outbox is
    full or a write makes no progress; one that sends nothing, when its sessions' time is over.
  * Nobody harms another: what a connection raises ends that connection alone.

It never waits and has no task: the poll calls it when its socket is ready, its deadline when that has come, a lane with
an answer. What is to be written waits in the outbox until the listener has it flushed, so that all answers of a batch
leave in one write. Over TLS the bytes of the socket are those of the layer between.
"""

import logging
import secrets
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

import trio

from authsrv.ask import open_ask
from authsrv.certificate import CarriedModules, carried_modules
from authsrv.facts import Module
from authsrv.shell.lanes import Pending
from authsrv.shell.metrics import DROPPED, TALLY
from authsrv.shell.poll import READABLE, WRITABLE
from authsrv.shell.tls import TlsLayer
from protocol.messages import read_envelope, result_of
from protocol.numbers import Reason
from protocol.switch import (
    ConnectionDropped,
    Event,
    ModuleRecord,
    RequestReceived,
    SessionEnded,
    SessionLive,
    SwitchConnection,
    SwitchSession,
)

if TYPE_CHECKING:
    from authsrv.shell.listener import Listener

logger = logging.getLogger(__name__)

READ_BYTES: Final = 65_536
OUTBOX_BYTES_MAX: Final = 4 * 1024 * 1024
HANDSHAKE_S: Final = 10.0
WRITE_S: Final = 20.0


class Connection:
    """The sans-IO protocol between a socket and the lanes; also the directory that its sign-ons see."""

    __slots__ = (
        *("__weakref__", "_carried", "_closed", "_ending", "_handshake_ends", "_listener", "_outbox", "_outbox_bytes"),
        *("_poll", "_protocol", "_socket", "_stuck_at", "_tls", "_unsent", "_watched", "called_at", "flushing"),
    )

    def __init__(self, listener: "Listener", accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        now = trio.current_time()
        self._listener = listener
        self._socket = accepted
        self._tls = TlsLayer(tls) if tls is not None else None
        self._carried: CarriedModules | None = None
        self._protocol = SwitchConnection(self, listener.limits, secrets.token_bytes, now)
        self._outbox: list[bytes] = []  # sealed frames
        self._outbox_bytes = 0  # with what is unsent
        self._unsent = b""  # what the socket has not taken yet, as it is to go out
        self._stuck_at = inf  # when a write has taken too long
        self._handshake_ends = now + HANDSHAKE_S if tls is not None else inf
        self._ending = False  # nothing is read any more; what is left is written
        self._closed = False
        self._watched = READABLE
        self._poll = listener.newcomers
        self.called_at = inf
        self.flushing = False  # the listener will call `flush`
        self._poll.watch(accepted, READABLE, self.ready)
        self._set_deadline()

    # What the poll, the timer and the listener call

    def ready(self, events: int) -> None:
        """Read and write what can be."""
        if self._closed:
            return
        try:
            if events & WRITABLE:
                self._send()
            if events & READABLE and not self._ending and not self._closed:
                self._read()
        except (ConnectionError, TimeoutError):
            self.end()
        except Exception as error:  # noqa: BLE001 - one connection's fault must not end the poll of all
            self._fail(error)

    def due(self, now: float) -> None:
        """End what is overdue."""
        if self._closed:
            return
        if now >= self._stuck_at or now >= self._handshake_ends:
            self.end()
            return
        try:
            events = self._protocol.tick(now)
            self._put(self._protocol.data_to_send())
            self._handle(events, now)
            self._set_deadline()
        except Exception as error:  # noqa: BLE001 - nor the timer of all
            self._fail(error)

    def flush(self) -> None:
        """Write what waits, as far as the socket takes it."""
        self.flushing = False
        if self._closed or self._watched & WRITABLE:
            return  # the socket is full: the poll tells when it is not
        try:
            self._send()
        except (ConnectionError, TimeoutError):
            self.end()
        except Exception as error:  # noqa: BLE001 - nor who flushes for all
            self._fail(error)

    def hang_up(self) -> None:
        """Close its sessions, write what is left and end."""
        for session in self._protocol.sessions:
            self.close_session(session)
        self._finish()

    def revoke(self, modules: Mapping[int, Module]) -> None:
        """Close the sessions of modules that are revoked."""
        for session in self._protocol.sessions:
            if session.module not in modules or modules[session.module].revoked:
                self.close_session(session)

    def close_session(self, session: SwitchSession) -> None:
        """Close one session from here."""
        self._put(self._protocol.close(session, trio.current_time()))
        self._listener.ended(session)
        self._set_deadline()

    def end(self) -> None:
        """The connection is over, whatever was left to write."""
        if self._closed:
            return
        self._closed = True
        self._poll.forget(self._socket)
        self._socket.close()
        self._outbox.clear()
        self._unsent = b""
        now = trio.current_time()
        self._handle(self._protocol.lost(now), now)
        self._listener.parted(self)

    # Reading and writing

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._finish()
            return
        if self._tls is not None:
            data = self._opened(self._tls, data)
            if not data:
                return
        now = trio.current_time()
        events = self._protocol.receive(data, now)
        told = self._protocol.data_to_send()
        self._put(told)
        self._handle(events, now)
        # A request moves deadlines away only; whatever else happened may have brought one nearer.
        if told or not all(type(event) is RequestReceived for event in events):
            self._set_deadline()

    def _opened(self, tls: TlsLayer, data: bytes) -> bytes:
        agreed = tls.agreed
        try:
            plain = tls.receive(data)
        except ssl.SSLError:
            self._put_raw(tls.data_to_send())  # the alert
            self._finish()
            return b""
        self._put_raw(tls.data_to_send())
        if tls.agreed and not agreed:
            self._handshake_ends = inf
            if (certificate := tls.certificate()) is not None:
                self._carried = carried_modules(certificate)
            # The time of a connection without a session begins here.
            self._protocol = SwitchConnection(self, self._listener.limits, secrets.token_bytes, trio.current_time())
            self._set_deadline()
        if tls.ended:
            self._finish()
        return plain

    def _put(self, frames: bytes) -> None:
        if not frames or self._closed:
            return
        self._outbox.append(frames)
        self._grown(len(frames))

    def _put_raw(self, data: bytes) -> None:
        if data:
            self._unsent += data
            self._grown(len(data))

    def _grown(self, size: int) -> None:
        self._outbox_bytes += size
        if self._outbox_bytes > OUTBOX_BYTES_MAX:
            self.end()
        elif not self.flushing:
            self.flushing = True
            self._listener.flush_soon(self)

    def _send(self) -> None:
        while self._unsent or self._outbox:
            if not self._unsent:
                frames = b"".join(self._outbox)
                self._outbox.clear()
                self._unsent = frames if self._tls is None else self._tls.sealed(frames)
            with suppress(BlockingIOError):
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            if self._unsent:
                if self._stuck_at == inf:
                    self._stuck_at = trio.current_time() + WRITE_S
                    self._listener.deadlines.set(self, self._stuck_at)
                self._watch(self._watched | WRITABLE)
                self._outbox_bytes = len(self._unsent) + sum(map(len, self._outbox))
                return
            self._stuck_at = inf  # all that was joined has been taken; what has come meanwhile has its own time
        self._outbox_bytes = 0
        self._watch(self._watched & ~WRITABLE)
        if self._ending:
            self.end()

    def _finish(self) -> None:
        """Read no more; end when what is left is written."""
        if self._closed:
            return
        self._ending = True
        if not self._outbox_bytes:
            self.end()
        else:
            self._watch(WRITABLE)

    def _watch(self, events: int) -> None:
        if self._ending:
            events = WRITABLE
        if events != self._watched:
            self._watched = events
            self._poll.change(self._socket, events, self.ready)

    def _work(self) -> None:
        """Be watched among those who work, from the first live session on."""
        if self._poll is not self._listener.working and not self._closed:
            self._poll.forget(self._socket)
            self._poll = self._listener.working
            self._poll.watch(self._socket, self._watched, self.ready)

    def _set_deadline(self) -> None:
        if not self._closed:
            when = min(self._protocol.next_deadline() or inf, self._stuck_at, self._handshake_ends)
            self._listener.deadlines.set(self, when)

    def _fail(self, error: Exception) -> None:
        logger.error("a connection ended by %s", type(error).__name__)
        self.end()

    # Events

    def _handle(self, events: Iterable[Event], now: float) -> None:
        for event in events:
            if type(event) is RequestReceived:
                self._request(event, now)
                continue
            match event:
                case SessionLive(session):
                    self._work()
                    self._listener.went_live(self, session)
                case SessionEnded(session):
                    self._listener.ended(session)
                case ConnectionDropped(why):
                    DROPPED.labels(why.name).inc()
                    self._finish()

    def _request(self, event: RequestReceived, now: float) -> None:
        TALLY.requests += 1
        session, listener = event.session, self._listener
        reply = partial(self._reply, session, event.counter, now)
        if event.over_limit:
            reply(listener.refused(read_envelope(event.plain), session.module, Reason.OVERLOADED))
            return
        envelope, ask = open_ask(event.plain, session.module, session.access_code_cipher, listener.rules.ring)
        if isinstance(ask, Reason):
            reply(listener.refused(envelope, session.module, ask))
            return
        deadline_s = listener.rules.registry.modules[session.module].deadline_s
        listener.take(Pending(ask, now + deadline_s, reply, partial(self._silent, session)))

    def _reply(self, session: SwitchSession, counter: int, received: float, answer: bytes) -> None:
        try:
            self._put(self._protocol.respond(session, counter, answer))
        except Exception as error:  # noqa: BLE001 - who calls is a lane, and answers others too
            self._fail(error)
            return
        TALLY.answered(result_of(answer), trio.current_time() - received)

    def _silent(self, session: SwitchSession) -> None:
        TALLY.silences += 1
        self._protocol.stay_silent(session)

    # Directory

    def group_key(self, group: int) -> bytes | None:
        """The key that hides the module numbers of a group."""
        return self._listener.rules.group_key(group)

    def module(self, number: int) -> ModuleRecord | None:
        """The record of a module that this connection may carry."""
        if self._carried is not None and number not in self._carried:
            return None
        return self._listener.rules.module(number)

    def may_open(self, module: int) -> bool:
        """Whether there is room for a session of this module."""
        return self._listener.may_open(module)

    def last_name(self, module: int) -> tuple[int, int]:
        """The name with the highest sequence that this process has taken from the module."""
        return self._listener.last_name(module)
