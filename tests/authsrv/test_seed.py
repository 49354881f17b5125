"""Seeding: what it fills an issuer with, in one transaction."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from authsrv.shell.enrolment import EnrolmentError, create_issuer, init_keys, load_ring
from authsrv.shell.kit import new_kit
from authsrv.shell.seed import CHUNK, seed
from authsrv.shell.settings import Address
from ledger.names import luhn_digit
from ledger.shell.door import Connection, Door, commit, open_door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from conftest import Issuer

KEK = bytes(range(32))
CALLS = itertools.count()


def random(size: int) -> bytes:
    """Bytes that never come twice."""
    return hashlib.shake_128(b"%d" % next(CALLS)).digest(size)


@pytest.fixture
async def owner(issuer: Issuer) -> AsyncIterator[Door]:
    """The door to a schema with an issuer and its keys, as the owner."""

    async def work(connection: Connection) -> None:
        await create_issuer(connection, 7, "Corner Shop", zone="Europe/Riga", code="JPY", group=70)
        await init_keys(connection, KEK, random)

    async with open_door(issuer.owner_dsn, schema=issuer.schema, connections=1) as opened:
        await opened.run(work)
        yield opened


async def seeded(owner: Door, path: Path, cards: int, modules: int, done: list[int]) -> dict[str, Any]:
    """Seed and commit, and read the kit."""

    async def work(connection: Connection) -> None:
        await connection.execute("begin")
        ring = await load_ring(connection, KEK)
        await seed(
            connection,
            KEK,
            ring,
            kit,
            address=Address("::1", 7411),
            cards=cards,
            modules=modules,
            random=random,
            progress=done.append,
        )
        await commit(connection)

    with new_kit(path) as kit:
        await owner.run(work)
    return read(path)


def read(path: Path) -> dict[str, Any]:
    """What a kit file holds."""
    kit: dict[str, Any] = json.loads(path.read_text())
    return kit


async def test_the_kit_and_the_database_tell_the_same(owner: Door, tmp_path: Path) -> None:
    """Each number leads to its own card, and the code in the kit proves it; two chunks are two COPYs and one kit."""
    done: list[int] = []
    kit = await seeded(owner, tmp_path / "kit.json", CHUNK + 2, 3, done)
    assert done == [CHUNK, CHUNK + 2]
    assert (kit["host"], kit["port"], kit["currency"], kit["exponent"]) == ("::1", 7411, 392, 0)
    numbers = [card["number"] for card in kit["cards"]]
    assert len(set(numbers)) == CHUNK + 2
    assert all(luhn_digit(number[:-1]) == int(number[-1]) and len(number) == 19 for number in numbers[-9:])
    assert [card["access_code"] is None for card in kit["cards"][-4:]] == [False, True, False, True]
    ring = await owner.run(lambda c: load_ring(c, KEK))
    rows = await owner.run(
        lambda c: c.fetch(
            """select n.token, c.id, c.verifier, c.verifier_key, c.status, p.name
                 from card_numbers n join cards c on c.id = n.card join programmes p on p.number = c.programme"""
        )
    )
    known = {row["token"]: row for row in rows}
    assert len(known) == len(numbers)
    for card in kit["cards"][-4:]:
        row = known[ring.token(card["number"].encode().ljust(20, b"\0"))]
        assert (row["status"], row["name"]) == (0, card["programme"])
        code = card["access_code"]
        assert ring.verifies(row["id"], row["verifier"], row["verifier_key"], code) is (code is not None)
    assert len({row["id"] for row in rows}) == len(numbers)


async def test_later_cards_do_not_meet_the_ids_of_seeded_ones(owner: Door, tmp_path: Path) -> None:
    """The ids were taken from the sequence that everything else takes them from."""
    await seeded(owner, tmp_path / "kit.json", 5, 1, [])
    greatest = await owner.run(lambda c: c.fetchval("select max(id) from cards"))
    assert await owner.run(lambda c: c.fetchval("select reserve_card_ids(1)")) > [greatest]


async def test_a_second_seed_changes_nothing(owner: Door, tmp_path: Path) -> None:
    """An issuer that has anything is not for trying things out."""
    await seeded(owner, tmp_path / "kit.json", 5, 1, [])
    with pytest.raises(EnrolmentError, match="set up already"):
        await seeded(owner, tmp_path / "again.json", 5, 1, [])
    assert not (tmp_path / "again.json").exists()
    assert await owner.run(lambda c: c.fetchval("select count(*) from cards")) == 5


async def test_a_seed_that_fails_leaves_nothing(owner: Door, tmp_path: Path) -> None:
    """Not a module, not a branch, not a kit."""

    class Broken(Exception):
        pass

    class Full(list[int]):
        def append(self, done: int) -> None:
            raise Broken(done)

    with pytest.raises(Broken):
        await seeded(owner, tmp_path / "kit.json", 5, 1, Full())
    assert not (tmp_path / "kit.json").exists()
    for table in ("cards", "card_numbers", "modules", "branches", "programmes"):
        assert await owner.run(lambda c, table=table: c.fetchval(f"select count(*) from {table}")) == 0  # type: ignore[misc]  # noqa: S608
