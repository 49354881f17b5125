"""The generated pages are current, whole, and say what the switch does."""

import re
from pathlib import Path

import pytest

from authsrv import generate, pages
from authsrv.table import DESK_ONLY, OF_KIND, SERVED, TABLE, State
from ledger.names import DAYS_AHEAD, DAYS_BACK
from loyalty.programme import Kind
from protocol.generate import run, stale
from protocol.numbers import Command, Reason, Result
from receipts.catalogue import catalogue

TABLE_PAGE = (generate.HERE / "TABLE.md").read_text("utf-8")
RESULTS_PAGE = (generate.HERE / "RESULTS.md").read_text("utf-8")


def rows(page: str, head: str) -> list[list[str]]:
    """The cells of the table on a page that has this for its first row."""
    lines = page[page.index(head) :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_current() -> None:
    """The committed pages are what table, numbers, texts and advice give."""
    assert stale(generate.artefacts()) == []


def test_what_somebody_has_edited_is_found_and_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The check ends with 1, names the file and leaves it alone; without it, the file is right again."""
    wanted = {tmp_path / path.name: text for path, text in generate.artefacts().items()}
    assert run("authsrv.generate", wanted, []) == 0
    assert run("authsrv.generate", wanted, ["--check"]) == 0
    edited = tmp_path / "RESULTS.md"
    edited.write_text(edited.read_text("utf-8").replace("51-5102", "51-5103"), "utf-8")
    assert run("authsrv.generate", wanted, ["--check"]) == 1
    assert re.fullmatch(r"\S+RESULTS\.md is not current: run `make generate`\n", capsys.readouterr().err)
    assert "51-5102" not in edited.read_text("utf-8")
    assert run("authsrv.generate", wanted, []) == 0
    assert edited.read_text("utf-8") == RESULTS_PAGE


def test_every_cell_of_the_table() -> None:
    """Each command has its row, and each state its column with the code and the note of the decline."""
    head = "| command | " + " | ".join(state.name.lower() for state in State) + " |"
    found = {name: cells for name, *cells in rows(TABLE_PAGE, head)}
    assert found.keys() == {command.name.lower().replace("_", " ") for command, _ in TABLE}
    for (command, state), reason in TABLE.items():
        cell = found[command.name.lower().replace("_", " ")][state - 1].rstrip("*")
        assert cell == (f"{reason // 100}-{reason.value}, {reason.note}" if reason else "goes on"), (command, state)
    assert found["reload"][State.EXPIRED - 1].endswith("*")
    assert "reload of a pass that is expired goes on" in TABLE_PAGE


def test_what_each_command_asks_for() -> None:
    """Kinds, code, desk, reversal and refund, for a few commands by hand and for all by their kinds."""
    found = {name: cells for name, _, *cells in rows(TABLE_PAGE, "| command | what it does |")}
    for command in {command for command, _ in TABLE}:
        gift, visits, credit, _, desk, *_ = found[command.name.lower().replace("_", " ")]
        assert {Kind.GIFT: gift, Kind.VISITS: visits, Kind.CREDIT: credit} == {
            kind: "yes" if command in OF_KIND[kind] else "" for kind in Kind
        }
        assert desk == ("yes" if command in DESK_ONLY else "")
    assert found["sale"] == ["yes", "", "yes", "needed", "", "yes", "yes"]
    assert found["release"] == ["yes", "", "yes", "", "", "no: 12-1203", ""]
    assert found["replace"][3] == "needed, but not at a desk, nor on a card without one"
    assert found["balance"][5].startswith("00-0001")
    served, _, not_built = TABLE_PAGE.partition("Without a card of their own: ")[2].partition("Known and not built")
    for command in set(Command) - {Command.ECHO, Command.PAGE} - {command for command, _ in TABLE}:
        assert command.name.lower().replace("_", " ") in (served if command in SERVED else not_built)


def test_the_choices_stand_in_one_place() -> None:
    """Those of the page are those in the head of the table, as many as there are."""
    source = (generate.HERE / "table.py").read_text("utf-8")
    choices = TABLE_PAGE.partition("## Choices that a clerk asks about\n\n")[2].partition("\n\n")[0].splitlines()
    assert len(choices) == source.partition('\n"""\n')[0].count("\n  * ")
    assert all(choice.startswith("* ") and choice.endswith(".") for choice in choices)
    assert choices[0].startswith("* Goods brought back are credited to an expired or blocked card too: ")


def test_every_reason_has_advice() -> None:
    """Something to do in a sentence or two, and none for a reason that there is not."""
    for reason in Reason:
        text = pages.advice(reason)
        assert text.endswith("."), reason
        assert "|" not in text
        assert "\n" not in text
    written = re.findall(r"^([A-Z_]+) = ", (generate.HERE / "advice.toml").read_text("utf-8"), re.MULTILINE)
    assert set(written) <= {each.name for each in (*Reason, *Result)}


def test_every_reason_once_under_its_result() -> None:
    """With the code of the receipt, the clerk's words and the note."""
    words = catalogue("en")
    for section in RESULTS_PAGE.split("\n## ")[1:]:
        result = Result(int(section[:2]))
        assert section.startswith(f"{result.value:02}: {result.note}\n")
        reasons = [reason for reason in Reason if reason.result is result]
        found = rows(section, "| code |") if reasons else []
        assert [(code, name) for code, name, *_ in found] == [
            (f"{result.value:02}-{reason.value:04}", f"`{reason.name}`") for reason in reasons
        ]
        for reason, (_, _, clerk, note, to_do, _) in zip(reasons, found, strict=True):
            own = words.find("reason", str(reason.value)) or words.find("result", f"{result.value:02}")
            assert (clerk, note, to_do) == (own or "nothing besides", reason.note, pages.advice(reason))
    for reason in Reason:
        assert RESULTS_PAGE.count(f"| `{reason.name}` |") == 1
    assert RESULTS_PAGE.count("\n## ") == len(Result)


def test_what_is_recorded_is_told() -> None:
    """By hand, after the wire: 91, 96 and 94 leave no record, nor does what has no name that could be recorded."""
    told = {
        line.split(" | ")[0].removeprefix("| "): line.removesuffix(" |").split(" | ")[-1]
        for line in RESULTS_PAGE.splitlines()
        if re.match(r"\| \d\d-", line)
    }
    assert {code for code, recorded in told.items() if recorded == "no: not final"} == {
        *("91-9101", "91-9102", "91-9103", "91-9104", "96-9601"),
    }
    assert told["94-9401"] == "no: the name has its record"
    assert told["58-5801"] == "no: refused for good"
    partly = {code for code, recorded in told.items() if recorded.startswith("no, ")}
    assert partly == {"30-3009", "30-3010", "30-3012"}
    assert told["30-3012"] == f"no, beyond {DAYS_BACK + 1} days back or {DAYS_AHEAD + 1} ahead"
    assert told["51-5102"] == "yes"
    assert "it prints no code. What the module does next: it asks for what is still due" in RESULTS_PAGE
