"""Framing: torn, short, long and foreign frames, and the count of offences."""

import pytest

from protocol.frame import Frame, FramingError, Offences, Splitter, close, header
from protocol.layout import FRAME_BYTES
from protocol.numbers import FrameType

SESSION = b"sessions"
SIZES = {
    FrameType.HELLO: 104,
    FrameType.WELCOME: 116,
    FrameType.REQUEST: 356,
    FrameType.RESPONSE: 1444,
    FrameType.CLOSE: 20,
}


def frame(frame_type: FrameType, counter: int = 5) -> bytes:
    return header(frame_type, SESSION, counter).ljust(SIZES[frame_type], b"\x77")


def told(got: Frame) -> tuple[FrameType, bytes, int, bytes]:
    return got.type, got.session, got.counter, got.raw


def test_sizes() -> None:
    """The five frames have the lengths of the wire."""
    assert FRAME_BYTES == SIZES


def test_close() -> None:
    """CLOSE is a header: 18 bytes follow the length, version 1, type 5, the session, counter 0."""
    assert close(SESSION) == bytes.fromhex("0012 01 05") + SESSION + bytes(8)


@pytest.mark.parametrize("frame_type", FrameType)
def test_torn_anywhere(frame_type: FrameType) -> None:
    """A frame that comes in two pieces, torn at any point, is one frame, given once it is whole."""
    whole = frame(frame_type)
    for at in range(len(whole)):
        splitter = Splitter(FrameType)
        assert list(splitter.split(whole[:at])) == []
        assert splitter.kept == at
        assert [told(got) for got in splitter.split(whole[at:])] == [(frame_type, SESSION, 5, whole)]
        assert splitter.kept == 0


def test_byte_by_byte_and_all_at_once() -> None:
    """However a stream is cut, the same frames come out in the same order."""
    stream = b"".join(frame(frame_type, counter) for counter, frame_type in enumerate(FrameType))
    at_once = [told(got) for got in Splitter(FrameType).split(stream)]
    splitter = Splitter(FrameType)
    piecemeal = [told(got) for byte in stream for got in splitter.split(bytes([byte]))]
    assert at_once == piecemeal
    assert [(frame_type, counter) for frame_type, _, counter, _ in at_once] == [
        (each, at) for at, each in enumerate(FrameType)
    ]


@pytest.mark.parametrize("frame_type", FrameType)
@pytest.mark.parametrize("wrong", [-1, 1, -18, 0x7000])
def test_wrong_length_is_refused_before_the_body(frame_type: FrameType, wrong: int) -> None:
    """Four bytes with a length that is not the type's are enough to refuse."""
    start = (SIZES[frame_type] - 2 + wrong & 0xFFFF).to_bytes(2) + bytes([1, frame_type])
    if wrong == -18 and frame_type is FrameType.CLOSE:
        assert start[:2] == b"\0\0"
    with pytest.raises(FramingError):
        list(Splitter(FrameType).split(start))


@pytest.mark.parametrize("start", ["0012 00 05", "0012 02 05", "0012 01 00", "0012 01 06", "0012 01 ff", "4745 54 20"])
def test_wrong_version_or_type(start: str) -> None:
    """Another version, an unknown type, or a web browser is refused by its first four bytes."""
    with pytest.raises(FramingError):
        list(Splitter(FrameType).split(bytes.fromhex(start)))


def test_wrong_direction() -> None:
    """A frame of the other direction is refused like an unknown one."""
    with pytest.raises(FramingError):
        list(Splitter((FrameType.HELLO, FrameType.REQUEST, FrameType.CLOSE)).split(frame(FrameType.RESPONSE)[:4]))


def test_what_stood_before_counts() -> None:
    """Whole frames before a wrong one are given before the error."""
    frames = Splitter(FrameType).split(close(SESSION) + b"GET /")
    assert next(frames).type is FrameType.CLOSE
    with pytest.raises(FramingError):
        next(frames)


def test_offences_within_a_minute() -> None:
    """The 17th within a minute is too much; spread over more than a minute, none ever is."""
    offences = Offences(16)
    assert [offences.add(float(second)) for second in range(17)] == [False] * 16 + [True]
    slowly = Offences(16)
    assert not any(slowly.add(4.0 * second) for second in range(100))
