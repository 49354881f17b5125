"""Cards from files: whole, broken off and given again, with lines that are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from shop import KEK, as_owner

from authsrv.shell import card_import
from authsrv.shell.card_import import import_cards
from authsrv.shell.enrolment import EnrolmentError, issue_cards, load_ring
from authsrv.shell.key_file import make_key_file
from authsrv.shell.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from shop import Shop

    from authsrv.shell.report import Report

CARDS = [f"637112{serial:013d}" for serial in range(900, 920)]


@pytest.fixture
def place(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """How the importer reaches the shop, four lines in a transaction."""
    monkeypatch.setattr(card_import, "BATCH_LINES", 4)
    make_key_file(tmp_path / "kek", KEK)
    return Settings(database=shop.owner_dsn, schema=shop.schema, key_file=tmp_path / "kek")


def written(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "cards.csv"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


async def imported(place: Settings, file: Path, programme: str = "gift") -> Report:
    return await import_cards(place, programme, file, lambda *_: None)


async def test_every_line_becomes_a_card(shop: Shop, place: Settings, tmp_path: Path) -> None:
    """With a code and without, whatever separates them; each sells, and progress is told after each transaction."""
    told: list[tuple[int, int]] = []
    file = written(tmp_path, *CARDS[:6], f"{CARDS[6]} 4321", "", f"{CARDS[7]},4321", f"{CARDS[8]};4321")
    report = await import_cards(place, "gift", file, lambda *progress: told.append(progress))
    assert (report.values["issued"], report.values["there"], report.values["refused"]) == (9, 0, [])
    assert told == [(4, 4), (9, 8), (10, 9)]
    for number, code in ((CARDS[0], None), (CARDS[6], "4321"), (CARDS[7], "4321"), (CARDS[8], "4321")):
        assert (await shop.till().activate(number, 1000)).result == 0
        assert (await shop.till().sale(number, 100, code=code)).result == 0
        if code:
            assert (await shop.till().sale(number, 100, code="9999")).result == 55


async def test_an_import_that_was_broken_off_is_finished_by_the_same_command(
    shop: Shop, place: Settings, tmp_path: Path
) -> None:
    """It ends after its second transaction; given again it issues the rest, and each number is on one card."""

    class BrokenOff(Exception):
        pass

    def break_off(lines: int, _issued: int) -> None:
        if lines == 8:
            raise BrokenOff

    file = written(tmp_path, *CARDS)
    with pytest.raises(BrokenOff):
        await import_cards(place, "gift", file, break_off)
    report = await imported(place, file)
    assert (report.values["issued"], report.values["there"]) == (12, 8)
    again = await imported(place, file)
    assert (again.values["issued"], again.values["there"]) == (0, 20)
    [row] = await shop.query("select count(*), count(distinct token), count(distinct card) from card_numbers")
    assert len(set(row)) == 1
    [entries] = await shop.query("select count(*) from audit_trail where act = 'card import'")
    assert entries["count"] == 3


async def test_lines_that_are_wrong_are_told_by_their_place_and_the_others_issued(
    shop: Shop, place: Settings, tmp_path: Path
) -> None:
    """No complaint holds a digit of a number or a code."""

    async def issued_before(connection: object) -> None:
        ring = await load_ring(connection, KEK)  # type: ignore[arg-type]
        await issue_cards(connection, ring, "visits", [(CARDS[1], None)])  # type: ignore[arg-type]
        await issue_cards(connection, ring, "gift", [(CARDS[2], "4321")])  # type: ignore[arg-type]

    await as_owner(shop.owner_dsn, issued_before)
    file = written(
        tmp_path, CARDS[0], "1234567", CARDS[1], f"{CARDS[2]} 9999", f"{CARDS[3]} 12", f"{CARDS[4]} 1 2",
        CARDS[5], f"{CARDS[5]} 4321", "6371120000000é0901", CARDS[0], f"{CARDS[2]} 4321",
    )  # fmt: skip
    report = await imported(place, file)
    assert {each["line"]: each["text"].split(";")[0] for each in report.values["refused"]} == {
        2: "the number is not 8 to 20 digits",
        3: "this number is issued already, under another programme",
        4: "this number is issued already, with another access code",
        5: "the access code is not 4 to 12 digits",
        6: "not a number, or a number and an access code",
        8: "this number stands in the file before, with another access code",
        9: "the number is not 8 to 20 digits",
    }
    assert (report.values["issued"], report.values["there"]) == (2, 2)
    assert all(line.startswith(f"{file}:") for line in report.complaints)
    assert not any(digits in line for line in report.complaints for digits in ("637112", "4321", "9999"))


async def test_another_file_is_noticed(place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of which most is wrong ends the import instead of filling the screen."""
    monkeypatch.setattr(card_import, "TOLD_MOST", 5)
    with pytest.raises(EnrolmentError, match="is this the right file"):
        await imported(place, written(tmp_path, *("a line of another file" for _ in range(50))))


async def test_what_cannot_begin_is_refused(place: Settings, tmp_path: Path) -> None:
    """A programme that is not there, and a file that is not."""
    with pytest.raises(EnrolmentError, match="no programme nothing"):
        await imported(place, written(tmp_path, CARDS[0]), "nothing")
    with pytest.raises(EnrolmentError, match="cannot be read"):
        await imported(place, tmp_path / "missing.csv")
