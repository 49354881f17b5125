"""New versions of an issuer's keys beside a switch at work: every card, code, try and answer stays what it was."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from back_office import active_card, new_card
from shop import CODE, KEK, UNKNOWN, Waiting, as_owner, name_of

from authsrv.keys import Purpose
from authsrv.shell import rotation
from authsrv.shell.enrolment import EnrolmentError, issue_cards, load_ring
from authsrv.shell.lanes import Lanes
from authsrv.shell.reads import Reads
from authsrv.shell.rotation import rotate
from authsrv.shell.rules import Rules
from ledger.batch import Lookup
from ledger.faults import Unavailable
from ledger.names import Name
from ledger.rows import array, asked_rows
from ledger.shell.door import open_door
from ledger.shell.row_types import row_types
from protocol.messages import Response
from protocol.numbers import Command, Flag, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shop import Shop

    from ledger.shell.door import Connection, Door

BOTH = (Purpose.TOKEN, Purpose.VERIFIER)
EVERY = (*BOTH, Purpose.DIGEST, Purpose.RECORD)
WRONG = "9999"


@asynccontextmanager
async def desk(shop: Shop) -> AsyncIterator[Door]:
    """The owner's door."""
    async with open_door(shop.owner_dsn, schema=shop.schema, connections=1) as door:
        yield door


async def renew(shop: Shop, purpose: Purpose) -> int:
    """A whole rotation."""
    async with desk(shop) as door:
        return await rotate(door, [KEK], purpose, secrets.token_bytes, lambda _: None)


class Breaking:
    """A door that the power goes out at: behind so many transactions nothing passes any more."""

    def __init__(self, door: Door, left: int) -> None:
        self._door = door
        self._left = left

    async def run(self, work: Any) -> Any:
        if not self._left:
            raise Unavailable("the power went out")
        self._left -= 1
        return await self._door.run(work)


async def until_waiting(shop: Shop, mode: str) -> None:
    """Wait until somebody waits for such a lock."""
    with trio.fail_after(30):
        while not await shop.query("select from pg_locks where not granted and mode = $1", mode):
            pass  # each question is a round trip


async def check_tokens(shop: Shop, version: int) -> None:
    """Nothing stands under an older key, and each number once."""
    rows = await shop.query(
        """select (select count(*) from card_numbers where token_key <> $1 or heir is not null) as numbers,
                  (select count(*) from tries where token_key <> $1) as tries,
                  (select count(*) from cards where verifier_key <> $2) as verifiers,
                  (select count(*) from keys where state <> 'used') as unfinished""",
        version,
        (await shop.query("select max(version) from keys where purpose = 'verifier'"))[0][0],
    )
    assert dict(rows[0]) == {"numbers": 0, "tries": 0, "verifiers": 0, "unfinished": 0}


@pytest.mark.parametrize("purpose", EVERY)
async def test_all_goes_on(shop: Shop, purpose: Purpose) -> None:
    """After each of two rotations cards are found, the code fits, a wrong one does not, an old answer is repeated."""
    till, card = shop.till(), await active_card(shop, 5000, code=CODE)
    sale = await till.request(Command.SALE, card=card, amount=100, code=CODE)
    answer = await till.send(sale)
    for version in (2, 3):
        assert await renew(shop, purpose) == version
        assert (await till.sale(card, 100, code=CODE)).result == Result.APPROVED
        assert (await till.sale(card, 100, code=WRONG)).result == Result.ACCESS_CODE
        assert (await till.sale(card, 100, code=CODE)).result == Result.APPROVED
        assert await till.send(sale._replace(flags=sale.flags | Flag.REPEAT)) == answer
        changed = Response.decode(await till.send(sale._replace(amount=101)))
        assert changed.result == Result.DUPLICATE
        await check_tokens(shop, version if purpose is Purpose.TOKEN else 1)
    assert await shop.balance(card) == 4500


async def test_a_page_that_a_newer_key_sealed(shop: Shop) -> None:
    """A process that has heard nothing of a new record key yet tells what another one has recorded under it."""
    card, till = await active_card(shop, 5000), shop.till()
    await renew(shop, Purpose.RECORD)
    elsewhere = Rules(KEK)
    await elsewhere.load(shop.door)
    shop.lanes = Lanes(shop.door, elsewhere, lanes=1, batch_max=8, waiting_max=8)
    sold = await till.sale(card, 100)
    asked, answers = till.opened(await till.request(Command.PAGE, original=name_of(sold), page=1)), list[bytes]()
    reads = Reads(shop.door, shop.rules, waiting_max=1)
    assert reads.offer(Waiting(asked, trio.current_time() + 15, answers.append))
    reads.close()
    await reads.run()
    assert Response.decode(answers[0]).text == sold.text


async def test_a_batch_that_waited_for_the_standstill_knows_of_the_change(shop: Shop) -> None:
    """It reads the count of changes as it is behind the lock, whatever stood there when it began to wait."""
    gate, standing = asyncio.Event(), trio.Event()
    trio_token = trio.lowlevel.current_trio_token()
    counts: list[int] = []
    today = await shop.today()
    before = shop.rules.registry.version

    async def stand(connection: Connection) -> None:
        await connection.execute("begin")
        await connection.execute("select stand_still(1000)")
        await connection.execute("update modules set partial = false where number = 1002")
        trio_token.run_sync_soon(standing.set)
        await gate.wait()
        await connection.execute("commit")

    async def batch() -> None:
        async def gather(connection: Connection) -> int:
            lookups = [Lookup(Name(1001, today, 1), None, False, None, None)]
            asked = array((await row_types(connection)).asked, 1, asked_rows(lookups))
            row = await connection.fetchrow("select registry from gather($1)", asked)
            assert row is not None
            return int(row["registry"])

        counts.append(await shop.door.run(gather))

    async def let_go(_: Connection) -> None:
        gate.set()

    async with desk(shop) as door, trio.open_nursery() as nursery:
        nursery.start_soon(door.run, stand)
        await standing.wait()
        nursery.start_soon(batch)
        await until_waiting(shop, "AccessShareLock")
        assert not counts
        await shop.door.run(let_go)
    assert counts == [before + 1]


async def test_a_request_that_waited_meanwhile(shop: Shop) -> None:
    """What was opened before the rotation is decided after it: the card, the number that replaces it, its digest."""
    till, card, other = shop.till(), await active_card(shop, 5000), await new_card(shop)
    sale = await till.request(Command.SALE, card=card, amount=100)
    replacement = await till.request(Command.REPLACE, card=card, new_card=other)
    waiting = [till.opened(sale), till.opened(replacement)]
    await renew(shop, Purpose.TOKEN)
    answers = await shop.settle(waiting)
    assert [Response.decode(answer or b"").result for answer in answers] == [0, 0]
    assert await till.send(sale) == answers[0]
    assert (await till.sale(other, 100)).result == Result.APPROVED
    assert (await till.sale(card, 100)).result == Result.CARD


@pytest.mark.parametrize("known", [True, False])
async def test_tries_are_carried(shop: Shop, known: bool) -> None:
    """Two wrong codes before, one after: the third locks, of a known card and of one that nobody has issued."""
    card = await active_card(shop, 5000, code=CODE) if known else UNKNOWN
    till = shop.till()
    for _ in range(2):
        assert (await till.sale(card, 1, code=WRONG)).result == Result.ACCESS_CODE
    await renew(shop, Purpose.TOKEN)
    assert (await till.sale(card, 1, code=WRONG)).result == Result.TRIES
    await check_tokens(shop, 2)


@pytest.mark.parametrize("purpose", BOTH)
async def test_it_is_taken_up_where_it_broke_off(shop: Shop, purpose: Purpose, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off behind any of its transactions all goes on, and the next call finishes it: one new version."""
    monkeypatch.setattr(rotation, "ROWS", 2)
    monkeypatch.setattr(rotation, "CARDS", 2)
    till, card = shop.till(), await active_card(shop, 5000, code=CODE)
    broken, version, finished = 0, 1, False
    while not finished:
        async with desk(shop) as door:
            try:
                version = await rotate(Breaking(door, broken), [KEK], purpose, secrets.token_bytes, lambda _: None)  # type: ignore[arg-type]
                finished = True
            except Unavailable:
                assert (await till.sale(card, 1, code=CODE)).result == Result.APPROVED
                assert (await till.sale(card, 1, code=WRONG)).result == Result.ACCESS_CODE
                version = await rotate(door, [KEK], purpose, secrets.token_bytes, lambda _: None)
                assert version == broken + 2
        assert (await till.sale(card, 1, code=CODE)).result == Result.APPROVED
        await check_tokens(shop, version if purpose is Purpose.TOKEN else 1)
        broken += 1
    assert broken > 5
    assert version == broken + 1


async def coming(shop: Shop, transactions: int) -> None:
    """A rotation of tokens that broke off behind so many transactions."""
    async with desk(shop) as door:
        with pytest.raises(Unavailable, match="power"):
            await rotate(Breaking(door, transactions), [KEK], Purpose.TOKEN, secrets.token_bytes, lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("transactions", [1, 3])
async def test_cards_are_issued_and_replaced_while_a_key_comes(shop: Shop, transactions: int) -> None:
    """With the heirs to be made and with the heirs made: what is issued and replaced then holds after the change."""
    card = await active_card(shop, 5000)
    await coming(shop, transactions)
    issued, spare = await active_card(shop, 700), await new_card(shop)
    till = shop.till()
    assert (await till.ask(Command.REPLACE, card=card, new_card=spare)).result == Result.APPROVED
    await renew(shop, Purpose.TOKEN)
    assert (await till.sale(issued, 100)).result == Result.APPROVED
    assert (await till.sale(spare, 100)).result == Result.APPROVED
    assert (await till.sale(card, 100)).result == Result.CARD
    await check_tokens(shop, 2)


async def test_who_issues_by_an_older_key_is_refused(shop: Shop) -> None:
    """With a ring of before, cards are issued neither while a key comes nor after it came: nobody would find them."""

    async def ring(connection: Connection) -> Any:
        return await load_ring(connection, KEK)

    async def issue(connection: Connection) -> Any:
        return await issue_cards(connection, old, "gift", [("6371129990000000000", None)])

    old = await as_owner(shop.owner_dsn, ring)
    await coming(shop, 1)
    with pytest.raises(EnrolmentError, match="changed meanwhile"):
        await as_owner(shop.owner_dsn, issue)
    await renew(shop, Purpose.TOKEN)
    with pytest.raises(EnrolmentError, match="changed meanwhile"):
        await as_owner(shop.owner_dsn, issue)


async def test_a_batch_in_hand_ends_before_the_key_begins(shop: Shop) -> None:
    """While a batch has read the count of changes, nothing is begun; once it has ended, the key begins."""
    card = await active_card(shop, 5000)
    done = trio.Event()

    async def turn() -> None:
        await renew(shop, Purpose.TOKEN)
        done.set()

    gate, in_hand = asyncio.Event(), trio.Event()
    token_ = trio.lowlevel.current_trio_token()

    async def batch(connection: Connection) -> None:
        await connection.execute("begin")
        await connection.fetch("select registry from switch_issuer")
        token_.run_sync_soon(in_hand.set)
        await gate.wait()
        await connection.execute("rollback")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shop.door.run, batch)
        await in_hand.wait()
        nursery.start_soon(turn)
        await until_waiting(shop, "AccessExclusiveLock")
        assert not done.is_set()
        [row] = await shop.query("select state from keys where purpose = 'token' and version = 2")
        assert row["state"] == "coming"

        async def end(_: Connection) -> None:
            gate.set()

        await shop.door.run(end)
        with trio.fail_after(30):
            await done.wait()
    assert (await shop.till().sale(card, 100)).result == Result.APPROVED


async def test_no_more_keys_than_an_answer_can_name(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of a record key has twelve bits before a sealed answer: one more is refused, and nothing is added."""
    monkeypatch.setattr(rotation, "VERSION_MAX", 1)
    before = await shop.query("select count(*) as keys from keys")
    with pytest.raises(EnrolmentError, match="no more are possible"):
        await renew(shop, Purpose.RECORD)
    assert await shop.query("select count(*) as keys from keys") == before
