"""The module's end: what a false switch, a broken line and its own renewals give."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import frame as framing
from protocol import signon
from protocol.crypto import Gcm
from protocol.module import ConnectionDropped, ResponseReceived, SessionClosed, SessionOverError, Welcomed
from protocol.numbers import FrameType, Suite
from protocol.session import Dropped, Ended, Sealer, State
from protocol.signon import ModuleIdentity, Terms

STRANGER = b"stranger"


def closes(*ids: bytes) -> bytes:
    return b"".join(framing.close(each) for each in ids)


def test_nothing_is_sent_before_the_welcome(pair: Any, who: ModuleIdentity) -> None:
    """Until WELCOME has verified, a session carries no request."""
    pair.module.hello(who, pair.now)
    (session,) = pair.module.sessions
    with pytest.raises(SessionOverError):
        pair.module.request(session, bytes(320), pair.now)


def test_false_switch(pair: Any, who: ModuleIdentity) -> None:
    """A WELCOME that does not verify ends the session with CLOSE, and no request ever leaves."""
    hello = pair.module.hello(who, pair.now)
    pair.to_switch(hello)
    (session,) = pair.module.sessions
    welcome = pair.switch.data_to_send()
    assert pair.to_module(welcome[:-1] + bytes([welcome[-1] ^ 1])) == [SessionClosed(session, Ended.FORGED)]
    assert pair.module.data_to_send() == closes(session.id)
    assert pair.module.sessions == ()
    with pytest.raises(SessionOverError):
        pair.module.request(session, bytes(320), pair.now)


def test_no_welcome(pair: Any, who: ModuleIdentity) -> None:
    """A switch that does not answer within 5 s is not waited for."""
    pair.module.hello(who, pair.now)
    (session,) = pair.module.sessions
    assert pair.module.next_deadline() == pair.now + 5.0
    pair.now += 5.0
    assert pair.module.tick(pair.now) == [SessionClosed(session, Ended.NOT_PROVEN)]
    assert pair.module.next_deadline() is None


def test_refused(pair: Any, who: ModuleIdentity, directory: Any) -> None:
    """A refused HELLO comes back as a closed session, on which nothing was sent."""
    directory.records.clear()
    pair.to_switch(pair.module.hello(who, pair.now))
    (session,) = pair.module.sessions
    assert pair.to_module(pair.switch.data_to_send()) == [SessionClosed(session, Ended.BY_PEER)]


def test_response_before_welcome(pair: Any, who: ModuleIdentity) -> None:
    """A RESPONSE to a session that was not welcomed ends it."""
    pair.module.hello(who, pair.now)
    (session,) = pair.module.sessions
    early = framing.header(FrameType.RESPONSE, session.id, 1).ljust(1444, b"x")
    assert pair.to_module(early) == [SessionClosed(session, Ended.FORGED)]


def test_second_welcome(pair: Any, who: ModuleIdentity) -> None:
    """A WELCOME that comes again does not open a second time."""
    pair.to_switch(pair.module.hello(who, pair.now))
    welcome = pair.switch.data_to_send()
    (welcomed,) = pair.to_module(welcome)
    assert pair.to_module(welcome) == [SessionClosed(welcomed.session, Ended.FORGED)]


def test_welcome_has_counter_0(pair: Any, who: ModuleIdentity) -> None:
    """A WELCOME with another counter is refused, though who sealed it holds the root key."""
    hello = pair.module.hello(who, pair.now)
    (session,) = pair.module.sessions
    private = b"\x02" * 32 if who.suite is Suite.SHARED_KEY_X25519 else None
    good, _ = signon.welcome(hello, who.root, Terms(100, 100, 90, 16), b"s" * 16, private)
    clear = good[:12] + (1).to_bytes(8) + good[20:68]
    keys = signon._derive(who.root, hello + clear, private, hello[56:88])
    wrong = clear + Gcm(keys.to_module).seal(keys.iv_to_module, bytes(32), clear)
    signon.open_welcome(hello, wrong, who.root, session.private)
    assert pair.to_module(wrong) == [SessionClosed(session, Ended.FORGED)]


@pytest.mark.parametrize("order", [[0, 0], [1], [0, 1, 0]], ids=["replayed", "skipped", "old"])
def test_counters(pair: Any, who: ModuleIdentity, order: list[int]) -> None:
    """A replayed, skipped or old answer ends the session with CLOSE."""
    session = pair.welcomed(who)
    asked = [pair.ask(session) for _ in range(3)]
    answers = [pair.switch.respond(held, counter, pair.ANSWER) for held, counter in asked]
    events = [pair.to_module(answers[number]) for number in order]
    assert events[-1] == [SessionClosed(session, Ended.FORGED)]
    assert pair.module.data_to_send() == closes(session.id)


def test_one_flipped_bit_in_each_byte_of_a_response(
    join: Callable[..., Any], enroll: Callable[..., ModuleIdentity]
) -> None:
    """An answer with a bit flipped in any byte is never given to the caller."""
    who = enroll(1001, Suite.SHARED_KEY)
    for at in range(1444):
        pair = join()
        session = pair.welcomed(who)
        answer = bytearray(pair.switch.respond(*pair.ask(session), pair.ANSWER))
        answer[at] ^= 1 << at % 8
        (*events,) = pair.to_module(bytes(answer))
        assert not any(isinstance(event, ResponseReceived) for event in events)
        assert session.live == (4 <= at < 12)  # another session's id: this one is not concerned


def test_truncated_anywhere(pair: Any, who: ModuleIdentity) -> None:
    """An answer that ends early, at any byte, is no answer; the session ends with the connection."""
    session = pair.welcomed(who)
    answer = pair.switch.respond(*pair.ask(session), pair.ANSWER)
    for byte in answer[:-1]:
        assert pair.to_module(bytes([byte])) == []
    assert pair.module.lost() == [SessionClosed(session, Ended.CONNECTION)]
    assert pair.to_module(answer[-1:]) == []


@given(st.lists(st.binary(max_size=2000), max_size=10))
def test_any_bytes(fresh: Callable[[], Any], chunks: list[bytes]) -> None:
    """Whatever comes, nothing is taken for an answer, little is kept, and no error escapes."""
    pair, who = fresh()
    pair.live(who)
    for chunk in chunks:
        events = pair.to_module(chunk)
        assert all(isinstance(event, SessionClosed | ConnectionDropped) for event in events)
        if events:
            break
        assert pair.module._splitter.kept < 1444


def test_answer_to_what_was_not_asked(pair: Any, who: ModuleIdentity) -> None:
    """A well-sealed answer to a counter that was never sent ends the session."""
    session, held = pair.live(who)
    assert pair.to_module(pair.switch.respond(held, 7, pair.ANSWER)) == [SessionClosed(session, Ended.FORGED)]


def test_no_session_hears_anothers_answer(pair: Any, enroll: Callable[..., ModuleIdentity]) -> None:
    """An answer under another session's id does not open: each has keys of its own."""
    one, one_held = pair.live(enroll(1))
    other, _ = pair.live(enroll(2))
    _, counter = pair.ask(one)
    answer = pair.switch.respond(one_held, counter, pair.ANSWER)
    assert pair.to_module(answer[:4] + other.id + answer[12:]) == [SessionClosed(other, Ended.FORGED)]
    assert one.live


def test_close_is_a_hint(pair: Any, who: ModuleIdentity) -> None:
    """CLOSE from the switch ends the session here; for an unknown one it is not answered."""
    session, held = pair.live(who)
    assert pair.to_module(closes(STRANGER)) == []
    assert pair.to_module(pair.switch.close(held, pair.now)) == [SessionClosed(session, Ended.BY_PEER)]
    assert pair.module.data_to_send() == b""


def test_offences(pair: Any, who: ModuleIdentity) -> None:
    """A peer that sends more than 16 frames of unknown sessions in a minute is dropped."""
    session, _ = pair.live(who)
    trash = framing.header(FrameType.RESPONSE, STRANGER, 0).ljust(1444, b"x")
    for _ in range(16):
        assert pair.to_module(trash) == []
    assert pair.module.data_to_send() == closes(STRANGER) * 16
    assert pair.to_module(trash) == [
        SessionClosed(session, Ended.CONNECTION),
        ConnectionDropped(Dropped.OFFENCES),
    ]
    with pytest.raises(SessionOverError):
        pair.module.hello(who, pair.now)


def test_framing_error(pair: Any, who: ModuleIdentity) -> None:
    """What is no frame drops the connection at once."""
    session, _ = pair.live(who)
    assert pair.to_module(b"HTTP/1.1 400") == [
        SessionClosed(session, Ended.CONNECTION),
        ConnectionDropped(Dropped.FRAMING),
    ]


def test_renewal(pair: Any, who: ModuleIdentity) -> None:
    """After a renewal the new session carries requests, and the old one still hears its answers for 60 s."""
    old, old_held = pair.live(who)
    _, in_flight = pair.ask(old)
    pair.to_switch(pair.module.hello(who, pair.now))
    assert old.state is State.LIVE
    (welcomed,) = pair.to_module(pair.switch.data_to_send())
    assert isinstance(welcomed, Welcomed)
    assert (old.state, welcomed.session.state) == (State.DRAINING, State.LIVE)
    with pytest.raises(SessionOverError):
        pair.module.request(old, bytes(320), pair.now)
    pair.ask(welcomed.session)
    pair.now += 59.0
    assert pair.answer(old_held, in_flight) == [ResponseReceived(old, in_flight, pair.ANSWER)]
    pair.now += 1.0
    assert pair.module.tick(pair.now) == [SessionClosed(old, Ended.DRAINED)]


def test_renewal_is_due(join: Callable[..., Any], who: ModuleIdentity) -> None:
    """A session asks for its renewal when nine tenths of its frames or of its life are used."""
    by_frames = join(frames_max=10)
    session = by_frames.welcomed(who)
    for _ in range(8):
        by_frames.ask(session)
    assert not session.renewal_due(by_frames.now)
    by_frames.ask(session)
    assert session.renewal_due(by_frames.now)
    by_life = join(life_s=1000)
    session, _ = by_life.live(who)
    assert not session.renewal_due(by_life.now + 899.0)
    assert session.renewal_due(by_life.now + 900.0)


def test_echo_keeps_the_session(pair: Any, who: ModuleIdentity) -> None:
    """An idle module is told when to echo: half of the idle time after its last request."""
    session, _ = pair.live(who)
    assert session.echo_due_at == pair.now + 45.0
    pair.now += 45.0
    pair.ask(session)
    assert session.echo_due_at == pair.now + 45.0
    pair.now += 90.0
    with pytest.raises(SessionOverError):
        pair.module.request(session, bytes(320), pair.now)
    assert pair.module.tick(pair.now) == [SessionClosed(session, Ended.IDLE)]


def test_key_change(pair: Any, who: ModuleIdentity, directory: Any) -> None:
    """In suite 2 both ends derive the same next root key, under which the module can sign on as the next generation."""
    session, held = pair.live(who)
    assert session.next_root == held.next_root
    if who.suite is Suite.SHARED_KEY:
        assert session.next_root is None
        return
    after = ModuleIdentity(who.module, who.generation + 1, who.suite, session.next_root, who.group, who.group_key)
    directory.enroll(after)
    _, new_held = pair.live(after)
    assert new_held.generation == 2


def test_cap(pair: Any, who: ModuleIdentity) -> None:
    """A module's connection holds at most 256 sessions."""
    for _ in range(256):
        pair.module.hello(who, pair.now)
    with pytest.raises(SessionOverError):
        pair.module.hello(who, pair.now)


def test_refusal_uses_no_counter(join: Callable[..., Any], who: ModuleIdentity) -> None:
    """What was refused here was not sealed: the counter stands where it was."""
    pair = join(frames_max=1)
    session, _ = pair.live(who)
    assert isinstance(session.sealer, Sealer)
    with pytest.raises(SessionOverError):
        pair.module.request(session, bytes(320), pair.now)
    assert session.sealer.counter == 1
