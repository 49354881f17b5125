"""The till on a screen: a cashier at a real terminal, the program in a process, a real switch, a real ledger."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from shop import KEK, TILLS
from whole.screen import ESC, Screen, sit_down, write_kit
from whole.till import LineEndedError
from whole.wire import Wire, wire_to

from authsrv.shell.enrolment import revoke_module
from protocol.messages import Response
from protocol.numbers import Command, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from whole.shopfront import Shopfront
    from whole.switches import Switches

MODULE = TILLS[0]
CODE = "4321"


@pytest.fixture
def shop(shopfront: Shopfront, switches: Switches) -> Shopfront:
    """The shop with a switch before it."""
    shopfront.processes.append(switches.start(shopfront.switch_dsn, shopfront.schema, KEK))
    return shopfront


@pytest.fixture
def kit(shop: Shopfront, tmp_path: Path) -> Path:
    """A kit file as `module enroll` writes it: no cards."""
    return write_kit(tmp_path / "till.json", shop.identities[MODULE], shop.processes[0].port)


@pytest.fixture
def till(kit: Path) -> Iterator[Callable[..., Screen]]:
    """Start the till; the options of the program first, then those of `till`."""
    screens: list[Screen] = []

    def start(*options: object, of_till: tuple[object, ...] = (), **how: Any) -> Screen:
        screens.append(sit_down("--kit", kit, *options, "till", *of_till, **how))
        return screens[-1]

    yield start
    for screen in screens:
        screen.close()


@pytest.fixture
def wire(shop: Shopfront, kit: Path) -> Iterator[Wire]:
    """A wire to the switch on which things can be lost; the kit leads over it."""
    with wire_to(shop.processes[0].address) as wire:
        write_kit(kit, shop.identities[MODULE], wire.port)
        yield wire


@pytest.fixture
def sold(shop: Shopfront) -> str:
    """A card without a code, active, with 50.00 on it."""
    card = shop.card()
    slip = shop.slip(TILLS[1], Command.ACTIVATE, card=card, amount=5000)
    assert Response.decode(shop.volley([(slip, 0)])[0]).result == Result.APPROVED
    return card


def balance(shop: Shopfront, card: str) -> int:
    """What the ledger says."""
    value: int = shop.books.value("select balance from accounts where card = $1 and kind = 1", shop.card_ids[card])
    return value


def recorded(shop: Shopfront, command: Command) -> int:
    """How many requests of the till are recorded."""
    sql = "select count(*) from authorizations where module = $1 and command = $2 and not tombstone"
    count: int = shop.books.value(sql, MODULE, command.value)
    return count


def fill_in_a_sale(screen: Screen, card: str, code: str = "") -> None:
    """Up to the last Enter."""
    screen.answer("Number", "1")
    screen.answer("Card: swipe, scan or type it", f";{card}=3012?")
    screen.answer("Amount", "12.50")
    screen.answer("Access code, typed by the holder", code)


def leave(screen: Screen) -> None:
    """The till ends, with nothing open."""
    screen.answer("Number", "", ESC)
    screen.expect("The till is closed.")
    assert screen.end() == 0


def test_a_sale_from_the_first_key_to_the_receipt(shop: Shopfront, till: Callable[..., Screen]) -> None:
    """A card is sold and used: choice, card from a reader, amount, code; the receipt stands on paper, the number on no
    screen, the code nowhere."""
    card = shop.card(CODE)
    screen = till(of_till=("--cashier", 7))
    screen.expect("Till 1001", "The switch answers.", "1 SALE", "Number:")
    screen.type("4")
    screen.answer("Card: swipe, scan or type it", f"%B{card}^A/B^30121010000000000?;{card}=30121010000000000?")
    screen.answer("Amount, or none if the programme sets it", "50,00")
    screen.expect("[OK] APPROVED", "Number:")
    screen.type("1")
    screen.answer("Card: swipe, scan or type it", f";{card}=30121010000000000?")
    screen.expect("*" * (len(card) - 4) + card[-4:])
    screen.answer("Amount", "12.50")
    screen.answer("Access code, typed by the holder", CODE)
    slip = screen.expect("[OK] APPROVED")
    screen.expect("Number:")
    screen.type("", ESC)
    assert screen.end() == 0
    assert "37.50 EUR |" in slip
    assert card not in screen.seen
    assert CODE not in screen.shown
    assert "\x1b[0;32;1m[OK]" in screen.raw.decode()
    assert balance(shop, card) == 3750
    shop.books.check()


def test_the_power_fails_between_the_request_and_its_answer(
    shop: Shopfront, wire: Wire, till: Callable[..., Screen], sold: str
) -> None:
    """The sale is recorded and the till is killed before it hears so: the next start prints that sale's receipt, once,
    and takes nothing again."""
    screen = till()
    screen.expect("The switch answers.")
    wire.answering.lose()
    fill_in_a_sale(screen, sold)
    wire.answering.await_lost()
    screen.kill()
    assert (balance(shop, sold), recorded(shop, Command.SALE)) == (3750, 1)
    wire.answering.mend()
    again = till()
    slip = again.expect("From before", "SALE", "APPROVED", "37.50 EUR", "[OK] APPROVED")
    assert slip.count("Authorization") == 1
    leave(again)
    assert (balance(shop, sold), recorded(shop, Command.SALE)) == (3750, 1)
    third = till()
    assert "From before" not in third.expect("A number begins")
    leave(third)
    shop.books.check()


def test_the_power_fails_before_the_request_has_left(
    shop: Shopfront, wire: Wire, till: Callable[..., Screen], sold: str
) -> None:
    """The request is lost with the till: the next start asks it again under its name, and it happens once."""
    screen = till()
    screen.expect("The switch answers.")
    wire.asking.lose()
    fill_in_a_sale(screen, sold)
    wire.asking.await_lost()
    screen.kill()
    assert (balance(shop, sold), recorded(shop, Command.SALE)) == (5000, 0)
    wire.asking.mend()
    again = till()
    again.expect("From before", "SALE", "37.50 EUR", "[OK] APPROVED")
    leave(again)
    assert (balance(shop, sold), recorded(shop, Command.SALE)) == (3750, 1)
    shop.books.check()


def test_nothing_new_is_asked_while_it_is_not_known_what_the_power_cut_left(
    shop: Shopfront, wire: Wire, till: Callable[..., Screen], sold: str
) -> None:
    """The till comes back and the network does not: who rings the sale up again is not heard until the first one is
    settled, and it is taken once."""
    screen = till()
    screen.expect("The switch answers.")
    wire.asking.lose()
    fill_in_a_sale(screen, sold)
    wire.asking.await_lost()
    screen.kill()
    again = till("--wait-s", "1")
    again.expect("Requests without an answer, settled by the till itself: 1")
    again.answer("Number", "1")
    asked = again.expect("Requests without an answer, settled by the till itself: 1", "Number")
    assert "Card: swipe" not in asked
    again.kill()
    wire.asking.mend()
    third = till()
    third.expect("From before", "37.50 EUR", "[OK] APPROVED")
    leave(third)
    assert (balance(shop, sold), recorded(shop, Command.SALE)) == (3750, 1)
    shop.books.check()


def test_a_request_with_a_code_is_not_done_without_its_holder(
    shop: Shopfront, wire: Wire, till: Callable[..., Screen]
) -> None:
    """The code died with the till: what was not recorded is declined, no try is counted, and a receipt says so."""
    card = shop.card(CODE)
    slip = shop.slip(TILLS[1], Command.ACTIVATE, card=card, amount=5000)
    assert Response.decode(shop.volley([(slip, 0)])[0]).result == Result.APPROVED
    screen = till()
    screen.expect("The switch answers.")
    wire.asking.lose()
    fill_in_a_sale(screen, card, CODE)
    wire.asking.await_lost()
    screen.kill()
    wire.asking.mend()
    again = till()
    again.expect("From before", "[NO] DECLINED", "Begin anew with the code.")
    fill_in_a_sale(again, card, CODE)
    again.expect("37.50 EUR", "[OK] APPROVED")
    leave(again)
    assert balance(shop, card) == 3750
    shop.books.check()


def test_a_recorded_request_with_a_code_gets_its_receipt(
    shop: Shopfront, wire: Wire, till: Callable[..., Screen]
) -> None:
    """The holder has paid: the repeat needs no code to be told so."""
    card = shop.card(CODE)
    slip = shop.slip(TILLS[1], Command.ACTIVATE, card=card, amount=5000)
    assert Response.decode(shop.volley([(slip, 0)])[0]).result == Result.APPROVED
    screen = till()
    screen.expect("The switch answers.")
    wire.answering.lose()
    fill_in_a_sale(screen, card, CODE)
    wire.answering.await_lost()
    screen.kill()
    wire.answering.mend()
    again = till()
    again.expect("From before", "37.50 EUR", "[OK] APPROVED")
    leave(again)
    assert (balance(shop, card), recorded(shop, Command.SALE)) == (3750, 1)


def test_a_new_access_code_whose_answer_was_lost(shop: Shopfront, wire: Wire, till: Callable[..., Screen]) -> None:
    """Neither code is kept: the repeat without them is told what was recorded, and the new code holds."""
    card = shop.card(CODE)
    slip = shop.slip(TILLS[1], Command.ACTIVATE, card=card, amount=5000)
    assert Response.decode(shop.volley([(slip, 0)])[0]).result == Result.APPROVED
    screen = till()
    screen.expect("The switch answers.")
    screen.answer("Number", "15")
    screen.answer("Card: swipe, scan or type it", f";{card}=3012?")
    screen.answer("Access code, typed by the holder", CODE)
    screen.answer("New access code, 4 to 12 digits", "135790")
    wire.answering.lose()
    screen.answer("The new access code once more", "135790")
    wire.answering.await_lost()
    screen.kill()
    wire.answering.mend()
    again = till()
    again.expect("From before", "CHANGE OF ACCESS CODE", "[OK] APPROVED")
    fill_in_a_sale(again, card, "135790")
    again.expect("37.50 EUR", "[OK] APPROVED")
    leave(again)


def test_the_power_fails_after_the_answer_and_before_the_paper(
    shop: Shopfront, till: Callable[..., Screen], sold: str, tmp_path: Path
) -> None:
    """The printer had not taken the slip: the next start prints it, from the file and though the switch is gone."""
    stuck, paper = tmp_path / "stuck", tmp_path / "paper"
    os.mkfifo(stuck)  # nobody reads it, so it takes nothing
    screen = till("--printer", stuck)
    fill_in_a_sale(screen, sold)
    screen.expect("[OK] APPROVED")
    screen.kill()
    shop.processes[0].kill()
    again = till("--printer", paper, "--wait-s", 1)
    again.expect("From before", "37.50 EUR", "[OK] APPROVED", "cannot be reached")
    leave(again)
    slip = paper.read_bytes()
    assert slip.startswith(b"\x1b@\x1bt\x00")
    assert slip.count(b"37.50 EUR") == slip.count(b"\x1dV") == 1
    assert balance(shop, sold) == 3750


def test_no_answer_in_time_is_told_and_undone(
    shop: Shopfront, wire: Wire, till: Callable[..., Screen], sold: str
) -> None:
    """The line loses the first answer and is mended: the reversal's receipt, and words for it; nothing is left over."""
    screen = till("--wait-s", 2)
    screen.expect("The switch answers.")
    wire.answering.lose()
    fill_in_a_sale(screen, sold)
    wire.answering.await_lost()
    while not recorded(shop, Command.REVERSE):
        pass
    wire.answering.mend()
    screen.expect("REVERSAL", "[OK] APPROVED", "It was undone: begin anew.")
    leave(screen)
    assert balance(shop, sold) == 5000
    again = till()
    assert "From before" not in again.expect("A number begins")
    leave(again)


def test_a_reversal_that_the_till_was_killed_in_is_finished(
    shop: Shopfront, wire: Wire, till: Callable[..., Screen], sold: str
) -> None:
    """The cashier's time was over and the reversal on its way when the power failed: the sale ends reversed."""
    screen = till("--wait-s", 1)
    screen.expect("The switch answers.")
    wire.answering.lose()
    fill_in_a_sale(screen, sold)
    wire.answering.await_lost()
    while not recorded(shop, Command.REVERSE):
        pass
    screen.kill()
    wire.answering.mend()
    again = till()
    again.expect("From before", "REVERSAL", "[OK] APPROVED")
    leave(again)
    assert balance(shop, sold) == 5000
    shop.books.check()


def test_each_track_with_its_own_enter(till: Callable[..., Screen], sold: str) -> None:
    """The reader sends track 2 into the next question: it is passed over, and the amount is still asked for."""
    screen = till()
    screen.answer("Number", "1")
    screen.answer("Card: swipe, scan or type it", f"%B{sold}^A/B^3012?\r;{sold}=3012?")
    screen.expect("The card was read once more")
    screen.answer("Amount", "1.00")
    screen.answer("Access code, typed by the holder", "")
    screen.expect("49.00 EUR", "[OK] APPROVED")
    leave(screen)
    assert sold not in screen.seen


def test_a_scanner_is_not_taken_for_fingers(till: Callable[..., Screen], sold: str) -> None:
    """Digits at once are read, digits one after the other are typed: the receipt tells which."""
    screen = till()
    screen.answer("Number", "3")
    screen.answer("Card: swipe, scan or type it", sold)
    screen.answer("Access code, typed by the holder", "")
    assert "typed by hand" not in screen.expect("[OK] APPROVED")
    screen.answer("Number", "3")
    screen.expect("Card: swipe, scan or type it:")
    screen.type(sold[:1], "")
    screen.expect(sold[:1])
    time.sleep(0.03 * len(sold))  # as long as the quickest fingers: the pause is what is told apart here
    screen.type(sold[1:])
    screen.answer("Access code, typed by the holder", "")
    assert "typed by hand" in screen.expect("[OK] APPROVED")
    leave(screen)


def test_esc_goes_back_and_what_is_large_or_final_waits_for_a_yes(
    shop: Shopfront, till: Callable[..., Screen], sold: str
) -> None:
    """Nothing moves before it; a part of what was asked shows what is still due, and can be undone at once."""
    screen = till(of_till=("--big", "60"))
    screen.answer("Number", "17")
    screen.answer("Card: swipe, scan or type it", f";{sold}=3012?")
    screen.answer("Access code, typed by the holder", "")
    screen.expect("This cannot be undone.")
    screen.answer("Do it", "", ESC)
    screen.answer("Access code, typed by the holder", "", ESC)
    screen.answer("Card: swipe, scan or type it", "", ESC)
    screen.answer("Number", "1")
    screen.answer("Card: swipe, scan or type it", f";{sold}=3012?")
    screen.answer("Amount", "60.00")
    screen.answer("Access code, typed by the holder", "")
    screen.expect("This is a large amount.")
    assert balance(shop, sold) == 5000
    screen.answer("Do it", "1")
    screen.expect("[!!] APPROVED IN PART", "STILL DUE: 10.00")
    screen.answer("Number", "7")
    screen.expect("SALE", "60.00")
    screen.answer("Do it", "1")
    screen.expect("[OK] APPROVED")
    assert balance(shop, sold) == 5000
    screen.answer("Number", "7")
    screen.expect("There is no last one")
    leave(screen)


def test_a_till_in_latvian_without_colours(till: Callable[..., Screen], sold: str) -> None:
    """Words from the catalogue, signs in place of colours."""
    screen = till("--language", "lv", NO_COLOR="1")
    screen.expect("Kase 1001", "Serveris atbild.")
    screen.answer("Numurs", "3")
    screen.answer("Karte: nolasiet vai ievadiet", f";{sold}=3012?")
    screen.answer("Piekļuves kods, ievada īpašnieks", "")
    screen.expect("[OK] APSTIPRIN")
    screen.answer("Numurs", "", ESC)
    screen.expect("Kase ir slēgta.")
    assert screen.end() == 0
    assert not re.search(r"\x1b\[(?:[0-9]+;)*3[0-7](?:;[0-9]+)*m", screen.raw.decode())


def on_a_pipe(kit: Path, *lines: str, options: tuple[str, ...] = ()) -> list[str]:
    """What the till shows for these lines, and at the end of its input it ends."""
    done = subprocess.run(
        [sys.executable, "-m", "terminal", "--kit", kit, *options, "till"],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    return done.stdout.splitlines()


def outcomes(shown: list[str]) -> list[str]:
    """Each operation with the sign of what became of it."""
    return [line for line in shown if line.startswith(("==", "["))]


def test_a_gift_card_s_whole_life_on_a_pipe(shop: Shopfront, kit: Path) -> None:
    """Line by line to the end of the input: sold, loaded, held, taken, given back, blocked, replaced, paid out."""
    card, new = shop.card(CODE), shop.card(CODE)
    activate, reload, balance_ = ("4", card, "50"), ("5", card, "10"), ("3", card, CODE)
    hold, confirm, refund = ("10", card, "20", CODE), ("11", "*", "15"), ("9", "*", "5")
    again, release = ("10", card, "20", CODE), ("12", "*", "1")
    block, unblock = ("13", card, "4", "1"), ("14", card, "4")
    recode, replaced = ("15", card, CODE, "135790", "135790"), ("16", card, new, "135790", "1")
    rest = [("18", "*"), ("17", new, "135790", "1"), ("19", "1", ""), ("20",)]
    steps = [activate, reload, balance_, hold, confirm, refund, again, release, block, unblock, recode, replaced, *rest]
    shown = outcomes(on_a_pipe(kit, *(line for step in steps for line in step)))
    assert shown[1:-1:2] == ["[OK] APPROVED"] * 15
    assert [line.removeprefix("== ") for line in shown[::2]] == [
        *("ACTIVATION", "RELOAD", "BALANCE", "HOLD", "CONFIRMATION", "REFUND", "HOLD", "RELEASE", "BLOCK", "UNBLOCK"),
        *("CHANGE OF ACCESS CODE", "REPLACEMENT", "REPRINT", "CASH-OUT", "TOTALS", "CONNECTION TEST"),
    ]
    assert balance(shop, card) == 0
    shop.books.check()


def test_passes_and_customer_accounts_on_a_pipe(shop: Shopfront, kit: Path) -> None:
    """A pass is sold without an amount and used by two; an account is handed out, charged and paid."""
    entry, account = shop.card(programme="visits"), shop.card(CODE, "credit")
    sold, entered, undone = ("4", entry, ""), ("2", entry, "2", ""), ("7", "1")
    given, charged, paid = ("4", account, ""), ("1", account, "30", CODE), ("6", account, "30")
    totals = ("19", "2", "1")
    steps = [sold, entered, undone, given, charged, paid, totals]
    shown = outcomes(on_a_pipe(kit, *(line for step in steps for line in step)))
    assert shown[1::2] == ["[OK] APPROVED"] * 7
    shop.books.check()


def test_a_slip_that_the_printer_did_not_take_comes_when_it_does(
    till: Callable[..., Screen], sold: str, tmp_path: Path
) -> None:
    """The receipt is on the screen at once, and on paper before the next choice."""
    room = tmp_path / "room"
    screen = till("--printer", room / "paper")
    fill_in_a_sale(screen, sold)
    screen.expect("[OK] APPROVED", "The printer does not take it.", "Number:")
    room.mkdir()
    screen.type("")
    screen.expect("Number:")
    leave_from = screen.read_to
    assert (room / "paper").read_bytes().count(b"37.50 EUR") == 1
    assert screen.shown[:leave_from].count("37.50 EUR") == 1
    screen.type("", ESC)
    assert screen.end() == 0


def test_a_switch_that_is_not_there(kit: Path, shop: Shopfront, sold: str) -> None:
    """The till says so, and that nothing was sent; nothing is left for its next start."""
    shop.processes[0].kill()
    shown = on_a_pipe(kit, "1", sold, "1.00", "", options=("--wait-s", "1"))
    assert "The switch cannot be reached now. The till goes on trying." in shown
    assert "The switch cannot be reached: nothing was sent, nothing has moved." in shown
    assert not (kit.parent / "till-1001.pending").exists()


def test_a_second_till_with_the_same_kit_is_refused(till: Callable[..., Screen]) -> None:
    """The first one's pending requests are not undone under it."""
    first = till()
    first.expect("The switch answers.")
    second = till()
    second.expect("one plays a module at a time")
    assert second.end() == 2
    leave(first)


def test_a_till_that_was_revoked_is_told_so(shop: Shopfront, till: Callable[..., Screen], sold: str) -> None:
    """The switch is there and refuses: the cashier looks for no broken cable, and nothing was taken."""
    line = shop.line(MODULE, 0)
    shop.books.run(revoke_module(shop.books.connection, MODULE, revoked=True))
    with pytest.raises(LineEndedError):
        line.hear_out()  # from then on the switch knows
    screen = till("--wait-s", 4)
    screen.expect("The switch answers, and does not serve this till.")
    fill_in_a_sale(screen, sold)
    screen.expect("The switch does not serve this till: nothing was sent, nothing has moved.")
    leave(screen)
    assert balance(shop, sold) == 5000
