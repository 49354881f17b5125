"""The switch's end of a connection: bytes in, events out; answers in, bytes out.

Nobody on the other side is trusted. A HELLO may be a replay, so it only opens a session that nobody can use without the
keys, ends after five seconds, and displaces nothing; it is ignored if its session id is already in use here, lest the
CLOSE that refuses it end an honest session. Whatever is refused gets the same CLOSE, so that the answer tells nothing;
no CLOSE answers a CLOSE, so that two ends never echo each other. What is held is bounded: sessions by `sessions_max`,
bytes by one frame, offences by a count, and a connection without a proven session by `unused_s`.

The caller, after each `receive` and `tick`, writes what `data_to_send` gives before anything else, then deals with the
events; it writes what `respond` and `close` return at once. It calls `tick` when `next_deadline` has come, `lost` when
the connection has ended. The one answer to `ConnectionDropped` is to write what is left and close the connection.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from protocol import frame as framing
from protocol import signon
from protocol.crypto import BlockCipher, ForgeryError
from protocol.frame import Frame, FramingError, Offences, Splitter
from protocol.numbers import FrameType, Suite, TermFlag
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
from protocol.signon import RootKey

# Bound once: looking up a member of an enumeration costs more than what a request does with it.
_REQUEST: Final = FrameType.REQUEST
_RESPONSE: Final = FrameType.RESPONSE
_OPENING: Final = State.OPENING
_ENDED: Final = State.ENDED
_NEXT_ROOT: Final = TermFlag.NEXT_ROOT.value
_RENEWABLE: Final = Suite.SHARED_KEY_X25519
GENERATION_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class ModuleRecord:
    """What the switch knows of a module: its group, its root keys by generation, whether it is to take the next."""

    module: int
    group: int
    keys: Mapping[int, RootKey]
    revoked: bool = False
    rekey: bool = False

    def follows(self, generation: int) -> bool:
        """Whether a session of this generation is to give the next root key."""
        return self.rekey and generation == min(self.keys) < GENERATION_MAX


class Directory(Protocol):
    """Where the switch looks modules up: from memory alone, never waiting."""

    def group_keys(self, group: int) -> Sequence[bytes]:
        """The keys that may hide the module numbers of a group, the newest first; none if there is no such group."""

    def module(self, number: int) -> ModuleRecord | None:
        """The record of a module, or None if there is none."""

    def may_open(self, module: int) -> bool:
        """Whether a further session of this module may be opened now."""

    def last_name(self, module: int) -> tuple[int, int]:
        """Date (yyyymmdd) and sequence of the module's last name that this process knows, or (0, 0)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session and a connection are granted; times in seconds."""

    frames_max: int = 2**24
    life_s: int = 24 * 60 * 60
    idle_s: int = 90
    in_flight_max: int = 16
    sessions_max: int = 64
    offences_max: int = 16
    first_request_s: float = 5.0
    drain_s: float = 60.0
    unused_s: float = 10.0


class SwitchSession(Session):
    """One session, as the switch holds it; `access_code_key` and `next_root` are for the caller."""

    def __init__(
        self, hello: Frame, named: signon.Named, keys: signon.SessionKeys, terms: signon.Terms, deadline: float
    ):
        super().__init__(hello.session, named.module, deadline)
        self.generation = named.generation
        self.suite = Suite(named.suite)
        self.terms = terms
        self.access_code_key = keys.access_code
        self.next_root = keys.next_root
        self.unanswered = 0
        self._access_code_cipher: BlockCipher | None = None
        self.opener = Opener(keys.to_switch, keys.iv_to_switch, MODULE_COUNTS_FROM)
        self.sealer = Sealer(keys.to_module, keys.iv_to_module, SWITCH_COUNTS_FROM)

    @property
    def access_code_cipher(self) -> BlockCipher:
        """The cipher of `access_code_key`, made when the first access code comes: many sessions never see one."""
        if self._access_code_cipher is None:
            self._access_code_cipher = BlockCipher(self.access_code_key)
        return self._access_code_cipher


@dataclass(frozen=True, slots=True)
class SessionLive:
    """A session has proven itself; now it may displace the module's older ones on other connections."""

    session: SwitchSession


class RequestReceived:
    """A request was opened: 320 bytes. One that is over the session's limit in flight is to be answered 91 at once."""

    def __init__(self, session: SwitchSession, counter: int, plain: bytes, over_limit: bool):
        self.session = session
        self.counter = counter
        self.plain = plain
        self.over_limit = over_limit

    def __repr__(self) -> str:
        return f"<RequestReceived {self.counter} in {self.session!r}>"


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session is over, whether it was ever live or not."""

    session: SwitchSession
    why: Ended


@dataclass(frozen=True, slots=True)
class ConnectionDropped:
    """The connection must be closed; its sessions have ended."""

    why: Dropped


Event = SessionLive | RequestReceived | SessionEnded | ConnectionDropped


class SwitchConnection:
    """One connection, as the switch sees it.

    `random` gives that many random bytes. `now` is in monotonic seconds everywhere.
    """

    def __init__(self, directory: Directory, limits: Limits, random: Callable[[int], bytes], now: float):
        self._directory = directory
        self._limits = limits
        self._random = random
        self._splitter = Splitter((FrameType.HELLO, FrameType.REQUEST, FrameType.CLOSE))
        self._offences = Offences(limits.offences_max)
        self._sessions: dict[bytes, SwitchSession] = {}
        self._proven = 0
        self._unused_since = now
        self._outgoing = bytearray()
        self._dropped = False

    @property
    def sessions(self) -> tuple[SwitchSession, ...]:
        """The sessions that are not over."""
        return tuple(self._sessions.values())

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
            self._drop(Dropped.FRAMING, now, events)
        return events

    def respond(self, session: SwitchSession, in_reply_to: int, answer: bytes) -> bytes:
        """The frame that answers a request, numbered and sealed now: write it at once.

        `answer` is the recorded answer, 1,400 bytes. Nothing, for a session that has ended: the module will repeat.
        """
        session.unanswered -= 1
        if session.state is _ENDED:
            return b""
        return session.sealer.seal(_RESPONSE, session.id, in_reply_to.to_bytes(8) + answer)

    def stay_silent(self, session: SwitchSession) -> None:
        """A request of this session will never be answered: it no longer counts as in flight."""
        session.unanswered -= 1

    def close(self, session: SwitchSession, now: float) -> bytes:
        """End one session from here, without an event; the CLOSE to write, or nothing if it has ended already."""
        if session.state is State.ENDED:
            return b""
        self._remove(session, now)
        return framing.close(session.id)

    def tick(self, now: float) -> list[Event]:
        """End what is overdue at `now`."""
        events: list[Event] = []
        for session in self.sessions:
            if why := session.overdue(now):
                self._close(session, why, now, events)
        if not self._dropped and not self._proven and now >= self._unused_since + self._limits.unused_s:
            self._drop(Dropped.UNUSED, now, events)
        return events

    def lost(self, now: float) -> list[Event]:
        """The connection has ended: so have all its sessions."""
        events: list[Event] = []
        self._dropped = True
        for session in self.sessions:
            self._end(session, Ended.CONNECTION, now, events)
        return events

    def next_deadline(self) -> float | None:
        """When `tick` has something to do, at the latest; None once the connection is dropped."""
        if self._dropped:
            return None
        deadlines = [session.deadline for session in self._sessions.values()]
        if not self._proven:
            deadlines.append(self._unused_since + self._limits.unused_s)
        return min(deadlines)

    def data_to_send(self) -> bytes:
        """What must be written now, and only once: WELCOME and CLOSE frames."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def _take(self, frame: Frame, now: float, events: list[Event]) -> None:
        if frame.type is _REQUEST:
            self._take_request(frame, now, events)
            return
        match frame.type:
            case FrameType.HELLO:
                self._take_hello(frame, now, events)
            case _ if frame.counter:
                self._count_offence(now, events)
            case _:
                if session := self._sessions.get(frame.session):
                    self._end(session, Ended.BY_PEER, now, events)

    def _take_request(self, frame: Frame, now: float, events: list[Event]) -> None:
        session = self._sessions.get(frame.session)
        if session is None:
            self._refuse(frame.session, now, events)
            return
        if now >= session.deadline or session.opener.counter >= session.terms.frames_max:
            self._close(session, session.overdue(now) or Ended.FRAMES, now, events)
            return
        try:
            plain = session.opener.open(frame)
        except ForgeryError:
            self._end(session, Ended.FORGED, now, events)
            self._refuse(frame.session, now, events)
            return
        if session.state is _OPENING:
            self._make_live(session, now, events)
        session.used(now)
        session.unanswered += 1
        over_limit = session.unanswered > session.terms.in_flight_max
        events.append(RequestReceived(session, frame.counter, plain, over_limit))

    def _make_live(self, session: SwitchSession, now: float, events: list[Event]) -> None:
        for other in self._sessions.values():
            if other.module == session.module and other.live:
                other.renewed(now, self._limits.drain_s)
        session.proven(session.terms, now)
        self._proven += 1
        events.append(SessionLive(session))

    def _take_hello(self, frame: Frame, now: float, events: list[Event]) -> None:
        if frame.session in self._sessions:
            self._count_offence(now, events)
            return
        try:
            session = self._open(frame, now)
        except ForgeryError:
            self._refuse(frame.session, now, events)
            return
        self._sessions[session.id] = session

    def _open(self, frame: Frame, now: float) -> SwitchSession:
        """Check a HELLO in the order of the wire: group, identity, record, MAC, caps. Raises ForgeryError."""
        if frame.counter != 0:
            raise ForgeryError
        named, record, key = self._identify(frame)
        if len(self._sessions) >= self._limits.sessions_max or not self._directory.may_open(record.module):
            raise ForgeryError
        terms = signon.Terms(
            self._limits.frames_max,
            self._limits.life_s,
            self._limits.idle_s,
            self._limits.in_flight_max,
            *self._directory.last_name(record.module),
            flags=_NEXT_ROOT if key.suite is _RENEWABLE and record.follows(named.generation) else 0,
        )
        private = self._random(signon.PRIVATE_BYTES) if key.suite is Suite.SHARED_KEY_X25519 else None
        switch_random = self._random(signon.RANDOM_BYTES)
        welcome, keys = signon.welcome(frame.raw, key, terms, switch_random, private)
        self._outgoing += welcome
        deadline = now + self._limits.first_request_s
        return SwitchSession(frame, named, keys, terms, deadline)

    def _identify(self, frame: Frame) -> tuple[signon.Named, ModuleRecord, RootKey]:
        """Who has made this HELLO. While a group has several keys it does not say by which it hides: each is tried."""
        group = signon.hello_group(frame.raw)
        for group_key in self._directory.group_keys(group):
            named = signon.hello_name(frame.raw, group_key)
            record = self._directory.module(named.module)
            if record is None or record.revoked or record.group != group:
                continue
            key = record.keys.get(named.generation)
            if key is None or key.suite != named.suite:
                continue
            try:
                signon.check_hello(frame.raw, key.root_key)
            except ForgeryError:
                continue
            return named, record, key
        raise ForgeryError

    def _refuse(self, session_id: bytes, now: float, events: list[Event]) -> None:
        self._outgoing += framing.close(session_id)
        self._count_offence(now, events)

    def _count_offence(self, now: float, events: list[Event]) -> None:
        if self._offences.add(now):
            self._drop(Dropped.OFFENCES, now, events)

    def _close(self, session: SwitchSession, why: Ended, now: float, events: list[Event]) -> None:
        self._outgoing += framing.close(session.id)
        self._end(session, why, now, events)

    def _end(self, session: SwitchSession, why: Ended, now: float, events: list[Event]) -> None:
        self._remove(session, now)
        events.append(SessionEnded(session, why))

    def _remove(self, session: SwitchSession, now: float) -> None:
        if session.state is not State.OPENING:
            self._proven -= 1
            self._unused_since = now
        session.over()
        del self._sessions[session.id]

    def _drop(self, why: Dropped, now: float, events: list[Event]) -> None:
        events += self.lost(now)
        events.append(ConnectionDropped(why))
