"""Holds, seen from a till: reserved, taken in part, given up, undone, out of time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from back_office import active_card, credit_card, expire_holds
from faulty_door import at_once
from shop import DESK, name_of

from ledger.shell import store
from protocol.messages import OriginalName, Response
from protocol.numbers import Command, Flag, Reason, Result

if TYPE_CHECKING:
    from shop import Shop

    from protocol.messages import Request


async def held(shop: Shop, amount: int = 3000) -> tuple[str, OriginalName]:
    """A card with 50.00 of which this much is held, and the hold's name."""
    card = await active_card(shop, 5000)
    answer = await shop.till().ask(Command.HOLD, card=card, amount=amount)
    assert (answer.approved, answer.balance, answer.available) == (amount, 5000, 5000 - amount)
    return card, name_of(answer)


async def test_a_part_is_taken_and_the_rest_is_free(shop: Shop) -> None:
    """30.00 held of 50.00, 12.50 confirmed: 37.50 are left, all of them to spend."""
    card, hold = await held(shop)
    answer = await shop.till().ask(Command.CONFIRM, original=hold, amount=1250)
    assert (answer.result, answer.approved, answer.balance, answer.available) == (0, 1250, 3750, 3750)
    assert (await shop.till().sale(card, 3750)).result == Result.APPROVED
    await shop.check_books()


async def test_what_is_free_again_is_not_spent_while_the_card_owes(shop: Shop) -> None:
    """50.00 held, the load of 50.00 undone: owed. Released, the money is there and owed all the same."""
    till, card = shop.till(), await active_card(shop, 5000)
    more = await till.ask(Command.RELOAD, card=card, amount=5000)
    held = await till.ask(Command.HOLD, card=card, amount=10_000)
    await till.reverse(name_of(more), 5000)
    assert await shop.owed(card) == -5000
    free = await till.ask(Command.RELEASE, original=name_of(held))
    assert (free.balance, free.available) == (10_000, 5000)
    assert (await till.sale(card, 5001)).reason == Reason.FUNDS
    assert (await till.sale(card, 5000)).result == Result.APPROVED
    await shop.check_books()


async def test_a_released_hold_moves_nothing(shop: Shop) -> None:
    """All of it is free again."""
    card, hold = await held(shop)
    answer = await shop.till().ask(Command.RELEASE, original=hold)
    assert (answer.result, answer.approved, answer.balance, answer.available) == (0, 3000, 5000, 5000)
    assert await shop.balance(card) == 5000
    await shop.check_books()


async def test_a_hold_takes_a_part_where_all_agree(shop: Shop) -> None:
    """60.00 asked of 50.00 with `partial`: 50.00 held, 10.00 still due."""
    card = await active_card(shop, 5000)
    answer = await shop.till().ask(Command.HOLD, card=card, amount=6000, flags=Flag.PARTIAL)
    assert (answer.result, answer.approved, answer.still_due, answer.available) == (Result.PARTLY, 5000, 1000, 0)
    back = await shop.till().reverse(name_of(answer), 6000)
    assert (back.result, back.approved, back.available) == (0, 5000, 5000)


async def test_a_reversed_confirmation_gives_back_and_opens_nothing(shop: Shop) -> None:
    """The money is on the card again; the hold stays closed."""
    card, hold = await held(shop)
    taken = await shop.till().ask(Command.CONFIRM, original=hold, amount=3000)
    back = await shop.till().reverse(name_of(taken), 3000)
    assert (back.balance, back.available) == (5000, 5000)
    assert (await shop.till().ask(Command.CONFIRM, original=hold, amount=1)).reason == Reason.HOLD_CONFIRMED
    assert (await shop.till().sale(card, 5000)).result == Result.APPROVED


async def test_a_confirmation_is_refunded_like_a_sale(shop: Shop) -> None:
    """Up to what was confirmed, not up to what was held."""
    _, hold = await held(shop)
    taken = name_of(await shop.till().ask(Command.CONFIRM, original=hold, amount=1000))
    assert (await shop.till().ask(Command.REFUND, original=taken, amount=1001)).reason == Reason.REFUND_ABOVE_ORIGINAL
    assert (await shop.till().ask(Command.REFUND, original=taken, amount=1000)).balance == 5000


async def test_a_desk_gives_up_any_tills_hold(shop: Shop) -> None:
    """By its number."""
    card = await active_card(shop, 5000)
    made = await shop.till(2001).ask(Command.HOLD, card=card, amount=3000)
    assert (await shop.till(DESK).ask(Command.RELEASE, original=made.authorization)).available == 5000


async def test_what_is_held_is_not_taken_back(shop: Shop) -> None:
    """50.00 loaded, 30.00 held, the load undone: 20.00 are taken, 30.00 owed; the hold is still taken in full."""
    card, hold = await held(shop)
    [loaded] = await shop.query(
        "select sequence, date from authorizations where command = 17 order by sequence desc limit 1"
    )
    original = OriginalName(loaded["date"], loaded["sequence"])
    back = await shop.till().reverse(original, 5000)
    assert (back.approved, back.balance, back.available) == (5000, 3000, 0)
    assert await shop.owed(card) == -3000
    assert (await shop.till().ask(Command.CONFIRM, original=hold, amount=3000)).result == Result.APPROVED
    await shop.check_books()


async def test_time_ends_a_hold_whoever_comes(shop: Shop) -> None:
    """With nobody sweeping: a balance tells that all is free, a sale takes it, the confirmation comes too late."""
    card, hold = await held(shop)
    await expire_holds(shop, card)
    assert (await shop.till().ask(Command.BALANCE, card=card)).available == 5000
    assert (await shop.till().sale(card, 5000)).result == Result.APPROVED
    assert (await shop.till().ask(Command.CONFIRM, original=hold, amount=1)).reason == Reason.HOLD_EXPIRED
    [row] = await shop.query("select ended, ended_at >= expires_at as after from holds")
    assert tuple(row) == (4, True)
    await shop.check_books()


async def test_the_confirmation_itself_may_be_who_comes(shop: Shop) -> None:
    """It ends the hold and is told so; the hold cannot be reversed any more, for nothing is left of it."""
    card, hold = await held(shop)
    await expire_holds(shop, card)
    assert (await shop.till().ask(Command.CONFIRM, original=hold, amount=3000)).reason == Reason.HOLD_EXPIRED
    assert (await shop.till().reverse(hold, 3000)).reason == Reason.NOTHING_MOVED
    assert await shop.balance(card) == 5000
    await shop.check_books()


async def test_the_sweep_ends_what_nobody_asks_for(shop: Shop) -> None:
    """Expired holds of idle cards end, no more at once than it is told; others stay."""
    (first, _), (second, _), (third, open_hold) = [await held(shop) for _ in range(3)]
    await expire_holds(shop, first)
    await expire_holds(shop, second)
    ended = [await shop.door.run(store.end_expired_holds(1)) for _ in range(3)]
    assert ended == [1, 1, 0]
    await shop.check_books()
    assert [(await shop.till().ask(Command.BALANCE, card=card)).available for card in (first, second, third)] == [
        5000,
        5000,
        2000,
    ]
    assert (await shop.till().ask(Command.RELEASE, original=open_hold)).result == Result.APPROVED


@pytest.mark.parametrize("rules", [{"branches": [2]}, {"effective_until": "2025-12-31"}])
async def test_rules_that_change_between_hold_and_confirmation(shop: Shop, rules: dict[str, Any]) -> None:
    """The branch is served no more, or no rules are in force: nothing is held, what was held is taken or given up."""
    till, card = shop.till(), await active_card(shop, 5000, title="Gift card that changes its rules")
    taken, given_up = [await till.ask(Command.HOLD, card=card, amount=1000) for _ in range(2)]
    await shop.query(
        """update programme_versions set document = document || $2::text::jsonb
            where programme = (select programme from cards where id = $1)""",
        shop.card_ids[card],
        json.dumps(rules),
    )
    assert (await till.ask(Command.HOLD, card=card, amount=1000)).reason in (Reason.BRANCH, Reason.NOT_PROGRAMME)
    confirmed = await till.ask(Command.CONFIRM, original=name_of(taken), amount=900)
    assert (confirmed.result, confirmed.approved, confirmed.balance) == (Result.APPROVED, 900, 4100)
    released = await till.ask(Command.RELEASE, original=name_of(given_up))
    assert (released.result, released.available) == (Result.APPROVED, 4100)
    await shop.check_books()


async def test_what_is_held_on_credit_needs_a_day_to_be_paid_by(shop: Shop) -> None:
    """No rules are in force that would say it: the confirmation is refused, and the amount can be given up."""
    till, card = shop.till(), await credit_card(shop, title="Account that ends")
    hold = await till.ask(Command.HOLD, card=card, amount=1000)
    await shop.query(
        """update programme_versions set document = document || '{"effective_until": "2025-12-31"}'
            where programme = (select programme from cards where id = $1)""",
        shop.card_ids[card],
    )
    assert (await till.ask(Command.CONFIRM, original=name_of(hold), amount=900)).reason == Reason.NOT_PROGRAMME
    assert (await till.ask(Command.RELEASE, original=name_of(hold))).result == Result.APPROVED
    await shop.check_books()


async def test_a_whole_life_in_one_batch(shop: Shop) -> None:
    """Held, confirmed, the confirmation undone, held again and given up, in one transaction: as one by one."""
    till, card = shop.till(), await active_card(shop, 5000)
    hold = await till.request(Command.HOLD, card=card, amount=5000)
    sale = await till.request(Command.SALE, card=card, amount=1)
    confirm = await till.request(Command.CONFIRM, original=named(hold), amount=4000)
    again = await till.request(Command.CONFIRM, original=named(hold), amount=1000)
    back = await till.request(Command.REVERSE, original=named(confirm), amount=4000)
    second = await till.request(Command.HOLD, card=card, amount=5000)
    release = await till.request(Command.RELEASE, original=named(second))
    requests = [hold, sale, confirm, again, back, second, release]
    answers = [
        Response.decode(answer or b"") for answer in await at_once(shop, [till.opened(each) for each in requests])
    ]
    assert [answer.reason for answer in answers] == [0, Reason.HELD, 0, Reason.HOLD_CONFIRMED, 0, 0, 0]
    assert [answer.available for answer in answers] == [0, 0, 1000, 0, 5000, 0, 5000]
    assert [row["ended"] for row in await shop.query("select ended from holds order by sequence")] == [1, 2]
    await shop.check_books()


def named(request: Request) -> OriginalName:
    """The name of a request that was not answered yet."""
    return OriginalName(request.date, request.sequence)


async def test_two_holds_of_one_card_end_in_one_batch(shop: Shop) -> None:
    """Released and confirmed together; and two whose time is over stand in nobody's way."""
    till, card = shop.till(), await active_card(shop, 5000)
    first, second, *late = [await till.ask(Command.HOLD, card=card, amount=1000) for _ in range(4)]
    requests = [
        await till.request(Command.RELEASE, original=name_of(first)),
        await till.request(Command.CONFIRM, original=name_of(second), amount=600),
    ]
    answers = await at_once(shop, [till.opened(request) for request in requests])
    assert [Response.decode(answer or b"").result for answer in answers] == [0, 0]
    await expire_holds(shop, card)
    assert (await till.sale(card, 4400)).balance == 0
    assert (await till.ask(Command.RELEASE, original=name_of(late[0]))).reason == Reason.HOLD_EXPIRED
    await shop.check_books()
