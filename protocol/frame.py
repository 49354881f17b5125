"""Frames on a stream of bytes: where one ends, and whether it may be one at all.

Every type has one length, so the first four bytes of a frame (length, version, type) decide whether the rest is worth
reading. What is kept between two reads is therefore always less than the largest frame that this end takes.
"""

import struct
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from protocol.codec import Codec
from protocol.layout import FRAME_BYTES, HEADER
from protocol.numbers import VERSION, FrameType

_HEADER = Codec(HEADER)
_START = struct.Struct(">HBB")
SESSION: Final = slice(_HEADER["session"].at, _HEADER["session"].end)
_COUNTER = slice(_HEADER["counter"].at, _HEADER["counter"].end)
HEADER_BYTES: Final = _HEADER.size
LENGTH_BYTES: Final = _HEADER["length"].size
SESSION_BYTES: Final = _HEADER["session"].size


class FramingError(Exception):
    """What came cannot be a frame: the connection has lost its place, or never had one."""


class Frame(NamedTuple):
    """One whole frame, of the right length for its type."""

    type: FrameType
    session: bytes
    counter: int
    raw: bytes

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
    length = FRAME_BYTES[type] - LENGTH_BYTES
    return _HEADER.pack_row((length, VERSION, type, session, counter))


def close(session: bytes) -> bytes:
    """The CLOSE frame for a session."""
    return header(FrameType.CLOSE, session, 0)


class Splitter:
    """Cuts what one direction of a connection receives into frames of the types that it may carry."""

    def __init__(self, types: Iterable[FrameType]):
        self._types = {frame_type.value: (frame_type, FRAME_BYTES[frame_type]) for frame_type in types}
        self._buffer = bytearray()

    def split(self, data: bytes) -> Iterator[Frame]:
        """Give the frames that are whole now, one by one; keep the rest.

        Raises FramingError, after the frames before it, as soon as four bytes show a wrong length, version or type.
        """
        self._buffer += data
        at = 0
        try:
            while len(self._buffer) - at >= _START.size:
                length, version, number = _START.unpack_from(self._buffer, at)
                frame_type, size = self._types.get(number, (None, 0))
                if frame_type is None or version != VERSION or length != size - LENGTH_BYTES:
                    raise FramingError
                if len(self._buffer) - at < size:
                    return
                raw = bytes(self._buffer[at : at + size])
                at += size
                yield Frame(frame_type, raw[SESSION], int.from_bytes(raw[_COUNTER]), raw)
        finally:
            del self._buffer[:at]

    @property
    def kept(self) -> int:
        """How many bytes of an unfinished frame are held."""
        return len(self._buffer)


class Offences:
    """Counts what a peer did wrong, and says when it was too much: more than `most` within a minute."""

    WINDOW_S: Final = 60.0

    def __init__(self, most: int):
        self._times: deque[float] = deque(maxlen=most + 1)

    def add(self, now: float) -> bool:
        """Count one at `now`, in monotonic seconds; True if it was one too many."""
        self._times.append(now)
        return len(self._times) == self._times.maxlen and now - self._times[0] < self.WINDOW_S
