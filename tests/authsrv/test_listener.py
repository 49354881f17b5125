"""The listener over real sockets: what every byte that may come leads to, and that nobody harms another."""

from __future__ import annotations

import datetime as dt
import random
import secrets
import socket
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from running_switch import LOADED, SOLD, Switch, enroll
from shop import BARE, CODE, CODED, DESK, OTHER, TILLS, Shop, name_of
from wire_client import Caller, ConnectionEndedError, WireClient, connect

from authsrv.shell import lanes, reads
from authsrv.shell.listener import Caps, Listener
from protocol import signon
from protocol.codec import Codec
from protocol.frame import HEADER_BYTES, SESSION, close, header
from protocol.layout import FRAME_BYTES, HEADER, HELLO, REQUEST_BYTES, request
from protocol.messages import Response, date_number
from protocol.module import ModuleConnection, SessionClosed
from protocol.numbers import VERSION, Command, Flag, FrameType, Reason, Result, Suite
from protocol.switch import Limits, SwitchSession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from relay import Relay
    from trio.testing import MockClock

    from authsrv.shell.connection import Connection
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


async def test_garbage_ends_the_connection(switch: Switch) -> None:
    """Random bytes, first thing or after a sign-on, end it without an answer."""
    for seed in range(8):
        rubbish = random.Random(seed).randbytes(700)  # noqa: S311 - the same rubbish every time
        async with connect(switch.address) as wire:
            await wire.send(rubbish)
            assert await wire.end() == [], seed
        async with connect(switch.address) as wire:
            await selling(wire, switch)
            await wire.send(rubbish)
            assert [frame.type.name for frame in await wire.end()] == ["WELCOME", "RESPONSE"], seed
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


async def test_counters_go_up_by_one(switch: Switch) -> None:
    """A skipped or an old counter ends the session; what came in order before it is answered."""
    for sent, answered in ((1,), 0), ((0, 2), 1), ((0, 1, 0), 2), ((0, 1, 2, 1), 3):
        async with connect(switch.address) as wire:
            caller = await wire.sign_on(switch.shop, switch.shop.identities[TILLS[0]])
            frames = [caller.sealed((await caller.till.request(Command.ECHO)).encode()) for _ in range(3)]
            for place, number in enumerate(sent):
                await wire.send(frames[number])
                if place < answered:
                    assert await wire.answer(caller.session, number)
            assert await wire.frame(FrameType.CLOSE, caller.session.id), sent


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
    randoms = (secrets.token_bytes(size) for size in (8, 10, 16, 32))
    hellos["suite alone"] = signon.hello(strangers["suite"], *randoms)  # with the share of the right one
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


# What a request may not say


def patched(plain: bytes, command: Command, values: Mapping[str, Any]) -> bytes:
    """A request's 320 bytes with these fields of its layout overwritten; `at_N` is a bare byte."""
    changed = bytearray(plain)
    codec = Codec(request(command))
    for name, value in values.items():
        at, end = (int(name[3:]), int(name[3:]) + 1) if name.startswith("at_") else (codec[name].at, codec[name].end)
        changed[at:end] = value.ljust(end - at, b"\0") if isinstance(value, bytes) else value.to_bytes(end - at)
    return bytes(changed)


YEAR_1 = {"original_date": 10101, "original_sequence": 1}
FEBRUARY_30 = {"original_date": 20260230, "original_sequence": 1}
NINES = {"original_date": 99991231, "original_sequence": 1}
NUMBER = "original_authorization"
MALFORMED: dict[str, tuple[Command, dict[str, Any], Reason]] = {
    "command 0": (Command.SALE, {"command": 0}, Reason.UNKNOWN_COMMAND),
    "command 0x7777": (Command.SALE, {"command": 0x7777}, Reason.UNKNOWN_COMMAND),
    "a reserved command": (Command.PURCHASE, {}, Reason.NOT_BUILT),
    "a flag without a meaning": (Command.SALE, {"flags": 0x20}, Reason.UNKNOWN_FLAG),
    "the highest flag": (Command.SALE, {"flags": 0x8000}, Reason.UNKNOWN_FLAG),
    "offline advice": (Command.SALE, {"flags": 2}, Reason.OFFLINE_ADVICE),
    "unit 1000": (Command.SALE, {"unit": 1000}, Reason.UNKNOWN_UNIT),
    "unit 0x8003": (Command.SALE, {"unit": 0x8003}, Reason.UNKNOWN_UNIT),
    "another currency": (Command.SALE, {"unit": 840}, Reason.UNIT_DIFFERS),
    "visits of a gift card": (Command.SALE, {"unit": 0x8001}, Reason.UNIT_DIFFERS),
    "a reason on a sale": (Command.SALE, {"reason": 1}, Reason.FIELD_FORBIDDEN),
    "an original on a sale": (Command.SALE, {"original_sequence": 1}, Reason.FIELD_FORBIDDEN),
    "a code without its flag": (Command.SALE, {"access_code_block": bytes(15) + b"1"}, Reason.FIELD_FORBIDDEN),
    "a flag without its code": (Command.SALE, {"flags": 8}, Reason.FIELD_MISSING),
    "an unused byte": (Command.SALE, {"at_140": 1}, Reason.FIELD_FORBIDDEN),
    "the area's first byte": (Command.SALE, {"at_160": 1}, Reason.FIELD_FORBIDDEN),
    "the last byte": (Command.SALE, {"at_319": 1}, Reason.FIELD_FORBIDDEN),
    "partial on an activation": (Command.ACTIVATE, {"flags": 4}, Reason.FIELD_FORBIDDEN),
    "eligible on an activation": (Command.ACTIVATE, {"eligible": 1}, Reason.FIELD_FORBIDDEN),
    "no card": (Command.SALE, {"card": bytes(20)}, Reason.FIELD_MISSING),
    "a card with a letter": (Command.SALE, {"card": b"63711200000000A0033\0"}, Reason.NOT_DIGITS),
    "a card with a hole": (Command.SALE, {"card": b"6371120\x00000000000033"}, Reason.NOT_DIGITS),
    "a card that begins with NUL": (Command.SALE, {"card": b"\0" + OTHER.encode()}, Reason.NOT_DIGITS),
    "a card of all ones": (Command.SALE, {"card": b"\xff" * 20}, Reason.NOT_DIGITS),
    "24 o'clock": (Command.SALE, {"time": 240_000}, Reason.BAD_TIME),
    "the 60th minute": (Command.SALE, {"time": 126_000}, Reason.BAD_TIME),
    "an amount of 0": (Command.SALE, {"amount": 0}, Reason.AMOUNT_ZERO),
    "an amount of 2^63": (Command.SALE, {"amount": 2**63}, Reason.AMOUNT_TOO_LARGE),
    "an amount of 2^64 - 1": (Command.SALE, {"amount": 2**64 - 1}, Reason.AMOUNT_TOO_LARGE),
    "an amount of 2^63 - 1": (Command.SALE, {"amount": 2**63 - 1}, Reason.FUNDS),
    "a load of 2^63 - 1": (Command.RELOAD, {"amount": 2**63 - 1}, Reason.ABOVE_LIMIT),
    "a load of 500.01": (Command.RELOAD, {"amount": 50_001}, Reason.ABOVE_LIMIT),
    "a load of 4.99": (Command.RELOAD, {"amount": 499}, Reason.BELOW_LIMIT),
    "an eligible amount of 2^63": (Command.SALE, {"eligible": 2**63}, Reason.AMOUNT_TOO_LARGE),
    "a till receipt that is not ASCII": (Command.SALE, {"till_receipt": b"caf\xe9" + bytes(12)}, Reason.BAD_TEXT),
    "a till serial with a bell": (Command.SALE, {"till_serial": b"A\x07" + bytes(14)}, Reason.BAD_TEXT),
    "an unknown reason": (Command.REVERSE, {"reason": 99, "original_sequence": 1}, Reason.UNKNOWN_REASON),
    "no original": (Command.REVERSE, {}, Reason.FIELD_MISSING),
    "two originals": (Command.REVERSE, {"original_sequence": 1, NUMBER: b"319000000011"}, Reason.TWO_ORIGINALS),
    "an original on February 30": (Command.REVERSE, FEBRUARY_30, Reason.BAD_DATE),
    "an original without a date": (Command.REVERSE, {"original_sequence": 1}, Reason.BAD_DATE),
    "an original of sequence 0": (Command.REVERSE, {"original_date": 20260201}, Reason.BAD_SEQUENCE),
    "an original of year 1": (Command.REVERSE, YEAR_1, Reason.ORIGINAL_UNKNOWN),
    "an original of year 9999": (Command.REVERSE, NINES, Reason.ORIGINAL_UNKNOWN),
    "a number with letters": (Command.REVERSE, {NUMBER: b"31900000001X"}, Reason.NOT_DIGITS),
    "a short number": (Command.REVERSE, {NUMBER: b"31900000001\0"}, Reason.NOT_DIGITS),
    "a number with a wrong check digit": (Command.REVERSE, {NUMBER: b"319000000013"}, Reason.ORIGINAL_UNKNOWN),
    "a number of month 000": (Command.REVERSE, {NUMBER: b"000000000018"}, Reason.ORIGINAL_UNKNOWN),
    "a number of all nines": (Command.REVERSE, {NUMBER: b"999999999999"}, Reason.ORIGINAL_UNKNOWN),
}  # fmt: skip

UNUSABLE: dict[str, tuple[dict[str, int], Reason]] = {
    "February 30": ({"date": 20260230}, Reason.BAD_DATE),
    "month 13": ({"date": 20261301}, Reason.BAD_DATE),
    "year 0": ({"date": 101}, Reason.BAD_DATE),
    "no date": ({"date": 0}, Reason.BAD_DATE),
    "all ones": ({"date": 2**32 - 1}, Reason.BAD_DATE),
    "year 1": ({"date": 10101}, Reason.OUTSIDE_WINDOW),
    "year 1999": ({"date": 19991231}, Reason.OUTSIDE_WINDOW),
    "year 9999": ({"date": 99991231}, Reason.OUTSIDE_WINDOW),
    "sequence 0": ({"sequence": 0}, Reason.BAD_SEQUENCE),
    "another module": ({"module": TILLS[1]}, Reason.FOREIGN_MODULE),
    "no module": ({"module": 0}, Reason.FOREIGN_MODULE),
}


def base_fields(command: Command) -> dict[str, Any]:
    """What makes a request of this command well-formed, but for an original."""
    return {} if command is Command.REVERSE else {"card": OTHER, "amount": SOLD}


async def test_what_is_malformed_is_declined_recorded_and_moves_nothing(switch: Switch) -> None:
    """Each has its reason on the wire and one record; a repeat of it gets the same 1,400 bytes; the balance stays."""
    shop = switch.shop
    balance = await shop.balance(OTHER)
    async with switch.caller() as caller:
        for why, (command, values, reason) in MALFORMED.items():
            before = await switch.recorded()
            plain = patched((await caller.till.request(command, **base_fields(command))).encode(), command, values)
            sent = await caller.send(plain)
            answer = Response.decode(sent)
            assert (answer.result, answer.reason) == (reason.result, reason), why
            assert answer.sequence == caller.till.sequence
            assert answer.authorization, why
            assert await caller.send(plain) == sent, why
            assert await switch.recorded() == before + 1, why
    assert await shop.balance(OTHER) == balance
    await switch.still_sells()


async def test_what_has_no_usable_name_is_refused_and_leaves_no_record(switch: Switch) -> None:
    """February 30, year 0, a date out of reach, sequence 0, another's number: an answer that echoes, and no more."""
    shop = switch.shop
    before, balance = await switch.recorded(), await shop.balance(OTHER)
    async with switch.caller() as caller:
        for why, (values, reason) in UNUSABLE.items():
            sale = await caller.till.request(Command.SALE, card=OTHER, amount=SOLD)
            plain = patched(sale.encode(), Command.SALE, values)
            answer = Response.decode(await caller.send(plain))
            assert (answer.result, answer.reason, answer.authorization) == (reason.result, reason, ""), why
            echoed = {"date": answer.date, "sequence": answer.sequence, "module": answer.module}
            assert values.items() <= echoed.items(), why
    assert (await switch.recorded(), await shop.balance(OTHER)) == (before, balance)
    await switch.still_sells()


async def test_a_name_is_taken_from_35_days_back_to_one_ahead(switch: Switch) -> None:
    """A day outside is declined and recorded, more is refused and not recorded."""
    outside = Reason.OUTSIDE_WINDOW
    reach = {-37: (outside, 0), -36: (outside, 1), -35: (0, 1), 0: (0, 1), 1: (0, 1), 2: (outside, 1), 3: (outside, 0)}
    today = await switch.shop.today()
    async with switch.caller() as caller:
        for days, (reason, records) in reach.items():
            before = await switch.recorded()
            answer = await caller.ask(Command.SALE, card=OTHER, amount=SOLD, date=today + dt.timedelta(days=days))
            assert (answer.reason, bool(answer.authorization)) == (reason, bool(records)), days
            assert await switch.recorded() == before + records, days


async def test_echo_and_page_with_faults_are_answered_and_leave_no_record(switch: Switch) -> None:
    """What is asked beside the ledger has its documented answers too."""
    before = await switch.recorded()
    async with switch.caller() as caller:
        for command, values, reason in (
            (Command.ECHO, {"amount": 1}, Reason.FIELD_FORBIDDEN),
            (Command.ECHO, {"card": OTHER.encode()}, Reason.FIELD_FORBIDDEN),
            (Command.ECHO, {"flags": 0x40}, Reason.UNKNOWN_FLAG),
            (Command.PAGE, {"page": 1}, Reason.FIELD_MISSING),
            (Command.PAGE, YEAR_1, Reason.FIELD_MISSING),
            (Command.PAGE, {"page": 1, **YEAR_1}, Reason.ORIGINAL_UNKNOWN),
            (Command.PAGE, {"page": 255, "original_date": 99991231, "original_sequence": 1}, Reason.ORIGINAL_UNKNOWN),
            (Command.PAGE, {"page": 1, "original_authorization": b"999999999999"}, Reason.ORIGINAL_UNKNOWN),
            (Command.PAGE, {"page": 1, "original_authorization": b"000000000018"}, Reason.ORIGINAL_UNKNOWN),
        ):  # fmt: skip
            plain = patched((await caller.till.request(command)).encode(), command, values)
            answer = Response.decode(await caller.send(plain))
            assert (answer.result, answer.reason, answer.authorization) == (reason.result, reason, ""), (
                command,
                values,
            )
    assert await switch.recorded() == before


# The time of a session. The clock stands still and is moved by hand, since a real database answers beside it.


async def test_a_session_without_a_request_ends_after_five_seconds(switch: Switch, mock_clock: MockClock) -> None:
    """At 4.9 s its first request is still taken, at 5 it is closed, and the unused connection ends at 10."""
    first, second = (switch.shop.identities[module] for module in TILLS[:2])
    async with connect(switch.address) as late, connect(switch.address) as never:
        caller = await late.sign_on(switch.shop, first)
        session = await never.welcome(second)
        mock_clock.jump(4.9)
        assert (await caller.ask(Command.ECHO)).result == Result.APPROVED
        mock_clock.jump(0.2)
        assert await never.frame(FrameType.CLOSE, session.id)
        assert not never.ended
        mock_clock.jump(5)
        assert [frame.type.name for frame in await never.end()] == ["WELCOME"]
        assert (await caller.ask(Command.SALE, card=OTHER, amount=SOLD)).result == Result.APPROVED


async def test_who_connects_and_says_nothing_is_dropped_after_ten_seconds(
    switch: Switch, mock_clock: MockClock
) -> None:
    """Nothing, half a HELLO, or a HELLO that is refused every second: none of them holds a connection."""
    async with connect(switch.address) as dumb, connect(switch.address) as slow, connect(switch.address) as busy:
        await slow.send(hello_of(switch.shop.identities[TILLS[0]])[:50])
        for _ in range(9):
            await busy.send(hello_of(replace(switch.shop.identities[TILLS[0]], generation=9)))
            await busy.read()
            mock_clock.jump(1)
        assert not busy.ended
        mock_clock.jump(1.1)
        assert await dumb.end() == await slow.end() == []
        assert {frame.type for frame in await busy.end()} == {FrameType.CLOSE}
    await switch.still_sells()


async def test_an_idle_session_is_closed(switch: Switch, mock_clock: MockClock) -> None:
    """90 s after its last request, as WELCOME has said; an echo keeps it."""
    async with switch.caller() as caller:
        assert caller.session.terms.idle_s == 90
        for _ in range(3):
            mock_clock.jump(89)
            assert (await caller.ask(Command.ECHO)).result == Result.APPROVED
        mock_clock.jump(90)
        assert await caller.wire.frame(FrameType.CLOSE, caller.session.id)


async def test_a_database_that_stands_still_is_answered_91(
    start: Start, line: Relay, mock_clock: MockClock, shop: Shop
) -> None:
    """One that takes a statement and says nothing for 8 s is given up; when it is back, so is the switch."""
    switch = await start(line.dsn)
    async with connect(switch.address) as wire:
        caller = await wire.sign_on(shop, shop.identities[TILLS[0]])
        assert (await caller.ask(Command.ACTIVATE, card=OTHER, amount=LOADED)).result == Result.APPROVED
        line.hold()
        sale = await caller.till.request(Command.SALE, card=OTHER, amount=SOLD)
        counter = await caller.post(sale)
        await line.held.wait()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(9)
        refused = Response.decode(await wire.answer(caller.session, counter))
        assert (refused.result, refused.reason) == (91, Reason.NO_DATABASE)
        line.let_go()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(1)  # the lane rests a moment after a fault
        assert Response.decode(await caller.send(sale._replace(flags=Flag.REPEAT))).approved == SOLD
    assert await shop.balance(OTHER) == LOADED - SOLD


async def test_a_renewed_session_drains(start: Start, line: Relay, mock_clock: MockClock, shop: Shop) -> None:
    """What is in flight in the old one is answered there while the new one works; 60 s later the old one is closed."""
    switch = await start(line.dsn)
    async with connect(switch.address) as wire:
        old = await wire.sign_on(shop, shop.identities[TILLS[0]])
        assert (await old.ask(Command.ACTIVATE, card=OTHER, amount=LOADED)).result == Result.APPROVED
        line.hold()
        sale = await old.post(await old.till.request(Command.SALE, card=OTHER, amount=SOLD))
        await line.held.wait()
        new = await wire.sign_on(shop, shop.identities[TILLS[0]])
        echo = await new.post(await new.till.request(Command.ECHO))
        await trio.testing.wait_all_tasks_blocked()
        line.let_go()
        assert Response.decode(await wire.answer(new.session, echo)).result == Result.APPROVED
        assert Response.decode(await wire.answer(old.session, sale)).approved == SOLD
        mock_clock.jump(59)
        assert (await new.ask(Command.ECHO)).result == Result.APPROVED
        mock_clock.jump(2)
        assert await wire.frame(FrameType.CLOSE, old.session.id)
        assert (await new.ask(Command.BALANCE, card=OTHER)).balance == LOADED - SOLD


async def test_a_live_session_displaces_the_older_one_and_a_hello_does_not(switch: Switch) -> None:
    """CLOSE reaches the older connection only when the newer session has proven itself."""
    identity = switch.shop.identities[TILLS[0]]
    async with switch.caller() as older, connect(switch.address) as wire:
        newer = await wire.sign_on(switch.shop, identity)
        assert (await older.ask(Command.SALE, card=OTHER, amount=SOLD)).result == Result.APPROVED
        newer.till.sequence = older.till.sequence
        assert (await newer.ask(Command.ECHO)).result == Result.APPROVED
        assert await older.wire.frame(FrameType.CLOSE, older.session.id)
        assert (await newer.ask(Command.SALE, card=OTHER, amount=SOLD)).result == Result.APPROVED


async def test_a_revoked_module_is_closed_within_five_seconds(switch: Switch, mock_clock: MockClock) -> None:
    """Its live session, one that has only been welcomed, and one that drains; then it cannot sign on."""
    shop, identity = switch.shop, switch.shop.identities[TILLS[0]]
    async with switch.caller() as draining, switch.caller(TILLS[1]) as neighbour, connect(switch.address) as other:
        live = await draining.wire.sign_on(shop, identity)
        assert (await live.ask(Command.ECHO)).result == Result.APPROVED
        welcomed = await other.welcome(identity)
        await shop.query("update modules set revoked = true where number = $1", TILLS[0])
        mock_clock.jump(4)
        for caller in (draining, live):
            assert await draining.wire.frame(FrameType.CLOSE, caller.session.id)
        assert await other.frame(FrameType.CLOSE, welcomed.id)
        hello = hello_of(identity)
        await other.send(hello)
        assert await other.frame(FrameType.CLOSE, hello[SESSION])
        assert (await neighbour.ask(Command.SALE, card=OTHER, amount=SOLD)).result == Result.APPROVED


# Bounds


async def test_more_in_flight_than_granted_is_answered_91_at_once(start: Start, line: Relay) -> None:
    """Two wait for the database, the third is refused and leaves no record: its repeat is a first copy."""
    switch = await start(line.dsn, limits=Limits(in_flight_max=2))
    async with switch.caller() as caller:
        assert (await caller.ask(Command.ACTIVATE, card=OTHER, amount=LOADED)).result == Result.APPROVED
        line.hold()
        requests = [await caller.till.request(Command.SALE, card=OTHER, amount=100) for _ in range(3)]
        waiting = [await caller.post(each) for each in requests]
        refused = Response.decode(await caller.wire.answer(caller.session, waiting[2]))
        assert (refused.result, refused.reason, refused.authorization) == (91, Reason.OVERLOADED, "")
        line.let_go()
        for counter in waiting[:2]:
            assert Response.decode(await caller.wire.answer(caller.session, counter)).approved == 100
        assert await switch.recorded() == 3
        repeat = requests[2]._replace(flags=Flag.REPEAT)
        assert Response.decode(await caller.send(repeat)).approved == 100


async def test_sessions_are_capped_on_a_connection_and_in_the_process(start: Start, shop: Shop) -> None:
    """One too many is refused; who is in can renew, and who goes makes room."""
    identities = await enroll(shop, 4001, 4002, 4003)
    switch = await start(limits=Limits(sessions_max=2), caps=Caps(sessions=2))
    async with connect(switch.address) as one, connect(switch.address) as two:
        first, second = [await one.sign_on(shop, identity) for identity in identities[:2]]
        third = hello_of(identities[2])
        await one.send(third)
        assert await one.frame(FrameType.CLOSE, third[SESSION])
        for caller in (first, second):
            assert (await caller.ask(Command.ECHO)).result == Result.APPROVED
        await two.send(third)
        assert await two.frame(FrameType.CLOSE, third[SESSION])
        again = await two.sign_on(shop, identities[1])
        assert (await again.ask(Command.ECHO)).result == Result.APPROVED
        await one.frame(FrameType.CLOSE, second.session.id)
        await one.send(one.module.close(first.session))
        await trio.testing.wait_all_tasks_blocked()
        assert (await (await one.sign_on(shop, identities[2])).ask(Command.ECHO)).result == Result.APPROVED


async def test_connections_are_capped(start: Start) -> None:
    """The third of two is ended at once; when one goes, the next is served."""
    switch = await start(caps=Caps(connections=2))
    async with switch.caller(TILLS[0]) as caller:
        async with switch.caller(TILLS[1]):
            async with connect(switch.address) as third:
                assert await third.end() == []
            assert (await caller.ask(Command.ECHO)).result == Result.APPROVED
        await trio.testing.wait_all_tasks_blocked()
        async with switch.caller(TILLS[1]):
            pass


async def flood(caller: Caller, most: int) -> int:
    """Ask without reading, until the connection breaks or `most` were asked: how many were."""
    caller.wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain = patched((await caller.till.request(Command.ECHO)).encode(), Command.ECHO, {"sequence": 0})
    asked = 0
    with suppress(trio.BrokenResourceError):
        while asked < most:
            await caller.wire.send(b"".join(caller.sealed(plain) for _ in range(100)))
            await trio.testing.wait_all_tasks_blocked()
            asked += 100
    return asked


async def test_who_never_reads_is_dropped_before_the_answers_fill_the_memory(switch: Switch) -> None:
    """Answers of 1,444 bytes wait in the kernel (4 MiB at most) and in the switch (4 MiB), and then it breaks."""
    async with switch.caller() as caller:
        assert await flood(caller, 20_000) * 1444 < 10 * 1024 * 1024
        await switch.still_sells()


async def test_a_write_without_progress_ends_the_connection(switch: Switch, mock_clock: MockClock) -> None:
    """2,600 answers are below the bound of 4 MiB and more than the kernel takes; 20 s without a reader end it."""
    async with switch.caller() as caller:
        assert await flood(caller, 2600) == 2600
        mock_clock.jump(19.9)
        assert await flood(caller, 100) == 100
        mock_clock.jump(0.2)
        await trio.testing.wait_all_tasks_blocked()
        assert await flood(caller, 200) < 200  # the first may still leave this end
        await switch.still_sells()


# What a module asks beside the ledger


async def test_the_last_name_comes_with_welcome_and_from_the_database_by_echo(start: Start, shop: Shop) -> None:
    """The hint is the highest that this process has seen, repeats or not; echo knows it after a restart."""
    switch = await start()
    async with switch.caller() as caller:
        assert caller.session.terms.last_sequence == 0
        first = await caller.till.request(Command.ACTIVATE, card=OTHER, amount=LOADED)
        assert Response.decode(await caller.send(first)).result == Result.APPROVED
        assert (await caller.ask(Command.SALE, card=OTHER, amount=SOLD)).result == Result.APPROVED
        await caller.send(first._replace(flags=Flag.REPEAT))
        last = caller.till.sequence
    today = await shop.today()
    async with switch.caller() as caller:
        terms = caller.session.terms
        assert (terms.last_date, terms.last_sequence) == (date_number(today), last)
    switch = await start()
    async with switch.caller() as caller:
        assert caller.session.terms.last_sequence == 0
        answer = await caller.ask(Command.ECHO)
        assert (answer.last_date, answer.last_sequence, answer.text) == (today, last, b"")


async def test_page_gives_a_recorded_page_to_whom_it_belongs(switch: Switch) -> None:
    """Page 1 is the recorded receipt again, by name and by number; a page that is not there is 25, another's is 58."""
    async with switch.caller() as caller, switch.caller(TILLS[1]) as other, switch.caller(DESK) as desk:
        sold = await caller.ask(Command.SALE, card=OTHER, amount=SOLD)
        before = await switch.recorded()
        for asking, original in ((caller, name_of(sold)), (caller, sold.authorization), (desk, sold.authorization)):
            page = await asking.ask(Command.PAGE, original=original, page=1)
            assert (page.text, page.authorization, page.sequence) == (
                sold.text,
                sold.authorization,
                asking.till.sequence,
            )
        none = await caller.ask(Command.PAGE, original=sold.authorization, page=2)
        assert (none.result, none.reason) == (Result.ORIGINAL, Reason.ORIGINAL_UNKNOWN)
        foreign = await other.ask(Command.PAGE, original=sold.authorization, page=1)
        assert (foreign.result, foreign.reason, foreign.text) == (Result.NOT_FOR_MODULE, Reason.FOREIGN_ORIGINAL, b"")
        assert await switch.recorded() == before


# Faults of ours


def _fail_at_once(_: SwitchSession) -> None:
    raise RuntimeError("forced")


def _fail_when_it_receives(session: SwitchSession) -> None:
    object.__setattr__(session.terms, "frames_max", None)


def _fail_when_it_responds(session: SwitchSession) -> None:
    session.sealer.counter = -1


@pytest.mark.parametrize("spoil", [_fail_at_once, _fail_when_it_receives, _fail_when_it_responds])
async def test_an_exception_ends_the_connection_that_raised_it_alone(
    switch: Switch, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[SwitchSession], None]
) -> None:
    """Wherever it comes from, neighbours with sessions go on, and new ones come."""
    real = Listener.went_live

    def spoiled(self: Listener, connection: Connection, session: SwitchSession) -> None:
        if session.module == TILLS[2]:
            spoil(session)
        real(self, connection, session)

    async with switch.caller(TILLS[1]) as neighbour, connect(switch.address) as wire:
        monkeypatch.setattr(Listener, "went_live", spoiled)
        caller = await wire.sign_on(switch.shop, switch.shop.identities[TILLS[2]])
        await caller.post(await caller.till.request(Command.SALE, card=OTHER, amount=SOLD))
        with suppress(ConnectionEndedError, trio.BrokenResourceError):
            for _ in range(3):
                await caller.ask(Command.BALANCE, card=OTHER)
        assert wire.ended
        assert (await neighbour.ask(Command.SALE, card=OTHER, amount=SOLD)).result == Result.APPROVED
        await switch.still_sells()


async def test_a_request_that_makes_the_switch_fail_gets_96_alone(
    switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read or a decision that raises is answered 96 and not recorded; the session and all others go on."""

    def fail(*_: Any) -> Any:
        raise RuntimeError("forced")

    before = await switch.recorded()
    async with switch.caller() as caller:
        monkeypatch.setattr(reads, "echo", fail)
        monkeypatch.setattr(lanes, "answer_all", fail)
        for command, fields in ((Command.ECHO, {}), (Command.SALE, {"card": OTHER, "amount": SOLD})):
            answer = await caller.ask(command, **fields)
            assert (answer.result, answer.reason, answer.authorization) == (96, Reason.BAD_REQUEST, "")
        monkeypatch.undo()
        assert await switch.recorded() == before
        assert (await caller.ask(Command.SALE, card=OTHER, amount=SOLD)).result == Result.APPROVED
        await switch.still_sells()
