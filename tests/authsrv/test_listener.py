"""The listener over real sockets: what every byte that may come leads to, and that nobody harms another."""

from __future__ import annotations

import random
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from running_switch import LOADED, SOLD, Switch, enroll
from shop import BARE, CODE, CODED, OTHER, TILLS, Shop
from wire_client import Caller, WireClient, connect

from protocol import signon
from protocol.codec import Codec
from protocol.frame import HEADER_BYTES, SESSION, close, header
from protocol.layout import FRAME_BYTES, HEADER, HELLO, REQUEST_BYTES, request
from protocol.messages import Response
from protocol.module import ModuleConnection, SessionClosed
from protocol.numbers import VERSION, Command, FrameType, Reason, Result, Suite

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from protocol.signon import ModuleIdentity

    Start = Callable[..., Awaitable[Switch]]

HELLO_FIELDS = (*Codec(HEADER).fields, *(replace(each, at=each.at + HEADER_BYTES) for each in Codec(HELLO).fields))
SALE_FIELDS = (
    *Codec(HEADER).fields,
    *(replace(each, at=each.at + HEADER_BYTES) for each in Codec(request(Command.SALE)).fields),
    replace(Codec(HEADER).fields[0], name="tag", at=HEADER_BYTES + REQUEST_BYTES, size=16),
)
FRAMING = ("length", "version", "type")  # what a frame cannot be read without


# A module at work


@pytest.mark.parametrize("suite", Suite)
async def test_a_module_signs_on_and_sells_in_both_suites(shop: Shop, start: Start, suite: Suite) -> None:
    """A card is loaded with 81.17, 23.39 are spent: the receipt says so, and 57.78 are left."""
    await enroll(shop, 3001, suite=suite)
    switch = await start()
    async with switch.caller(3001) as caller:
        assert (await caller.ask(Command.ACTIVATE, card=BARE, amount=LOADED)).result == Result.APPROVED
        sold = await caller.ask(Command.SALE, card=BARE, amount=SOLD)
    assert (sold.result, sold.approved, sold.balance) == (Result.APPROVED, SOLD, LOADED - SOLD)
    lines = sold.text.decode("ascii").splitlines()
    for told in ("Kafija SIA", "23.39", "57.78", sold.authorization):
        assert any(told in line for line in lines), told
    assert await shop.balance(BARE) == LOADED - SOLD
    await shop.check_books()


async def test_a_code_is_sealed_for_one_session_and_opened_there(switch: Switch) -> None:
    """The card's code opens it; the wrong one gives 55."""
    async with switch.caller() as caller:
        assert (await caller.ask(Command.ACTIVATE, card=CODED, amount=LOADED)).result == Result.APPROVED
        wrong = await caller.ask(Command.SALE, card=CODED, amount=SOLD, code="9876")
        assert (wrong.result, wrong.reason) == (Result.ACCESS_CODE, Reason.WRONG_CODE)
        assert (await caller.ask(Command.SALE, card=CODED, amount=SOLD, code=CODE)).result == Result.APPROVED


async def test_the_connection_ends_in_peace_when_the_module_goes(switch: Switch) -> None:
    """A module that closes its session hears nothing more of it; the next connection is served."""
    async with connect(switch.address) as wire:
        caller = await wire.sign_on(switch.shop, switch.shop.identities[TILLS[0]])
        assert (await caller.ask(Command.ECHO)).result == Result.APPROVED
        await wire.send(wire.module.close(caller.session))
        await wire.stream.send_eof()
        assert [frame.type.name for frame in await wire.end()] == ["WELCOME", "RESPONSE"]
    await switch.still_sells()


# Frames that are not whole, or not frames


def hello_of(identity: ModuleIdentity) -> bytes:
    """A fresh HELLO of this module, outside of any connection's memory."""
    return ModuleConnection(secrets.token_bytes).hello(identity, 0)


def borders(fields: Iterable[Any], size: int) -> list[int]:
    """Every field's first byte and the bytes beside it, short of the whole."""
    return sorted({max(0, min(size - 1, each.at + near)) for each in fields for near in (-1, 0, 1)} | {size - 1})


async def selling(wire: WireClient, switch: Switch, module: int = TILLS[0]) -> tuple[Caller, bytes]:
    """A module with a live session, and the sealed sale that it is about to send."""
    caller = await wire.sign_on(switch.shop, switch.shop.identities[module])
    assert (await caller.ask(Command.ECHO)).result == Result.APPROVED
    return caller, caller.sealed((await caller.till.request(Command.SALE, card=OTHER, amount=SOLD)).encode())


async def test_a_hello_cut_short_at_any_byte_opens_nothing(switch: Switch) -> None:
    """After 0 to 103 of its 104 bytes and the end of the stream the switch ends too, without a word."""
    identity = switch.shop.identities[TILLS[0]]
    for length in range(FRAME_BYTES[FrameType.HELLO]):
        async with connect(switch.address) as wire:
            await wire.send(hello_of(identity)[:length])
            await wire.stream.send_eof()
            assert await wire.end() == [], length
    await switch.still_sells()


async def test_a_request_cut_short_records_nothing(switch: Switch) -> None:
    """At every border of a field, and a byte before and after: no answer and no record."""
    before = await switch.recorded()
    for length in borders(SALE_FIELDS, FRAME_BYTES[FrameType.REQUEST]):
        async with connect(switch.address) as wire:
            _, sale = await selling(wire, switch)
            await wire.send(sale[:length])
            await wire.stream.send_eof()
            assert [frame.type.name for frame in await wire.end()] == ["WELCOME", "RESPONSE"], length
    assert await switch.recorded() == before
    await switch.still_sells()


async def test_a_close_cut_short_closes_nothing(switch: Switch) -> None:
    """The session lives until CLOSE's last byte; with it, it is over."""
    async with connect(switch.address) as wire:
        caller, sale = await selling(wire, switch)
        goodbye = close(caller.session.id)
        for byte in goodbye[:-1]:
            await wire.send(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        await wire.send(goodbye[-1:] + sale)
        await wire.event(SessionClosed)


async def test_frames_may_be_torn_anywhere(switch: Switch) -> None:
    """HELLO and REQUEST in two pieces, torn at every border, are as good as in one; so are both in one piece."""
    identity = switch.shop.identities[TILLS[0]]
    async with connect(switch.address) as wire:
        for at in borders(HELLO_FIELDS, FRAME_BYTES[FrameType.HELLO]):
            hello = wire.module.hello(identity, trio.current_time())
            await wire.send(hello[:at])
            await trio.testing.wait_all_tasks_blocked()
            await wire.send(hello[at:])
            assert await wire.frame(FrameType.WELCOME, hello[SESSION])
        caller = await wire.sign_on(switch.shop, identity)
        for counter, at in enumerate(borders(SALE_FIELDS, FRAME_BYTES[FrameType.REQUEST])):
            sale = caller.sealed((await caller.till.request(Command.SALE, card=OTHER, amount=100)).encode())
            await wire.send(sale[:at])
            await trio.testing.wait_all_tasks_blocked()
            await wire.send(sale[at:])
            assert Response.decode(await wire.answer(caller.session, counter)).approved == 100


@pytest.mark.parametrize("seed", range(8))
async def test_garbage_ends_the_connection(switch: Switch, seed: int) -> None:
    """Random bytes, first thing or after a sign-on, end it without an answer."""
    rubbish = random.Random(seed).randbytes(700)  # noqa: S311 - the same rubbish every time
    async with connect(switch.address) as wire:
        await wire.send(rubbish)
        assert await wire.end() == []
    async with connect(switch.address) as wire:
        await selling(wire, switch)
        await wire.send(rubbish)
        assert [frame.type.name for frame in await wire.end()] == ["WELCOME", "RESPONSE"]
    await switch.still_sells()


async def test_four_bytes_that_begin_no_frame_are_enough(switch: Switch) -> None:
    """A length that is not the type's, another version, or a type that no module sends: the rest is not waited for."""
    taken = {FrameType.HELLO, FrameType.REQUEST, FrameType.CLOSE}
    lengths = {size - 2 for size in FRAME_BYTES.values()}
    for number in range(7):
        own = FRAME_BYTES[FrameType(number)] - 2 if number in FrameType.__members__.values() else 102
        for length in sorted({0, own - 1, own, own + 1, 65_535, *lengths}):
            for version in (0, VERSION, 2):
                if number in taken and length == own and version == VERSION:
                    continue
                async with connect(switch.address) as wire:
                    await wire.send(length.to_bytes(2) + bytes([version, number]))
                    assert await wire.end() == [], (number, length, version)
    await switch.still_sells()


# Frames that were changed


def flipped(frame: bytes, bit: int) -> bytes:
    """The frame with one bit turned over, counted from its first byte's highest."""
    changed = bytearray(frame)
    changed[bit // 8] ^= 0x80 >> bit % 8
    return bytes(changed)


def outer_bits(fields: Iterable[Any]) -> list[tuple[str, int]]:
    """Each field's name with its first and with its last bit."""
    return [(each.name, bit) for each in fields for bit in (each.at * 8, each.end * 8 - 1)]


async def test_a_bit_flipped_in_a_hello_opens_nothing(switch: Switch) -> None:
    """In the first four bytes it ends the connection; anywhere else the same CLOSE answers it."""
    identity = switch.shop.identities[TILLS[0]]
    for name, bit in outer_bits(HELLO_FIELDS):
        async with connect(switch.address) as wire:
            hello = flipped(hello_of(identity), bit)
            await wire.send(hello)
            if name in FRAMING:
                assert await wire.end() == [], name
            else:
                await wire.stream.send_eof()
                assert [frame.raw for frame in await wire.end()] == [close(hello[SESSION])], name
    await switch.still_sells()


async def test_a_bit_flipped_in_a_request_ends_its_session(switch: Switch) -> None:
    """Nothing is recorded, and CLOSE answers; a flipped session id harms nobody: the sale still goes through."""
    before = await switch.recorded()
    for name, bit in outer_bits(SALE_FIELDS):
        async with connect(switch.address) as wire:
            _, sale = await selling(wire, switch)
            wire.frames.clear()
            changed = flipped(sale, bit)
            await wire.send(changed)
            if name in FRAMING:
                assert await wire.end() == [], name
                continue
            assert (await wire.frame(FrameType.CLOSE, changed[SESSION])).raw == close(changed[SESSION]), name
            await wire.send(sale)
            assert await wire.frame(FrameType.RESPONSE if name == "session" else FrameType.CLOSE, sale[SESSION]), name
    assert await switch.recorded() == before + 2
    await switch.still_sells()


async def test_a_bit_flipped_in_a_close_ends_nobody(switch: Switch) -> None:
    """A CLOSE for another session or with a counter is passed over in silence."""
    async with connect(switch.address) as wire:
        caller, sale = await selling(wire, switch)
        for name, bit in outer_bits(Codec(HEADER).fields):
            if name not in FRAMING:
                await wire.send(flipped(close(caller.session.id), bit))
        await wire.send(sale)
        assert Response.decode(await wire.answer(caller.session, 1)).approved == SOLD


async def test_all_that_a_module_does_not_send_is_no_frame(switch: Switch) -> None:
    """WELCOME and RESPONSE, whole and of the right length, end the connection."""
    for kind in (FrameType.WELCOME, FrameType.RESPONSE):
        async with connect(switch.address) as wire:
            await wire.send(header(kind, bytes(8), 0) + bytes(FRAME_BYTES[kind] - HEADER_BYTES))
            assert await wire.end() == []


# Replays


async def test_a_replayed_request_is_not_opened(switch: Switch) -> None:
    """The same bytes again on the same session: CLOSE, and one record."""
    before = await switch.recorded()
    async with connect(switch.address) as wire:
        caller, sale = await selling(wire, switch)
        await wire.send(sale)
        assert Response.decode(await wire.answer(caller.session, 1)).approved == SOLD
        await wire.send(sale)
        assert await wire.frame(FrameType.CLOSE, caller.session.id)
    assert await switch.recorded() == before + 1
    await switch.still_sells()


@pytest.mark.parametrize(("sent", "answered"), [((1,), 0), ((0, 2), 1), ((0, 1, 0), 2), ((0, 1, 2, 1), 3)])
async def test_counters_go_up_by_one(switch: Switch, sent: tuple[int, ...], answered: int) -> None:
    """A skipped or an old counter ends the session; what came in order before it is answered."""
    async with connect(switch.address) as wire:
        caller = await wire.sign_on(switch.shop, switch.shop.identities[TILLS[0]])
        frames = [caller.sealed((await caller.till.request(Command.ECHO)).encode()) for _ in range(3)]
        for place, number in enumerate(sent):
            await wire.send(frames[number])
            if place < answered:
                assert await wire.answer(caller.session, number)
        assert await wire.frame(FrameType.CLOSE, caller.session.id)


async def test_a_request_replayed_on_another_connection_harms_nobody(switch: Switch) -> None:
    """There its session is unknown: CLOSE; the honest one is served on."""
    async with connect(switch.address) as honest, connect(switch.address) as thief:
        caller, sale = await selling(honest, switch)
        await honest.send(sale)
        assert await honest.answer(caller.session, 1)
        await thief.send(sale)
        assert await thief.frame(FrameType.CLOSE, caller.session.id)
        assert (await caller.ask(Command.SALE, card=OTHER, amount=SOLD)).result == Result.APPROVED


async def test_a_replayed_hello_takes_nothing_from_the_honest_session(switch: Switch) -> None:
    """It gets a WELCOME that only the key's holder can use: it displaces nobody, and ends at its first wrong frame."""
    identity = switch.shop.identities[TILLS[0]]
    async with connect(switch.address) as honest, connect(switch.address) as thief:
        session = await honest.welcome(identity)
        hello = session.hello
        caller = await honest.sign_on(switch.shop, identity)
        assert (await caller.ask(Command.ECHO)).result == Result.APPROVED
        await thief.send(hello)
        assert await thief.frame(FrameType.WELCOME, hello[SESSION])
        assert (await caller.ask(Command.SALE, card=OTHER, amount=SOLD)).result == Result.APPROVED
        await thief.send(header(FrameType.REQUEST, hello[SESSION], 0) + bytes(336))
        assert await thief.frame(FrameType.CLOSE, hello[SESSION])
        assert (await caller.ask(Command.SALE, card=OTHER, amount=SOLD)).result == Result.APPROVED
        assert not honest.ended


async def test_a_hello_replayed_into_its_own_connection_is_passed_over(switch: Switch) -> None:
    """Its session id is in use there: no WELCOME, no CLOSE, and the session goes on."""
    async with connect(switch.address) as wire:
        caller = await wire.sign_on(switch.shop, switch.shop.identities[TILLS[0]])
        for _ in range(3):
            await wire.send(caller.session.hello)
            assert (await caller.ask(Command.SALE, card=OTHER, amount=SOLD)).result == Result.APPROVED
        assert [frame.type.name for frame in wire.frames] == ["WELCOME", *["RESPONSE"] * 3]


# Who may sign on


def _zero_share(hello: bytes, identity: ModuleIdentity) -> bytes:
    """The HELLO with a share that no exchange can be made with, its MAC made anew."""
    share = Codec(HELLO)["share"]
    start = hello[: HEADER_BYTES + share.at] + bytes(share.size)
    return start + signon._hello_mac(identity.root_key, start)


async def test_who_is_not_as_enrolled_is_refused_alike(shop: Shop, switch: Switch) -> None:
    """Wrong suite, generation, group, key or number, a zero share: one CLOSE for all; nobody learns which it was."""
    honest = shop.identities[TILLS[0]]
    strangers = {
        "suite": replace(honest, suite=Suite.SHARED_KEY),
        "generation": replace(honest, generation=2),
        "generation 0": replace(honest, generation=0),
        "group": replace(honest, group=honest.group + 1),
        "group key": replace(honest, group_key=secrets.token_bytes(16)),
        "root key": replace(honest, root_key=secrets.token_bytes(32)),
        "number": replace(honest, module=7777),
        "another's number": replace(honest, module=TILLS[1]),
    }
    hellos = {why: hello_of(identity) for why, identity in strangers.items()}
    hellos["share"] = _zero_share(hello_of(honest), honest)
    async with connect(switch.address) as wire:
        for why, hello in hellos.items():
            await wire.send(hello)
            assert (await wire.frame(FrameType.CLOSE, hello[SESSION])).raw == close(hello[SESSION]), why
        assert (await (await wire.sign_on(shop, honest)).ask(Command.ECHO)).result == Result.APPROVED


async def test_a_request_without_a_session_is_closed(switch: Switch) -> None:
    """CLOSE for the unknown session; the seventeenth within a minute drops the connection."""
    async with connect(switch.address) as wire:
        for place in range(17):
            session = place.to_bytes(8)
            await wire.send(header(FrameType.REQUEST, session, 0) + bytes(336))
            assert await wire.frame(FrameType.CLOSE, session)
        assert await wire.end() == []
    await switch.still_sells()


async def test_one_bad_module_among_sixteen_harms_no_other(shop: Shop, start: Start, switch: Switch) -> None:
    """One module's forged frame ends its session alone; the fifteen beside it sell on, and it may sign on again."""
    identities = await enroll(shop, *range(4001, 4017))
    switch = await start()
    async with connect(switch.address) as wire:
        callers = []
        for identity in identities:
            callers.append(await wire.sign_on(shop, identity))
            assert (await callers[-1].ask(Command.ECHO)).result == Result.APPROVED
        bad = callers.pop(7)
        await wire.send(flipped(bad.sealed(bytes(320)), 8 * 200))
        assert await wire.frame(FrameType.CLOSE, bad.session.id)
        for caller in callers:
            assert (await caller.ask(Command.SALE, card=OTHER, amount=100)).result == Result.APPROVED
        again = await wire.sign_on(shop, identities[7])
        assert (await again.ask(Command.SALE, card=OTHER, amount=100)).result == Result.APPROVED
    await shop.check_books()
