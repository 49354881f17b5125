"""A session's table of states, its time, and the counters of its two directions."""

import pytest

from protocol.crypto import ForgeryError
from protocol.frame import Frame, Splitter
from protocol.numbers import FrameType
from protocol.session import TRANSITIONS, Ended, Happening, Opener, Sealer, Session, State
from protocol.signon import Terms

KEY, IV, ID = bytes(range(16)), bytes(range(12)), b"sessions"
TERMS = Terms(frames_max=100, life_s=1000, idle_s=90, in_flight_max=16)


def framed(raw: bytes) -> Frame:
    (frame,) = Splitter(FrameType).split(raw)
    return frame


def sealed(count: int) -> list[Frame]:
    sealer = Sealer(KEY, IV, 1)
    return [framed(sealer.seal(FrameType.RESPONSE, ID, bytes([number]) * 1408)) for number in range(count)]


def test_table() -> None:
    """Only proof makes a session live, only a live one can be replaced, and an ended one stays ended."""
    assert [state for state, row in TRANSITIONS.items() if State.LIVE in row.values()] == [State.OPENING]
    assert [state for state, row in TRANSITIONS.items() if Happening.RENEWED in row] == [State.LIVE]
    assert TRANSITIONS[State.ENDED] == {}
    assert all(TRANSITIONS[state][Happening.OVER] is State.ENDED for state in State if state is not State.ENDED)
    assert set(TRANSITIONS) == set(State)


def test_in_order() -> None:
    """Frames open in the order in which they were sealed, from the direction's first counter."""
    opener = Opener(KEY, IV, 1)
    frames = sealed(3)
    assert [frame.counter for frame in frames] == [1, 2, 3]
    assert [opener.open(frame) for frame in frames] == [bytes([number]) * 1408 for number in range(3)]


@pytest.mark.parametrize(
    ("opened", "then"),
    [(1, 0), (3, 0), (3, 2), (1, 2), (0, 1), (0, 2)],
    ids=["replayed", "old", "last", "skipped", "first", "two"],
)
def test_out_of_order(opened: int, then: int) -> None:
    """A replayed, old or skipped counter does not open, and the next one still would."""
    opener, frames = Opener(KEY, IV, 1), sealed(4)
    for frame in frames[:opened]:
        opener.open(frame)
    with pytest.raises(ForgeryError):
        opener.open(frames[then])
    assert opener.open(frames[opened]) == bytes([opened]) * 1408


def test_counter_is_sealed() -> None:
    """An old frame with the next counter written over its own does not open."""
    first, second, _ = sealed(3)
    opener = Opener(KEY, IV, 1)
    opener.open(first)
    with pytest.raises(ForgeryError):
        opener.open(framed(first.raw[:12] + second.raw[12:20] + first.raw[20:]))


def test_every_flipped_bit() -> None:
    """No bit of a sealed frame's session, counter, text or tag can change."""
    (frame,) = sealed(1)
    opener = Opener(KEY, IV, 1)
    number, size = int.from_bytes(frame.raw), len(frame.raw)
    for bit in range(8 * (size - 4)):  # the first four bytes are judged by the framing
        with pytest.raises(ForgeryError):
            opener.open(framed((number ^ 1 << bit).to_bytes(size)))
    assert opener.open(frame) == bytes(1408)


@pytest.mark.parametrize("size", [0, 1407, 1409])
def test_only_a_whole_plaintext_is_sealed(size: int) -> None:
    """A plaintext of another length would put the stream out of step: it is an error, and uses no counter."""
    sealer = Sealer(KEY, IV, 1)
    with pytest.raises(ValueError, match="RESPONSE does not carry"):
        sealer.seal(FrameType.RESPONSE, ID, bytes(size))
    assert sealer.counter == 1


def a_session() -> Session:
    return Session(ID, 1001, 5.0)


def test_proof_must_come_in_time() -> None:
    """A session that is not proven is overdue at its deadline."""
    session = a_session()
    assert session.overdue(4.9) is None
    assert session.overdue(5.0) is Ended.NOT_PROVEN
    assert not session.live


def test_idle_and_life() -> None:
    """Each use puts the idle deadline off, and none the end of its life."""
    session = a_session()
    session.proven(TERMS, 2.0)
    assert session.overdue(91.9) is None
    assert session.overdue(92.0) is Ended.IDLE
    for now in range(2, 1000, 50):
        session.used(float(now))
        assert session.overdue(float(now)) is None
    assert session.overdue(1001.9) is None
    assert session.overdue(1002.0) is Ended.LIFE


def test_drains() -> None:
    """A replaced session has its time to drain, use or not, but not beyond its life."""
    session = a_session()
    session.proven(TERMS, 0.0)
    session.renewed(10.0, 60.0)
    session.used(65.0)
    assert session.overdue(69.9) is None
    assert session.overdue(70.0) is Ended.DRAINED
    late = a_session()
    late.proven(TERMS, 0.0)
    late.renewed(990.0, 60.0)
    assert late.deadline == 1000.0


def test_repr_shows_no_key() -> None:
    """A session is shown by its id, module and state."""
    assert repr(a_session()) == "<Session 73657373696f6e73 of 1001 opening>"
