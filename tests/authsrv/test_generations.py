"""Modules change their root keys by themselves, at a real switch through the module library."""

from __future__ import annotations

import json
from secrets import token_bytes
from typing import TYPE_CHECKING, Any

import pytest
import trio
from shop import KEK, TILLS, as_owner

from authsrv.shell import generations, rules
from authsrv.shell.enrolment import EnrolmentError, ModuleTraits, enroll_modules, refusals, rekey_module
from ledger.shell import store
from protocol.crypto import check_value
from protocol.numbers import Result, Suite
from protocol.signon import ModuleIdentity
from terminal import NoAnswerError, Settings, connect
from terminal.shell import roots

if TYPE_CHECKING:
    from pathlib import Path

    from running_switch import Switch
    from shop import Shop

TILL = TILLS[0]


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for others to have heard of it, so that they sometimes have not."""
    monkeypatch.setattr(generations, "GATHER_S", 0.02)
    monkeypatch.setattr(rules, "WATCH_S", 0.02)
    monkeypatch.setattr(roots, "NEXT_S", 0.1)


async def want(shop: Shop, *modules: int) -> None:
    """The operator wants these modules to take their next keys."""

    async def ask(connection: Any) -> None:
        async with refusals():
            await connection.execute("select rekey_modules($1)", list(modules))

    await as_owner(shop.owner_dsn, ask)


async def held(shop: Shop, module: int = TILL) -> dict[int, str]:
    """The states of the generations of a module."""
    rows = await shop.query("select version, state from keys where purpose = 'module' and owner = $1", module)
    return {row["version"]: row["state"] for row in rows}


async def ask_until(switch: Switch, states: dict[int, str], **how: Any) -> None:
    """Let the till come again and again, and ask, until its generations are in these states."""
    with trio.fail_after(20):
        while await held(switch.shop) != states:
            async with connect(*switch.address, switch.shop.identities[TILL], **how) as module:
                for _ in range(20):
                    assert (await module.echo()).result == Result.APPROVED


async def test_a_module_takes_its_next_key(switch: Switch, shop: Shop, tmp_path: Path) -> None:
    """Twice, while it goes on asking: the switch holds the key that the module has stored, and the older ones are gone
    for good. What another device has of the old key is worth nothing."""
    file, identity = tmp_path / "roots", shop.identities[TILL]
    for states in ({1: "ended", 2: "used"}, {1: "ended", 2: "ended", 3: "used"}):
        await want(shop, TILL)
        await ask_until(switch, states, root_file=file)
    stored = ModuleIdentity.from_json(json.loads(file.read_text())["modules"][-1])
    [row] = await shop.query("select * from keys where purpose = 'module' and owner = $1 and version = 3", TILL)
    assert row["check_value"] == check_value(stored.root_key)
    assert not await shop.query("select from keys where state = 'ended' and sealed <> ''")
    async with connect(*switch.address, identity, root_file=file) as module:
        assert (await module.echo()).result == Result.APPROVED
    async with connect(*switch.address, identity, settings=Settings(deadline_s=1.0)) as module:
        with pytest.raises(NoAnswerError):
            await module.echo()


async def test_a_module_that_cannot_keep_a_key_goes_on(switch: Switch, shop: Shop) -> None:
    """Without a file it takes none, whatever the switch keeps ready for it; the old key stays valid."""
    await want(shop, TILL)
    await ask_until(switch, {1: "used", 2: "used"})
    async with connect(*switch.address, shop.identities[TILL]) as module:
        assert (await module.echo()).result == Result.APPROVED


@pytest.mark.parametrize("missed", ["by the switch", "by the module"])
async def test_what_one_end_missed_comes_again(switch: Switch, shop: Shop, tmp_path: Path, missed: str) -> None:
    """The module or the switch has kept a key that the other one has not: the old one serves, and both agree on one."""
    file, identity = tmp_path / "roots", shop.identities[TILL]
    await want(shop, TILL)
    if missed == "by the switch":
        await roots.Roots(identity, file).take(identity, b"never heard of by the switch . .")
    else:
        await ask_until(switch, {1: "used", 2: "used"})
    await ask_until(switch, {1: "ended", 2: "used"}, root_file=file)


async def test_a_new_kit_is_the_next_generation(switch: Switch, shop: Shop) -> None:
    """Of a module of suite 1: the old key serves until the kit has come, and no longer."""
    traits = ModuleTraits(suite=Suite.SHARED_KEY)

    async def enroll(connection: Any) -> Any:
        return (await enroll_modules(connection, KEK, [(3001, 1, "till")], traits=traits, random=token_bytes))[0]

    async def rekey(connection: Any) -> Any:
        return (await rekey_module(connection, KEK, 3001, random=token_bytes))[0]

    old = await as_owner(shop.owner_dsn, enroll)
    with pytest.raises(EnrolmentError, match="suite 1"):
        await want(shop, TILL, 3001)
    assert await held(shop) == {1: "used"}
    async with connect(*switch.address, old) as module:
        assert (await module.echo()).result == Result.APPROVED
    new = await as_owner(shop.owner_dsn, rekey)
    assert (new.generation, new.suite) == (2, Suite.SHARED_KEY)
    async with connect(*switch.address, old) as module:
        assert (await module.echo()).result == Result.APPROVED
        async with connect(*switch.address, new) as other:
            assert (await other.echo()).result == Result.APPROVED
        with trio.fail_after(20):
            while await held(shop, 3001) != {1: "ended", 2: "used"}:
                pass  # each question is a round trip
    async with connect(*switch.address, old, settings=Settings(deadline_s=1.0)) as module:
        with pytest.raises(NoAnswerError):
            await module.echo()


async def test_the_switch_takes_nothing_that_was_wrapped_by_rules_of_before(shop: Shop) -> None:
    """The key-encryption key may have changed since: a key that opens for nobody would stop every process."""
    await want(shop, TILL)
    stale = shop.rules.registry.version
    await shop.query("update modules set partial = false where number = 1002")
    row = (TILL, 2, b"sealed", b"12345")
    assert not await shop.door.run(lambda connection: store.take_generations(connection, stale, [row]))
    assert await held(shop) == {1: "used"}


@pytest.mark.parametrize(("module", "generation"), [(TILLS[1], 2), (TILL, 1), (TILL, 3), (TILL, 0)])
async def test_the_switch_can_give_a_module_no_other_key(shop: Shop, module: int, generation: int) -> None:
    """Only the next generation of a module whose operator wants one: not the one in use, and none that lies further."""
    await want(shop, TILL)
    await shop.rules.load(shop.door)
    row = (module, generation, b"sealed", b"12345")
    version = shop.rules.registry.version
    assert await shop.door.run(lambda connection: store.take_generations(connection, version, [row]))
    assert await held(shop, module) == {1: "used"}
    assert not await shop.query("select from keys where sealed = 'sealed'")
    await shop.door.run(lambda connection: store.retire_generations(connection, {module: generation}))
    assert await held(shop, module) == {1: "used"}
