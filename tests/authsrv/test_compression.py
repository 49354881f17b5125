"""Recorded answers made small: that they come back, how small they are, and that no dictionary ever changes.

`python tests/authsrv/test_compression.py FILE` makes a dictionary of the receipts as they are now. One that was
released is never made again: its digest stands below, and a better one is the next number.
"""

from __future__ import annotations

import datetime as dt
import sys
from hashlib import sha256
from importlib.resources import files
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsrv.compression import DICTIONARY, compressed, decompressed
from protocol.messages import Response
from protocol.numbers import CodePage, Command
from receipts.receipt import WIDTHS, printed

if TYPE_CHECKING:
    from receipts.facts import ReceiptFacts

DIGESTS = {1: "642c8f7db6adbf0a29e2b3b6d6564aee4e052bd4949a47edae81c25d160e5f89"}
KEPT = (  # a sale's answer, compressed by the first dictionary
    "28b52ffd60ae02950400f245151c90391d972f856118ae4256ab3aa4292085a44942c9c490d6c6d659e98931146a53a8f857"
    "6ceaee4480781b6f3ff1625e02af9d0ff991bbb6836745eb90509bc422fb5365962213a1d1388c7cb20847944e420f401400"
    "0579235cb60cc061042e381583e0d1c0215a401150de00a2203918d406d58da93ca08507d08c41b9ce1d30b0b06d901c0954"
    "0045630d3008"
)
PAGES = (("ru", 7), ("et", 2), ("lv", 2), ("ru", 5), ("et", 1), ("lv", 1), ("en", 0))  # the commonest at the end
ANSWER_BYTES = 1400
TEXT_BYTES = 1260
EACH_MAX, MEAN_MAX = 0.4, 0.3  # of an answer, that may be left when it is compressed


def read_by_a_person() -> dict[str, ReceiptFacts]:
    """The receipts of the golden files that are no extremes."""
    path = Path(__file__).parents[1] / "receipts" / "test_receipt.py"
    spec = spec_from_file_location("golden_receipts", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: facts for name, (facts, _) in module.RECEIPTS.items() if name not in ("longest", "shortest")}


RECEIPTS = read_by_a_person()


def answer(facts: ReceiptFacts, columns: int, code_page: int, text: bytes, **other: int) -> bytes:
    """An answer as the fold makes it, without the zeros that fill it up."""
    return (
        Response(
            command=Command.SALE,
            flags=0,
            sequence=other.get("sequence", 4711),
            date=other.get("date", 20260707),
            module=other.get("module", facts.module),
            result=facts.result,
            reason=facts.reason,
            pages=1,
            page=1,
            authorization=facts.authorization,
            switch_date=facts.date,
            switch_time=facts.time,
            approved=facts.approved or 0,
            balance=facts.balance or 0,
            available=facts.available or 0,
            code_page=CodePage(code_page),
            columns=columns,
            text=text[:TEXT_BYTES],
        )
        .encode()
        .rstrip(b"\0")
    )


def of_other_shops(text: bytes) -> bytes:
    """A receipt with other digits everywhere and other names at its head."""
    shop, branch, *lines = text.translate(bytes.maketrans(b"0123456789", b"3759210864")).split(b"\n")
    return b"\n".join((shop[::-1], branch[::-1], *lines))


def dictionary() -> bytes:
    """What stands on receipts, each line once, the commonest at the end; then whole sales."""
    lines: dict[bytes, None] = {}
    for language, code_page in PAGES:
        for facts in RECEIPTS.values():
            for line in printed(facts, language, WIDTHS[1], code_page).split(b"\n"):
                lines.pop(line, None)
                lines[line] = None
    sales = [
        answer(RECEIPTS["sale"], columns, code_page, printed(RECEIPTS["sale"], language, columns, code_page))
        for language, code_page in PAGES
        for columns in (*WIDTHS[2:], *WIDTHS[:2])
    ]
    return b"\n".join((*lines, *sales))


@given(st.binary(max_size=ANSWER_BYTES))
def test_whatever_an_answer_is_it_comes_back(said: bytes) -> None:
    """Also what no dictionary makes smaller."""
    assert decompressed(compressed(said), DICTIONARY, ANSWER_BYTES) == said


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize(("language", "code_page"), PAGES)
def test_answers_become_small_in_every_language_and_width(language: str, code_page: int, columns: int) -> None:
    """Well below a third of them on average, with names, amounts, dates and numbers that stand in no dictionary."""
    before, after = 0, 0
    for name, facts in RECEIPTS.items():
        text = of_other_shops(printed(facts, language, columns, code_page))
        whole = answer(facts, columns, code_page, text, module=81_277, sequence=918, date=20270409)
        small = compressed(whole)
        assert decompressed(small, DICTIONARY, ANSWER_BYTES) == whole
        assert len(small) <= EACH_MAX * len(whole), name
        before, after = before + len(whole), after + len(small)
    assert after <= MEAN_MAX * before


@pytest.mark.parametrize("number", range(1, DICTIONARY + 1))
def test_no_dictionary_ever_changes(number: int) -> None:
    """What it compressed could never be read again."""
    content = files("authsrv").joinpath(f"answers.{number}.dictionary").read_bytes()
    assert sha256(content).hexdigest() == DIGESTS[number]


def test_what_was_compressed_by_the_first_dictionary_is_read_for_ever() -> None:
    """Bytes that were written down on the day of the first dictionary."""
    kept = Response.decode(decompressed(bytes.fromhex(KEPT), 1, ANSWER_BYTES).ljust(ANSWER_BYTES, b"\0"))
    assert (kept.sequence, kept.approved, kept.switch_time) == (918, 1250, dt.time(14, 5, 9))
    assert kept.text.decode("cp775").split("\n")[0].strip() == "Dzintara dāvanas"[::-1]


@pytest.mark.parametrize(
    ("small", "number"),
    [
        (compressed(b"approved"), DICTIONARY + 1),
        (b"", DICTIONARY),
        (b"approved", DICTIONARY),
        (compressed(b"approved")[:-1], DICTIONARY),
        (compressed(b"approved") + b"more", DICTIONARY),
        (compressed(bytes(ANSWER_BYTES + 1)), DICTIONARY),
    ],
    ids=["an unknown dictionary", "nothing", "never compressed", "cut off", "with more behind it", "too long"],
)
def test_what_is_no_compressed_answer_is_said(small: bytes, number: int) -> None:
    """In words, and never as an answer."""
    with pytest.raises(ValueError, match="answer"):
        decompressed(small, number, ANSWER_BYTES)


def test_what_says_to_be_long_is_not_unpacked() -> None:
    """A frame of a few bytes that tells of a length that no memory has: refused by what it tells."""
    told = bytes.fromhex("28b52ffd c0 00") + (2**60).to_bytes(8, "little") + bytes.fromhex("010000")
    with pytest.raises(ValueError, match="longer than an answer"):
        decompressed(told, DICTIONARY, ANSWER_BYTES)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(dictionary())
