"""Keys that change under two real switch processes while tills sell: nobody notices."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import trio
from shop import DESK, KEK, TILLS
from whole.till import Line, LineEndedError

from authsrv.keys import Purpose
from authsrv.shell.enrolment import revoke_module
from authsrv.shell.rotation import rotate
from ledger.shell.door import open_door
from protocol.messages import Response, result_of
from protocol.numbers import Command, Result

if TYPE_CHECKING:
    from whole.shopfront import Shopfront
    from whole.till import Slip

LOADED = 50_000
PRICE = 3
CODE, WRONG = "4321", "9999"
CARDS = 12  # of each till
SPARE = 40
PURPOSES = (Purpose.TOKEN, Purpose.VERIFIER, Purpose.DIGEST, Purpose.RECORD)
ROUNDS = 2
TURNS = 10  # of each till behind each rotation
PATIENCE_S = 20.0
KNOWN_S = 5.0  # until each process knows of a module that was revoked


@dataclass
class Clerk:
    """A till that asks both processes in turn, until told to stop; what it heard is for the test to judge."""

    front: Shopfront
    module: int
    over: threading.Event
    cards: list[str]
    moving: str  # a card whose number is replaced again and again
    spare: list[str]
    unknown: str
    heard: Counter[tuple[str, int]] = field(default_factory=Counter)
    changed: list[Response] = field(default_factory=list)  # repeats that were answered otherwise
    turned: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    fault: BaseException | None = None

    def run(self) -> None:
        """Sell until it is over."""
        try:
            lines = [
                Line(self.front.identities[self.module], at.address, self.front.date) for at in self.front.processes
            ]
            first: dict[str, tuple[Slip, bytes]] = {}
            turn = 0
            while not self.over.is_set():
                turn += 1
                here, there = lines[turn % 2], lines[(turn + 1) % 2]
                card = self.cards[turn % CARDS]
                sale = self.slip(Command.SALE, card=card, amount=PRICE, code=CODE)
                answer = self.hear("good", here, sale)
                old, told = first.setdefault(card, (sale, answer))
                again = there.answer_of(old)
                if again != told:
                    self.changed.append(Response.decode(again))
                if turn % 5 == 0:
                    self.hear("wrong", there, self.slip(Command.SALE, card=card, amount=PRICE, code=WRONG))
                if turn % 7 == 0:
                    self.hear("unknown", here, self.slip(Command.SALE, card=self.unknown, amount=PRICE, code=WRONG))
                if turn % 3 == 0 and self.spare:
                    dead, self.moving = self.moving, self.spare.pop()
                    self.hear("good", here, self.slip(Command.REPLACE, card=dead, new_card=self.moving))
                    self.hear("dead", there, self.slip(Command.SALE, card=dead, amount=PRICE))
                self.hear("good", there, self.slip(Command.SALE, card=self.moving, amount=PRICE))
                self.turned.release()
            for line in lines:
                line.close()
        except BaseException as fault:  # noqa: BLE001 - what breaks in a thread is the test's to tell
            self.fault = fault

    def slip(self, command: Command, **fields: Any) -> Slip:
        return self.front.slip(self.module, command, **fields)

    def hear(self, sort: str, line: Line, slip: Slip) -> bytes:
        """Ask, and count what was answered."""
        answer = line.answer_of(slip)
        self.heard[sort, result_of(answer)] += 1
        return answer


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_keys_change_under_tills(two_switches: Shopfront) -> None:
    """Every sale is approved and every repeat is answered as before, on both processes, while all keys are rotated
    twice; wrong codes and dead numbers are declined; the third guess at an unknown card locks it; no money is lost."""
    front, over = two_switches, threading.Event()
    clerks = [
        Clerk(
            front,
            till,
            over,
            cards=[front.card(CODE) for _ in range(CARDS)],
            moving=front.card(),
            spare=[front.card() for _ in range(SPARE)],
            unknown=front.unknown_card(),
        )
        for till in TILLS
    ]
    for clerk in clerks:
        for card in [*clerk.cards, clerk.moving]:
            front.line(DESK, 0).ask(front.slip(DESK, Command.ACTIVATE, card=card, amount=LOADED))

    async def turn() -> None:
        async with open_door(front.books.dsn, schema=front.schema, connections=1) as door:
            for purpose in PURPOSES * ROUNDS:
                await rotate(door, [KEK], purpose, secrets.token_bytes, lambda _: None)
                for clerk in clerks:
                    for _ in range(TURNS):
                        assert await trio.to_thread.run_sync(clerk.turned.acquire, True, PATIENCE_S)

    threads = [threading.Thread(target=clerk.run) for clerk in clerks]
    for thread in threads:
        thread.start()
    try:
        trio.run(turn)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    for clerk in clerks:
        assert clerk.fault is None
        assert not clerk.changed, [(each.result, each.reason, each.switch_time) for each in clerk.changed]
        assert {heard for heard in clerk.heard if heard[0] != "unknown"} == {
            ("good", Result.APPROVED),
            ("wrong", Result.ACCESS_CODE),
            ("dead", Result.CARD),
        }
        assert len(clerk.spare) < SPARE
        # The third guess locks, whichever key it was counted under.
        assert clerk.heard["unknown", Result.ACCESS_CODE] == 2
        assert clerk.heard["unknown", Result.TRIES] > 0
    sold = front.books.value("select count(*) from authorizations where command = $1 and result = 0", Command.SALE)
    assert front.books.value("select sum(balance)::bigint from accounts where kind = 1") == (
        LOADED * len(clerks) * (CARDS + 1) - PRICE * sold
    )
    version = front.books.value("select max(version) from keys where purpose = 'token'")
    assert version == ROUNDS + 1
    assert not front.books.query("select from card_numbers where token_key <> $1 or heir is not null", version)
    front.books.check()


def test_a_revoked_module_is_known_everywhere(two_switches: Shopfront) -> None:
    """Within 5 s its live session at each of two processes is ended, and neither lets it sign on; others go on."""
    front, revoked = two_switches, TILLS[0]
    lines = [front.line(revoked, process) for process in range(2)]
    for process in range(2):
        front.line(TILLS[1], process)
    front.books.run(revoke_module(front.books.connection, revoked, revoked=True))
    started = time.monotonic()
    for line in lines:
        with pytest.raises(LineEndedError):
            line.hear_out()
    assert time.monotonic() - started < KNOWN_S
    for process in range(2):
        with pytest.raises(LineEndedError):
            Line(front.identities[revoked], front.processes[process].address, front.date)
        front.line(TILLS[1], process).ask(front.slip(TILLS[1], Command.BALANCE, card=front.card()))
    front.books.run(revoke_module(front.books.connection, revoked, revoked=False))
    for process in range(2):
        sign_on(front, revoked, process)


def sign_on(front: Shopfront, module: int, process: int) -> None:
    """Have a module sign on at a process that may not know yet that it may."""
    deadline = time.monotonic() + KNOWN_S
    while True:
        try:
            Line(front.identities[module], front.processes[process].address, front.date).close()
        except LineEndedError:
            assert time.monotonic() < deadline
        else:
            return
