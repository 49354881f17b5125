"""The module library at a switch that keeps dying: what `terminal` does by itself leaves nothing to clear up."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import trio
from shop import KEK, TILLS

from protocol.numbers import Command
from terminal import Answer, NoAnswerError, Settings, connect

if TYPE_CHECKING:
    from whole.shopfront import Shopfront
    from whole.switches import Switches, SwitchProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

DEATHS = 5
LOADED = 50_000
PRICE = 7
PATIENCE_S = (0.02, 8.0)  # one call in two gives up early and leaves its sale to be reversed
SETTINGS = Settings(answer_s=1.0, reversal_s=0.01, leave_s=60.0)


@dataclass
class Day:
    """Tills that sell from one card while their switch dies and comes back on the same port."""

    front: Shopfront
    switches: Switches
    card: str
    heard: list[Answer] = field(default_factory=list)
    unheard: int = 0
    is_over: bool = False

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for till in TILLS:
                nursery.start_soon(self.sell, till)
            for death in range(DEATHS):
                await trio.to_thread.run_sync(self.die_and_come_back, death)
            self.is_over = True

    async def sell(self, till: int) -> None:
        address, identity = self.front.processes[0].address, self.front.identities[till]
        async with connect(*address, identity, settings=SETTINGS, clock=self.noon) as module:
            while not self.is_over:
                for patience_s in PATIENCE_S:
                    try:
                        self.heard.append(await module.sale(self.card, PRICE, deadline_s=patience_s))
                    except NoAnswerError:
                        self.unheard += 1

    def noon(self) -> dt.datetime:
        return dt.datetime.combine(self.front.date, dt.time(12))

    def die_and_come_back(self, death: int) -> None:
        dying = self.front.processes[0]
        dying.until("ended")
        fault = {"die_after_commit": {"at": 10 + death}} if death < DEATHS - 1 else {}
        self.front.processes[0] = start(self.front, self.switches, port=dying.port, **fault)


def start(front: Shopfront, switches: Switches, **more: object) -> SwitchProcess:
    return switches.start(front.switch_dsn, front.schema, KEK, **more)


def test_modules_sell_through_deaths(shopfront: Shopfront, switches: Switches) -> None:
    """Whatever a till heard is in the ledger with that amount; whatever is in the ledger was heard, or is reversed; the
    card has paid what was heard."""
    front, books = shopfront, shopfront.books
    day = Day(front, switches, front.card())
    front.processes.append(start(front, switches))
    front.line(TILLS[0], 0).ask(front.slip(TILLS[0], Command.ACTIVATE, card=day.card, amount=LOADED))
    front.replace(0, start(front, switches, die_after_commit={"at": 9}))
    trio.run(day.run)
    sold = {
        (row["module"], row["sequence"]): row["approved"]
        for row in books.query(
            """select module, sequence, approved from authorizations a
                where command = $1 and approved > 0
                  and not exists (select from undos u
                                   where u.reversal and u.module = a.module and u.sequence = a.sequence)""",
            Command.SALE,
        )
    }
    assert sold == {(heard.name.module, heard.name.sequence): heard.approved_minor for heard in day.heard}
    assert books.value("select balance from accounts where kind = 1") == LOADED - PRICE * len(day.heard)
    assert day.unheard > 0
    books.check()
