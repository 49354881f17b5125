"""The module's end of a connection: bytes in, events out; requests in, bytes out.

One connection carries the sessions of one module or of a whole store. A session's first request can be written once
`Welcomed` has come, and not before: until its tag is verified, the other end may be anybody. A CLOSE is only a hint, as
it is not authenticated; the caller signs on again after a back-off, and a request without an answer is repeated there
under its own name. A new HELLO for the same module renews its session: once welcomed, it carries the new requests, and
the old one still gives the answers to those in flight for `DRAIN_S`.

The caller, after each `receive` and `tick`, writes what `data_to_send` gives, then deals with the events. It writes
what `hello` and `request` return at once and in that order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from protocol import frame as framing
from protocol import signon
from protocol.crypto import ForgeryError
from protocol.frame import SESSION_BYTES, Frame, FramingError, Offences, Splitter
from protocol.numbers import FrameType, Suite
from protocol.session import (
    MODULE_COUNTS_FROM,
    SWITCH_COUNTS_FROM,
    Dropped,
    Ended,
    Opener,
    Sealer,
    Session,
    State,
)
from protocol.signon import ModuleIdentity, SessionKeys, Terms

WELCOME_S: Final = 5.0
DRAIN_S: Final = 60.0
OFFENCES_MAX: Final = 16
SESSIONS_MAX: Final = 256
_COUNTER_BYTES: Final = 8


class SessionOverError(Exception):
    """The session carries no new requests: it is not welcomed yet, replaced, used up or ended."""


class ModuleSession(Session):
    """One session, as the module holds it."""

    def __init__(self, id: bytes, identity: ModuleIdentity, hello: bytes, private: bytes | None, deadline: float):  # noqa: A002
        super().__init__(id, identity.module, deadline)
        self.identity = identity
        self.hello = hello
        self.private = private
        self.welcomed_at = 0.0
        self.terms: Terms
        self.access_code_key: bytes
        self.next_root: bytes | None
        self.opener: Opener
        self.sealer: Sealer

    def agree(self, terms: Terms, keys: SessionKeys, now: float) -> None:
        """WELCOME has opened: keep what it grants, forget what made the keys."""
        self.private = None
        self.welcomed_at = now
        self.terms = terms
        self.access_code_key = keys.access_code
        self.next_root = keys.next_root
        self.opener = Opener(keys.to_module, keys.iv_to_module, SWITCH_COUNTS_FROM)
        self.sealer = Sealer(keys.to_switch, keys.iv_to_switch, MODULE_COUNTS_FROM)
        self.proven(terms, now)

    def renewal_due(self, now: float) -> bool:
        """Whether nine tenths of the session's frames or life are used: time for a new HELLO."""
        spent_s = now - self.welcomed_at
        return 10 * self.sealer.counter >= 9 * self.terms.frames_max or 10 * spent_s >= 9 * self.terms.life_s

    @property
    def echo_due_at(self) -> float:
        """When an idle module should send an echo, so that the session stays: half of the idle time is over."""
        return self.deadline - self.idle_s / 2


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The switch has proven itself and granted `session.terms`; requests can be sent."""

    session: ModuleSession


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """The recorded answer, 1,400 bytes, to the request that was sent with this counter."""

    session: ModuleSession
    counter: int
    answer: bytes

    def __repr__(self) -> str:
        return f"<ResponseReceived to {self.counter} in {self.session!r}>"


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """A session is over; what was in flight in it has no answer yet."""

    session: ModuleSession
    why: Ended


@dataclass(frozen=True, slots=True)
class ConnectionDropped:
    """The connection must be closed; its sessions are over."""

    why: Dropped


Event = Welcomed | ResponseReceived | SessionClosed | ConnectionDropped


class ModuleConnection:
    """One connection, as modules see it.

    `random` gives that many random bytes. `now` is in monotonic seconds everywhere.
    """

    def __init__(self, random: Callable[[int], bytes]):
        self._random = random
        self._splitter = Splitter((FrameType.WELCOME, FrameType.RESPONSE, FrameType.CLOSE))
        self._offences = Offences(OFFENCES_MAX)
        self._sessions: dict[bytes, ModuleSession] = {}
        self._outgoing = bytearray()
        self._dropped = False

    @property
    def sessions(self) -> tuple[ModuleSession, ...]:
        """The sessions that are not over."""
        return tuple(self._sessions.values())

    def hello(self, identity: ModuleIdentity, now: float) -> bytes:
        """The HELLO that asks for a session, or renews the module's; raises SessionOverError at the cap."""
        if self._dropped or len(self._sessions) >= SESSIONS_MAX:
            raise SessionOverError
        session_id = self._random(SESSION_BYTES)
        name_random = self._random(signon.NAME_RANDOM_BYTES)
        module_random = self._random(signon.RANDOM_BYTES)
        private = self._random(signon.PRIVATE_BYTES) if identity.suite is Suite.SHARED_KEY_X25519 else None
        hello = signon.hello(identity, session_id, name_random, module_random, private)
        self._sessions[session_id] = ModuleSession(session_id, identity, hello, private, now + WELCOME_S)
        return hello

    def request(self, session: ModuleSession, plain: bytes, now: float) -> tuple[int, bytes]:
        """The counter and the frame of a request of 320 bytes, numbered and sealed now: write it at once.

        Raises SessionOverError if the session carries no new requests; nothing was sent then.
        """
        if not session.live or session.overdue(now) or session.sealer.counter >= session.terms.frames_max:
            raise SessionOverError
        counter = session.sealer.counter
        frame = session.sealer.seal(FrameType.REQUEST, session.id, plain)
        session.used(now)
        return counter, frame

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take what the connection has read; gives what has happened, in order."""
        events: list[Event] = []
        if self._dropped:
            return events
        try:
            for frame in self._splitter.split(data):
                self._take(frame, now, events)
                if self._dropped:
                    break
        except FramingError:
            self._drop(Dropped.FRAMING, events)
        return events

    def close(self, session: ModuleSession) -> bytes:
        """End one session from here, without an event; the CLOSE to write, or nothing if it has ended already."""
        if session.state is State.ENDED:
            return b""
        self._remove(session)
        return framing.close(session.id)

    def tick(self, now: float) -> list[Event]:
        """End what is overdue at `now`."""
        events: list[Event] = []
        for session in self.sessions:
            if why := session.overdue(now):
                self._outgoing += framing.close(session.id)
                self._end(session, why, events)
        return events

    def lost(self) -> list[Event]:
        """The connection has ended: so have all its sessions."""
        events: list[Event] = []
        self._dropped = True
        for session in self.sessions:
            self._end(session, Ended.CONNECTION, events)
        return events

    def next_deadline(self) -> float | None:
        """When `tick` has something to do; None if there is no session."""
        return min((session.deadline for session in self._sessions.values()), default=None)

    def data_to_send(self) -> bytes:
        """What must be written now, and only once: CLOSE frames."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def _take(self, frame: Frame, now: float, events: list[Event]) -> None:
        session = self._sessions.get(frame.session)
        match frame.type:
            case FrameType.CLOSE:
                if session is not None:
                    self._end(session, Ended.BY_PEER, events)
            case _ if session is None:
                self._refuse(frame, now, events)
            case _:
                try:
                    events.append(self._open(session, frame, now))
                except ForgeryError:
                    self._end(session, Ended.FORGED, events)
                    self._refuse(frame, now, events)

    def _open(self, session: ModuleSession, frame: Frame, now: float) -> Event:
        if frame.type is FrameType.WELCOME:
            return self._welcome(session, frame, now)
        if session.state is State.OPENING:
            raise ForgeryError
        plain = session.opener.open(frame)
        counter = int.from_bytes(plain[:_COUNTER_BYTES])
        if counter >= session.sealer.counter:
            raise ForgeryError
        return ResponseReceived(session, counter, plain[_COUNTER_BYTES:])

    def _welcome(self, session: ModuleSession, frame: Frame, now: float) -> Welcomed:
        if session.state is not State.OPENING or frame.counter != 0:
            raise ForgeryError
        terms, keys = signon.open_welcome(session.hello, frame.raw, session.identity.root, session.private)
        for other in self._sessions.values():
            if other.module == session.module and other.live:
                other.renewed(now, DRAIN_S)
        session.agree(terms, keys, now)
        return Welcomed(session)

    def _refuse(self, frame: Frame, now: float, events: list[Event]) -> None:
        self._outgoing += framing.close(frame.session)
        if self._offences.add(now):
            self._drop(Dropped.OFFENCES, events)

    def _end(self, session: ModuleSession, why: Ended, events: list[Event]) -> None:
        self._remove(session)
        events.append(SessionClosed(session, why))

    def _remove(self, session: ModuleSession) -> None:
        session.over()
        del self._sessions[session.id]

    def _drop(self, why: Dropped, events: list[Event]) -> None:
        events += self.lost()
        events.append(ConnectionDropped(why))
