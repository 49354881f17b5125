"""What somebody learns who tries card numbers and codes, or writes to the database: nothing that is worth it."""

from __future__ import annotations

import random
import statistics
from time import perf_counter
from typing import TYPE_CHECKING

import pytest
from back_office import active_card
from shop import CODE, KEK, as_owner

from authsrv.shell.enrolment import issue_cards, load_ring
from protocol.numbers import Command, Reason

if TYPE_CHECKING:
    from shop import Shop

    from ledger.shell.door import Connection

PAIRS = 300
KNOWN = [f"637112905{serial:010d}" for serial in range(PAIRS)]
NEVER_ISSUED = [f"637112906{serial:010d}" for serial in range(PAIRS)]
BETTER_THAN_A_COIN = 0.12
"""How much further from one half than this the chance to tell by the time may not be: half of one means by a coin."""


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_time_of_an_answer_does_not_tell_whether_there_is_such_a_card(shop: Shop) -> None:
    """Wrong codes at cards that exist and at numbers that do not, in turns: the answers are alike, and whoever is shown
    one time of each sort tells which is which little better than by a coin (the area under the ROC curve)."""

    async def issue(connection: Connection) -> None:
        ring = await load_ring(connection, KEK)
        await issue_cards(connection, ring, "gift", [(number, CODE) for number in KNOWN])

    await as_owner(shop.owner_dsn, issue)
    await shop.query("update modules set bad_cards_per_day = 1000000")
    await shop.rules.load(shop.door)
    till, dice = shop.till(), random.Random(8)  # noqa: S311 - dice, not keys
    times: dict[bool, list[float]] = {True: [], False: []}
    for pair in zip(KNOWN, NEVER_ISSUED, strict=True):
        for place in dice.sample((0, 1), 2):
            request = await till.request(Command.BALANCE, card=pair[place], code="9999")
            ask = till.opened(request)
            began = perf_counter()
            [answer] = await shop.settle([ask])
            times[place == 0].append(perf_counter() - began)
            assert answer is not None
            assert int.from_bytes(answer[18:20]) == Reason.WRONG_CODE
    known, unknown = times[True], times[False]
    slower = sum((a > b) + (a == b) / 2 for a in known for b in unknown) / (PAIRS * PAIRS)
    assert abs(slower - 0.5) < BETTER_THAN_A_COIN, (slower, statistics.median(known), statistics.median(unknown))


async def test_a_verifier_that_was_moved_fits_no_code(shop: Shop) -> None:
    """Who can write to the database, and gives a card the verifier of another whose code is known, has won nothing."""
    rich, own = await active_card(shop, 50_000, code="7777"), await active_card(shop, 500, code=CODE)
    await shop.query(
        """update cards c set verifier = o.verifier, verifier_key = o.verifier_key from cards o
            where c.id = $1 and o.id = $2""",
        *(shop.card_ids[rich], shop.card_ids[own]),
    )
    assert (await shop.till().sale(rich, 100, code=CODE)).reason == Reason.WRONG_CODE
    assert (await shop.till().sale(own, 100, code=CODE)).result == 0


async def test_an_answer_that_was_moved_does_not_open(shop: Shop) -> None:
    """Who puts the sealed approval of one request under the name of another gets 96 for it and no approval."""
    card = await active_card(shop, 5000)
    till = shop.till()
    good = await till.request(Command.SALE, card=card, amount=100)
    await till.send(good)
    bad = await till.request(Command.SALE, card=card, amount=100_000)
    await till.send(bad)
    await shop.query("alter table authorizations disable trigger append_only")
    await shop.query(
        """update authorizations b set answer = g.answer from authorizations g
            where b.sequence = $1 and g.sequence = $2""",
        *(bad.sequence, good.sequence),
    )
    assert int.from_bytes((await till.send(bad))[16:18]) == 96
