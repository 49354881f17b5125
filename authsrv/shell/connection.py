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
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Final

import trio

from authsrv.ask import Ask, open_ask
from authsrv.certificate import CarriedModules, carried_modules
from authsrv.shell.deadlines import Alarm
from authsrv.shell.intake import Intake
from authsrv.shell.metrics import DROPPED
from authsrv.shell.poll import READABLE, WRITABLE, Poll
from authsrv.shell.tally import TALLY
from authsrv.shell.tls import TlsLayer
from protocol.messages import read_envelope, result_of
from protocol.numbers import Reason
from protocol.switch import (
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
        self._stuck_at: float = inf  # when a write has taken too long
        self._handshake_ends = now + HANDSHAKE_S if tls is not None else inf
        self._ending = False  # nothing is read any more; what is left is written
        self._closed = False
        self._watched = READABLE
        self._intake: Intake = listener.intake
        self._alarm = Alarm(self.due)
        self._flushing = False  # the listener will call `flush`
        self._poll: Poll = listener.newcomers
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
        self._flushing = False
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

    def revoke(self) -> None:
        """Close the sessions of modules, and by generations of keys, that are revoked."""
        for session in self._protocol.sessions:
            record = self._listener.rules.module(session.module)
            if record is None or record.revoked or session.generation not in record.keys:
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
        self._alarm.let_go()
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
        # A request moves deadlines away only; whatever else happened may have brought one nearer.
        if self._handle(events, now) or told:
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
        elif not self._flushing:
            self._flushing = True
            self._listener.flush_soon(self)

    def _send(self) -> None:
        while self._unsent or self._outbox:
            if not self._unsent:
                frames = b"".join(self._outbox)
                self._outbox.clear()
                self._unsent = frames if self._tls is None else self._tls.sealed(frames)
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                sent = 0
            self._unsent = self._unsent[sent:]
            if self._unsent:
                if self._stuck_at == inf:
                    self._stuck_at = trio.current_time() + WRITE_S
                    self._listener.deadlines.set(self._alarm, self._stuck_at)
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
            self._listener.deadlines.set(self._alarm, when)

    def _fail(self, error: Exception) -> None:
        logger.error("a connection ended by %s", type(error).__name__)
        self.end()

    # Events

    def _handle(self, events: list[Event], now: float) -> bool:
        """Deal with what has happened; whether it was more than requests."""
        more = False
        for event in events:
            if isinstance(event, RequestReceived):
                self._request(event, now)
                continue
            more = True
            if isinstance(event, SessionLive):
                self._work()
                self._listener.went_live(self, event.session)
            elif isinstance(event, SessionEnded):
                self._listener.ended(event.session)
            else:
                DROPPED.labels(event.why.name).inc()
                self._finish()
        return more

    def _request(self, event: RequestReceived, now: float) -> None:
        TALLY.requests += 1
        session, rules = event.session, self._listener.rules
        if event.over_limit:
            envelope = read_envelope(event.plain)
            self.answer(event, now, self._intake.refused(envelope, session.module, Reason.OVERLOADED), now)
            return
        envelope, ask = open_ask(event.plain, session.module, session.access_code_cipher, rules.ring)
        if isinstance(ask, Reason):
            self.answer(event, now, self._intake.refused(envelope, session.module, ask), now)
            return
        deadline_s = rules.registry.modules[session.module].deadline_s
        self._intake.take(Asked(self, event, ask, now, now + deadline_s), now)

    def answer(self, event: RequestReceived, received: float, answer: bytes, now: float) -> None:
        """Put the answer to a request into the outbox."""
        try:
            self._put(self._protocol.respond(event.session, event.counter, answer))
        except Exception as error:  # noqa: BLE001 - who calls is a lane, and answers others too
            self._fail(error)
            return
        TALLY.answered(result_of(answer), now - received)

    def stay_silent(self, event: RequestReceived) -> None:
        """A request will never be answered."""
        TALLY.silences += 1
        self._protocol.stay_silent(event.session)

    # Directory

    def group_keys(self, group: int) -> Sequence[bytes]:
        """The keys that may hide the module numbers of a group."""
        return self._listener.rules.group_keys(group)

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
        return self._intake.last_name(module)


class Asked:
    """A request on its way to its answer, which knows where it came from."""

    def __init__(self, connection: Connection, event: RequestReceived, ask: Ask, received: float, deadline: float):
        self.ask = ask
        self.deadline = deadline
        self.in_doubt = False
        self._connection = connection
        self._event = event
        self._received = received

    def __repr__(self) -> str:
        return f"<Asked {self.ask!r}>"

    def reply(self, answer: bytes, now: float) -> None:
        """Answer it, at `now`."""
        self._connection.answer(self._event, self._received, answer, now)

    def stay_silent(self) -> None:
        """Give it up."""
        self._connection.stay_silent(self._event)
