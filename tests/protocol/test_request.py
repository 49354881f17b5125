"""Requests: known answers, round trips, and each rule of the format."""

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.codec import Codec
from protocol.layout import request
from protocol.messages import (
    Envelope,
    FormatError,
    Freeze,
    OriginalName,
    Request,
    RequestName,
    Response,
    Taken,
    Tenders,
    Totals,
    Voucher,
    decode_request,
    identity_bytes,
    read_envelope,
)
from protocol.numbers import Command, Flag, GivenReason, Reason
from protocol.request import check_in_order

WIRE = json.loads((Path(__file__).parent / "vectors" / "wire.json").read_text())
SUITES = pytest.mark.parametrize("suite", ["1", "2"])

SALE = Request(
    command=Command.SALE,
    module=1001,
    date=datetime.date(2026, 11, 22),
    sequence=42,
    time=datetime.time(10, 15, 0),
    unit=978,
    amount=1750,
    card="6371120000000000017",
)
ORIGINAL = OriginalName(datetime.date(2026, 11, 21), 41)
PAIRS = tuple((kind, kind * 100) for kind in range(10))


def of(command: Command, **fields: Any) -> Request:
    name: dict[str, Any] = {"module": 1001, "date": datetime.date(2026, 11, 22), "sequence": 7}
    return Request(command=command, **(name | fields))


WELL_FORMED = {
    Command.ECHO: of(Command.ECHO),
    Command.PAGE: of(Command.PAGE, original="323000000014", page=2),
    Command.BALANCE: of(Command.BALANCE, card="1"),
    Command.ACTIVATE: of(Command.ACTIVATE, card="12", flags=Flag.KEYED),
    Command.RELOAD: of(Command.RELOAD, card="12", amount=5),
    Command.SALE: of(
        Command.SALE,
        card="12345678901234567890",
        amount=2**63 - 1,
        flags=Flag.PARTIAL | Flag.ACCESS_CODE | Flag.REPEAT,
        access_code_block=bytes(range(16)),
        eligible=100,
        till_receipt="R 1",
        basket=bytes(range(16)),
    ),
    Command.HOLD: of(Command.HOLD, card="12", amount=0),
    Command.CONFIRM: of(Command.CONFIRM, amount=5, original=ORIGINAL),
    Command.RELEASE: of(Command.RELEASE, original=ORIGINAL),
    Command.REFUND: of(Command.REFUND, amount=5, original="323000000014"),
    Command.REVERSE: of(Command.REVERSE, amount=5, original=ORIGINAL, reason=GivenReason.NO_ANSWER),
    Command.PAYMENT: of(Command.PAYMENT, card="12", amount=5),
    Command.VISIT: of(Command.VISIT, card="12", unit=0x8001),
    Command.CASH_OUT: of(Command.CASH_OUT, card="12"),
    Command.BLOCK: of(Command.BLOCK, card="12", reason=GivenReason.LOST),
    Command.UNBLOCK: of(Command.UNBLOCK, card="12", reason=GivenReason.FOUND),
    Command.CHANGE_ACCESS_CODE: of(Command.CHANGE_ACCESS_CODE, card="12", new_access_code_block=bytes(range(1, 17))),
    Command.REPLACE: of(Command.REPLACE, card="12", new_card="13"),
    Command.TOTALS: of(Command.TOTALS, unit=978, totals=Totals(ORIGINAL, ORIGINAL, PAIRS)),
    Command.REPRINT: of(Command.REPRINT, original=ORIGINAL),
    Command.PURCHASE: of(
        Command.PURCHASE, card="12", amount=5, vouchers=(Voucher("V1", 3),), tenders=Tenders(points=2)
    ),
    Command.QUOTE: of(Command.QUOTE, card="12", amount=5, tenders=Tenders(1, 2, 3, 4)),
    Command.REGISTER: of(Command.REGISTER, card="12"),
    Command.VOUCHER_CHECK: of(Command.VOUCHER_CHECK, vouchers=(Voucher("A", 1), Voucher("B", 2), Voucher("C", 3))),
    Command.VOUCHER_ACTIVATE: of(Command.VOUCHER_ACTIVATE, vouchers=(Voucher("A", 0),)),
    Command.VOUCHER_REDEEM: of(Command.VOUCHER_REDEEM, vouchers=(Voucher("A", 0),)),
    Command.ADJUST: of(Command.ADJUST, card="12", amount=5, unit=978, reason=GivenReason.GOODWILL),
    Command.FREEZE: of(
        Command.FREEZE, card="12", freeze=Freeze(datetime.date(2026, 12, 1), datetime.date(2026, 12, 31))
    ),
    Command.LIMIT: of(Command.LIMIT, card="12", limit=0),
    Command.RESET_TRIES: of(Command.RESET_TRIES, card="12"),
}


def put(plain: bytes, at: int, data: bytes) -> bytes:
    return plain[:at] + data + plain[at + len(data) :]


def refusal(plain: bytes) -> tuple[Reason, str]:
    with pytest.raises(FormatError) as caught:
        decode_request(plain)
    return caught.value.reason, caught.value.field


@SUITES
def test_known_request(suite: str) -> None:
    """The request of the known answers reads as the sale that it is, and writes back to the same bytes."""
    vector = WIRE["suites"][suite]
    plain = bytes.fromhex(vector["request_plain"])
    got = decode_request(plain)
    assert got == Request(
        command=Command.SALE,
        module=1001,
        date=datetime.date(2026, 11, 22),
        sequence=42,
        time=datetime.time(10, 15, 0),
        flags=Flag.ACCESS_CODE,
        unit=978,
        amount=1750,
        cashier=5,
        card="6371120000000000017",
        access_code_block=bytes.fromhex(vector["access_code_block"]),
        till_receipt="R-000125",
        till_serial="TILL-7",
        day_close=12,
        eligible=None,
    )
    assert got.encode() == plain
    assert got.name == RequestName(1001, datetime.date(2026, 11, 22), 42)


@pytest.mark.parametrize("command", Command)
def test_every_command_goes_there_and_back(command: Command) -> None:
    """A well-formed request of each command is 320 bytes and reads back as it was."""
    wanted = WELL_FORMED[command]
    plain = wanted.encode()
    assert len(plain) == 320
    assert decode_request(plain) == wanted


money = st.integers(0, 2**63 - 1)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=16)
digits = st.text("0123456789", min_size=1, max_size=20)


@given(
    st.builds(
        of,
        command=st.just(Command.SALE),
        module=st.integers(0, 2**32 - 1),
        date=st.dates(),
        sequence=st.integers(1, 2**32 - 1),
        time=st.times().map(lambda time: time.replace(microsecond=0)),
        flags=st.sampled_from([Flag(0), Flag.REPEAT, Flag.PARTIAL | Flag.KEYED]),
        unit=st.sampled_from([0, 978, 999, 0x8001, 0x8002]),
        amount=money,
        cashier=st.integers(0, 2**32 - 1),
        card=digits,
        till_receipt=texts,
        till_serial=texts,
        day_close=st.integers(0, 2**32 - 1),
        programme=st.integers(0, 2**32 - 1),
        eligible=st.none() | money,
        basket=st.binary(min_size=16, max_size=16),
    )
)
def test_any_sale_goes_there_and_back(wanted: Request) -> None:
    """Whatever a sale may hold reads back as it was."""
    assert decode_request(wanted.encode()) == wanted


def broken(check: Callable[[bytes], object], plain: bytes) -> tuple[Reason, str] | None:
    try:
        check(plain)
    except FormatError as error:
        return error.reason, error.field
    return None


starts = st.sampled_from([each.encode() for each in WELL_FORMED.values()]) | st.just(bytes(320))
changes = st.tuples(
    st.sampled_from([field.at for field in Codec(request(None)).fields]) | st.integers(0, 319),
    st.sampled_from([b"\0", b"\1", b"\xff", bytes(4), b"1", bytes(16)]) | st.binary(min_size=1, max_size=8),
)
REFUSED_AS_READ = {
    Reason.AMOUNT_TOO_LARGE,
    Reason.NOT_DIGITS,
    Reason.BAD_TEXT,
    Reason.TWO_ORIGINALS,
    Reason.UNKNOWN_REASON,
    Reason.BAD_DATE,
    Reason.BAD_SEQUENCE,
    Reason.FIELD_MISSING,
}


@settings(max_examples=500)
@given(starts, st.lists(changes, max_size=4), st.none() | st.binary(min_size=320, max_size=320))
def test_at_once_as_in_order(start: bytes, changed: list[tuple[int, bytes]], noise: bytes | None) -> None:
    """What is taken at once is what keeps the rules one by one, and what is not is answered by the first it breaks."""
    plain = noise or start
    for at, data in changed:
        plain = put(plain, at, data)[:320]
    at_once, in_order = broken(decode_request, plain), broken(check_in_order, plain)
    if in_order is not None:
        assert at_once == in_order
    elif at_once is not None:
        assert at_once[0] in REFUSED_AS_READ
        assert at_once[1] not in ("date", "sequence", "time")


def test_envelope_is_what_all_commands_share() -> None:
    """The envelope has the declaration's fields in their order, and a request read with it is read the same."""
    assert (*Envelope._fields, "area") == Codec(request(None)).names
    plain = WELL_FORMED[Command.SALE].encode()
    assert decode_request(plain, read_envelope(plain)) == decode_request(plain) == WELL_FORMED[Command.SALE]


def test_envelope_never_fails() -> None:
    """What names a request is read from any 320 bytes, and only then can its name be refused."""
    envelope = read_envelope(b"\xff" * 320)
    assert (envelope.command, envelope.module, envelope.card) == (0xFFFF, 2**32 - 1, b"\xff" * 20)
    with pytest.raises(FormatError) as caught:
        envelope.name()
    assert caught.value.reason is Reason.BAD_DATE


@pytest.mark.parametrize(
    ("at", "data", "reason", "field"),
    [
        (0, "0003", Reason.UNKNOWN_COMMAND, "command"),
        (0, "0000", Reason.UNKNOWN_COMMAND, "command"),
        (2, "0020", Reason.UNKNOWN_FLAG, "flags"),
        (2, "0002", Reason.OFFLINE_ADVICE, "flags"),
        (4, "03e8", Reason.UNKNOWN_UNIT, "unit"),
        (4, "8000", Reason.UNKNOWN_UNIT, "unit"),
        (4, "8003", Reason.UNKNOWN_UNIT, "unit"),
        (6, "0001", Reason.FIELD_FORBIDDEN, "reason"),
        (8, "8000000000000000", Reason.AMOUNT_TOO_LARGE, "amount"),
        (16, "00000000", Reason.BAD_SEQUENCE, "sequence"),
        (20, f"{20260230:08x}", Reason.BAD_DATE, "date"),
        (20, f"{1122:08x}", Reason.BAD_DATE, "date"),
        (20, "ffffffff", Reason.BAD_DATE, "date"),
        (24, f"{240000:08x}", Reason.BAD_TIME, "time"),
        (24, f"{1060:08x}", Reason.BAD_TIME, "time"),
        (36, b"12a4".hex(), Reason.NOT_DIGITS, "card"),
        (36, b"1\x002".hex(), Reason.NOT_DIGITS, "card"),
        (36, bytes(20).hex(), Reason.FIELD_MISSING, "card"),
        (56, "01", Reason.FIELD_FORBIDDEN, "access_code_block"),
        (2, "0008", Reason.FIELD_MISSING, "access_code_block"),
        (72, "410042", Reason.BAD_TEXT, "till_receipt"),
        (88, "0a", Reason.BAD_TEXT, "till_serial"),
        (88, "e4", Reason.BAD_TEXT, "till_serial"),
        (112, "8000000000000000", Reason.AMOUNT_TOO_LARGE, "eligible"),
        (112, "fffffffffffffffe", Reason.AMOUNT_TOO_LARGE, "eligible"),
        (120, "00000001", Reason.FIELD_FORBIDDEN, "original_date"),
        (140, "01", Reason.FIELD_FORBIDDEN, "unused"),
        (160, "01", Reason.FIELD_FORBIDDEN, "unused"),
        (319, "01", Reason.FIELD_FORBIDDEN, "unused"),
    ],
)
def test_bad_sale(at: int, data: str, reason: Reason, field: str) -> None:
    """One wrong stretch in a sale is answered by its own reason and field."""
    assert refusal(put(SALE.encode(), at, bytes.fromhex(data))) == (reason, field)


def test_amount_zero_is_not_a_matter_of_format() -> None:
    """A sale of 0 is well-formed: it is judged with the card."""
    assert decode_request(put(SALE.encode(), 8, bytes(8))).amount == 0


@pytest.mark.parametrize(
    ("at", "data", "reason", "field"),
    [
        (120, "00000000", Reason.BAD_DATE, "original_date"),
        (124, "00000000", Reason.BAD_SEQUENCE, "original_sequence"),
        (120, bytes(8).hex(), Reason.FIELD_MISSING, "original"),
        (128, b"323000000014".hex(), Reason.TWO_ORIGINALS, "original_authorization"),
        (120, bytes(7).hex() + "01" + b"323000000014".hex(), Reason.TWO_ORIGINALS, "original_authorization"),
        (120, "01" + bytes(7).hex() + b"323000000014".hex(), Reason.TWO_ORIGINALS, "original_authorization"),
        (120, bytes(8).hex() + b"3230".hex(), Reason.NOT_DIGITS, "original_authorization"),
        (120, bytes(8).hex() + b"32300000001a".hex(), Reason.NOT_DIGITS, "original_authorization"),
        (6, "00ff", Reason.UNKNOWN_REASON, "reason"),
        (112, "ff", Reason.FIELD_FORBIDDEN, "eligible"),
    ],
)
def test_bad_reverse(at: int, data: str, reason: Reason, field: str) -> None:
    """One wrong stretch in a reversal is answered by its own reason and field."""
    plain = WELL_FORMED[Command.REVERSE].encode()
    assert refusal(put(plain, at, bytes.fromhex(data))) == (reason, field)


@pytest.mark.parametrize(
    ("command", "at", "data", "reason", "field"),
    [
        (Command.PAGE, 160, "00", Reason.FIELD_MISSING, "page"),
        (Command.REPLACE, 160, "41", Reason.NOT_DIGITS, "new_card"),
        (Command.TOTALS, 164, "00000000", Reason.BAD_SEQUENCE, "first_sequence"),
        (Command.TOTALS, 172, "00000001", Reason.BAD_SEQUENCE, "last_sequence"),
        (Command.TOTALS, 168, "00000001", Reason.BAD_DATE, "last_date"),
        (Command.TOTALS, 180, "80", Reason.AMOUNT_TOO_LARGE, "sum_activate"),
        (Command.TOTALS, 160, bytes(136).hex(), Reason.FIELD_MISSING, "totals"),
        (Command.FREEZE, 164, f"{20261130:08x}", Reason.BAD_DATE, "freeze_to"),
        (Command.LIMIT, 160, "80", Reason.AMOUNT_TOO_LARGE, "limit"),
        (Command.VOUCHER_CHECK, 160, bytes(24).hex(), Reason.FIELD_MISSING, "voucher_1_code"),
        (Command.VOUCHER_CHECK, 192, bytes(32).hex(), Reason.FIELD_MISSING, "voucher_2_code"),
        (Command.VOUCHER_CHECK, 224, bytes(24).hex(), Reason.FIELD_MISSING, "voucher_3_code"),
        (Command.VOUCHER_CHECK, 184, "80", Reason.AMOUNT_TOO_LARGE, "voucher_1_amount"),
        (Command.PURCHASE, 256, "80", Reason.AMOUNT_TOO_LARGE, "tender_points"),
        (Command.ECHO, 4, "03d2", Reason.FIELD_FORBIDDEN, "unit"),
        (Command.ECHO, 2, "0001", Reason.FIELD_FORBIDDEN, "repeat"),
        (Command.BALANCE, 2, "0004", Reason.FIELD_FORBIDDEN, "partial"),
    ],
)
def test_bad_area(command: Command, at: int, data: str, reason: Reason, field: str) -> None:
    """One wrong stretch in what a single command carries is answered by its own reason and field."""
    assert refusal(put(WELL_FORMED[command].encode(), at, bytes.fromhex(data))) == (reason, field)


FIRST_TO_LAST = [
    (Reason.UNKNOWN_COMMAND, "command", 0, "0013"),
    (Reason.UNKNOWN_FLAG, "flags", 2, "0002"),
    (Reason.OFFLINE_ADVICE, "flags", 2, "0000"),
    (Reason.UNKNOWN_UNIT, "unit", 4, "0000"),
    (Reason.BAD_DATE, "date", 20, f"{20261122:08x}"),
    (Reason.BAD_SEQUENCE, "sequence", 16, "00000001"),
    (Reason.BAD_TIME, "time", 24, "00000000"),
    (Reason.FIELD_FORBIDDEN, "reason", 6, "0000"),
    (Reason.FIELD_FORBIDDEN, "original_date", 120, bytes(20).hex()),
    (Reason.FIELD_FORBIDDEN, "unused", 140, "00000000"),
    (Reason.FIELD_FORBIDDEN, "unused", 160, bytes(160).hex()),
    (Reason.FIELD_FORBIDDEN, "access_code_block", 56, bytes(16).hex()),
    (Reason.AMOUNT_TOO_LARGE, "amount", 8, bytes(8).hex()),
    (Reason.NOT_DIGITS, "card", 36, "31" * 20),
    (Reason.BAD_TEXT, "till_receipt", 72, bytes(16).hex()),
    (Reason.BAD_TEXT, "till_serial", 88, bytes(16).hex()),
]


def test_first_broken_rule_answers() -> None:
    """With everything wrong at once, the checks answer in their order, one after the other as each is mended."""
    plain = put(b"\xff" * 320, 16, bytes(4))
    for reason, field, at, mended in FIRST_TO_LAST:
        assert refusal(plain) == (reason, field)
        plain = put(plain, at, bytes.fromhex(mended))
    assert decode_request(plain).card == "1" * 20


@pytest.mark.parametrize(
    "wrong",
    [
        {"card": "1" * 21},
        {"amount": 2**64},
        {"till_receipt": "x" * 17},
        {"new_card": "12"},
        {"module": -1},
    ],
)
def test_what_does_not_fit_is_not_sent(wrong: dict[str, Any]) -> None:
    """A value that is too long for its field, or has no field in this command, is an error and never cut."""
    fields: dict[str, Any] = {"command": Command.SALE, "module": 1, "date": datetime.date(2026, 1, 1), "sequence": 1}
    with pytest.raises(ValueError, match=r"longer|fit|layout"):
        Request(**(fields | wrong)).encode()


def test_same_content() -> None:
    """Two copies of one request have one identity, whatever the access code was sealed with and whether it repeats."""
    first = SALE.encode()
    again = put(put(first, 2, bytes.fromhex("0009")), 56, bytes(range(16)))
    token = b"T" * 16
    assert identity_bytes(again, token) == identity_bytes(first, token)
    assert identity_bytes(first, token) == first[:36] + first[56:] + token


@pytest.mark.parametrize("at", [0, 3, 5, 15, 19, 23, 27, 31, 35, 72, 88, 107, 111, 119, 123, 127, 128, 159, 160, 319])
def test_other_content(at: int) -> None:
    """A difference in any other place is other content: also a time, a cashier and a flag."""
    plain = SALE.encode()
    other = put(plain, at, bytes([plain[at] ^ 4]))
    assert identity_bytes(other, b"T") != identity_bytes(plain, b"T")


def test_card_counts_by_its_token() -> None:
    """The card's digits are not in the identity; its token is."""
    plain = SALE.encode()
    assert identity_bytes(put(plain, 36, b"9"), b"T") == identity_bytes(plain, b"T")
    assert identity_bytes(plain, b"U") != identity_bytes(plain, b"T")


def test_new_access_code_is_not_content() -> None:
    """The block of a new access code is random by nature and left out; the same place counts in other commands."""
    change, replace = WELL_FORMED[Command.CHANGE_ACCESS_CODE].encode(), WELL_FORMED[Command.REPLACE].encode()
    assert identity_bytes(put(change, 160, b"other"), b"T") == identity_bytes(change, b"T")
    assert identity_bytes(put(replace, 160, b"99999"), b"T") != identity_bytes(replace, b"T")


def test_nothing_secret_is_shown() -> None:
    """No card number, code, amount or receipt is in a repr or an error."""
    plain = put(SALE.encode(), 36, b"6371x")
    with pytest.raises(FormatError) as caught:
        decode_request(plain)
    answer = Response(balance=1750, text=b"balance 1750")
    shown = repr(SALE) + repr(read_envelope(plain)) + repr(caught.value) + str(caught.value) + repr(answer)
    shown += repr(WELL_FORMED[Command.PURCHASE].vouchers) + repr(WELL_FORMED[Command.TOTALS].totals) + repr(Taken(1750))
    assert "6371" not in shown
    assert "1750" not in shown
    assert "V1" not in shown
    assert "100" not in shown.replace("1001", "")
