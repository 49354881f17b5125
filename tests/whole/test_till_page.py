"""The session in `terminal/TILL.md` is what a till shows: it is played again, and must come out the same.

With AUTHSRV_RECORD set, the page gets what came out instead (`make session`).
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from shop import KEK
from whole.screen import Screen, sit_down, write_kit
from whole.wire import Wire, wire_to

if TYPE_CHECKING:
    from whole.shopfront import Shopfront
    from whole.switches import Switches

PAGE = Path(__file__).parents[2] / "terminal" / "TILL.md"
SESSION = re.compile(r"(?<=^```text\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
DAY = re.compile(r" +\d{1,2} [A-Z][a-z]{2} \d{4}(?P<time> \d\d:\d\d:\d\d)?")
NUMBER = re.compile(r"\b3\d{11}\b")
CODE = "4321"
CARD, AMOUNT, HOLDER = "Card: swipe, scan or type it", "Amount", "Access code, typed by the holder"


def test_the_page_shows_a_till_as_it_is(shopfront: Shopfront, switches: Switches, tmp_path: Path) -> None:
    """Line by line, after what changes from day to day was made alike."""
    shopfront.processes.append(switches.start(shopfront.switch_dsn, shopfront.schema, KEK))
    with wire_to(shopfront.processes[0].address) as wire:
        kit = write_kit(tmp_path / "till.json", shopfront.identities[1001], wire.port)
        session = made_alike(play(kit, wire, shopfront.card(CODE)))
    if os.environ.get("AUTHSRV_RECORD"):
        PAGE.write_text(SESSION.sub(lambda _: session, PAGE.read_text("utf-8")), "utf-8")
    [shown] = SESSION.findall(PAGE.read_text("utf-8"))
    assert session == shown, "`make session` writes the page anew"


def play(kit: Path, wire: Wire, card: str) -> str:
    """A few minutes at a till, a power cut among them."""
    command = ("--kit", kit, "till", "--cashier", 7)
    till = sit_down(*command, term="dumb")
    swiped = f"%B{card}^GIFT CARD^3012?;{card}=3012?"
    try:
        fill(till, "4", (CARD, card), ("Amount, or none if the programme sets it", "20.00"))
        fill(till, "1", (CARD, swiped), (AMOUNT, "12,50"), (HOLDER, CODE))
        fill(till, "1", (CARD, swiped), (AMOUNT, "10.00"), (HOLDER, CODE))
        fill(till, "7", ("Do it", "1"))
        fill(till, "1", (CARD, swiped), (AMOUNT, "1.00"), (HOLDER, "9999"))
        fill(till, "17", (CARD, swiped), (HOLDER, CODE), ("Do it", "<"), (HOLDER, "<"), (CARD, "<"))
        fill(till, "1", (CARD, swiped), (AMOUNT, "5.00"))
        wire.answering.lose()
        till.answer(HOLDER, CODE)
        wire.answering.await_lost()
        till.expect("Asking the switch. Please wait.")
    finally:
        till.close()
    wire.answering.mend()
    again = sit_down(*command, term="dumb")
    try:
        fill(again, "1", (CARD, swiped), (AMOUNT, "2.50"), (HOLDER, CODE))
        fill(again, "19", ("Totals of", "1"), ("Count anew afterwards (1: yes)", "1"))
        again.answer("Number", "<")
        again.end()
    finally:
        again.close()
    between = "    (the power fails, and comes back)"
    return "\n\n".join(
        ["$ authsrv-terminal --kit till.json till --cashier 7", till.shown.rstrip(), between, again.shown]
    )


def fill(till: Screen, choice: str, *answers: tuple[str, str]) -> None:
    """Choose and answer."""
    till.answer("Number", choice)
    for question, answer in answers:
        till.answer(question, answer)


def made_alike(session: str) -> str:
    """Days, times and authorization numbers as they are nowhere, as wide as they were."""
    numbers: dict[str, str] = {}
    following = itertools.count(1)

    def number(found: re.Match[str]) -> str:
        if found[0] not in numbers:
            numbers[found[0]] = f"3150000000{next(following):02}"
        return numbers[found[0]]

    def day(found: re.Match[str]) -> str:
        alike = "14 Mar 2026 12:00:00" if found["time"] else "14 Mar 2029"
        return " " + alike.rjust(len(found[0]) - 1)

    return DAY.sub(day, NUMBER.sub(number, session))
