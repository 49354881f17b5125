"""What the switch decides, seen from a till: one request a batch, through the real ledger."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from back_office import (
    A_DECLINE_LEAVES,
    active_card,
    bring_into,
    credit_card,
    expire_holds,
    new_card,
    new_pass,
    recorded,
    snapshot,
)
from faulty_door import at_once, through
from shop import BARE, CODE, DESK, OTHER, TILLS, UNKNOWN, name_of

from authsrv.table import State
from ledger.names import authorization_number
from loyalty.programme import AccessCode, Begins, Kind
from protocol.messages import Freeze, OriginalName, Response, Totals
from protocol.numbers import AMOUNT_END, VISIT, Command, Flag, GivenReason, Reason, Result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shop import Shop, Till

    Scene = Callable[[Shop], Awaitable[bytes]]

AMOUNT, CARD, TIME, ORIGINAL_DATE, ORIGINAL_SEQUENCE, ORIGINAL_NUMBER = 8, 36, 24, 120, 124, 128  # as wire.md counts
FLAGS, UNIT, GIVEN_REASON, TILL_RECEIPT, BASKET = 2, 4, 6, 72, 144

SCENES: dict[Reason, list[Scene]] = {}


def gives(reason: Reason) -> Callable[[Scene], Scene]:
    """Mark a scene that ends with a request which is answered with this reason."""

    def keep(scene: Scene) -> Scene:
        SCENES.setdefault(reason, []).append(scene)
        return scene

    return keep


NOT_DECIDED = {
    Reason.NONE: "every approval",
    Reason.FOREIGN_MODULE: "has no usable name: test_ask",
    Reason.OVERLOADED: "the listener's",
    Reason.DRAINING: "the listener's",
    Reason.NO_DATABASE: "test_lanes",
    Reason.TOO_LATE: "test_lanes",
    Reason.BAD_REQUEST: "test_lanes",
    Reason.OTHER_CONTENT: "leaves no record: below",
}


OF_WHAT_WAS_DONE = {Reason.CODE_STAYS, Reason.THAWED, Reason.REFROZEN}


def test_every_reason_is_given_by_a_scene() -> None:
    """Each reason that this switch can decide ends a scene below; a new one fails here until it does."""
    assert SCENES.keys() | NOT_DECIDED.keys() == set(Reason)
    assert not SCENES.keys() & NOT_DECIDED.keys()


async def plain(till: Till, command: Command, **fields: Any) -> bytes:
    return (await till.request(command, **fields)).encode()


def patched(sealed: bytes, at: int, new: bytes) -> bytes:
    return sealed[:at] + new + sealed[at + len(new) :]


# Format: one byte out of place in an otherwise good sale, load or reversal


async def a_sale(shop: Shop, at: int, new: bytes) -> bytes:
    return patched(await plain(shop.till(), Command.SALE, card=BARE, amount=100), at, new)


async def a_reversal(shop: Shop, at: int, new: bytes) -> bytes:
    original = OriginalName(await shop.today(), 900_000)
    return patched(await plain(shop.till(), Command.REVERSE, original=original, amount=1), at, new)


@gives(Reason.UNKNOWN_COMMAND)
async def unknown_command(shop: Shop) -> bytes:
    return await a_sale(shop, 0, b"\x77\x77")


@gives(Reason.UNKNOWN_FLAG)
async def unknown_flag(shop: Shop) -> bytes:
    return await a_sale(shop, FLAGS, b"\x80\0")


@gives(Reason.UNKNOWN_UNIT)
async def unknown_unit(shop: Shop) -> bytes:
    return await a_sale(shop, UNIT, b"\x99\x99")


@gives(Reason.FIELD_MISSING)
async def no_card(shop: Shop) -> bytes:
    return await a_sale(shop, CARD, bytes(20))


@gives(Reason.FIELD_FORBIDDEN)
async def a_reason_on_a_sale(shop: Shop) -> bytes:
    return await a_sale(shop, GIVEN_REASON, b"\0\1")


@gives(Reason.FIELD_FORBIDDEN)
async def an_unused_byte(shop: Shop) -> bytes:
    return await a_sale(shop, 319, b"\1")


@gives(Reason.NOT_DIGITS)
async def letters_in_a_card(shop: Shop) -> bytes:
    return await a_sale(shop, CARD, b"63711200000000000x5")


@gives(Reason.BAD_TIME)
async def half_past_25(shop: Shop) -> bytes:
    return await a_sale(shop, TIME, (253_000).to_bytes(4))


@gives(Reason.TWO_ORIGINALS)
async def by_name_and_by_number(shop: Shop) -> bytes:
    return await a_reversal(shop, ORIGINAL_NUMBER, b"323000000014")


@gives(Reason.BAD_DATE)
async def an_original_of_february_30(shop: Shop) -> bytes:
    return await a_reversal(shop, ORIGINAL_DATE, (2026_02_30).to_bytes(4))


@gives(Reason.BAD_SEQUENCE)
async def an_original_without_sequence(shop: Shop) -> bytes:
    return await a_reversal(shop, ORIGINAL_SEQUENCE, bytes(4))


@gives(Reason.OFFLINE_ADVICE)
async def offline_advice(shop: Shop) -> bytes:
    return await a_sale(shop, FLAGS, b"\0\2")


@gives(Reason.BAD_TEXT)
async def a_bell_in_the_till_receipt(shop: Shop) -> bytes:
    return await a_sale(shop, TILL_RECEIPT, b"\x07")


@gives(Reason.UNKNOWN_REASON)
async def a_reason_of_ours_alone(shop: Shop) -> bytes:
    return await a_reversal(shop, GIVEN_REASON, b"\x03\xe7")


@gives(Reason.OUTSIDE_WINDOW)
async def too_long_ago(shop: Shop) -> bytes:
    date = await shop.today() - dt.timedelta(days=36)
    return await plain(shop.till(), Command.SALE, card=BARE, amount=100, date=date)


# Amounts


@gives(Reason.AMOUNT_ZERO)
async def a_sale_of_nothing(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.SALE, card=await active_card(shop), amount=0)


@gives(Reason.AMOUNT_ZERO)
async def a_reload_of_nothing(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.RELOAD, card=await active_card(shop), amount=0)


@gives(Reason.AMOUNT_ZERO)
async def a_reload_of_nothing_where_a_card_may_be_sold_empty(shop: Shop) -> bytes:
    card = await active_card(shop, 0, load_minimum_minor=0)
    return await plain(shop.till(), Command.RELOAD, card=card, amount=0)


@gives(Reason.AMOUNT_ZERO)
async def a_refund_of_nothing(shop: Shop) -> bytes:
    sold = await shop.till().sale(await active_card(shop), 100)
    return await plain(shop.till(), Command.REFUND, original=name_of(sold), amount=0)


@gives(Reason.AMOUNT_TOO_LARGE)
async def two_to_the_63(shop: Shop) -> bytes:
    return await a_sale(shop, AMOUNT, AMOUNT_END.to_bytes(8))


@gives(Reason.FUNDS)
async def the_largest_amount(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.SALE, card=await active_card(shop), amount=AMOUNT_END - 1)


@gives(Reason.FUNDS)
async def a_cent_too_much(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.SALE, card=await active_card(shop, 5000), amount=5001)


@gives(Reason.FUNDS)
async def a_part_of_nothing(shop: Shop) -> bytes:
    card = await active_card(shop, 5000)
    await shop.till().sale(card, 5000)
    return await plain(shop.till(), Command.SALE, card=card, amount=1, flags=Flag.PARTIAL)


@gives(Reason.BELOW_LIMIT)
async def a_small_load(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.RELOAD, card=await active_card(shop), amount=499)


@gives(Reason.ABOVE_LIMIT)
async def a_large_load(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.ACTIVATE, card=await new_card(shop), amount=50_001)


@gives(Reason.ABOVE_LIMIT)
async def a_large_sale(shop: Shop) -> bytes:
    card = await active_card(shop, 5000, sale_maximum_minor=2000)
    return await plain(shop.till(), Command.SALE, card=card, amount=2001)


@gives(Reason.BALANCE_LIMIT)
async def more_than_a_card_holds(shop: Shop) -> bytes:
    card = await active_card(shop, 50_000)
    await shop.till().ask(Command.RELOAD, card=card, amount=49_000)
    return await plain(shop.till(), Command.RELOAD, card=card, amount=1001)


@gives(Reason.LOADS_PER_DAY)
async def a_sixth_load(shop: Shop) -> bytes:
    card = await active_card(shop)
    for _ in range(4):
        assert (await shop.till().ask(Command.RELOAD, card=card, amount=500)).result == Result.APPROVED
    return await plain(shop.till(), Command.RELOAD, card=card, amount=500)


# Card and programme


@gives(Reason.UNKNOWN_CARD)
async def an_unknown_card(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.SALE, card=UNKNOWN, amount=100)


@gives(Reason.REPLACED)
async def a_dead_number(shop: Shop) -> bytes:
    return await balance_in(shop, State.REPLACED)


@gives(Reason.CLOSED)
async def a_closed_card(shop: Shop) -> bytes:
    return await balance_in(shop, State.CLOSED)


@gives(Reason.BLOCKED)
async def a_blocked_card(shop: Shop) -> bytes:
    return await balance_in(shop, State.BLOCKED)


@gives(Reason.EXPIRED)
async def an_expired_card(shop: Shop) -> bytes:
    card = await active_card(shop)
    await bring_into(shop, card, State.EXPIRED)
    return await plain(shop.till(), Command.SALE, card=card, amount=100)


async def balance_in(shop: Shop, state: State) -> bytes:
    card = await active_card(shop)
    await bring_into(shop, card, state)
    return await plain(shop.till(), Command.BALANCE, card=card)


@gives(Reason.NOT_ACTIVE)
async def a_card_that_was_not_sold(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.SALE, card=await new_card(shop), amount=100)


@gives(Reason.ALREADY_ACTIVE)
async def a_card_sold_twice(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.ACTIVATE, card=await active_card(shop), amount=1000)


@gives(Reason.NOT_RELOADABLE)
async def a_programme_without_reload(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.RELOAD, card=await active_card(shop, reloadable=False), amount=1000)


@gives(Reason.NOT_PROGRAMME)
async def a_programme_that_begins_tomorrow(shop: Shop) -> bytes:
    card = await new_card(shop, effective_from=await shop.today() + dt.timedelta(days=1))
    return await plain(shop.till(), Command.ACTIVATE, card=card, amount=1000)


@gives(Reason.PROGRAMME_DIFFERS)
async def another_programme(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.SALE, card=await active_card(shop), amount=100, programme=99)


@gives(Reason.BRANCH)
async def another_branch(shop: Shop) -> bytes:
    card = await active_card(shop, branches=(1,))
    return await plain(shop.till(2001), Command.SALE, card=card, amount=100)


@gives(Reason.UNIT_DIFFERS)
async def dollars(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.SALE, card=await active_card(shop), amount=100, unit=840)


@gives(Reason.UNIT_DIFFERS)
async def visits(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.SALE, card=await active_card(shop), amount=100, unit=VISIT)


@gives(Reason.NOT_BUILT)
async def a_registration(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.REGISTER, card=await active_card(shop))


@gives(Reason.NOT_PROGRAMME)
async def a_payment_on_a_gift_card(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.PAYMENT, card=await active_card(shop), amount=100)


@gives(Reason.COMMAND)
async def a_revoked_module(shop: Shop) -> bytes:
    card = await active_card(shop)
    await shop.query("update modules set revoked = true where number = $1", DESK)
    return await plain(shop.till(DESK), Command.SALE, card=card, amount=100)


@gives(Reason.COMMAND)
async def tries_reset_at_a_till(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.RESET_TRIES, card=await active_card(shop, code=CODE))


# Holds


async def held(shop: Shop, amount: int = 3000, till: int = TILLS[0], **rules: Any) -> tuple[str, OriginalName]:
    """A card with 50.00 of which this much is held, and the hold's name."""
    card = await active_card(shop, 5000, **rules)
    made = await shop.till(till).ask(Command.HOLD, card=card, amount=amount)
    assert made.result == Result.APPROVED
    return card, name_of(made)


@gives(Reason.HELD)
async def a_sale_of_what_is_held(shop: Shop) -> bytes:
    card, _ = await held(shop)
    return await plain(shop.till(), Command.SALE, card=card, amount=2001)


@gives(Reason.HELD)
async def a_hold_of_what_is_held(shop: Shop) -> bytes:
    card, _ = await held(shop)
    return await plain(shop.till(), Command.HOLD, card=card, amount=5000)


@gives(Reason.FUNDS)
async def a_hold_of_more_than_there_is(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.HOLD, card=await active_card(shop, 5000), amount=5001)


@gives(Reason.AMOUNT_ZERO)
async def a_hold_of_nothing(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.HOLD, card=await active_card(shop), amount=0)


@gives(Reason.NOT_PROGRAMME)
async def a_programme_without_holds(shop: Shop) -> bytes:
    card = await active_card(shop, hold_minutes=None)
    return await plain(shop.till(), Command.HOLD, card=card, amount=100)


@gives(Reason.AMOUNT_ZERO)
async def a_confirmation_of_nothing(shop: Shop) -> bytes:
    _, hold = await held(shop)
    return await plain(shop.till(), Command.CONFIRM, original=hold, amount=0)


@gives(Reason.ABOVE_HOLD)
async def a_cent_more_than_is_held(shop: Shop) -> bytes:
    _, hold = await held(shop)
    return await plain(shop.till(), Command.CONFIRM, original=hold, amount=3001)


@gives(Reason.NOT_A_HOLD)
async def a_confirmation_of_a_sale(shop: Shop) -> bytes:
    sold = await shop.till().sale(await active_card(shop), 100)
    return await plain(shop.till(), Command.CONFIRM, original=name_of(sold), amount=100)


@gives(Reason.ORIGINAL_UNKNOWN)
async def a_release_of_nothing_known(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.RELEASE, original=OriginalName(await shop.today(), 900_000))


@gives(Reason.ORIGINAL_DECLINED)
async def a_confirmation_of_a_declined_hold(shop: Shop) -> bytes:
    declined = await shop.till().ask(Command.HOLD, card=await active_card(shop, 5000), amount=5001)
    return await plain(shop.till(), Command.CONFIRM, original=name_of(declined), amount=1)


@gives(Reason.FOREIGN_ORIGINAL)
async def a_confirmation_of_another_tills_hold(shop: Shop) -> bytes:
    card = await active_card(shop)
    made = await shop.till().ask(Command.HOLD, card=card, amount=100)
    return await plain(shop.till(2001), Command.CONFIRM, original=made.authorization, amount=100)


@gives(Reason.CARD_DIFFERS)
async def a_confirmation_with_another_card(shop: Shop) -> bytes:
    _, hold = await held(shop)
    return await plain(shop.till(), Command.CONFIRM, original=hold, amount=100, card=await active_card(shop))


@gives(Reason.HOLD_CONFIRMED)
async def a_second_confirmation(shop: Shop) -> bytes:
    _, hold = await held(shop)
    assert (await shop.till().ask(Command.CONFIRM, original=hold, amount=1)).result == Result.APPROVED
    return await plain(shop.till(), Command.CONFIRM, original=hold, amount=1)


@gives(Reason.HOLD_CONFIRMED)
async def a_reversal_of_a_confirmed_hold(shop: Shop) -> bytes:
    _, hold = await held(shop)
    assert (await shop.till().ask(Command.CONFIRM, original=hold, amount=3000)).result == Result.APPROVED
    return await plain(shop.till(), Command.REVERSE, original=hold, amount=3000)


@gives(Reason.HOLD_RELEASED)
async def a_confirmation_of_what_was_given_up(shop: Shop) -> bytes:
    _, hold = await held(shop)
    assert (await shop.till().ask(Command.RELEASE, original=hold)).result == Result.APPROVED
    return await plain(shop.till(), Command.CONFIRM, original=hold, amount=3000)


@gives(Reason.NOTHING_MOVED)
async def a_reversal_of_a_released_hold(shop: Shop) -> bytes:
    _, hold = await held(shop)
    assert (await shop.till().ask(Command.RELEASE, original=hold)).result == Result.APPROVED
    return await plain(shop.till(), Command.REVERSE, original=hold, amount=3000)


@gives(Reason.HOLD_EXPIRED)
async def a_confirmation_that_comes_too_late(shop: Shop) -> bytes:
    card, hold = await held(shop)
    await expire_holds(shop, card)
    await shop.till().ask(Command.RELOAD, card=card, amount=500)  # who locks the card ends it
    return await plain(shop.till(), Command.CONFIRM, original=hold, amount=3000)


@gives(Reason.ALREADY_REVERSED)
async def a_confirmation_of_a_reversed_hold(shop: Shop) -> bytes:
    _, hold = await held(shop)
    await shop.till().reverse(hold, 3000)
    return await plain(shop.till(), Command.CONFIRM, original=hold, amount=3000)


@gives(Reason.NOT_REVERSIBLE)
async def a_reversal_of_a_release(shop: Shop) -> bytes:
    _, hold = await held(shop)
    released = await shop.till().ask(Command.RELEASE, original=hold)
    return await plain(shop.till(), Command.REVERSE, original=name_of(released))


# What a card may spend in a day


@gives(Reason.SALES_PER_DAY)
async def a_third_purchase_where_two_are_allowed(shop: Shop) -> bytes:
    card = await active_card(shop, sales_per_day=2)
    for _ in range(2):
        assert (await shop.till().sale(card, 100)).result == Result.APPROVED
    return await plain(shop.till(), Command.SALE, card=card, amount=100)


@gives(Reason.SPEND_PER_DAY)
async def a_cent_more_than_a_day_allows(shop: Shop) -> bytes:
    card = await active_card(shop, spend_per_day_minor=1000)
    assert (await shop.till().sale(card, 600)).result == Result.APPROVED
    return await plain(shop.till(), Command.HOLD, card=card, amount=401)


# Passes, credit, totals


@gives(Reason.SAME_VISIT)
async def a_second_look_at_the_gate(shop: Shop) -> bytes:
    card = await new_pass(shop)
    await shop.till().ask(Command.VISIT, card=card)
    return await plain(shop.till(), Command.VISIT, card=card)


@gives(Reason.VISITS_USED)
async def eleven_at_once(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.VISIT, card=await new_pass(shop, visits_per_day=None), amount=11)


@gives(Reason.VISITS_PER_DAY)
async def four_at_once(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.VISIT, card=await new_pass(shop), amount=4)


@gives(Reason.AMOUNT_FIXED)
async def a_pass_of_eleven(shop: Shop) -> bytes:
    card = await new_card(shop, kind=Kind.VISITS)
    return await plain(shop.till(), Command.ACTIVATE, card=card, amount=11)


@gives(Reason.LOADS_PER_DAY)
async def a_third_pass_on_one_day(shop: Shop) -> bytes:
    card = await new_pass(shop)
    await shop.till().ask(Command.RELOAD, card=card, amount=10)
    return await plain(shop.till(), Command.RELOAD, card=card, amount=10)


@gives(Reason.NOT_RELOADABLE)
async def a_pass_for_once(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.RELOAD, card=await new_pass(shop, reloadable=False), amount=10)


async def freezing(shop: Shop, card: str, first: int, last: int) -> bytes:
    today = await shop.today()
    days = Freeze(today + dt.timedelta(days=first), today + dt.timedelta(days=last))
    return await plain(shop.till(DESK), Command.FREEZE, card=card, freeze=days)


@gives(Reason.FROZEN)
async def a_visit_on_a_frozen_pass(shop: Shop) -> bytes:
    card = await new_pass(shop)
    assert Response.decode(await shop.till(DESK).send(await freezing(shop, card, 0, 0))).result == Result.APPROVED
    return await plain(shop.till(), Command.VISIT, card=card)


@gives(Reason.FREEZE_DAYS)
async def a_freeze_of_yesterday(shop: Shop) -> bytes:
    return await freezing(shop, await new_pass(shop), -1, 3)


@gives(Reason.FREEZE_LIMIT)
async def a_freeze_of_a_year(shop: Shop) -> bytes:
    return await freezing(shop, await new_pass(shop), 0, 364)


@gives(Reason.NOT_PROGRAMME)
async def a_pass_that_is_never_frozen(shop: Shop) -> bytes:
    return await freezing(shop, await new_pass(shop, freeze_days_maximum=None), 0, 0)


@gives(Reason.COMMAND)
async def a_limit_from_a_till(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.LIMIT, card=await credit_card(shop), limit=1)


@gives(Reason.CREDIT_LIMIT)
async def a_limit_of_a_million(shop: Shop) -> bytes:
    return await plain(shop.till(DESK), Command.LIMIT, card=await credit_card(shop), limit=100_000_000)


@gives(Reason.AMOUNT_ZERO)
async def a_payment_of_nothing(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.PAYMENT, card=await credit_card(shop), amount=0)


@gives(Reason.BALANCE_LIMIT)
async def a_payment_of_all_the_money_there_is(shop: Shop) -> bytes:
    card = await credit_card(shop)
    await shop.till().ask(Command.PAYMENT, card=card, amount=1)
    return await plain(shop.till(), Command.PAYMENT, card=card, amount=AMOUNT_END - 1)


@gives(Reason.OVERDUE)
async def goods_for_who_has_not_paid(shop: Shop) -> bytes:
    card = await credit_card(shop, overdue_block_days=0)
    await shop.till().sale(card, 100)
    await shop.query("alter table charges disable trigger append_only")
    await shop.query("update charges set due_on = due_on - 100 where card = $1", shop.card_ids[card])
    await shop.query("alter table charges enable trigger append_only")
    return await plain(shop.till(), Command.SALE, card=card, amount=1)


@gives(Reason.OWES)
async def a_cash_out_of_a_debtor(shop: Shop) -> bytes:
    card = await credit_card(shop)
    await shop.till().sale(card, 100)
    return await plain(shop.till(), Command.CASH_OUT, card=card)


@gives(Reason.OWES)
async def a_cash_out_of_a_card_that_owes(shop: Shop) -> bytes:
    card = await active_card(shop, 1000)
    more = await shop.till().ask(Command.RELOAD, card=card, amount=500)
    await shop.till().sale(card, 1500)
    await shop.till().reverse(name_of(more), 500)
    return await plain(shop.till(), Command.CASH_OUT, card=card)


async def counting(shop: Shop, names: int) -> bytes:
    day = await shop.today()
    asked = Totals(OriginalName(day, 700_001), OriginalName(day, 700_000 + names), ((9, 9),) * 10)
    return await plain(shop.till(), Command.TOTALS, unit=978, totals=asked)


@gives(Reason.TOTALS_DIFFER)
async def totals_of_a_day_without_sales(shop: Shop) -> bytes:
    return await counting(shop, 1)


@gives(Reason.INTERVAL)
async def totals_of_a_lifetime(shop: Shop) -> bytes:
    return await counting(shop, 1_000_000)


@gives(Reason.NOT_REVERSIBLE)
async def a_reversal_of_a_freeze(shop: Shop) -> bytes:
    frozen = Response.decode(await shop.till(DESK).send(await freezing(shop, await new_pass(shop), 0, 0)))
    return await plain(shop.till(DESK), Command.REVERSE, original=frozen.authorization)


# The card itself


@gives(Reason.OPEN_HOLDS)
async def a_cash_out_with_an_open_hold(shop: Shop) -> bytes:
    card, _ = await held(shop)
    return await plain(shop.till(), Command.CASH_OUT, card=card)


@gives(Reason.NOT_PROGRAMME)
async def a_programme_without_cash_out(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.CASH_OUT, card=await active_card(shop, cash_out=False))


@gives(Reason.CODE_MISSING)
async def a_cash_out_without_code(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.CASH_OUT, card=await active_card(shop, code=CODE))


@gives(Reason.NOT_BLOCKED)
async def unblocking_a_free_card(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.UNBLOCK, card=await active_card(shop), reason=GivenReason.FOUND)


async def blocked(shop: Shop, reason: GivenReason) -> str:
    card = await active_card(shop)
    assert (await shop.till().ask(Command.BLOCK, card=card, reason=reason)).result == Result.APPROVED
    return card


@gives(Reason.LOST)
async def a_lost_card(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.SALE, card=await blocked(shop, GivenReason.LOST), amount=100)


@gives(Reason.STOLEN)
async def a_stolen_card(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.BALANCE, card=await blocked(shop, GivenReason.STOLEN))


@gives(Reason.COMMAND)
async def a_lost_card_unblocked_at_a_till(shop: Shop) -> bytes:
    card = await blocked(shop, GivenReason.LOST)
    return await plain(shop.till(), Command.UNBLOCK, card=card, reason=GivenReason.FOUND)


@gives(Reason.COMMAND)
async def a_stolen_card_replaced_at_a_till(shop: Shop) -> bytes:
    card = await blocked(shop, GivenReason.STOLEN)
    return await plain(shop.till(), Command.REPLACE, card=card, new_card=await new_card(shop))


@gives(Reason.NEW_CARD_UNKNOWN)
async def a_new_card_that_nobody_issued(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.REPLACE, card=await active_card(shop), new_card=UNKNOWN)


@gives(Reason.NEW_CARD_IN_USE)
async def a_new_card_that_was_sold(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.REPLACE, card=await active_card(shop), new_card=await active_card(shop))


@gives(Reason.NEW_CARD_IN_USE)
async def a_new_card_whose_sale_was_undone_after_it_was_spent(shop: Shop) -> bytes:
    new = await new_card(shop)
    sold = await shop.till().activate(new, 1000)
    await shop.till().sale(new, 1000)
    await shop.till().reverse(name_of(sold), 1000)
    return await plain(shop.till(), Command.REPLACE, card=await active_card(shop), new_card=new)


@gives(Reason.NEW_CARD_IN_USE)
async def a_card_that_takes_its_own_place(shop: Shop) -> bytes:
    card = await active_card(shop)
    return await plain(shop.till(), Command.REPLACE, card=card, new_card=card)


@gives(Reason.PROGRAMME_DIFFERS)
async def a_new_card_of_another_programme(shop: Shop) -> bytes:
    card = await new_card(shop, reloadable=False)
    return await plain(shop.till(), Command.REPLACE, card=await active_card(shop), new_card=card)


@gives(Reason.CODE_MISSING)
async def a_replacement_without_code(shop: Shop) -> bytes:
    card = await active_card(shop, code=CODE)
    return await plain(shop.till(), Command.REPLACE, card=card, new_card=await new_card(shop))


@gives(Reason.CODE_MISSING)
async def a_change_of_code_without_the_old_one(shop: Shop) -> bytes:
    card = await active_card(shop, code=CODE)
    return await plain(shop.till(), Command.CHANGE_ACCESS_CODE, card=card, new_code="2468")


@gives(Reason.WRONG_CODE)
async def a_change_of_code_with_a_wrong_one(shop: Shop) -> bytes:
    card = await active_card(shop, code=CODE)
    return await plain(shop.till(), Command.CHANGE_ACCESS_CODE, card=card, new_code="2468", code="9999")


@gives(Reason.BAD_NEW_CODE)
async def a_new_code_that_cannot_be_read(shop: Shop) -> bytes:
    card = await active_card(shop)
    return await plain(shop.till(), Command.CHANGE_ACCESS_CODE, card=card, new_access_code_block=b"\xff" * 16)


@gives(Reason.NOT_PROGRAMME)
async def a_code_where_there_are_none(shop: Shop) -> bytes:
    card = await active_card(shop, access_code=AccessCode.NONE)
    return await plain(shop.till(), Command.CHANGE_ACCESS_CODE, card=card, new_code="2468")


# Who is asking


@gives(Reason.WRONG_CODE)
async def a_wrong_code(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.SALE, card=await active_card(shop, code=CODE), amount=1, code="9999")


@gives(Reason.WRONG_CODE)
async def a_code_on_an_unknown_card(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.SALE, card=UNKNOWN, amount=1, code=CODE)


@gives(Reason.WRONG_CODE)
async def a_malformed_block(shop: Shop) -> bytes:
    card = await active_card(shop, code=CODE)
    fields = {"flags": Flag.ACCESS_CODE, "access_code_block": b"\xff" * 16}
    return await plain(shop.till(), Command.SALE, card=card, amount=1, **fields)


@gives(Reason.CODE_MISSING)
async def no_code(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.BALANCE, card=await active_card(shop, code=CODE))


@gives(Reason.CODE_ON_REPEAT)
async def a_repeat_without_code(shop: Shop) -> bytes:
    card = await active_card(shop, code=CODE)
    return await plain(shop.till(), Command.SALE, card=card, amount=1, flags=Flag.REPEAT)


@gives(Reason.LOCKED)
async def a_third_wrong_code(shop: Shop) -> bytes:
    card = await active_card(shop, code=CODE)
    for _ in range(2):
        assert (await shop.till().sale(card, 1, code="9999")).reason == Reason.WRONG_CODE
    return await plain(shop.till(), Command.SALE, card=card, amount=1, code="9999")


@gives(Reason.LOCKED)
async def the_right_code_after_three_wrong_ones(shop: Shop) -> bytes:
    card = await active_card(shop, code=CODE)
    for _ in range(3):
        await shop.till().sale(card, 1, code="9999")
    return await plain(shop.till(), Command.SALE, card=card, amount=1, code=CODE)


@gives(Reason.BAD_CARDS_BUDGET)
async def a_guessing_module(shop: Shop) -> bytes:
    await shop.query("update modules set bad_cards_per_day = 2 where number = 1002")
    for card in (UNKNOWN, UNKNOWN + "1"):
        assert (await shop.till(1002).sale(card, 1)).reason == Reason.UNKNOWN_CARD
    return await plain(shop.till(1002), Command.SALE, card=await active_card(shop), amount=1)


# Originals


@gives(Reason.ORIGINAL_UNKNOWN)
async def an_unknown_number(shop: Shop) -> bytes:
    nobodys = f"{authorization_number(await shop.today(), 99_999_999):012}"
    return await plain(shop.till(), Command.REVERSE, original=nobodys, amount=100)


@gives(Reason.ORIGINAL_UNKNOWN)
async def a_mistyped_number(shop: Shop) -> bytes:
    return await plain(shop.till(), Command.REPRINT, original="323000000015")


@gives(Reason.ORIGINAL_UNKNOWN)
async def a_refund_of_nothing_known(shop: Shop) -> bytes:
    original = OriginalName(await shop.today(), 900_000)
    return await plain(shop.till(), Command.REFUND, original=original, amount=100)


@gives(Reason.ORIGINAL_UNKNOWN)
async def a_reversal_of_what_can_no_longer_come(shop: Shop) -> bytes:
    original = OriginalName(await shop.today() - dt.timedelta(days=36), 1)
    return await plain(shop.till(), Command.REVERSE, original=original, amount=100)


@gives(Reason.FOREIGN_ORIGINAL)
async def a_reversal_of_another_tills_sale(shop: Shop) -> bytes:
    sold = await shop.till().sale(await active_card(shop), 100)
    return await plain(shop.till(2001), Command.REVERSE, original=sold.authorization, amount=100)


@gives(Reason.FOREIGN_ORIGINAL)
async def a_reprint_of_another_tills_receipt(shop: Shop) -> bytes:
    sold = await shop.till().sale(await active_card(shop), 100)
    return await plain(shop.till(2001), Command.REPRINT, original=sold.authorization)


@gives(Reason.ORIGINAL_AMOUNT_DIFFERS)
async def a_reversal_of_another_amount(shop: Shop) -> bytes:
    sold = await shop.till().sale(await active_card(shop), 100)
    return await plain(shop.till(), Command.REVERSE, original=name_of(sold), amount=99)


@gives(Reason.NOT_REVERSIBLE)
async def a_reversal_of_a_reversal(shop: Shop) -> bytes:
    sold = await shop.till().sale(await active_card(shop), 100)
    back = await shop.till().reverse(name_of(sold), 100)
    return await plain(shop.till(), Command.REVERSE, original=name_of(back), amount=100)


@gives(Reason.NOT_REVERSIBLE)
async def a_reversal_of_itself(shop: Shop) -> bytes:
    original = OriginalName(await shop.today(), shop.till().sequence + 1)
    return await plain(shop.till(), Command.REVERSE, original=original, amount=100)


@gives(Reason.REFUNDED)
async def a_reversal_of_a_refunded_sale(shop: Shop) -> bytes:
    sold = await shop.till().sale(await active_card(shop), 100)
    await shop.till().ask(Command.REFUND, original=name_of(sold), amount=1)
    return await plain(shop.till(), Command.REVERSE, original=name_of(sold), amount=100)


@gives(Reason.ALREADY_REVERSED)
async def a_refund_of_a_reversed_sale(shop: Shop) -> bytes:
    sold = await shop.till().sale(await active_card(shop), 100)
    await shop.till().reverse(name_of(sold), 100)
    return await plain(shop.till(), Command.REFUND, original=name_of(sold), amount=100)


@gives(Reason.NOT_REFUNDABLE)
async def a_refund_of_a_load(shop: Shop) -> bytes:
    card = await new_card(shop)
    activated = await shop.till().activate(card, 1000)
    return await plain(shop.till(), Command.REFUND, original=name_of(activated), amount=100)


@gives(Reason.NOT_REFUNDABLE)
async def a_programme_without_refund(shop: Shop) -> bytes:
    sold = await shop.till().sale(await active_card(shop, refundable=False), 100)
    return await plain(shop.till(), Command.REFUND, original=name_of(sold), amount=100)


@gives(Reason.REFUND_ABOVE_ORIGINAL)
async def a_cent_more_than_is_left(shop: Shop) -> bytes:
    sold = await shop.till().sale(await active_card(shop), 100)
    await shop.till().ask(Command.REFUND, original=name_of(sold), amount=60)
    return await plain(shop.till(), Command.REFUND, original=name_of(sold), amount=41)


@gives(Reason.CARD_DIFFERS)
async def a_refund_on_another_card(shop: Shop) -> bytes:
    sold = await shop.till().sale(await active_card(shop), 100)
    card = await active_card(shop)
    return await plain(shop.till(), Command.REFUND, card=card, original=name_of(sold), amount=100)


@gives(Reason.ORIGINAL_DECLINED)
async def a_refund_of_a_declined_sale(shop: Shop) -> bytes:
    declined = await shop.till().sale(await active_card(shop, 5000), 5001)
    return await plain(shop.till(), Command.REFUND, original=name_of(declined), amount=1)


@gives(Reason.REVERSED_BEFORE_ARRIVAL)
async def a_late_original(shop: Shop) -> bytes:
    late = await plain(shop.till(), Command.SALE, card=await active_card(shop), amount=100)
    await shop.till().reverse(OriginalName(await shop.today(), shop.till().sequence), 100)
    return late


@gives(Reason.NOTHING_MOVED)
async def a_reversal_of_a_decline(shop: Shop) -> bytes:
    declined = await shop.till().sale(await active_card(shop, 5000), 5001)
    return await plain(shop.till(), Command.REVERSE, original=name_of(declined), amount=5001)


@gives(Reason.NOTHING_MOVED)
async def a_reversal_of_a_balance(shop: Shop) -> bytes:
    told = await shop.till().ask(Command.BALANCE, card=await active_card(shop))
    return await plain(shop.till(), Command.REVERSE, original=name_of(told))


@gives(Reason.TOMBSTONE)
async def before_arrival(shop: Shop) -> bytes:
    original = OriginalName(await shop.today(), 950_000)
    return await plain(shop.till(), Command.REVERSE, original=original, amount=100)


@gives(Reason.TOMBSTONE)
async def before_arrival_once_more(shop: Shop) -> bytes:
    original = OriginalName(await shop.today(), 950_001)
    assert (await shop.till().reverse(original, 100)).reason == Reason.TOMBSTONE
    return await plain(shop.till(), Command.REVERSE, original=original, amount=100)


@gives(Reason.CODE_STAYS)
async def new_plastic_for_a_card_with_a_code(shop: Shop) -> bytes:
    card, new = await active_card(shop, code=CODE), await new_card(shop, code="7777")
    return await plain(shop.till(), Command.REPLACE, card=card, new_card=new, code=CODE)


@gives(Reason.REFROZEN)
async def a_second_freeze(shop: Shop) -> bytes:
    card = await new_pass(shop, begins=Begins.PURCHASE)
    await shop.till(DESK).send(await freezing(shop, card, 0, 0))
    return await freezing(shop, card, 2, 3)


@gives(Reason.THAWED)
async def a_freeze_that_is_ended(shop: Shop) -> bytes:
    card, today = await new_pass(shop, begins=Begins.PURCHASE), await shop.today()
    await shop.till(DESK).send(await freezing(shop, card, 0, 0))
    return await plain(shop.till(DESK), Command.FREEZE, card=card, freeze=Freeze(today, None))


@gives(Reason.AGAIN)
async def a_second_reversal(shop: Shop) -> bytes:
    sold = await shop.till().sale(await active_card(shop), 100)
    await shop.till().reverse(name_of(sold), 100)
    return await plain(shop.till(), Command.REVERSE, original=name_of(sold), amount=100)


# The scenes, played


@pytest.mark.parametrize("result", sorted({reason.result for reason in SCENES}))
async def test_each_reason_by_itself(shop: Shop, result: Result) -> None:
    """A scene's last request gets its reason and result, moves nothing unless it is to, is recorded, and a repeat is
    the same bytes."""
    scenes = [(reason, scene) for reason, several in SCENES.items() for scene in several if reason.result == result]
    assert scenes
    for reason, scene in scenes:
        plain = await scene(shop)
        till = shop.till(int.from_bytes(plain[28:32]))
        before, count = await snapshot(shop, *A_DECLINE_LEAVES), await recorded(shop)
        sealed = await till.send(plain)
        answer = Response.decode(sealed)
        assert (answer.reason, answer.result) == (reason, result), scene.__name__
        assert (await snapshot(shop, *A_DECLINE_LEAVES) == before) == (reason not in OF_WHAT_WAS_DONE), scene.__name__
        # A late original is recorded as its tombstone; a tombstone is a record beside its reversal's own.
        more = {Reason.REVERSED_BEFORE_ARRIVAL: 0}.get(reason, 2 if scene is before_arrival else 1)
        assert await recorded(shop) == count + more, scene.__name__
        after = await snapshot(shop)
        assert await till.send(plain) == sealed, scene.__name__
        assert await snapshot(shop) == after, scene.__name__


class TestAccessCode:
    async def test_two_wrong_codes_and_the_right_one(self, shop: Shop) -> None:
        """The right code forgets the wrong ones before it: after it there are two more tries, not none."""
        till, card = shop.till(), await active_card(shop, 5000, code=CODE)
        for _ in range(2):
            for _ in range(2):
                assert (await till.sale(card, 1, code="9999")).reason == Reason.WRONG_CODE
            assert (await till.sale(card, 100, code=CODE)).result == Result.APPROVED
        assert await shop.balance(card) == 4800

    async def test_a_locked_card_stays_locked_and_counts_no_further(self, shop: Shop) -> None:
        """After the third wrong code every code is answered 75, and the count of tries stands at three."""
        till, card = shop.till(), await active_card(shop, code=CODE)
        results = [(await till.sale(card, 1, code=code)).result for code in ("9999", "8888", "7777", "6666", CODE)]
        assert results == [Result.ACCESS_CODE, Result.ACCESS_CODE, Result.TRIES, Result.TRIES, Result.TRIES]
        assert await tries(shop) == [3]
        assert (await till.ask(Command.BALANCE, card=card)).result == Result.TRIES  # one that needs a code, without

    async def test_a_repeat_of_a_wrong_code_does_not_count(self, shop: Shop) -> None:
        """The same request with a wrong code, sealed anew each time, is one try and one answer."""
        till, card = shop.till(), await active_card(shop, code=CODE)
        request = await till.request(Command.SALE, card=card, amount=1, code="9999")
        first = await till.send(request)
        for code in ("9999", "8888", CODE):
            fields = {"date": request.date, "sequence": request.sequence, "time": request.time}
            again = await till.request(Command.SALE, card=card, amount=1, code=code, flags=Flag.REPEAT, **fields)
            assert await till.send(again) == first
        assert await till.send(request._replace(access_code_block=None, flags=Flag.REPEAT)) == first
        assert await tries(shop) == [1]

    async def test_an_unknown_card_is_answered_like_a_known_one(self, shop: Shop) -> None:
        """Wrong codes on an unknown card are counted by its token and lock it, answer for answer as a known one."""
        till, card = shop.till(), await active_card(shop, code=CODE)
        answers = {}
        for number in (card, UNKNOWN):
            several = [await till.sale(number, 1, code="9999") for _ in range(4)]
            answers[number] = [(a.result, a.reason, a.balance, a.valid_until, a.unit) for a in several]
        assert answers[card] == answers[UNKNOWN]
        assert await tries(shop) == [3, 3]

    async def test_a_missing_code_is_not_a_try(self, shop: Shop) -> None:
        """A request without the code that it needs, and such a repeat of nothing known, are 55 and count nothing."""
        till, card = shop.till(), await active_card(shop, code=CODE)
        for flags, reason in ((Flag(0), Reason.CODE_MISSING), (Flag.REPEAT, Reason.CODE_ON_REPEAT)):
            answer = await till.sale(card, 1, flags=flags)
            assert (answer.result, answer.reason) == (Result.ACCESS_CODE, reason)
        assert await tries(shop) == []
        assert await shop.query("select * from bad_cards") == []

    async def test_loads_need_no_code(self, shop: Shop) -> None:
        """Who brings value need not be the holder; a code that comes all the same is checked."""
        till, card = shop.till(), await new_card(shop, code=CODE)
        assert (await till.activate(card, 1000)).result == Result.APPROVED
        assert (await till.ask(Command.RELOAD, card=card, amount=500)).result == Result.APPROVED
        wrong = await till.ask(Command.RELOAD, card=card, amount=500, code="9999")
        assert wrong.reason == Reason.WRONG_CODE

    async def test_a_programme_says_whether_codes_are_asked_for(self, shop: Shop) -> None:
        """A programme without codes ignores one; an optional one asks only a card that has one."""
        none = await active_card(shop, access_code=AccessCode.NONE)
        bare = await active_card(shop)
        assert (await shop.till().sale(none, 1, code="9999")).result == Result.APPROVED
        assert (await shop.till().sale(bare, 1)).result == Result.APPROVED
        assert await tries(shop) == []

    async def test_a_refused_holder_learns_nothing(self, shop: Shop) -> None:
        """An answer to a wrong or missing code tells no balance, date or unit, in no field and not on its receipt."""
        till, card = shop.till(), await active_card(shop, 4321, code=CODE)
        for fields in ({"code": "9999"}, {}):
            answer = await till.ask(Command.BALANCE, card=card, **fields)
            assert (answer.balance, answer.available, answer.valid_until, answer.unit) == (0, 0, None, 0)
            assert b"43.21" not in answer.text

    @pytest.mark.parametrize("code", [None, "9999"])
    async def test_a_refused_holder_learns_nothing_by_undoing_or_reprinting(self, shop: Shop, code: str | None) -> None:
        """Reversing or reprinting a sale that was refused for its code is approved, and tells as little as the sale."""
        till, card = shop.till(1002), await active_card(shop, 5000, code=CODE)
        refused = await till.sale(card, 100, code=code)
        assert refused.result == Result.ACCESS_CODE
        for answer in (
            await till.reverse(name_of(refused), 100),
            await till.ask(Command.REPRINT, original=name_of(refused)),
        ):
            assert answer.result == Result.APPROVED
            assert (answer.balance, answer.available, answer.valid_until) == (0, 0, None)
            assert b"50.00" not in answer.text

    async def test_a_reprint_tells_what_was_printed_and_not_what_is_there_now(self, shop: Shop) -> None:
        """Who sold to a card once does not read its later balances by reprinting, for which no holder is needed."""
        till, card = shop.till(), await active_card(shop, 5000)
        sold = await till.sale(card, 1250)
        await till.sale(card, 150)
        copy = await till.ask(Command.REPRINT, original=name_of(sold))
        assert (copy.approved, copy.balance, copy.available) == (0, 0, 0)
        assert b"37.50" in copy.text

    async def test_the_budget_of_bad_cards(self, shop: Shop) -> None:
        """A module that has sent its number of bad cards gets 58 for every card that day; its reversals still work."""
        await shop.query("update modules set bad_cards_per_day = 3 where number = 1002")
        till, good = shop.till(1002), await active_card(shop, 5000, code=CODE)
        sold = await till.sale(good, 100, code=CODE)
        for card, fields in ((UNKNOWN, {}), (UNKNOWN, {"code": CODE}), (good, {"code": "9999"})):
            await till.sale(card, 1, **fields)
        assert (await till.sale(good, 100, code=CODE)).reason == Reason.BAD_CARDS_BUDGET
        assert (await shop.till().sale(good, 100, code=CODE)).result == Result.APPROVED
        assert (await till.reverse(name_of(sold), 100)).result == Result.APPROVED
        assert await shop.balance(good) == 4900
        [row] = await shop.query("select module, day, count from bad_cards")
        assert tuple(row) == (1002, await shop.today(), 3)
        await shop.query("update bad_cards set day = day - 1")
        assert (await till.sale(good, 100, code=CODE)).result == Result.APPROVED


async def tries(shop: Shop) -> list[int]:
    """The counts of wrong codes that are not zero."""
    return [row["failures"] for row in await shop.query("select failures from tries where failures > 0")]


class TestLoad:
    async def test_what_an_activation_makes(self, shop: Shop) -> None:
        """50.00 on a card for 36 months; by the answer and by the ledger, tender and value sum to zero."""
        card = await new_card(shop)
        answer = await shop.till().activate(card, 5000)
        day = await shop.today()
        assert (answer.approved, answer.balance, answer.available, answer.unit) == (5000, 5000, 5000, 978)
        assert answer.valid_until is not None
        assert (answer.valid_until.year, answer.valid_until.month) == (day.year + 3, day.month)
        assert await shop.balance(card) == 5000
        await shop.check_books()

    async def test_the_limits_themselves_are_allowed(self, shop: Shop) -> None:
        """5.00 and 500.00 can be loaded, and a card can hold 1,000.00 exactly."""
        till, card = shop.till(), await new_card(shop)
        for command, amount in ((Command.ACTIVATE, 500), (Command.RELOAD, 50_000), (Command.RELOAD, 49_500)):
            assert (await till.ask(command, card=card, amount=amount)).result == Result.APPROVED
        assert await shop.balance(card) == 100_000

    async def test_what_is_owed_leaves_room(self, shop: Shop) -> None:
        """A card may hold 50.00 and owes 20.00: 70.00 can be loaded, of which it holds 50.00, and no cent more."""
        till, card = shop.till(), await active_card(shop, 2000, balance_maximum_minor=5000)
        reload = await till.ask(Command.RELOAD, card=card, amount=2000)
        await till.sale(card, 4000)
        await till.reverse(name_of(reload), 2000)
        assert (await till.ask(Command.RELOAD, card=card, amount=7001)).reason == Reason.BALANCE_LIMIT
        assert (await till.ask(Command.RELOAD, card=card, amount=7000)).balance == 5000

    async def test_a_reversed_load_gives_its_place_back(self, shop: Shop) -> None:
        """Five loads a day, of which one is reversed: there is room for one more, and only one."""
        till, card = shop.till(), await active_card(shop, 500)
        loads = [await till.ask(Command.RELOAD, card=card, amount=500) for _ in range(4)]
        assert (await till.ask(Command.RELOAD, card=card, amount=500)).reason == Reason.LOADS_PER_DAY
        await till.reverse(name_of(loads[0]), 500)
        assert (await till.ask(Command.RELOAD, card=card, amount=500)).result == Result.APPROVED
        assert (await till.ask(Command.RELOAD, card=card, amount=500)).reason == Reason.LOADS_PER_DAY

    async def test_yesterdays_loads_do_not_count(self, shop: Shop) -> None:
        """A new day has all its loads, however many there were the day before."""
        till, card = shop.till(), await active_card(shop, 500)
        await shop.query("update cards set loads_on = loads_on - 1, loads_today = 5 where id = $1", shop.card_ids[card])
        loads = [(await till.ask(Command.RELOAD, card=card, amount=500)).result for _ in range(6)]
        assert loads == [Result.APPROVED] * 5 + [Result.COUNT_LIMIT]


class TestPartial:
    @pytest.mark.parametrize("disagree", [None, "flag", "programme", "module"])
    async def test_only_where_all_agree(self, shop: Shop, disagree: str | None) -> None:
        """30.00 of 50.00 are taken and 20.00 are due where flag, programme and module all allow it."""
        card = await active_card(shop, 3000, partial=disagree != "programme")
        await shop.query("update modules set partial = $1 where number = 1002", disagree != "module")
        flags = Flag(0) if disagree == "flag" else Flag.PARTIAL
        answer = await shop.till(1002).sale(card, 5000, flags=flags)
        if disagree is None:
            assert (answer.result, answer.approved, answer.still_due) == (Result.PARTLY, 3000, 2000)
            assert (answer.balance, await shop.balance(card)) == (0, 0)
        else:
            assert (answer.reason, answer.approved, answer.still_due) == (Reason.FUNDS, 0, 0)
            assert await shop.balance(card) == 3000

    async def test_the_whole_is_not_a_part(self, shop: Shop) -> None:
        """Where all is there, the flag changes nothing."""
        answer = await shop.till().sale(await active_card(shop, 3000), 3000, flags=Flag.PARTIAL)
        assert (answer.result, answer.approved, answer.still_due, answer.balance) == (Result.APPROVED, 3000, 0, 0)


class TestWindow:
    @pytest.mark.parametrize("zone", ["Europe/Riga", "Pacific/Kiritimati", "Etc/GMT+12"])
    async def test_the_edges_in_the_issuers_zone(self, shop: Shop, zone: str) -> None:
        """35 days back and 1 ahead are decided; 36 and 2 declined and recorded; 37 and 3 refused without a record.

        Kiritimati and the zone 12 hours west of Greenwich are 26 hours apart: their days always differ.
        """
        await shop.query("update issuer set zone = $1", zone)
        till, today, count = shop.till(), await shop.today(), await recorded(shop)
        for days, reason, is_recorded in (
            (-35, Reason.NOT_ACTIVE, True),
            (1, Reason.NOT_ACTIVE, True),
            (-36, Reason.OUTSIDE_WINDOW, True),
            (2, Reason.OUTSIDE_WINDOW, True),
            (-37, Reason.OUTSIDE_WINDOW, False),
            (3, Reason.OUTSIDE_WINDOW, False),
        ):
            before = await snapshot(shop)
            answer = await till.sale(BARE, 100, date=today + dt.timedelta(days=days))
            assert answer.reason == reason, days
            assert (answer.authorization != "") == is_recorded
            assert (await snapshot(shop) != before) == is_recorded
            count += is_recorded
            assert await recorded(shop) == count


class TestReversal:
    async def test_a_sale(self, shop: Shop) -> None:
        """A reversed sale is back whole; the answer tells the amount and the balance, the books hold."""
        till, card = shop.till(), await active_card(shop, 5000)
        sold = await till.sale(card, 1250)
        back = await till.reverse(name_of(sold), 1250)
        assert (back.result, back.reason, back.approved, back.balance) == (Result.APPROVED, Reason.NONE, 1250, 5000)
        assert sold.authorization.encode() in back.text
        assert await shop.balance(card) == 5000
        await shop.check_books()

    async def test_twice_from_two_names(self, shop: Shop) -> None:
        """The second reversal is approved with the same amount and moves nothing."""
        till, card = shop.till(), await active_card(shop, 5000)
        sold = await till.sale(card, 1250)
        answers = [await till.reverse(name_of(sold), 1250) for _ in range(2)]
        assert [(a.result, a.reason, a.approved) for a in answers] == [(0, 0, 1250), (0, Reason.AGAIN, 1250)]
        assert [a.text.count(b"12.50 EUR") for a in answers] == [2, 1]  # nobody pays out by the second receipt
        assert await shop.balance(card) == 5000

    async def test_a_partial_sale(self, shop: Shop) -> None:
        """It is undone by the amount that was asked for, and gives back what was taken."""
        till, card = shop.till(), await active_card(shop, 3000)
        sold = await till.sale(card, 5000, flags=Flag.PARTIAL)
        assert (await till.reverse(name_of(sold), 3000)).reason == Reason.ORIGINAL_AMOUNT_DIFFERS
        back = await till.reverse(name_of(sold), 5000)
        assert (back.result, back.approved, await shop.balance(card)) == (Result.APPROVED, 3000, 3000)

    async def test_a_spent_reload_is_owed_and_settled_by_the_next(self, shop: Shop) -> None:
        """50 and 30 loaded, 60 spent, the 30 reversed: 20 taken, 10 owed. 25 loaded: 10 settle, 15 to spend."""
        till, card = shop.till(), await active_card(shop, 5000)
        loaded = await till.ask(Command.RELOAD, card=card, amount=3000)
        await till.sale(card, 6000)
        back = await till.reverse(name_of(loaded), 3000)
        assert (back.result, back.approved, back.balance, back.available) == (Result.APPROVED, 3000, 0, 0)
        assert b"10.00" in back.text
        assert (await shop.balance(card), await shop.owed(card)) == (0, -1000)
        assert (await till.sale(card, 1)).reason == Reason.FUNDS
        loaded = await till.ask(Command.RELOAD, card=card, amount=2500)
        assert (loaded.approved, loaded.balance) == (2500, 1500)
        assert (await shop.balance(card), await shop.owed(card)) == (1500, 0)
        await shop.check_books()

    async def test_an_activation(self, shop: Shop) -> None:
        """The card is as before it was sold: it can be sold again, and not be spent from."""
        till, card = shop.till(), await new_card(shop)
        sold = await till.activate(card, 5000)
        back = await till.reverse(name_of(sold), 5000)
        assert (back.result, back.balance, back.valid_until) == (Result.APPROVED, 0, None)
        assert (await till.sale(card, 1)).reason == Reason.NOT_ACTIVE
        assert (await till.activate(card, 1000)).balance == 1000

    @pytest.mark.parametrize("state", [State.BLOCKED, State.EXPIRED, State.CLOSED, State.REPLACED])
    async def test_whatever_became_of_the_card(self, shop: Shop, state: State) -> None:
        """A sale is undone on a card that was blocked, expired, closed or replaced since, also by its locked number."""
        till, card = shop.till(), await active_card(shop, 5000, code=CODE)
        sold = await till.sale(card, 1250, code=CODE)
        for _ in range(3):
            await till.sale(card, 1, code="9999")
        await bring_into(shop, card, state)
        before = await shop.query("select status, valid_until from cards where id = $1", shop.card_ids[card])
        assert (await till.reverse(name_of(sold), 1250, card=card)).result == Result.APPROVED
        assert await shop.balance(card) == 5000
        assert await shop.query("select status, valid_until from cards where id = $1", shop.card_ids[card]) == before

    async def test_the_card_is_the_originals(self, shop: Shop) -> None:
        """Another card's number in a reversal changes nothing: the original's card gets the value back."""
        till, card, other = shop.till(), await active_card(shop, 5000), await active_card(shop, 700)
        sold = await till.sale(card, 1250)
        assert (await till.reverse(name_of(sold), 1250, card=other)).balance == 5000
        assert (await shop.balance(card), await shop.balance(other)) == (5000, 700)

    async def test_a_desk_by_number(self, shop: Shop) -> None:
        """A desk undoes any till's sale by its number, without an amount or with the original's and no other."""
        desk, card = shop.till(DESK), await active_card(shop, 5000)
        for amount in (0, 1250):
            sold = await shop.till(2001).sale(card, 1250)
            assert (await desk.reverse(sold.authorization, 1)).reason == Reason.ORIGINAL_AMOUNT_DIFFERS
            assert (await desk.reverse(sold.authorization, amount, reason=GivenReason.HOLDER)).balance == 5000
        sold = await shop.till(2001).sale(card, 1250)
        assert (await shop.till(2001).reverse(sold.authorization, 1250)).balance == 5000  # its own, by number

    async def test_before_its_original(self, shop: Shop) -> None:
        """The late original is declined, in the same bytes for all copies, repeats with and without code."""
        till, card = shop.till(), await active_card(shop, 5000, code=CODE)
        late = await till.request(Command.SALE, card=card, amount=1250, code=CODE)
        original = OriginalName(late.date, late.sequence)
        first = await till.reverse(original, 1250)
        assert (first.result, first.reason, first.approved) == (Result.APPROVED, Reason.TOMBSTONE, 0)
        copies = {await till.send(late), await till.send(late._replace(flags=late.flags | Flag.REPEAT))}
        copies.add(await till.send(late._replace(flags=Flag.REPEAT, access_code_block=None)))
        [answer] = [Response.decode(copy) for copy in copies]
        assert (answer.result, answer.reason) == (Result.INVALID, Reason.REVERSED_BEFORE_ARRIVAL)
        assert answer.authorization not in ("", first.authorization)
        again = await till.reverse(original, 1250)
        assert (again.result, again.reason) == (Result.APPROVED, Reason.TOMBSTONE)
        assert copies == {await till.send(late)}
        assert await shop.balance(card) == 5000

    async def test_an_unknown_number_leaves_no_tombstone(self, shop: Shop) -> None:
        """A reversal by a number that nobody knows is 25, and its own record is the only one."""
        count = await recorded(shop)
        assert (await shop.till().reverse("323000000014", 1250)).result == Result.ORIGINAL
        assert await recorded(shop) == count + 1


class TestRefund:
    async def test_up_to_the_whole_in_steps(self, shop: Shop) -> None:
        """12.50 are refunded as 5.00, 7.00 and 0.50, at another branch and by number too, and then nothing more."""
        till, card = shop.till(), await active_card(shop, 5000)
        sold = await till.sale(card, 1250)
        steps = [(till, name_of(sold), 500), (shop.till(2001), sold.authorization, 700), (till, name_of(sold), 50)]
        balances = [
            (await each.ask(Command.REFUND, original=original, amount=amount)).balance
            for each, original, amount in steps
        ]
        assert balances == [4250, 4950, 5000]
        more = await till.ask(Command.REFUND, original=name_of(sold), amount=1)
        assert more.reason == Reason.REFUND_ABOVE_ORIGINAL
        await shop.check_books()

    async def test_a_reversed_refund_can_be_given_again(self, shop: Shop) -> None:
        """A refund of the whole, reversed, leaves the whole to refund, or the sale to reverse."""
        till, card = shop.till(), await active_card(shop, 5000)
        sold = await till.sale(card, 1250)
        for _ in range(2):
            refund = await till.ask(Command.REFUND, original=name_of(sold), amount=1250)
            assert refund.balance == 5000
            assert (await till.reverse(name_of(sold), 1250)).reason == Reason.REFUNDED
            assert (await till.reverse(name_of(refund), 1250)).balance == 3750
            assert (await till.reverse(name_of(refund), 1250)).reason == Reason.AGAIN
        assert (await till.reverse(name_of(sold), 1250)).balance == 5000
        await shop.check_books()

    async def test_a_spent_refund_that_is_reversed_is_owed(self, shop: Shop) -> None:
        """10.00 refunded, all 50.00 spent, the refund reversed: 10.00 are owed; the next refund settles that first."""
        till, card = shop.till(), await active_card(shop, 5000)
        first = await till.sale(card, 1000)
        refund = await till.ask(Command.REFUND, original=name_of(first), amount=1000)
        second = await till.sale(card, 5000)
        await till.reverse(name_of(refund), 1000)
        assert (await shop.balance(card), await shop.owed(card)) == (0, -1000)
        assert (await till.ask(Command.REFUND, original=name_of(second), amount=1500)).balance == 500
        assert (await shop.balance(card), await shop.owed(card)) == (500, 0)
        await shop.check_books()

    async def test_of_a_partial_sale(self, shop: Shop) -> None:
        """What was taken can come back, not what was asked for."""
        till, card = shop.till(), await active_card(shop, 3000)
        sold = await till.sale(card, 5000, flags=Flag.PARTIAL)
        assert (await till.ask(Command.REFUND, original=name_of(sold), amount=3001)).result == Result.INVALID
        assert (await till.ask(Command.REFUND, original=name_of(sold), amount=3000)).balance == 3000


class TestReprint:
    async def test_it_is_the_receipt_with_a_copy_mark(self, shop: Shop) -> None:
        """Each line of the printed receipt is on the copy, under a mark; the ledger does not move."""
        till, card = shop.till(), await active_card(shop, 5000)
        sold = await till.sale(card, 1250, till_receipt="R-17")
        before = await snapshot(shop, *A_DECLINE_LEAVES)
        copy = await till.ask(Command.REPRINT, original=name_of(sold))
        assert (copy.result, copy.approved) == (Result.APPROVED, 0)
        assert copy.text != sold.text
        assert set(sold.text.splitlines()) < set(copy.text.splitlines())
        assert b"COPY" in copy.text.upper()
        assert await snapshot(shop, *A_DECLINE_LEAVES) == before
        assert (await shop.till(DESK).ask(Command.REPRINT, original=sold.authorization)).text == copy.text

    async def test_of_a_decline_and_of_a_tombstone(self, shop: Shop) -> None:
        """A decline had a receipt, so it has a copy; a tombstone had none."""
        till = shop.till()
        declined = await till.sale(UNKNOWN, 100)
        assert (await till.ask(Command.REPRINT, original=name_of(declined))).result == Result.APPROVED
        original = OriginalName(await shop.today(), 950_000)
        await till.reverse(original, 100)
        assert (await till.ask(Command.REPRINT, original=original)).reason == Reason.ORIGINAL_UNKNOWN


class TestNames:
    async def test_a_repeat_is_the_recorded_answer(self, shop: Shop) -> None:
        """An approval's repeat is the same 1,400 bytes and moves nothing, whatever happened since."""
        till, card = shop.till(), await active_card(shop, 5000)
        request = await till.request(Command.SALE, card=card, amount=1250)
        first = await till.send(request)
        assert len(first) == 1400
        await till.sale(card, 3750)
        await bring_into(shop, card, State.CLOSED)
        await shop.query("update modules set columns = 48, name = 'renamed' where number = 1001")
        before = await snapshot(shop)
        assert await till.send(request) == first == await till.send(request._replace(flags=Flag.REPEAT))
        assert await snapshot(shop) == before

    @pytest.mark.parametrize(
        "other",
        [
            {"amount": 1251}, {"card": OTHER}, {"cashier": 7}, {"till_receipt": "R-18"}, {"flags": Flag.PARTIAL},
            {"command": Command.RELOAD}, {"time": dt.time(12, 0, 1)},
        ],
    )  # fmt: skip
    async def test_other_content_under_a_name_is_94(self, shop: Shop, other: dict[str, Any]) -> None:
        """Any other field under a recorded name is 94, leaves no record and changes no row; the first answer stands."""
        till, card = shop.till(), await active_card(shop, 5000)
        request = await till.request(Command.SALE, card=card, amount=1250)
        first, before = await till.send(request), await snapshot(shop)
        answer = Response.decode(await till.send(request._replace(**other)))
        assert (answer.result, answer.reason) == (Result.DUPLICATE, Reason.OTHER_CONTENT)
        assert (answer.authorization, answer.balance, answer.approved) == ("", 0, 0)
        assert await snapshot(shop) == before
        assert await till.send(request) == first

    async def test_names_are_each_modules_own(self, shop: Shop) -> None:
        """The same date and sequence at two modules, and one sequence on two dates, are different names."""
        card, today = await active_card(shop, 5000), await shop.today()
        for module in TILLS:
            for date in (today, today - dt.timedelta(days=1)):
                assert (await shop.till(module).sale(card, 100, sequence=500, date=date)).result == Result.APPROVED
        assert await shop.balance(card) == 4400


class TestSpending:
    async def test_what_counts_for_the_day(self, shop: Shop) -> None:
        """Sales, confirmed and open holds; what was reversed, released or bought yesterday does not; a refund does."""
        till, card = shop.till(), await active_card(shop, 50_000, spend_per_day_minor=1000, loads_per_day=9)
        sold = await till.sale(card, 400)
        held = await till.ask(Command.HOLD, card=card, amount=600)
        assert (await till.sale(card, 1)).reason == Reason.SPEND_PER_DAY
        await till.ask(Command.CONFIRM, original=name_of(held), amount=500)
        assert (await till.sale(card, 101)).reason == Reason.SPEND_PER_DAY
        await till.ask(Command.REFUND, original=name_of(sold), amount=100)
        assert (await till.sale(card, 101)).reason == Reason.SPEND_PER_DAY
        other = await till.sale(card, 100)
        await till.reverse(name_of(other), 100)
        assert (await till.sale(card, 100)).result == Result.APPROVED
        await shop.query("alter table authorizations disable trigger append_only")
        await shop.query(
            "update authorizations set decided_at = decided_at - interval '1 day' where card = $1", shop.card_ids[card]
        )
        await shop.query("alter table authorizations enable trigger append_only")
        assert (await till.sale(card, 1000)).result == Result.APPROVED

    async def test_an_open_hold_is_one_of_the_day(self, shop: Shop) -> None:
        """Two a day, one of them held; given up, its place is free again."""
        till, card = shop.till(), await active_card(shop, 5000, sales_per_day=2)
        held = await till.ask(Command.HOLD, card=card, amount=100)
        assert (await till.sale(card, 100)).result == Result.APPROVED
        assert (await till.sale(card, 100)).reason == Reason.SALES_PER_DAY
        await till.ask(Command.RELEASE, original=name_of(held))
        assert (await till.sale(card, 100)).result == Result.APPROVED

    async def test_in_one_batch(self, shop: Shop) -> None:
        """Sale, sale that is one too many, reversal of the first, sale: as one by one."""
        till, card = shop.till(), await active_card(shop, 5000, sales_per_day=1)
        first = await till.request(Command.SALE, card=card, amount=100)
        requests = [
            first,
            await till.request(Command.SALE, card=card, amount=100),
            await till.request(Command.REVERSE, original=OriginalName(first.date, first.sequence), amount=100),
            await till.request(Command.SALE, card=card, amount=100),
        ]
        answers = await at_once(shop, [till.opened(request) for request in requests])
        assert [Response.decode(answer or b"").reason for answer in answers] == [0, Reason.SALES_PER_DAY, 0, 0]

    async def test_what_was_decided_before_midnight_and_booked_behind_it(self, shop: Shop) -> None:
        """Its day is that of the decision, so that undoing it today gives nothing back of today."""
        till, card = shop.till(), await active_card(shop, 5000, sales_per_day=1)
        sold = await till.sale(card, 100)
        await shop.query("alter table authorizations disable trigger append_only")
        await shop.query(
            "update authorizations set decided_at = decided_at - interval '1 day' where card = $1", shop.card_ids[card]
        )
        await shop.query("alter table authorizations enable trigger append_only")
        requests = [
            await till.request(Command.REVERSE, original=name_of(sold), amount=100),
            *[await till.request(Command.SALE, card=card, amount=100) for _ in range(2)],
        ]
        answers = await at_once(shop, [till.opened(request) for request in requests])
        assert [Response.decode(answer or b"").reason for answer in answers] == [0, 0, Reason.SALES_PER_DAY]

    async def test_a_limit_that_comes_into_force_meanwhile(self, shop: Shop) -> None:
        """Rules renewed between taking a batch and deciding it: nothing is decided by them on what was read before."""
        till, card = shop.till(), await active_card(shop, 5000, sales_per_day=9)
        await till.sale(card, 100)
        await shop.query(
            "update programme_versions set document = document - 'sales_per_day' "
            "where programme = (select programme from cards where id = $1)",
            shop.card_ids[card],
        )
        await shop.rules.load(shop.door)
        door, changed = shop.door, False

        class Renewing:
            async def run(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
                nonlocal changed
                if not changed:
                    changed = True
                    await shop.query(
                        """update programme_versions set document = document || '{"sales_per_day": 1}'
                            where programme = (select programme from cards where id = $1)""",
                        shop.card_ids[card],
                    )
                    await shop.rules.load(door)
                return await door.run(work)

        through(shop, Renewing())
        assert (await till.sale(card, 100)).reason == Reason.SALES_PER_DAY
