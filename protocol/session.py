"""A session as both ends see it: its state, its time, and the two counters that stop replay.

Three rules stand above the table of states. A session becomes live only by proof: to the switch the first request that
opens, to the module the WELCOME that opens. A live session that another of the same module has replaced drains: what is
in flight is still answered. An ended session stays ended.

Each direction counts its frames from its own start, each exactly one more, and seals under its own key with a nonce
made of the counter. A frame that was replayed, skipped, reordered or changed therefore does not open; there is no
window to keep. For the same reason the counter is taken at the moment of writing: the order of sealing is the order on
the wire.
"""

from enum import Enum
from typing import Final

from protocol.crypto import ForgeryError, Gcm
from protocol.frame import HEADER_BYTES, Frame, header, nonce
from protocol.layout import FRAME_BYTES, TAG_BYTES
from protocol.numbers import FrameType
from protocol.signon import Terms

MODULE_COUNTS_FROM: Final = 0
SWITCH_COUNTS_FROM: Final = 1  # its counter 0 sealed WELCOME


class State(Enum):
    """Where a session stands."""

    OPENING = "keys are agreed or asked for, nothing is proven"
    LIVE = "carries requests"
    DRAINING = "replaced; answers what is in flight"
    ENDED = "over"


_LIVE: Final = State.LIVE  # looking a member up costs more than a request's whole use of it


class Happening(Enum):
    """What can move a session on."""

    PROVEN = "the other end has shown that it holds the keys"
    RENEWED = "another session of the same module on this connection is live"
    OVER = "closed, overdue, forged, or the connection is gone"


TRANSITIONS: Final[dict[State, dict[Happening, State]]] = {
    State.OPENING: {Happening.PROVEN: State.LIVE, Happening.OVER: State.ENDED},
    State.LIVE: {Happening.RENEWED: State.DRAINING, Happening.OVER: State.ENDED},
    State.DRAINING: {Happening.OVER: State.ENDED},
    State.ENDED: {},
}


class Ended(Enum):
    """Why a session is over."""

    NOT_PROVEN = "the proof did not come in time"
    IDLE = "no request for too long"
    LIFE = "its life is over"
    DRAINED = "it was replaced, and its time to drain is over"
    FORGED = "a frame did not open: tag, counter or content"
    FRAMES = "all its frames are used"
    BY_PEER = "the other end closed it"
    HERE = "this end closed it"
    CONNECTION = "the connection is gone"


class Dropped(Enum):
    """Why a connection must be closed."""

    FRAMING = "what came is not a frame"
    OFFENCES = "too many refused frames in a minute"
    UNUSED = "no proven session for too long"


class Sealer:
    """The writing half of one direction: numbers and seals."""

    __slots__ = ("_cipher", "_iv", "counter")

    def __init__(self, key: bytes, iv: bytes, counter: int):
        self._cipher = Gcm(key)
        self._iv = iv
        self.counter = counter

    def seal(self, type: FrameType, session: bytes, plain: bytes) -> bytes:  # noqa: A002 - the wire's own word
        """The next frame of this direction: to be written at once, before any other is sealed.

        Raises ValueError for a plaintext that is not of the type's length; no counter is used then.
        """
        if HEADER_BYTES + len(plain) + TAG_BYTES != FRAME_BYTES[type]:
            raise ValueError(f"a {type.name} does not carry {len(plain)} bytes")
        counter = self.counter
        start = header(type, session, counter)
        sealed = self._cipher.seal(nonce(self._iv, counter), plain, start)
        self.counter = counter + 1
        return start + sealed


class Opener:
    """The reading half of one direction: takes exactly the next frame."""

    __slots__ = ("_cipher", "_iv", "counter")

    def __init__(self, key: bytes, iv: bytes, counter: int):
        self._cipher = Gcm(key)
        self._iv = iv
        self.counter = counter

    def open(self, frame: Frame) -> bytes:
        """The frame's plaintext; raises ForgeryError if it is not the next one or does not verify."""
        counter = self.counter
        if frame.counter != counter:
            raise ForgeryError
        raw = frame.raw
        plain = self._cipher.open(nonce(self._iv, counter), raw[HEADER_BYTES:], raw[:HEADER_BYTES])
        self.counter = counter + 1
        return plain


class Session:
    """State and time of one session; times are monotonic seconds."""

    def __init__(self, id: bytes, module: int, deadline: float):  # noqa: A002 - a session's id
        self.id = id
        self.module = module
        self.state = State.OPENING
        self.deadline = deadline
        self.life_ends = deadline
        self.idle_s = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id.hex()} of {self.module} {self.state.name.lower()}>"

    @property
    def live(self) -> bool:
        """Whether it carries new requests."""
        return self.state is _LIVE

    def proven(self, terms: Terms, now: float) -> None:
        """The other end holds the keys: the session's time runs from here."""
        self._advance(Happening.PROVEN)
        self.life_ends = now + terms.life_s
        self.idle_s = terms.idle_s
        self.used(now)

    def used(self, now: float) -> None:
        """A request has passed: idle time begins anew."""
        if self.state is _LIVE:
            idle_ends = now + self.idle_s
            self.deadline = min(self.life_ends, idle_ends)

    def renewed(self, now: float, drain_s: float) -> None:
        """Another session has taken over: only what is in flight is left."""
        self._advance(Happening.RENEWED)
        self.deadline = min(now + drain_s, self.life_ends)

    def over(self) -> None:
        """The session has ended."""
        self._advance(Happening.OVER)

    def overdue(self, now: float) -> Ended | None:
        """Why the session is over by its time, or None if it is not."""
        if now < self.deadline:
            return None
        match self.state:
            case State.OPENING:
                return Ended.NOT_PROVEN
            case State.LIVE:
                return Ended.LIFE if now >= self.life_ends else Ended.IDLE
            case State.DRAINING:
                return Ended.DRAINED
            case State.ENDED:
                return None

    def _advance(self, happening: Happening) -> None:
        self.state = TRANSITIONS[self.state][happening]
