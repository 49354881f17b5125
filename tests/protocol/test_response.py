"""Answers: known answers, round trips, and what a module refuses."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import LayoutError
from protocol.messages import (
    FormatError,
    Response,
    Taken,
    pack_answer,
    result_of,
)
from protocol.numbers import CodePage, Command

WIRE = json.loads((Path(__file__).parent / "vectors" / "wire.json").read_text())
SUITES = pytest.mark.parametrize("suite", ["1", "2"])

PACKED = (
    "command", "flags", "sequence", "date", "module", "result", "reason", "unit", "pages", "page", "authorization",
    "switch_date", "switch_time", "approved", "still_due", "balance", "available", "visits_left", "valid_until",
    "code_page", "columns", "text",
)  # fmt: skip
PAIRS = tuple((kind, kind * 100) for kind in range(10))


def put(plain: bytes, at: int, data: bytes) -> bytes:
    return plain[:at] + data + plain[at + len(data) :]


@SUITES
def test_known_response(suite: str) -> None:
    """The answer of the known answers reads as the approval that it is, and writes back to the same bytes."""
    answer = bytes.fromhex(WIRE["suites"][suite]["response_plain"])[8:]
    got = Response.decode(answer)
    assert got == Response(
        command=Command.SALE,
        sequence=42,
        date=20261122,
        module=1001,
        unit=978,
        pages=1,
        page=1,
        authorization="323000000014",
        switch_date=datetime.date(2026, 11, 22),
        switch_time=datetime.time(10, 15, 1),
        approved=1750,
        balance=3250,
        available=3250,
        columns=32,
        taken=Taken(stored_value=1750),
        text=b"APPROVED\n",
    )
    assert got.encode() == answer


money = st.integers(0, 2**63 - 1)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=16)


@given(
    st.fixed_dictionaries(
        {
            "command": st.sampled_from([Command.SALE, 0, 0xFFFF]),
            "flags": st.integers(0, 0xFFFF),
            "date": st.integers(0, 2**32 - 1),
            "result": st.integers(0, 99),
            "reason": st.integers(0, 0xFFFF),
            "authorization": st.sampled_from(["", "323000000014"]),
            "switch_date": st.none() | st.dates(),
            "approved": st.integers(-(2**63), 2**63 - 1),
            "balance": st.integers(-(2**63), 2**63 - 1),
            "valid_until": st.none() | st.dates(),
            "issued_vouchers": st.tuples(texts, texts),
            "code_page": st.sampled_from(CodePage),
            "last_date": st.none() | st.dates(),
            "taken": st.builds(Taken, money, money, money, st.tuples(money, money, money)),
            "text": st.binary(max_size=1176),
        }
    ).map(lambda fields: Response(**fields))
)
def test_any_answer_goes_there_and_back(wanted: Response) -> None:
    """Whatever an answer may hold reads back as it was, from 1,400 bytes."""
    answer = wanted.encode()
    assert len(answer) == 1400
    assert Response.decode(answer) == wanted


@given(
    st.fixed_dictionaries(
        {
            "command": st.sampled_from([Command.SALE, Command.TOTALS, 0, 0xFFFF]),
            "flags": st.integers(0, 0xFFFF),
            "sequence": st.integers(0, 2**32 - 1),
            "date": st.integers(0, 2**32 - 1),
            "module": st.integers(0, 2**32 - 1),
            "result": st.integers(0, 99),
            "reason": st.integers(0, 0xFFFF),
            "unit": st.integers(0, 0xFFFF),
            "pages": st.integers(0, 255),
            "page": st.integers(0, 255),
            "authorization": st.sampled_from(["", "323000000014"]),
            "switch_date": st.dates(),
            "switch_time": st.times(),
            "approved": st.integers(-(2**63), 2**63 - 1),
            "still_due": st.integers(-(2**63), 2**63 - 1),
            "balance": st.integers(-(2**63), 2**63 - 1),
            "available": st.integers(-(2**63), 2**63 - 1),
            "visits_left": st.integers(0, 2**32 - 1),
            "valid_until": st.none() | st.dates(),
            "code_page": st.sampled_from(CodePage),
            "columns": st.integers(0, 255),
            "text": st.binary(max_size=1056),
        }
    )
)
def test_a_packed_answer_is_the_encoded_one_to_its_last_byte(fields: dict[str, Any]) -> None:
    """Filled up with zeros, what is packed at once is what the value encodes to, whatever it says."""
    assert pack_answer(**fields).ljust(1400, b"\0") == Response(**fields).encode()


def test_the_result_alone() -> None:
    """It stands at bytes 16 and 17 of what is recorded: 24 and 25 of the answer, which begins with the counter."""
    recorded = Response(result=51, reason=5102).encode()
    assert (result_of(recorded), recorded[16:18]) == (51, bytes((0, 51)))


def test_totals_answer() -> None:
    """An answer to totals carries ten pairs at 232, where other receipts begin, and its text from 352."""
    wanted = Response(command=Command.TOTALS, totals=PAIRS, text=b"x" * 1056)
    answer = wanted.encode()
    assert answer[224:236] == bytes(12)
    assert answer[236:248] == bytes.fromhex("00000001 0000000000000064")
    assert answer[344:] == b"x" * 1056
    assert Response.decode(answer) == wanted


def test_wrong_length_is_no_message() -> None:
    """Other lengths than 320 and 1,400 bytes never reach a message: the frame is checked before."""
    with pytest.raises(LayoutError):
        Response.decode(bytes(1399))
    with pytest.raises(LayoutError):
        Response.decode(bytes(1401))


@pytest.mark.parametrize(
    ("at", "data", "field"),
    [
        (16, "0064", "result"),
        (24, "3132", "authorization"),
        (24, b"32300000001x".hex(), "authorization"),
        (36, f"{20260230:08x}", "switch_date"),
        (40, f"{240000:08x}", "switch_time"),
        (44, "01", "unused"),
        (108, f"{20261301:08x}", "valid_until"),
        (112, "0a", "issued_voucher_1"),
        (160, "0499", "text"),
        (160, "0000", "text"),
        (162, "08", "code_page"),
        (168, "80", "taken_points"),
        (220, "01", "unused"),
        (1399, "01", "text"),
    ],
)
def test_bad_answer(at: int, data: str, field: str) -> None:
    """A module refuses an answer with one wrong stretch."""
    answer = Response(command=Command.SALE, text=b"OK\n").encode()
    with pytest.raises(FormatError) as caught:
        Response.decode(put(answer, at, bytes.fromhex(data)))
    assert caught.value.field == field


@pytest.mark.parametrize(
    "wrong", [{"result": 100}, {"authorization": "123"}, {"text": b"x" * 1177}, {"approved": 2**63}]
)
def test_an_answer_that_does_not_fit_is_not_sent(wrong: dict[str, Any]) -> None:
    """A value that is too large for its field is an error and never cut."""
    with pytest.raises(ValueError, match=r"longer|fit|digits"):
        Response(**wrong).encode()
    fields = Response()._asdict() | {"switch_date": datetime.date(2026, 11, 30)} | wrong
    with pytest.raises(ValueError, match=r"longer|fit|digits"):
        pack_answer(**{name: fields[name] for name in PACKED})
