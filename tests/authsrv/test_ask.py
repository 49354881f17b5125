"""Reading a request without the database: whether it has a name, and what it makes the database look up."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsrv.ask import Ask, open_ask, same_content
from authsrv.keys import ISSUER_PURPOSES, KeyRing, Purpose
from ledger.names import Name
from protocol import access_code
from protocol.crypto import BlockCipher
from protocol.messages import FormatError, OriginalName, Request, Totals
from protocol.numbers import Command, Flag, Reason

RING = KeyRing(41, {(purpose, 1): bytes([place]) * 32 for place, purpose in enumerate(ISSUER_PURPOSES)})
CODE_KEY = bytes(range(16))
DAY = dt.date(2026, 11, 30)
CARD = "6371120000000000017"
SALE = Request(command=Command.SALE, module=1001, date=DAY, sequence=7, card=CARD, amount=1250, time=dt.time(12))
SEQUENCE, DATE, MODULE = slice(16, 20), slice(20, 24), slice(28, 32)


def opened(plain: bytes, module: int = 1001) -> Ask | Reason:
    return open_ask(plain, module, BlockCipher(CODE_KEY), RING)[1]


def ask(request: Request) -> Ask:
    read = opened(request.encode())
    assert isinstance(read, Ask)
    return read


def coded(code: str, random: bytes = bytes(8), key: bytes = CODE_KEY, card: str = CARD) -> Request:
    return SALE._replace(access_code_block=access_code.encode(code, card, key, random), flags=Flag.ACCESS_CODE)


def put(plain: bytes, at: slice, number: int) -> bytes:
    return plain[: at.start] + number.to_bytes(at.stop - at.start) + plain[at.stop :]


@pytest.mark.parametrize(
    ("at", "number", "reason"),
    [
        (MODULE, 1002, Reason.FOREIGN_MODULE),
        (MODULE, 0, Reason.FOREIGN_MODULE),
        (DATE, 2026_02_30, Reason.BAD_DATE),
        (DATE, 0, Reason.BAD_DATE),
        (DATE, 2**32 - 1, Reason.BAD_DATE),
        (SEQUENCE, 0, Reason.BAD_SEQUENCE),
    ],
)
def test_an_unusable_name(at: slice, number: int, reason: Reason) -> None:
    """Another module's number, a date that is none and sequence 0 are refused, final and without a record."""
    assert opened(put(SALE.encode(), at, number)) is reason


@given(st.binary(min_size=320, max_size=320))
def test_no_bytes_make_it_fail(plain: bytes) -> None:
    """Whatever a session carries is read: as an ask with a name, or as a reason why not."""
    module = int.from_bytes(plain[MODULE])
    named = put(put(plain, DATE, 20261130), SEQUENCE, 7)
    for read in (opened(plain, module), opened(named, module)):
        assert isinstance(read, Ask | Reason)
    assert isinstance(opened(named, module), Ask)


def test_a_format_error_keeps_its_name() -> None:
    """What is wrong beyond the name is kept until its record was looked up, and nothing but the name is."""
    read = opened(put(SALE.encode(), slice(0, 2), 0x7777))
    assert isinstance(read, Ask)
    assert isinstance(read.request, FormatError)
    assert read.name == Name(1001, DAY, 7)
    lookup = read.lookup()
    assert (lookup.token, lookup.with_code, lookup.original, lookup.original_number) == (None, False, None, None)


def test_an_access_code_is_opened() -> None:
    """The code of a block comes out; a block for another card or under another key holds none."""
    assert (ask(coded("4321")).code_came, ask(coded("4321")).code) == (True, "4321")
    assert (ask(SALE).code_came, ask(SALE).code) == (False, None)
    for bad in (coded("4321", key=bytes(16)), coded("4321", card=CARD[:-1] + "8")):
        assert (ask(bad).code_came, ask(bad).code) == (True, None)


def test_what_is_looked_up() -> None:
    """The token of a sale's card, of a new card; an original, not its reversal's card; a mistyped number not at all."""
    token = RING.token(CARD.encode().ljust(20, b"\0"))
    assert ask(coded("4321")).lookup() == (Name(1001, DAY, 7), token, True, None, None, None, None)
    fields: dict[str, Any] = {"command": Command.REVERSE, "module": 1001, "date": DAY, "sequence": 8, "amount": 1250}
    by_name = Request(**fields, card=CARD, original=OriginalName(DAY, 7))
    assert ask(by_name).lookup() == (Name(1001, DAY, 8), None, False, Name(1001, DAY, 7), None, None, None)
    by_number = Request(**fields, original="323000000014")
    assert ask(by_number).lookup() == (Name(1001, DAY, 8), None, False, None, 323_000_000_014, None, None)
    assert ask(by_number._replace(original="323000000015")).lookup().original_number is None
    replacement = Request(Command.REPLACE, 1001, DAY, 9, card="6371120000000000025", new_card=CARD)
    assert ask(replacement).lookup().new_token == token


def test_which_totals_are_counted() -> None:
    """The interval of both sequences, its dates in the calendar's order; one that is too long is not looked up."""
    first, last = OriginalName(DAY, 7), OriginalName(DAY - dt.timedelta(days=1), 12)
    totals = Totals(first, last, ((0, 0),) * 10)
    request = Request(Command.TOTALS, 1001, DAY, 13, unit=978, totals=totals)
    interval = (1001, 978, 7, 12, DAY - dt.timedelta(days=1), DAY)
    assert ask(request).lookup().interval == interval
    for far in (
        OriginalName(DAY + dt.timedelta(days=63), 12),
        OriginalName(DAY, 10_007),
        OriginalName(dt.date.max, 12),
    ):
        assert ask(request._replace(totals=replace(totals, last=far))).lookup().interval is None
    assert ask(SALE).lookup().interval is None


def digest(request: Request) -> bytes:
    return same_content(ask(request), RING, 1, 1)


def test_same_content() -> None:
    """A copy with another seal of a code, without it, or with the repeat flag is the same; any other field is not."""
    same = {digest(each) for each in (SALE, coded("4321"), coded("9999", b"\1" * 8), SALE._replace(flags=Flag.REPEAT))}
    assert len(same) == 1
    others = [
        SALE._replace(**field)
        for field in (
            {"amount": 1251}, {"card": CARD[:-1] + "8"}, {"cashier": 1}, {"unit": 978}, {"flags": Flag.PARTIAL},
            {"till_receipt": "R"}, {"till_serial": "S"}, {"day_close": 1}, {"programme": 1}, {"eligible": 1},
            {"basket": b"b" * 16}, {"time": dt.time(12, 0, 1)}, {"flags": Flag.KEYED},
            {"command": Command.HOLD},
        )
    ]  # fmt: skip
    assert len({digest(each) for each in others} | same) == len(others) + 1


@pytest.mark.parametrize("purpose", [Purpose.TOKEN, Purpose.DIGEST])
def test_same_content_under_another_key(purpose: Purpose) -> None:
    """What was read before a key was changed, or its row recorded before, is the same content as what is read after."""
    keys = {(each, 1): bytes([place]) * 32 for place, each in enumerate(ISSUER_PURPOSES)}
    newer = KeyRing(41, keys | {(purpose, 2): bytes(range(32))})
    before = ask(SALE)
    after = open_ask(SALE.encode(), 1001, BlockCipher(CODE_KEY), newer)[1]
    assert isinstance(after, Ask)
    now = (newer.token_key, newer.digest_key)
    assert now != (1, 1)
    assert same_content(before, newer, 1, 1) == same_content(after, newer, 1, 1) == digest(SALE)
    assert same_content(before, newer, *now) == same_content(after, newer, *now) != digest(SALE)
    assert same_content(before.under(newer), newer, *now) == same_content(after, newer, *now)


def test_nothing_secret_shows() -> None:
    """An ask's repr tells its name, and no card, token, code or amount."""
    shown = repr(ask(coded("4321")._replace(amount=987_654)))
    assert "7" in shown
    for secret in (CARD, "4321", "987654", repr(ask(SALE).token)):
        assert secret not in shown
