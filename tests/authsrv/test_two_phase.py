"""Holds and their endings beside a model that knows nothing of batches: whatever is asked, in batches of any size, on a
gift card and on credit, both say the same.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest
import trio
from back_office import active_card, credit_card, expire_holds
from books import connected
from faulty_door import at_once
from hypothesis import given, settings
from hypothesis import strategies as st
from obvious import ObviousCard
from shop import KEK, Shop, furnish

from authsrv.shell.lanes import Lanes
from authsrv.shell.rules import Rules
from ledger.shell import store
from ledger.shell.door import open_door
from protocol.messages import OriginalName, Response
from protocol.numbers import Command, Reason

if TYPE_CHECKING:
    from protocol.messages import Request

NOT_YET = 100  # the number of a deed that has not come
DEEDS = st.tuples(
    st.sampled_from(["sale", "hold", "hold", "confirm", "confirm", "release", "refund", "reverse", "reverse", "time"]),
    st.sampled_from([1, 300, 300, 700, 2000, 6000, 15_000]),
    st.one_of(st.integers(0, 15), st.just(NOT_YET)),
)
PLAYS = st.lists(st.lists(DEEDS, min_size=1, max_size=6), min_size=2, max_size=5)
UNTOLD = {Reason.NOTHING_MOVED, Reason.TOMBSTONE}


async def same(shop: Shop, batches: list[list[tuple[str, int, int]]], *, on_credit: bool) -> None:
    """Play the deeds batch by batch, and hold every answer against the obvious one."""
    till = shop.till()
    card = await (credit_card(shop) if on_credit else active_card(shop, 5000))
    obvious = ObviousCard(0, 20_000) if on_credit else ObviousCard(5000)
    first, numbers = till.sequence + 1, itertools.count()
    asked: list[Request] = []
    for batch in batches:
        requests, expected = [], []
        for kind, amount, of in batch:
            if kind == "time":
                continue
            number, named = next(numbers), of % len(asked) if asked and of != NOT_YET else NOT_YET
            fields: dict[str, Any] = {"amount": amount} if kind != "release" else {}
            if kind in ("sale", "hold"):
                fields["card"] = card
            else:
                fields["original"] = OriginalName(await shop.today(), first + named)
            if kind == "reverse" and named < len(asked):
                fields["amount"] = asked[named].amount
            request = await till.request(Command[kind.upper()], **fields)
            asked.append(request)
            requests.append(till.opened(request))
            expected.append(obvious.do(number, kind, request.amount, named))
        answers = [Response.decode(answer or b"") for answer in await at_once(shop, requests)] if requests else []
        for answer, wanted in zip(answers, expected, strict=True):
            untold = answer.reason in UNTOLD or answer.result in (12, 25)
            told = wanted[2:] if untold else (answer.balance, answer.available)
            assert (answer.result, answer.approved, *told) == wanted
        if batch[-1][0] == "time":
            await expire_holds(shop, card)
            obvious.let_time_pass()
    assert (await shop.balance(card), -await shop.owed(card)) == (obvious.money, obvious.owed)
    await shop.check_books()


@pytest.mark.timeout(600)  # many small transactions, on a machine that may be busy
def test_two_phases_are_as_one_would_tell_them(issuer: Any) -> None:
    """Sales, holds, confirmations, releases, refunds, reversals, time: in any order, in batches of any size."""

    async def furnished() -> Any:
        async with connected(issuer.owner_dsn) as owner:
            return await furnish(owner)

    identities, cards, _ = asyncio.run(furnished())
    sequences = itertools.count(1, 1000)

    @settings(max_examples=12, deadline=None, print_blob=True)
    @given(PLAYS, st.booleans())
    def check(batches: list[list[tuple[str, int, int]]], on_credit: bool) -> None:
        async def play() -> None:
            async with open_door(issuer.switch_dsn, schema=issuer.schema) as door:
                shop = Shop(issuer.owner_dsn, issuer.switch_dsn, issuer.schema, identities, cards)
                shop.door, shop.rules = door, Rules(KEK)
                await door.run(store.make_months)
                await shop.rules.load(door)
                shop.lanes = Lanes(door, shop.rules, lanes=1, batch_max=256, waiting_max=1024)
                shop.till().sequence = next(sequences)
                await same(shop, batches, on_credit=on_credit)

        trio.run(play)

    check()
