"""The listener over real sockets: what every byte that may come leads to, and that nobody harms another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from running_switch import LOADED, SOLD, Switch, enroll
from shop import BARE, CODE, CODED, TILLS, Shop
from wire_client import connect

from protocol.numbers import Command, Reason, Result, Suite

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Start = Callable[..., Awaitable[Switch]]


# A module at work


@pytest.mark.parametrize("suite", Suite)
async def test_a_module_signs_on_and_sells_in_both_suites(shop: Shop, start: Start, suite: Suite) -> None:
    """A card is loaded with 81.17, 23.39 are spent: the receipt says so, and 57.78 are left."""
    await enroll(shop, 3001, suite=suite)
    switch = await start()
    async with switch.caller(3001) as caller:
        assert (await caller.ask(Command.ACTIVATE, card=BARE, amount=LOADED)).result == Result.APPROVED
        sold = await caller.ask(Command.SALE, card=BARE, amount=SOLD)
    assert (sold.result, sold.approved, sold.balance) == (Result.APPROVED, SOLD, LOADED - SOLD)
    lines = sold.text.decode("ascii").splitlines()
    for told in ("Kafija SIA", "23.39", "57.78", sold.authorization):
        assert any(told in line for line in lines), told
    assert await shop.balance(BARE) == LOADED - SOLD
    await shop.check_books()


async def test_a_code_is_sealed_for_one_session_and_opened_there(switch: Switch) -> None:
    """The card's code opens it; the wrong one gives 55."""
    async with switch.caller() as caller:
        assert (await caller.ask(Command.ACTIVATE, card=CODED, amount=LOADED)).result == Result.APPROVED
        wrong = await caller.ask(Command.SALE, card=CODED, amount=SOLD, code="9876")
        assert (wrong.result, wrong.reason) == (Result.ACCESS_CODE, Reason.WRONG_CODE)
        assert (await caller.ask(Command.SALE, card=CODED, amount=SOLD, code=CODE)).result == Result.APPROVED


async def test_the_connection_ends_in_peace_when_the_module_goes(switch: Switch) -> None:
    """A module that closes its session hears nothing more of it; the next connection is served."""
    async with connect(switch.address) as wire:
        caller = await wire.sign_on(switch.shop, switch.shop.identities[TILLS[0]])
        assert (await caller.ask(Command.ECHO)).result == Result.APPROVED
        await wire.send(wire.module.close(caller.session))
        await wire.stream.send_eof()
        assert [frame.type.name for frame in await wire.end()] == ["WELCOME", "RESPONSE"]
    await switch.still_sells()
