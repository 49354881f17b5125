"""The program, run as a program, against the scripted switch on a real socket."""

import datetime as dt
import json
import subprocess
import sys
from functools import partial

import pytest
import trio
from scripted_switch import CARD, CODE, Deed, identity
from typer.main import get_command

from protocol.messages import Freeze, Request
from protocol.numbers import Command, Flag, GivenReason
from receipts.catalogue import catalogue
from receipts.code_pages import transliterate
from terminal.pending import Pending, seal, unseal
from terminal.shell.cli import app


@pytest.fixture
async def kit(switch, nursery, tmp_path):
    """A kit file that leads to the switch."""
    (listener,) = await nursery.start(partial(trio.serve_tcp, switch.serve, 0, host="127.0.0.1"))
    path = tmp_path / "kit.json"
    path.write_text(
        json.dumps(
            {
                "host": "127.0.0.1",
                "port": listener.socket.getsockname()[1],
                "currency": 978,
                "exponent": 2,
                "modules": [identity(1001).to_json(), identity(1002).to_json()],
                "cards": [{"number": CARD, "access_code": CODE, "programme": "gift"}],
            }
        )
    )
    return path


async def run(*arguments, stdin=b""):
    """Run the program to its end."""
    command = [sys.executable, "-m", "terminal", *map(str, arguments)]
    with trio.fail_after(60):
        return await trio.run_process(command, stdin=stdin, check=False, capture_stdout=True, capture_stderr=True)


async def test_a_sale_prints_its_receipt(switch, kit):
    """The receipt as the printer would print it, nothing else; the card by its place, its code from the kit."""
    done = await run("--kit", kit, "--till", 2, "sale", "12.50", "--card", 1, "--cashier", 7)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"APPROVED\n", b"")
    (heard,) = switch.of(Command.SALE)
    assert (heard.request.module, heard.request.cashier, heard.request.amount) == (1002, 7, 1250)
    assert (heard.request.card, heard.access_code) == (CARD, CODE)


async def test_a_code_can_come_from_the_input(switch, kit):
    """So that it stands in no list of processes."""
    done = await run("--kit", kit, "sale", "1.00", "--card", CARD, "--code", "-", stdin=b"9876\n")
    assert done.returncode == 0
    assert [each.access_code for each in switch.of(Command.SALE)] == ["9876"]


async def test_json_is_one_object(kit):
    """Amounts as text, the receipt as lines."""
    done = await run("--kit", kit, "reload", "20", "--card", 1, "--json")
    shape = json.loads(done.stdout)
    assert (shape["result"], shape["approved"], shape["amount_approved"]) == ("00", True, "20.00")
    assert shape["receipt"] == ["APPROVED"]


async def test_no_answer_is_told_with_the_reversal_s_receipt(switch, kit):
    """Exit 3; the receipt of the automatic reversal, and one line of what happened."""
    switch.deeds.append(Deed.RECORD_IN_SILENCE)
    done = await run("--kit", kit, "--wait-s", "0.5", "sale", "1.00", "--card", 1)
    assert done.returncode == 3
    assert done.stdout == b"APPROVED\n"
    assert b"got no answer and was reversed" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert CARD.encode() not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["sale", "12,50", "--card", "1"], b"write it like 12.50"),
        (["sale", "1.00", "--card", "7"], b"the kit has 1 cards"),
        (["--till", "9", "echo"], b"the kit has 2 modules"),
        (["sale", "1.00", "--card", "1", "--code", "12"], b"4 to 12 digits"),
        (["play", "--day", "/nowhere.toml"], b"cannot be read"),
        (["reverse", "12345", "1.00"], b"write its 12 digits"),
    ],
)
async def test_mistakes_are_told_in_a_line(switch, kit, arguments, why):
    """Exit 2, no traceback, nothing sent."""
    done = await run("--kit", kit, *arguments)
    assert done.returncode == 2
    assert why in done.stderr
    assert b"Traceback" not in done.stderr
    assert switch.of(Command.SALE) == []


async def test_play_ends_by_its_script(kit, tmp_path):
    """0 when every step came out as expected, 1 and the step when not."""
    script = tmp_path / "day.toml"
    step = '[[step]]\nsay = "hello"\ntill = 1\ndo = "sale"\ncard = 1\namount = "1.00"\nexpect = "{}"\n'
    script.write_text('title = "T"\n' + step.format("00"), encoding="utf-8")
    good = await run("play", "--kit", kit, "--day", script)
    script.write_text('title = "T"\n' + step.format("51"), encoding="utf-8")
    bad = await run("play", "--kit", kit, "--day", script)
    assert (good.returncode, bad.returncode) == (0, 1)
    assert b"[1/1] Till 1: hello" in good.stdout
    assert b"Step 1 differs" in bad.stdout


async def test_a_day_without_answers_ends_without_a_traceback(switch, kit, tmp_path):
    """One line that names what is still open; a nursery around the tills does not hide what it was."""
    switch.always = Deed.SILENCE
    script = tmp_path / "day.toml"
    step = '[[step]]\nsay = "s"\ntill = 1\ndo = "sale"\ncard = 1\namount = "1.00"\ndeadline_s = 0.2\n'
    script.write_text('title = "T"\n' + step)
    done = await run("play", "--kit", kit, "--day", script)
    assert done.returncode == 3
    assert b"no recorded answer yet" in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_play_ends_with_its_input(switch, kit, tmp_path):
    """Who started it and is gone cannot tell it to end, but its pipe ends."""
    switch.always = Deed.SILENCE
    script = tmp_path / "day.toml"
    script.write_text('title = "T"\n[[step]]\nsay = "s"\ntill = 1\ndo = "sale"\ncard = 1\namount = "1.00"\n')
    command = [sys.executable, "-m", "terminal", "play", "--kit", str(kit), "--day", str(script), "--end-with-input"]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, command, stdin=subprocess.PIPE, check=False, capture_stdout=True)
        )
        with trio.fail_after(30):
            while not switch.of(Command.SALE):
                await trio.lowlevel.checkpoint()
            await process.stdin.aclose()
            assert await process.wait() == 1


def test_every_command_has_an_example():
    """Help says what a command does and shows one."""
    for name, command in get_command(app).commands.items():
        assert "Example: authsrv-terminal" in command.help, name


async def test_the_shop_s_copy_is_printed_in_its_language(kit):
    """Behind the receipt, to be signed; of what takes value from a card only."""
    done = await run("--kit", kit, "--merchant", "--language", "lv", "sale", "12.50", "--card", 1)
    assert (done.returncode, done.stderr) == (0, b"")
    first, copy = done.stdout.decode().split("\n\n", 1)
    mark = catalogue("lv").text("mark", "merchant copy")
    assert (first, copy.split("\n")[0].strip()) == ("APPROVED", transliterate(mark, 0))
    assert "_" * 42 in copy
    done = await run("--kit", kit, "--merchant", "balance", "--card", 1)
    assert done.stdout == b"APPROVED\n"  # nobody signs for it


async def test_a_language_that_there_are_no_texts_in(kit):
    """One line, nothing sent."""
    done = await run("--kit", kit, "--language", "xx", "echo")
    assert (done.returncode, b"there are: en, et, lv, ru" in done.stderr) == (2, True)


async def test_a_receipt_goes_to_the_printer(kit, tmp_path):
    """As a slip of its own, beside the screen; a printer that takes nothing costs a line and not the sale."""
    paper = tmp_path / "paper"
    done = await run("--kit", kit, "--printer", paper, "--printer-page", 21, "sale", "1.00", "--card", 1)
    assert (done.returncode, done.stdout) == (0, b"APPROVED\n")
    assert paper.read_bytes() == b"\x1b@\x1bt\x15APPROVED\n\x1dVB\x03"
    done = await run("--kit", kit, "--printer", tmp_path / "no" / "paper", "sale", "1.00", "--card", 1)
    assert (done.returncode, done.stdout) == (0, b"APPROVED\n")
    assert len(done.stderr.splitlines()) == 1


async def test_what_a_power_cut_left_comes_first(switch, kit, tmp_path):
    """Settled and printed before the new request is asked, then forgotten."""
    pending = tmp_path / "pending"
    now = dt.datetime.now().astimezone().replace(microsecond=0)
    left = Request(
        command=Command.SALE, module=1001, date=now.date(), sequence=5, time=now.time(), card=CARD, amount=1250
    )
    pending.write_bytes(seal([Pending(request=left)], identity(1001), bytes(12)))
    done = await run("--kit", kit, "--pending", pending, "reload", "1.00", "--card", 1)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"APPROVED\nAPPROVED\n", b"")
    (heard,) = switch.of(Command.SALE)
    assert (heard.request.sequence, heard.repeat) == (5, True)
    assert unseal(pending.read_bytes(), identity(1001)) == ()


async def test_the_first_example_works_with_a_kit_that_was_enrolled(kit):
    """Such a kit has no cards: the example names none of its places."""
    raw = json.loads(kit.read_text())
    kit.write_text(json.dumps(raw | {"cards": []}))
    example = app.info.help.split("Example: authsrv-terminal ")[1].splitlines()[0]
    done = await run(*example.replace("till.json", str(kit)).split())
    assert (done.returncode, done.stdout) == (0, b"APPROVED\n")


ORIGINAL = "323000000017"


@pytest.mark.parametrize(
    ("arguments", "command", "fields"),
    [
        (["hold", "12.50", "--card", "1", "--partial"], Command.HOLD, {"amount": 1250, "flags": Flag.PARTIAL}),
        (["confirm", ORIGINAL, "12.50"], Command.CONFIRM, {"amount": 1250, "original": ORIGINAL}),
        (["release", ORIGINAL], Command.RELEASE, {"original": ORIGINAL}),
        (["visit", "--card", "1", "--persons", "3"], Command.VISIT, {"amount": 3, "card": CARD}),
        (["payment", "50", "--card", "1"], Command.PAYMENT, {"amount": 5000, "card": CARD}),
        (["cash-out", "--card", "1"], Command.CASH_OUT, {"card": CARD}),
        (["block", "--card", "1", "--reason", "lost"], Command.BLOCK, {"reason": GivenReason.LOST}),
        (["unblock", "--card", "1", "--reason", "found"], Command.UNBLOCK, {"reason": GivenReason.FOUND}),
        (["replace", "--card", "1", "--new-card", "63711200000000"], Command.REPLACE, {"new_card": "63711200000000"}),
        (
            ["freeze", "--card", "1", "--from", "2026-07-01", "--to", "2026-07-14"],
            Command.FREEZE,
            {"freeze": Freeze(dt.date(2026, 7, 1), dt.date(2026, 7, 14))},
        ),
        (["limit", "500", "--card", "1"], Command.LIMIT, {"limit": 50_000}),
        (["reset-tries", "--card", "1"], Command.RESET_TRIES, {"card": CARD}),
        (["activate", "--card", "1"], Command.ACTIVATE, {"amount": 0}),
        (["reload", "20", "--card", "1"], Command.RELOAD, {"amount": 2000}),
        (["reverse", ORIGINAL, "--visits", "5"], Command.REVERSE, {"amount": 5}),
        (["reverse", ORIGINAL], Command.REVERSE, {"amount": 0}),
    ],
)
async def test_each_command_asks_what_it_says(switch, kit, arguments, command, fields):
    """Amounts in minor units, names as numbers, cards by their place."""
    done = await run("--kit", kit, *arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    (heard,) = switch.of(command)
    said = heard.request._replace(flags=heard.request.flags & Flag.PARTIAL)
    assert {name: getattr(said, name) for name in fields} == fields


async def test_a_new_code_is_sealed_and_stands_in_no_list_of_processes(switch, kit):
    """It comes from the input and leaves in its block; the old one is the kit's."""
    done = await run("--kit", kit, "change-code", "--card", 1, "--new-code", "-", stdin=b"135790\n")
    assert (done.returncode, done.stderr) == (0, b"")
    (heard,) = switch.of(Command.CHANGE_ACCESS_CODE)
    assert heard.access_code == CODE
    assert heard.request.new_access_code_block not in (None, heard.request.access_code_block)
    assert b"135790" not in heard.request.encode()


async def test_a_reason_that_is_none(kit):
    """The words that there are, in one line."""
    done = await run("--kit", kit, "block", "--card", 1, "--reason", "mood")
    assert (done.returncode, b"give one of: " in done.stderr) == (2, True)
