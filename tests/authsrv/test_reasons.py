"""Each reason that the switch gives, by the scenes that end with it: one request a batch, through the real ledger."""

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
from shop import BARE, CODE, DESK, TILLS, UNKNOWN, name_of

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
    Reason.OTHER_CONTENT: "leaves no record: test_decide",
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
