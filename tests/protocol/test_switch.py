"""The switch's end: what a module, a stranger and a bad neighbour get."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import frame as framing
from protocol import module as module_end
from protocol import signon
from protocol.access_code import decode, encode
from protocol.layout import FRAME_BYTES
from protocol.numbers import FrameType, Suite, TermFlag
from protocol.session import Dropped, Ended, State
from protocol.signon import ModuleIdentity, Terms
from protocol.switch import (
    ConnectionDropped,
    ModuleRecord,
    RequestReceived,
    SessionEnded,
    SessionLive,
)

STRANGER = b"stranger"


def closes(*ids: bytes) -> bytes:
    return b"".join(framing.close(each) for each in ids)


def test_sign_on(pair: Any, who: ModuleIdentity, directory: Any) -> None:
    """HELLO gets WELCOME with the switch's terms; the first request makes the session live, and is there at once."""
    directory.last[1001] = (20261121, 41)
    session = pair.welcomed(who)
    assert session.terms == Terms(2**24, 86400, 90, 16, 20261121, 41)
    (held,) = pair.switch.sessions
    assert (held.module, held.generation, held.suite, held.live) == (1001, 1, who.suite, False)
    _, frame = pair.module.request(session, bytes(320), pair.now)
    live, received = pair.to_switch(frame)
    assert live == SessionLive(held)
    assert isinstance(received, RequestReceived)
    assert (received.session, received.counter, received.plain) == (held, 0, bytes(320))
    assert not received.over_limit
    assert held.live
    assert held.access_code_key == session.access_code_key


def test_answers_in_any_order(pair: Any, who: ModuleIdentity) -> None:
    """Answers are numbered as they are written, and say which request they answer."""
    session = pair.welcomed(who)
    asked = [pair.ask(session) for _ in range(3)]
    for held, counter in reversed(asked):
        (event,) = pair.answer(held, counter)
        assert event.counter == counter


def refuse(pair: Any, hello: bytes) -> None:
    """A HELLO that must get CLOSE and leave nothing."""
    before = pair.switch.sessions
    assert pair.to_switch(hello) == []
    assert pair.switch.data_to_send() == closes(hello[4:12])
    assert pair.switch.sessions == before


@pytest.mark.parametrize(
    "changed",
    [
        {"group": 8},
        {"group_key": bytes(16)},
        {"module": 1002},
        {"generation": 2},
        {"root_key": bytes(32)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_refused_hello(pair: Any, who: ModuleIdentity, changed: dict[str, Any]) -> None:
    """A wrong group, group key, module, generation or root key gets CLOSE and leaves nothing."""
    fields = {name: getattr(who, name) for name in ModuleIdentity.__slots__}
    refuse(pair, pair.module.hello(ModuleIdentity(**(fields | changed)), pair.now))


def test_wrong_suite(pair: Any, who: ModuleIdentity) -> None:
    """The suite is pinned in the record: the other one is refused, with the right key too."""
    other = Suite.SHARED_KEY if who.suite is Suite.SHARED_KEY_X25519 else Suite.SHARED_KEY_X25519
    wrong = ModuleIdentity(who.module, who.generation, other, who.root_key, who.group, who.group_key)
    refuse(pair, pair.module.hello(wrong, pair.now))


def test_wrong_suite_named(pair: Any, who: ModuleIdentity) -> None:
    """A HELLO that names the other suite is refused even if its share would do for the pinned one."""
    other = Suite.SHARED_KEY if who.suite is Suite.SHARED_KEY_X25519 else Suite.SHARED_KEY_X25519
    wrong = ModuleIdentity(who.module, who.generation, other, who.root_key, who.group, who.group_key)
    private = b"\x01" * 32 if who.suite is Suite.SHARED_KEY_X25519 else None
    refuse(pair, signon.hello(wrong, b"sessions", b"n" * 10, b"m" * 16, private))


def test_revoked_or_of_another_group(pair: Any, who: ModuleIdentity, directory: Any) -> None:
    """A revoked module and one that is enrolled in another group are refused."""
    directory.records[1001] = ModuleRecord(1001, who.group, {1: who.root}, revoked=True)
    refuse(pair, pair.module.hello(who, pair.now))
    directory.records[1001] = ModuleRecord(1001, who.group + 1, {1: who.root})
    refuse(pair, pair.module.hello(who, pair.now))


def test_two_generations(pair: Any, who: ModuleIdentity, directory: Any) -> None:
    """While a key changes, both generations can sign on, each with its own key."""
    after = ModuleIdentity(1001, 2, who.suite, b"\x09" * 32, who.group, who.group_key)
    directory.records[1001] = ModuleRecord(1001, who.group, {1: who.root, 2: after.root})
    assert pair.live(who)[1].generation == 1
    assert pair.live(after)[1].generation == 2


def test_the_next_root_key(pair: Any, who: ModuleIdentity, directory: Any) -> None:
    """A module that is to take its next key is told so in suite 2, where it signs on by its oldest generation, and both
    ends derive the same key. Suite 1, a module that is on its way already and the last generation are told nothing."""
    directory.records[1001] = ModuleRecord(1001, who.group, {1: who.root}, rekey=True)
    mine, theirs = pair.live(who)
    renewable = who.suite is Suite.SHARED_KEY_X25519
    assert mine.terms.flags == (TermFlag.NEXT_ROOT if renewable else 0)
    assert mine.next_root == theirs.next_root
    assert (mine.next_root is not None) == renewable
    after = ModuleIdentity(1001, 2, who.suite, b"\x09" * 32, who.group, who.group_key)
    directory.records[1001] = ModuleRecord(1001, who.group, {1: who.root, 2: after.root}, rekey=True)
    assert pair.live(after)[0].terms.flags == 0
    assert bool(pair.live(who)[0].terms.flags) == renewable
    last = ModuleIdentity(1001, 255, who.suite, who.root_key, who.group, who.group_key)
    directory.records[1001] = ModuleRecord(1001, who.group, {255: who.root}, rekey=True)
    assert pair.live(last)[0].terms.flags == 0


def test_several_keys_of_a_group(pair: Any, who: ModuleIdentity, directory: Any) -> None:
    """A module whose number is hidden by any key of its group signs on; by one that is ended it does not."""
    newer = ModuleIdentity(1001, 1, who.suite, who.root_key, who.group, b"\x0a" * 16)
    for keys in ((newer.group_key, who.group_key), (who.group_key, newer.group_key)):
        directory.group_keys = dict.fromkeys([who.group], keys).get
        pair.live(who)
        pair.live(newer)
    directory.group_keys = dict.fromkeys([who.group], (newer.group_key,)).get
    pair.live(newer)
    refuse(pair, pair.module.hello(who, pair.now))


def test_caps(join: Callable[..., Any], who: ModuleIdentity, directory: Any) -> None:
    """A module that may not open a session, and one session too many on a connection, are refused."""
    pair = join(sessions_max=2)
    directory.full.add(1001)
    refuse(pair, pair.module.hello(who, pair.now))
    directory.full.clear()
    pair.live(who)
    pair.live(who)
    refuse(pair, pair.module.hello(who, pair.now))


def test_hello_must_have_counter_0(pair: Any, who: ModuleIdentity) -> None:
    """A HELLO with another counter is refused, though its MAC is right."""
    hello = bytearray(pair.module.hello(who, pair.now))
    hello[19] = 1
    root = who.root_key
    hello[88:] = signon.mac(signon.expand(root, signon.HELLO_INFO, 32), bytes(hello[:88]))
    signon.check_hello(bytes(hello), root)
    refuse(pair, bytes(hello))


def test_replayed_hello_beside_the_honest_session(pair: Any, who: ModuleIdentity, directory: Any) -> None:
    """A replayed HELLO, with the id of the live session, leaves that session as it is: not even a CLOSE is sent."""
    hello = pair.module.hello(who, pair.now)
    pair.to_switch(hello)
    (welcomed,) = pair.to_module(pair.switch.data_to_send())
    held, counter = pair.ask(welcomed.session)
    for _ in range(16):
        assert pair.to_switch(hello) == []
    assert pair.switch.data_to_send() == b""
    assert held.live
    assert len(pair.answer(held, counter)) == 1
    pair.ask(welcomed.session)

    elsewhere = type(pair)(directory, pair.limits)
    elsewhere.to_switch(hello)
    elsewhere.now += 5.0
    (ended,) = elsewhere.switch.tick(elsewhere.now)
    assert ended.why is Ended.NOT_PROVEN
    assert held.live


def test_replayed_hello_displaces_nothing(pair: Any, who: ModuleIdentity) -> None:
    """A replayed HELLO of an earlier session opens one that nobody can prove: the honest one stays live."""
    old = pair.module.hello(who, pair.now)
    session, held = pair.live(who)
    assert pair.to_switch(old) == []
    assert held.state is State.LIVE
    pair.now += 5.0
    (ended,) = pair.switch.tick(pair.now)
    assert (ended.session.id, ended.why) == (old[4:12], Ended.NOT_PROVEN)
    pair.ask(session)


def test_bad_hello_with_a_neighbours_id(pair: Any, who: ModuleIdentity) -> None:
    """A HELLO that would be refused, under the id of a live session, gets no CLOSE: it would end the wrong session."""
    session, _ = pair.live(who)
    assert pair.to_switch(framing.header(FrameType.HELLO, session.id, 0) + bytes(84)) == []
    assert pair.switch.data_to_send() == b""
    pair.ask(session)


def test_no_request_in_five_seconds(pair: Any, who: ModuleIdentity) -> None:
    """A session that does not prove itself within 5 s is closed, and its late request does not revive it."""
    session = pair.welcomed(who)
    (held,) = pair.switch.sessions
    assert pair.switch.next_deadline() == pair.now + 5.0
    pair.now += 5.0
    _, frame = pair.module.request(session, bytes(320), pair.now)
    assert pair.to_switch(frame) == [SessionEnded(held, Ended.NOT_PROVEN)]
    assert pair.switch.data_to_send() == closes(session.id)
    assert held.state is State.ENDED


def test_every_flipped_bit_of_a_request(join: Callable[..., Any], enroll: Callable[..., ModuleIdentity]) -> None:
    """With any bit flipped after its first four bytes a request is not opened; the session that it names gets CLOSE."""
    who = enroll(1001, Suite.SHARED_KEY)
    for bit in range(8 * 352):
        pair = join()
        session = pair.welcomed(who)
        _, frame = pair.module.request(session, bytes(320), pair.now)
        events = pair.to_switch((int.from_bytes(frame) ^ 1 << bit).to_bytes(356))
        assert not any(isinstance(event, RequestReceived | SessionLive) for event in events)
        named = pair.switch.data_to_send()
        assert len(named) == 20
        assert bool(events) == (named == closes(session.id))


def test_truncated_anywhere(pair: Any, who: ModuleIdentity) -> None:
    """A request that ends early, at any byte, does nothing; when the connection is lost the session ends with it."""
    session = pair.welcomed(who)
    _, frame = pair.module.request(session, bytes(320), pair.now)
    for byte in frame[:-1]:
        assert pair.to_switch(bytes([byte])) == []
    (held,) = pair.switch.sessions
    assert pair.switch.lost(pair.now) == [SessionEnded(held, Ended.CONNECTION)]
    assert pair.to_switch(frame[-1:]) == []


@pytest.mark.parametrize("which", ["replayed", "skipped", "old"])
def test_counters(pair: Any, who: ModuleIdentity, which: str) -> None:
    """A replayed, skipped or old counter ends the session with CLOSE."""
    session = pair.welcomed(who)
    frames = [pair.module.request(session, bytes(320), pair.now)[1] for _ in range(4)]
    sent = {"replayed": [0, 1, 1], "skipped": [0, 2], "old": [0, 1, 2, 0]}[which]
    events = [pair.to_switch(frames[number]) for number in sent]
    (held,) = {event.session for event in events[0]}
    assert events[-1] == [SessionEnded(held, Ended.FORGED)]
    assert pair.switch.data_to_send() == closes(session.id)


def test_unknown_session(pair: Any, who: ModuleIdentity) -> None:
    """A request of an unknown session gets CLOSE for that session, and nothing else happens."""
    _, held = pair.live(who)
    assert pair.to_switch(framing.header(FrameType.REQUEST, STRANGER, 0).ljust(356, b"x")) == []
    assert pair.switch.data_to_send() == closes(STRANGER)
    assert held.live


def test_close_answers_no_close(pair: Any, who: ModuleIdentity) -> None:
    """CLOSE, whose counter is 0, ends its session quietly; for an unknown one nothing is sent: two ends never echo."""
    session, held = pair.live(who)
    assert pair.to_switch(closes(STRANGER)) == []
    assert pair.to_switch(framing.header(FrameType.CLOSE, session.id, 1)) == []
    assert held.live
    assert pair.to_switch(pair.module.close(session)) == [SessionEnded(held, Ended.BY_PEER)]
    assert pair.switch.data_to_send() == b""


def test_one_bad_among_sixteen(pair: Any, enroll: Callable[..., ModuleIdentity]) -> None:
    """One bad module on a shared connection loses its own session; the fifteen others are answered as before."""
    sessions = [pair.live(enroll(number)) for number in range(1, 17)]
    bad, bad_held = sessions.pop()
    _, frame = pair.module.request(bad, bytes(320), pair.now)
    assert pair.to_switch(frame[:-1] + b"\0") == [SessionEnded(bad_held, Ended.FORGED)]
    for _ in range(15):
        pair.to_switch(frame)
    for event in pair.to_module(pair.switch.data_to_send()):
        assert event == module_end.SessionClosed(bad, Ended.BY_PEER)
    for session, held in sessions:
        assert pair.ask(session) == (held, 1)
        assert len(pair.answer(held, 1)) == 1


def test_too_many_offences(pair: Any, who: ModuleIdentity) -> None:
    """The 17th refused frame within a minute drops the connection and ends its sessions."""
    _, held = pair.live(who)
    trash = framing.header(FrameType.REQUEST, STRANGER, 0).ljust(356, b"x")
    for _ in range(16):
        assert pair.to_switch(trash) == []
    assert pair.to_switch(trash + trash) == [
        SessionEnded(held, Ended.CONNECTION),
        ConnectionDropped(Dropped.OFFENCES),
    ]
    assert pair.switch.next_deadline() is None
    assert pair.to_switch(trash) == []
    assert pair.switch.tick(pair.now + 1000) == []
    assert pair.switch.respond(held, 0, bytes(1400)) == b""


def test_offences_are_forgotten(pair: Any, who: ModuleIdentity) -> None:
    """Sixteen refused frames a minute are borne for as long as they come."""
    session, _ = pair.live(who)
    for _ in range(100):
        pair.now += 4.0
        pair.to_switch(framing.header(FrameType.REQUEST, STRANGER, 0).ljust(356, b"x"))
        pair.ask(session)


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n", bytes(4), b"\xff" * 2000, b"\x01\x62\x01\x04"])
def test_framing_error(pair: Any, who: ModuleIdentity, junk: bytes) -> None:
    """What is no frame drops the connection at once, without a word."""
    _, held = pair.live(who)
    assert pair.to_switch(junk) == [SessionEnded(held, Ended.CONNECTION), ConnectionDropped(Dropped.FRAMING)]
    assert pair.switch.data_to_send() == b""


def test_unused_connection(pair: Any, who: ModuleIdentity) -> None:
    """A connection on which no session is proven is dropped after 10 s, whatever HELLOs keep coming."""
    pair.now += 4.0
    pair.welcomed(who)
    pair.now += 5.0
    (ended,) = pair.switch.tick(pair.now)
    assert ended.why is Ended.NOT_PROVEN
    pair.to_switch(pair.module.hello(who, pair.now))
    assert pair.switch.next_deadline() == 1010.0
    pair.now += 1.0
    *_, dropped = pair.switch.tick(pair.now)
    assert dropped == ConnectionDropped(Dropped.UNUSED)


def test_connection_is_unused_after_its_last_session(pair: Any, who: ModuleIdentity) -> None:
    """After its last session has ended, a connection waits 10 s for another."""
    _, held = pair.live(who)
    pair.now += 50.0
    assert pair.switch.close(held, pair.now) == closes(held.id)
    assert pair.switch.close(held, pair.now) == b""
    assert pair.switch.next_deadline() == pair.now + 10.0
    pair.now += 9.0
    assert pair.switch.tick(pair.now) == []
    pair.live(who)
    pair.now += 9.0
    assert pair.switch.tick(pair.now) == []


def test_idle(pair: Any, who: ModuleIdentity) -> None:
    """90 s without a request end a session; an echo in time keeps it."""
    session, held = pair.live(who)
    pair.now += 89.0
    assert pair.switch.tick(pair.now) == []
    pair.ask(session)
    pair.now += 90.0
    assert pair.switch.tick(pair.now) == [SessionEnded(held, Ended.IDLE)]
    assert pair.switch.data_to_send() == closes(session.id)


def test_life(join: Callable[..., Any], who: ModuleIdentity) -> None:
    """A session ends at the end of its life, however busy it is."""
    pair = join(life_s=200)
    session, held = pair.live(who)
    for _ in range(3):
        pair.now += 60.0
        pair.ask(session)
    pair.now += 20.0
    assert pair.switch.tick(pair.now) == [SessionEnded(held, Ended.LIFE)]


def test_frames(join: Callable[..., Any], who: ModuleIdentity) -> None:
    """A session carries its number of frames and no more; the last ones are still answered."""
    pair = join(frames_max=3)
    session, held = pair.live(who)
    pair.ask(session)
    assert pair.ask(session) == (held, 2)
    assert len(pair.answer(held, 2)) == 1
    with pytest.raises(module_end.SessionOverError):
        pair.module.request(session, bytes(320), pair.now)
    one_more = session.sealer.seal(FrameType.REQUEST, session.id, bytes(320))
    assert pair.to_switch(one_more) == [SessionEnded(held, Ended.FRAMES)]


def test_renewal(pair: Any, who: ModuleIdentity) -> None:
    """A new session replaces the module's old one when it is proven; what was in flight is answered in the old."""
    old, old_held = pair.live(who)
    _, in_flight = pair.ask(old)
    new = pair.welcomed(who)
    assert old_held.state is State.LIVE
    new_held, counter = pair.ask(new)
    assert (old_held.state, new_held.state) == (State.DRAINING, State.LIVE)
    assert pair.answer(old_held, in_flight) == [module_end.ResponseReceived(old, in_flight, pair.ANSWER)]
    assert len(pair.answer(new_held, counter)) == 1
    pair.now += 59.0
    pair.ask(new)
    assert pair.switch.tick(pair.now) == []
    pair.now += 1.0
    assert pair.switch.tick(pair.now) == [SessionEnded(old_held, Ended.DRAINED)]
    assert pair.switch.respond(old_held, 0, bytes(1400)) == b""


def test_renewal_is_each_modules_own(pair: Any, enroll: Callable[..., ModuleIdentity]) -> None:
    """A session of another module on the same connection is not touched by a renewal."""
    one, other = enroll(1), enroll(2)
    _, others = pair.live(other)
    pair.live(one)
    pair.live(one)
    assert others.state is State.LIVE


def test_limit_in_flight(join: Callable[..., Any], who: ModuleIdentity) -> None:
    """A request beyond the limit says so; an answer, or silence for good, makes room."""
    pair = join(in_flight_max=2)
    session = pair.welcomed(who)
    (held, _), (_, second) = pair.ask(session), pair.ask(session)

    def over() -> bool:
        _, frame = pair.module.request(session, bytes(320), pair.now)
        (event,) = pair.to_switch(frame)
        return bool(event.over_limit)

    assert over()
    pair.answer(held, 2)
    pair.answer(held, second)
    assert not over()
    assert over()
    pair.answer(held, 4)
    pair.switch.stay_silent(held)
    assert not over()


LIVE, OTHER = "live", "other"
junk = st.lists(
    st.one_of(
        st.binary(max_size=400),
        st.tuples(
            st.sampled_from([FrameType.HELLO, FrameType.REQUEST, FrameType.CLOSE]),
            st.sampled_from([LIVE, OTHER]),
            st.integers(0, 3),
            st.binary(max_size=336),
        ),
    ),
    max_size=20,
)


@given(junk)
def test_any_bytes(fresh: Callable[[], Any], chunks: list[Any]) -> None:
    """Whatever comes, well-framed or not, nothing is opened, little is kept, and no error escapes."""
    pair, who = fresh()
    session, held = pair.live(who)
    for chunk in chunks:
        data = chunk
        if isinstance(chunk, tuple):
            frame_type, named, counter, body = chunk
            start = framing.header(frame_type, session.id if named == LIVE else STRANGER, counter)
            data = start + body.ljust(FRAME_BYTES[frame_type] - 20, b"\0")[: FRAME_BYTES[frame_type] - 20]
        events = pair.to_switch(data)
        assert all(isinstance(event, SessionEnded | ConnectionDropped) for event in events)
        if any(isinstance(event, ConnectionDropped) for event in events):
            break
        assert pair.switch._splitter.kept < 356
        assert len(pair.switch.data_to_send()) <= 20 * (len(data) // 20 + 1)
    assert set(pair.switch.sessions) <= {held}


def test_nothing_secret_is_shown(pair: Any, who: ModuleIdentity) -> None:
    """No plaintext and no key is in the repr of a session or an event."""
    session = pair.welcomed(who)
    _, frame = pair.module.request(session, b"6371" * 80, pair.now)
    shown = repr(pair.to_switch(frame))
    assert "6371" not in shown
    assert "\\x" not in shown


def test_access_code_cipher(pair: Any, who: ModuleIdentity) -> None:
    """A session keeps the cipher of its access-code key: the one that its module seals codes under, made once."""
    session, held = pair.live(who)
    block = encode("4321", "6371120000000000017", session.access_code_key, bytes(8))
    assert decode(block, "6371120000000000017", held.access_code_cipher) == "4321"
    assert held.access_code_cipher is held.access_code_cipher
