"""The rules in memory: what the database holds, whole, or what was there before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from back_office import new_card
from shop import DESK, KEK, TILLS

from authsrv.keys import KeyFault
from authsrv.shell import rules
from authsrv.shell.rules import Rules
from ledger.faults import Unavailable
from ledger.shell.door import open_door
from protocol.numbers import Suite
from protocol.signon import RootKey

if TYPE_CHECKING:
    from relay import Relay
    from shop import Shop
    from trio.testing import MockClock


async def test_what_is_loaded(shop: Shop) -> None:
    """Issuer, modules with their branches, and programmes are as they were set up; keys are those of the modules."""
    registry = shop.rules.registry
    assert (registry.issuer.number, registry.issuer.name, registry.issuer.code) == (41, "Kafija SIA", "EUR")
    assert set(registry.modules) == {*TILLS, DESK}
    assert (registry.modules[2001].branch, registry.modules[2001].branch_name) == (2, "Valnu 2")
    assert [number for number, module in registry.modules.items() if module.desk] == [DESK]
    identity = shop.identities[1001]
    assert list(shop.rules.group_keys(7)) == [identity.group_key]
    record = shop.rules.module(1001)
    assert record is not None
    assert record.keys == {1: RootKey(Suite.SHARED_KEY_X25519, identity.root_key)}
    assert (shop.rules.group_keys(8), shop.rules.module(77)) == ((), None)


async def test_a_change_is_loaded_whole(shop: Shop) -> None:
    """A further programme and a revoked module are there after the next load, and whoever wanted to know was told."""
    told: list[bool] = []
    shop.rules.when_changed(lambda: told.append(True))
    before = shop.rules.registry
    await new_card(shop, loads_per_day=1)
    await shop.query("update modules set revoked = true where number = 1002")
    assert shop.rules.registry is before
    await shop.rules.load(shop.door)
    assert told == [True]
    assert len(shop.rules.registry.programmes) == len(before.programmes) + 1
    record = shop.rules.module(1002)
    assert record is not None
    assert record.revoked


async def test_another_key_encryption_key(shop: Shop) -> None:
    """Keys that do not open are said so, by purpose, and what was loaded before stays in force."""
    with pytest.raises(KeyFault, match="does not open"):
        await Rules(KEK[::-1]).load(shop.door)
    before = shop.rules.registry
    await shop.query("update keys set sealed = sealed || 'x' where purpose = 'token'")
    assert not await shop.rules.renew(shop.door)
    assert shop.rules.registry is before


async def test_a_watcher_loads_what_changed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any request a change is loaded within seconds, also after a look that failed."""

    class Door:
        """The shop's, but for the first call."""

        failed = False

        async def run(self, work: Any) -> Any:
            if not self.failed:
                self.failed = True
                raise Unavailable
            return await shop.door.run(work)

    monkeypatch.setattr(rules, "WATCH_S", 0.01)
    changed = trio.Event()
    shop.rules.when_changed(changed.set)
    await shop.query("update modules set revoked = true where number = 1002")
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shop.rules.watch, Door())
            await changed.wait()
            nursery.cancel_scope.cancel()
    assert shop.rules.registry.modules[1002].revoked


async def test_a_database_that_stands_still_while_they_are_read(shop: Shop, line: Relay, mock_clock: MockClock) -> None:
    """It is given up after 8 s and the old rules stay; when it answers again, the new ones are loaded."""
    async with open_door(line.dsn, schema=shop.schema) as door, trio.open_nursery() as nursery:
        rules = Rules(KEK)
        await rules.load(door)
        await shop.query("update modules set partial = false where number = 1001")
        renewed: list[bool] = []

        async def renew() -> None:
            renewed.append(await rules.renew(door))

        line.hold(b"begin isolation")
        nursery.start_soon(renew)
        await line.held.wait()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(9)
        while not renewed:
            await trio.testing.wait_all_tasks_blocked()
        assert renewed == [False]
        assert rules.registry.modules[1001].partial
        line.let_go()
        assert await rules.renew(door)
        assert not rules.registry.modules[1001].partial
