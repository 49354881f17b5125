"""Frames on a stream of bytes: where one ends, and whether it may be one at all.

Every type has one length, so all its frames begin with the same four bytes (length, version, type), and these decide
whether the rest is worth reading. What is kept between two reads is therefore always less than the largest frame that
this end takes.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from protocol.codec import Codec
from protocol.layout import FRAME_BYTES, HEADER
from protocol.numbers import VERSION, FrameType

_HEADER = Codec(HEADER)
SESSION: Final = _HEADER["session"].place
_NAMED = _HEADER.picking("session", "counter")
HEADER_BYTES: Final = _HEADER.size
LENGTH_BYTES: Final = _HEADER["length"].size
NONCE_BYTES: Final = 12
SESSION_BYTES: Final = _HEADER["session"].size


class FramingError(Exception):
    """What came cannot be a frame: the connection has lost its place, or never had one."""


_STARTS = {
    frame_type: _HEADER.pack({"length": size - LENGTH_BYTES, "version": VERSION, "type": frame_type})[: SESSION.start]
    for frame_type, size in FRAME_BYTES.items()
}
_START_BYTES: Final = SESSION.start
_COUNTER_BYTES: Final = _HEADER["counter"].size


class Frame:
    """One whole frame, of the right length for its type."""

    def __init__(self, type: FrameType, session: bytes, counter: int, raw: bytes):  # noqa: A002 - the wire's own word
        self.type = type
        self.session = session
        self.counter = counter
        self.raw = raw

    @property
    def header(self) -> bytes:
        """The first 20 bytes, which are associated data."""
        return self.raw[:HEADER_BYTES]

    @property
    def body(self) -> bytes:
        """All that follows the header."""
        return self.raw[HEADER_BYTES:]


def header(type: FrameType, session: bytes, counter: int) -> bytes:  # noqa: A002 - the wire's own word
    """The 20 bytes that a frame begins with."""
    return _STARTS[type] + session + counter.to_bytes(_COUNTER_BYTES)


def close(session: bytes) -> bytes:
    """The CLOSE frame for a session."""
    return header(FrameType.CLOSE, session, 0)


def nonce(iv: bytes, counter: int) -> bytes:
    """The nonce of a frame: the direction's iv, its last 8 bytes XOR the counter."""
    return (int.from_bytes(iv) ^ counter).to_bytes(NONCE_BYTES)


class Splitter:
    """Cuts what one direction of a connection receives into frames of the types that it may carry."""

    def __init__(self, types: Iterable[FrameType]):
        self._starts = {_STARTS[frame_type]: (frame_type, FRAME_BYTES[frame_type]) for frame_type in types}
        self._kept = b""

    def split(self, data: bytes) -> Iterator[Frame]:
        """Give the frames that are whole now, one by one; keep the rest.

        Raises FramingError, after the frames before it, as soon as four bytes show a wrong length, version or type.
        """
        if self._kept:
            data = self._kept + data
        at, end = 0, len(data)
        try:
            while end - at >= _START_BYTES:
                known = self._starts.get(data[at : at + _START_BYTES])
                if known is None:
                    raise FramingError
                frame_type, size = known
                if end - at < size:
                    return
                raw = data[at : at + size]
                at += size
                session, counter = _NAMED.unpack_from(raw)
                yield Frame(frame_type, session, counter, raw)
        finally:
            self._kept = data[at:]

    @property
    def kept(self) -> int:
        """How many bytes of an unfinished frame are held."""
        return len(self._kept)


class Offences:
    """Counts what a peer did wrong, and says when it was too much: more than `most` within a minute."""

    WINDOW_S: Final = 60.0

    def __init__(self, most: int):
        self._times: deque[float] = deque(maxlen=most + 1)

    def add(self, now: float) -> bool:
        """Count one at `now`, in monotonic seconds; True if it was one too many."""
        self._times.append(now)
        return len(self._times) == self._times.maxlen and now - self._times[0] < self.WINDOW_S
