"""The key-encryption key is changed: broken off anywhere, what lies in the file and in the database opens."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from shop import KEK

from authsrv.keys import ISSUER_PURPOSES, KeyFault, Purpose
from authsrv.shell import key_commands, rotation
from authsrv.shell.commands import enroll_module
from authsrv.shell.enrolment import EnrolmentError, ModuleTraits
from authsrv.shell.handout import Ways
from authsrv.shell.key_commands import rotate_group_key, rotate_key, rotate_key_encryption
from authsrv.shell.key_file import load_keys, make_key_file, next_to, read_key_file
from authsrv.shell.rules import Rules
from authsrv.shell.settings import load_settings
from protocol.crypto import check_value

if TYPE_CHECKING:
    from shop import Shop

    from authsrv.shell.settings import Settings


class PowerCut(Exception):
    """The program ends here."""


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of the machine reaches a test."""
    for name in ("AUTHSRV_KEK", "AUTHSRV_KEK_NEXT", "AUTHSRV_KEY_FILE", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def settings_of(shop: Shop, file: Path | None) -> Settings:
    return load_settings({"database": shop.owner_dsn, "key_file": file})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file with the shop's key-encryption key."""
    make_key_file(tmp_path / "kek", KEK)
    return tmp_path / "kek"


async def change(shop: Shop, file: Path | None, *, prepare: bool = False) -> Any:
    return (await rotate_key_encryption(settings_of(shop, file), secrets.token_bytes, prepare=prepare)).values


async def enroll(shop: Shop, file: Path, number: int) -> None:
    """A command that opens keys and wraps one."""
    module = (number, 1, "till")
    await enroll_module(
        settings_of(shop, file),
        module,
        traits=ModuleTraits(),
        ways=Ways(None, show_key=True, qr=False),
        random=secrets.token_bytes,
    )


async def test_all_keys_are_wrapped_anew(shop: Shop, file: Path) -> None:
    """A switch at work goes on, loads what changes later, and the old key opens nothing any more but old backups."""
    rules = Rules(KEK, lambda: load_keys(key_file=file))
    await rules.load(shop.door)
    before = await shop.query("select sealed from keys")
    values = await change(shop, file)
    new = read_key_file(file)
    assert new != KEK
    assert values["check_value"] == check_value(new).hex()
    assert read_key_file(Path(values["old_file"])) == KEK
    assert not next_to(file).exists()
    assert not {row["sealed"] for row in before} & {
        row["sealed"] for row in await shop.query("select sealed from keys")
    }
    await shop.query("update modules set partial = false where number = 1001")
    assert await rules.renew(shop.door)
    assert not rules.registry.modules[1001].partial
    with pytest.raises(KeyFault, match="does not open"):
        await Rules(KEK).load(shop.door)
    await enroll(shop, file, 4001)
    assert await rules.renew(shop.door)
    assert rules.module(4001) is not None


@pytest.mark.parametrize("purpose", [*ISSUER_PURPOSES, Purpose.GROUP, "key-encryption"])
async def test_one_changes_keys_at_a_time(shop: Shop, file: Path, purpose: str) -> None:
    """Who comes while another is at it is told so, has done nothing and left no entry; afterwards it goes."""
    settings = settings_of(shop, file)

    async def rotated() -> None:
        match purpose:
            case "key-encryption":
                await change(shop, file)
            case Purpose.GROUP:
                await rotate_group_key(settings, secrets.token_bytes)
            case _:
                await rotate_key(settings, purpose, secrets.token_bytes, lambda _: None)

    before = await shop.query("select purpose, version, sealed from keys order by 1, 2")
    async with key_commands._alone(settings):
        with pytest.raises(EnrolmentError, match="another command changes keys"):
            await rotated()
    assert await shop.query("select purpose, version, sealed from keys order by 1, 2") == before
    assert await shop.query("select from audit_trail") == []
    assert not next_to(file).exists()
    await rotated()
    assert await shop.query("select purpose, version, sealed from keys order by 1, 2") != before


async def test_two_rotations_at_once(shop: Shop, file: Path) -> None:
    """Both given at the same moment: one is done whole, the other is done behind it or refused, and the keys open."""
    settings, refused = settings_of(shop, file), []

    async def rotated() -> None:
        try:
            await rotate_key(settings, Purpose.TOKEN, secrets.token_bytes, lambda _: None)
        except EnrolmentError as error:
            refused.append(str(error))

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(rotated)
    assert [text.split(";")[0] for text in refused] in ([], ["another command changes keys just now"])
    [row] = await shop.query(
        "select max(version) as version, bool_and(state = 'used') as used from keys where purpose = 'token'"
    )
    assert (row["version"], row["used"]) == (3 - len(refused), True)


@pytest.mark.parametrize("step", ["before the database", "behind the database", "at the old name", "at the new name"])
async def test_broken_off_it_opens_and_goes_on(
    shop: Shop, file: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Wherever the program ends: a switch that starts, one that is at work and a command find the right key; the next
    call finishes it."""
    at_work = Rules(KEK, lambda: load_keys(key_file=file))
    await at_work.load(shop.door)
    rewrap = rotation.rewrap

    async def rewrap_and_end(*arguments: Any) -> None:
        if step == "behind the database":
            await rewrap(*arguments)
        raise PowerCut

    def end(*_: Any) -> None:
        raise PowerCut

    with monkeypatch.context() as patch:
        if step == "at the old name":
            patch.setattr(os, "link", end)
        elif step == "at the new name":
            patch.setattr(Path, "rename", end)
        else:
            patch.setattr(key_commands.rotation, "rewrap", rewrap_and_end)
        with pytest.raises(PowerCut):
            await change(shop, file)
    await shop.query("update modules set partial = false where number = 1001")
    assert await at_work.renew(shop.door)
    first, *others = load_keys(key_file=file)
    await Rules(first, lambda: others).load(shop.door)
    await enroll(shop, file, 4001)
    values = await change(shop, file)
    assert load_keys(key_file=file) == (read_key_file(file),)
    assert values["check_value"] == check_value(read_key_file(file)).hex()
    assert read_key_file(Path(values["old_file"])) == KEK
    await Rules(read_key_file(file)).load(shop.door)
    assert await at_work.renew(shop.door)


async def test_the_next_key_is_brought_to_other_hosts_first(shop: Shop, file: Path, tmp_path: Path) -> None:
    """It is made and nothing changes; a host that has a copy of both goes on through the change and behind it."""
    values = await change(shop, file, prepare=True)
    await Rules(KEK).load(shop.door)
    elsewhere = tmp_path / "elsewhere"
    make_key_file(elsewhere, KEK)
    make_key_file(next_to(elsewhere), read_key_file(next_to(file)))
    rules = Rules(KEK, lambda: load_keys(key_file=elsewhere))
    await rules.load(shop.door)
    assert (await change(shop, file))["check_value"] == values["check_value"]
    assert await rules.renew(shop.door)
    await Rules(KEK, lambda: load_keys(key_file=elsewhere)).load(shop.door)


async def test_a_key_that_only_the_operator_can_change(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment: without the next one it is said what to do, with it the keys are wrapped anew."""
    monkeypatch.setenv("AUTHSRV_KEK", KEK.hex())
    with pytest.raises(EnrolmentError, match="as the variable AUTHSRV_KEK_NEXT"):
        await change(shop, None)
    new = secrets.token_bytes(32)
    monkeypatch.setenv("AUTHSRV_KEK_NEXT", new.hex())
    assert (await change(shop, None))["old_file"] is None
    await Rules(new).load(shop.door)
    monkeypatch.setenv("AUTHSRV_KEK_NEXT", KEK.hex())
    monkeypatch.setenv("AUTHSRV_KEK", KEK.hex())
    with pytest.raises(EnrolmentError, match="is the one that is in use"):
        await change(shop, None)


async def test_no_two_keys_are_equal(shop: Shop, file: Path) -> None:
    """The next key-encryption key may not be one that the database holds."""
    make_key_file(next_to(file), shop.identities[1001].root_key)
    with pytest.raises(EnrolmentError, match="in use already"):
        await change(shop, file)
    await Rules(KEK).load(shop.door)


async def test_a_module_that_is_enrolled_meanwhile(shop: Shop, file: Path) -> None:
    """With the key of before it is refused: what it would wrap by it would open for nobody."""
    keys_before = load_keys(key_file=file)
    await change(shop, file)
    make_key_file(file.with_name("old"), keys_before[0])
    with pytest.raises(KeyFault, match="does not open"):
        await enroll(shop, file.with_name("old"), 4002)
    await Rules(read_key_file(file)).load(shop.door)
