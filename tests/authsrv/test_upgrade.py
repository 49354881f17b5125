"""A ledger that has served under an earlier schema goes on under this one: the same answers, codes, holds and books."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import trio
from shop import CODE, CREDIT, GIFT, KEK, TILLS, VISITS, Shop, as_owner, name_of

from authsrv.books import SHOWN
from authsrv.registry import Registry
from authsrv.shell import rules as rules_of
from authsrv.shell.enrolment import (
    add_branch,
    add_programme,
    create_issuer,
    enroll_modules,
    init_keys,
    open_ring,
    tokens_and_verifiers,
)
from authsrv.shell.finance import look
from authsrv.shell.lanes import Lanes
from authsrv.shell.rules import Rules
from ledger.accounts import Account
from ledger.rows import gathered
from ledger.shell import store
from ledger.shell.database import Passwords, create_issuer_database
from ledger.shell.door import open_door
from ledger.shell.migrate import migrate
from loyalty.source import parse_programme
from protocol.messages import OriginalName, Response, Totals
from protocol.numbers import Command, Reason, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledger.shell.door import Connection

BEFORE = "0007"  # the last schema before keys had states, numbers heirs, and operators desks
CARDS = {"gift": "6371120000000001015", "visits": "6371120000000001023", "credit": "6371120000000001031"}


@pytest.fixture
async def shop(database: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """A shop over a schema of that revision, set up and served by what that revision has."""
    roles = Passwords(
        *(urlsplit(dsn).password or "" for dsn in (database.template.owner_dsn, database.template.switch_dsn))
    )

    def make() -> Any:
        made = create_issuer_database(database.admin_dsn, "issuer", database="upgraded", passwords=roles)
        migrate(made.owner_dsn, "issuer", revision=BEFORE)
        return made

    made = await trio.to_thread.run_sync(make)
    identities, ids = await as_owner(made.owner_dsn, furnish)
    monkeypatch.setattr(
        store, "_GATHER", "select gather.* from gather($1) where $2::int + $3::int is not null and $4::bool"
    )
    monkeypatch.setattr(store, "gathered", lambda row, *rest: gathered(in_the_shape_of_now(row), *rest))
    async with open_door(made.switch_dsn, schema="issuer") as door:
        shop = Shop(made.owner_dsn, made.switch_dsn, "issuer", identities, ids)
        shop.door, shop.rules = door, Rules(KEK)
        await door.run(store.make_months)
        issuer, modules, keys, programmes = await door.run(store.rules)
        shop.rules.ring = open_ring(issuer["number"], keys, KEK)
        shop.rules.registry = Registry(
            version=issuer["registry"],
            issuer=rules_of._issuer(issuer),
            modules={row["number"]: rules_of._module(row) for row in modules},
            programmes=rules_of._programmes(programmes),
        )
        shop.lanes = Lanes(door, shop.rules, lanes=1, batch_max=64, waiting_max=64)
        yield shop  # that door is the earlier switch's: whoever upgrades ends it

    def drop() -> None:
        async def dropped() -> None:
            admin = await asyncpg.connect(database.admin_dsn)
            await admin.execute("drop database upgraded with (force)")
            await admin.close()

        asyncio.run(dropped())

    await trio.to_thread.run_sync(drop)


def in_the_shape_of_now(row: Any) -> dict[str, Any]:
    """What that revision's `gather` returns, in the shape of today: accounts had rows of their own."""
    balances = {card: [0, 0, 0, 0] for card, *_ in row["cards"] or ()}
    for card, kind, balance, floor, held in row["accounts"] or ():
        balances[card][kind - 1] = balance
        if kind == Account.VALUE:
            balances[card][2:] = floor, held
    numbers = row["numbers"] or ()
    return dict(row) | {
        "cards": [(*card, *balances[card["id"]]) for card in row["cards"] or ()],
        "numbers": [(token, card, live) for token, card, live, _ in numbers],
        "tries": [(token, failures) for token, _, _, failures in numbers],
        "busy": None,
    }


async def furnish(connection: Connection) -> tuple[dict[int, Any], dict[str, int]]:
    await create_issuer(connection, 41, "Kafija SIA", zone="Europe/Riga", code="EUR", group=7)
    await init_keys(connection, KEK, secrets.token_bytes)
    await add_branch(connection, 1, "Brivibas 1")
    modules = [(TILLS[0], 1, "till")]
    [identity] = await enroll_modules(connection, KEK, modules, random=secrets.token_bytes)
    ring = open_ring(41, await connection.fetch("select * from keys"), KEK)
    ids = {}
    for file in (GIFT, VISITS, CREDIT):
        programme = await add_programme(connection, parse_programme(file.read_text(), file.name))
        number = CARDS[file.stem]
        [ids[number]] = await connection.fetchval("select reserve_card_ids(1)")
        tokens, verifiers = tokens_and_verifiers(ring, [(ids[number], (number, CODE if file == GIFT else None))])
        await connection.execute(
            "select issue_cards($1, $2, 1, $3, 1, $4)", [ids[number]], programme, verifiers, tokens
        )
    return {TILLS[0]: identity}, ids


async def test_what_an_earlier_schema_has_recorded_is_carried_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer comes again byte for byte, an open hold is taken, codes and counted tries are what they were, passes
    and debts go on, and reconciling finds nothing."""
    till, today = shop.till(TILLS[0]), await shop.today()
    gift, visits, credit = CARDS["gift"], CARDS["visits"], CARDS["credit"]
    requests = []
    answers = []

    async def ask(command: Command, **fields: Any) -> Any:
        requests.append(await till.request(command, **fields))
        answers.append(await till.send(requests[-1]))
        return Response.decode(answers[-1])

    for card, amount in ((gift, 5000), (visits, 0), (credit, 0)):
        assert (await ask(Command.ACTIVATE, card=card, amount=amount)).result == Result.APPROVED
    sold = await ask(Command.SALE, card=gift, amount=1250, code=CODE)
    await ask(Command.REFUND, original=name_of(sold), amount=250)
    undone = await ask(Command.SALE, card=gift, amount=100, code=CODE)
    await ask(Command.REVERSE, original=name_of(undone), amount=100)
    held = await ask(Command.HOLD, card=gift, amount=1000, code=CODE)
    assert (await ask(Command.SALE, card=gift, amount=1, code="9999")).reason == Reason.WRONG_CODE
    assert (await ask(Command.VISIT, card=visits)).result == Result.APPROVED
    assert (await ask(Command.SALE, card=credit, amount=700)).result == Result.APPROVED
    await ask(Command.REVERSE, original=OriginalName(today, 900_000), amount=5)  # before it came
    interval = Totals(OriginalName(today, 1), OriginalName(today, till.sequence), ((0, 0),) * 10)
    assert (await ask(Command.TOTALS, totals=interval, unit=978)).result == Result.TOTALS_DIFFER

    monkeypatch.undo()
    await trio.to_thread.run_sync(migrate, shop.owner_dsn, "issuer")
    async with open_door(shop.switch_dsn, schema="issuer") as door:
        shop.door, shop.rules = door, Rules(KEK)
        await shop.rules.load(door)
        shop.lanes = Lanes(door, shop.rules, lanes=1, batch_max=64, waiting_max=64)
        assert [await till.send(request) for request in requests] == answers
        assert (await till.ask(Command.CONFIRM, original=name_of(held), amount=900)).result == Result.APPROVED
        assert (await till.sale(gift, 1, code="9999")).reason == Reason.WRONG_CODE
        assert (await till.sale(gift, 1, code="9999")).result == Result.TRIES  # the third in a row, one of them before
        assert (await till.ask(Command.VISIT, card=visits)).reason == Reason.SAME_VISIT
        assert (await till.ask(Command.PAYMENT, card=credit, amount=700)).balance == 0
        assert await shop.balance(gift) == 5000 - 1250 + 250 - 900
        found = await as_owner(
            shop.owner_dsn, lambda connection: look(connection, today - dt.timedelta(days=40), SHOWN)
        )
        assert found == []
