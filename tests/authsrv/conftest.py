"""The furnished shop of `shop.py`, over a fresh database for each test, and switches that serve it over sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from relay import Relay, relay
from running_switch import LOADED, SECRETS, Switch
from shop import KEK, OTHER, TILLS, Shop, as_owner, furnish

from authsrv.shell.lanes import Lanes
from authsrv.shell.rules import Rules
from authsrv.shell.serve import Service, run_switch
from ledger.shell import store
from ledger.shell.door import open_door
from protocol.numbers import Command, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator


@pytest.fixture
async def shop(issuer: Any) -> AsyncIterator[Shop]:
    """A furnished issuer with lanes at work on it."""
    async with open_door(issuer.switch_dsn, schema=issuer.schema) as door:
        identities, cards, _ = await as_owner(issuer.owner_dsn, furnish)
        shop = Shop(issuer.owner_dsn, issuer.switch_dsn, issuer.schema, identities, cards)
        shop.door, shop.rules = door, Rules(KEK)
        await door.run(store.make_months)
        await shop.rules.load(door)
        shop.lanes = Lanes(door, shop.rules, lanes=2, batch_max=256, waiting_max=1024)
        yield shop


@pytest.fixture
async def line(shop: Shop) -> AsyncIterator[Relay]:
    """A line to the shop's database that can be held and cut."""
    async with relay(shop.switch_dsn) as line:
        yield line


@pytest.fixture
async def start(
    shop: Shop,
    line: Relay,  # noqa: ARG001 - it must outlive the switches that use it
    nursery: trio.Nursery,
    log_tells_nothing: None,  # noqa: ARG001 - for what it checks at the end
) -> AsyncIterator[Callable[..., Awaitable[Switch]]]:
    """Start switches on the shop; each ends by its own drain when the test is over."""
    running: list[Switch] = []

    async def start(switch_dsn: str = shop.switch_dsn, **settings: Any) -> Switch:
        service = Service(port=0, **{"drain_s": 3.0} | settings)
        stop, over = trio.Event(), trio.Event()

        async def run(task_status: trio.TaskStatus[list[tuple[str, int]]]) -> None:
            await run_switch(service, switch_dsn, shop.schema, KEK, stop, task_status)
            over.set()

        [address] = await nursery.start(run)
        running.append(Switch(shop, address, stop, over))
        return running[-1]

    yield start
    for switch in running:
        switch.stop.set()
        with trio.fail_after(10):
            await switch.over.wait()


@pytest.fixture
async def switch(start: Callable[..., Awaitable[Switch]]) -> Switch:
    """A switch with its defaults, and a card in the shop that has been sold."""
    switch = await start()
    async with switch.caller(TILLS[1]) as caller:
        assert (await caller.ask(Command.ACTIVATE, card=OTHER, amount=LOADED * 6)).result == Result.APPROVED
    return switch


@pytest.fixture
def log_tells_nothing(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No card number, access code or amount is ever logged."""
    caplog.set_level("DEBUG")
    yield
    logged = "\n".join(
        record.getMessage() for when in ("setup", "call", "teardown") for record in caplog.get_records(when)
    )
    assert "listening on" in logged
    assert not SECRETS.search(logged)
