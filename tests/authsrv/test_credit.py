"""Local credit, seen from a till: limit, debt, payments to the oldest charge, due dates."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from back_office import credit_card, new_card
from faulty_door import at_once
from shop import DESK, name_of

from loyalty.programme import DueFrom, Kind
from protocol.messages import Response
from protocol.numbers import Command, GivenReason, Reason, Result

if TYPE_CHECKING:
    from shop import Shop

A_DAY = dt.timedelta(days=1)
FROM_PURCHASE: dict[str, Any] = {"due_from": DueFrom.PURCHASE, "due_days": 14}


async def pay(shop: Shop, card: str, amount: int) -> Response:
    return await shop.till().ask(Command.PAYMENT, card=card, amount=amount)


async def limit(shop: Shop, card: str, minor: int) -> Response:
    return await shop.till(DESK).ask(Command.LIMIT, card=card, limit=minor)


async def bought_ago(shop: Shop, card: str, days: int, amount: int) -> Response:
    """Goods that were bought so many days ago."""
    sold = await shop.till().sale(card, amount)
    assert sold.result == Result.APPROVED, sold
    await shop.query("alter table charges disable trigger append_only")
    await shop.query(
        "update charges set due_on = due_on - $2::integer where card = $1 and sequence = $3",
        shop.card_ids[card], days, sold.sequence,
    )  # fmt: skip
    await shop.query("alter table charges enable trigger append_only")
    return sold


async def due(shop: Shop, card: str) -> str:
    """What the receipt says of the day of payment; "" where it says nothing."""
    text = (await shop.till().ask(Command.BALANCE, card=card)).text.decode("ascii")
    return next((line.removeprefix("To be paid by").strip() for line in text.splitlines() if "paid by" in line), "")


def written(day: dt.date) -> str:
    return f"{day:%-d %b %Y}"


class TestLimit:
    async def test_goods_up_to_the_limit(self, shop: Shop) -> None:
        """200.00 may be owed and no more; the balance is minus the debt, available what is left of the limit."""
        till, card = shop.till(), await credit_card(shop)
        bought = await till.sale(card, 15_000)
        assert (bought.result, bought.balance, bought.available) == (Result.APPROVED, -15_000, 5000)
        assert (await till.sale(card, 5001)).reason == Reason.FUNDS
        assert (await till.sale(card, 5000)).available == 0
        await shop.check_books()

    async def test_a_hold_counts_against_it(self, shop: Shop) -> None:
        """Available is the limit less the debt and what is held."""
        till, card = shop.till(), await credit_card(shop)
        await till.sale(card, 5000)
        held = await till.ask(Command.HOLD, card=card, amount=10_000)
        assert (held.balance, held.available) == (-5000, 5000)
        assert (await till.sale(card, 5001)).reason == Reason.HELD
        taken = await till.ask(Command.CONFIRM, original=name_of(held), amount=8000)
        assert (taken.balance, taken.available) == (-13_000, 7000)
        await shop.check_books()

    async def test_a_limit_cut_below_the_debt(self, shop: Shop) -> None:
        """Nothing can be bought, nothing is owed besides the debt, and a payment from below the floor is taken."""
        till, card = shop.till(), await credit_card(shop)
        await till.sale(card, 15_000)
        cut = await limit(shop, card, 10_000)
        assert (cut.result, cut.balance, cut.available) == (Result.APPROVED, -15_000, 0)
        assert (await till.sale(card, 1)).reason == Reason.FUNDS
        assert (await pay(shop, card, 3000)).available == 0
        paid = await pay(shop, card, 3000)
        assert (paid.balance, paid.available, await shop.owed(card)) == (-9000, 1000, 0)
        await shop.check_books()

    async def test_a_release_that_would_not_help_is_not_advised(self, shop: Shop) -> None:
        """The limit was cut below the debt: with no hold there would be nothing either."""
        till, card = shop.till(), await credit_card(shop)
        await till.sale(card, 8000)
        await till.ask(Command.HOLD, card=card, amount=3000)
        await limit(shop, card, 8500)
        assert (await till.sale(card, 500)).reason == Reason.HELD
        assert (await till.sale(card, 501)).reason == Reason.FUNDS

    async def test_what_was_held_before_the_cut_is_confirmed(self, shop: Shop) -> None:
        """The goods were handed over against it; what is available does not fall by it."""
        till, card = shop.till(), await credit_card(shop)
        held = await till.ask(Command.HOLD, card=card, amount=12_000)
        await limit(shop, card, 0)
        taken = await till.ask(Command.CONFIRM, original=name_of(held), amount=12_000)
        assert (taken.result, taken.balance, taken.available) == (Result.APPROVED, -12_000, 0)
        await shop.check_books()

    async def test_in_one_batch_each_sees_the_limit_of_its_place(self, shop: Shop) -> None:
        """Handed out, bought on, cut to nothing, refused: the sale before the cut stands."""
        till, desk, card = shop.till(), shop.till(DESK), await new_card(shop, kind=Kind.CREDIT)
        asks = [
            till.opened(await till.request(Command.ACTIVATE, card=card)),
            till.opened(await till.request(Command.SALE, card=card, amount=15_000)),
            desk.opened(await desk.request(Command.LIMIT, card=card, limit=0)),
            till.opened(await till.request(Command.SALE, card=card, amount=1)),
        ]
        answers = [Response.decode(answer or b"") for answer in await at_once(shop, asks)]
        assert [each.reason for each in answers] == [0, 0, 0, Reason.FUNDS]
        [row] = await shop.query("select balance, floor from accounts where card = $1", shop.card_ids[card])
        assert tuple(row) == (-15_000, 0)
        await shop.check_books()

    async def test_who_sets_it_and_how_high(self, shop: Shop) -> None:
        """A desk, up to the programme's highest; no till, by no amount."""
        card = await credit_card(shop)
        assert (await limit(shop, card, 200_001)).reason == Reason.CREDIT_LIMIT
        assert (await limit(shop, card, 200_000)).available == 200_000
        assert (await shop.till().ask(Command.LIMIT, card=card, limit=1)).reason == Reason.COMMAND
        fresh = await new_card(shop, kind=Kind.CREDIT)
        assert (await shop.till().activate(fresh, 200_000)).reason == Reason.AMOUNT_FIXED

    async def test_limit_0_means_none(self, shop: Shop) -> None:
        """A card that was handed out without a limit buys nothing until it has one."""
        card = await credit_card(shop, limit_minor=0)
        assert (await shop.till().sale(card, 1)).reason == Reason.FUNDS
        await limit(shop, card, 100)
        assert (await shop.till().sale(card, 100)).result == Result.APPROVED

    async def test_it_may_be_cut_below_what_is_held(self, shop: Shop) -> None:
        """Nothing was bought yet: what is held can be confirmed, and there is no more to be had."""
        till, card = shop.till(), await credit_card(shop)
        held = await till.ask(Command.HOLD, card=card, amount=5000)
        assert (await limit(shop, card, 600)).available == 0
        await shop.check_books()
        assert (await till.sale(card, 1)).reason == Reason.HELD
        confirmed = await till.ask(Command.CONFIRM, amount=5000, original=name_of(held))
        assert (confirmed.result, confirmed.balance) == (Result.APPROVED, -5000)
        await shop.check_books()

    async def test_a_card_handed_out_by_mistake(self, shop: Shop) -> None:
        """It is taken back as long as nothing was bought on it; its limit is gone."""
        till, card = shop.till(), await new_card(shop, kind=Kind.CREDIT)
        opened = await till.activate(card, 0)
        bought = await till.sale(card, 100)
        assert (await till.reverse(name_of(opened), 0)).reason == Reason.OWES
        await till.reverse(name_of(bought), 100)
        assert (await till.reverse(name_of(opened), 0)).result == Result.APPROVED
        assert (await till.sale(card, 100)).reason == Reason.NOT_ACTIVE
        [row] = await shop.query("select floor from accounts where card = $1", shop.card_ids[card])
        assert row["floor"] == 0


class TestPayment:
    async def test_what_is_over_stands_to_its_credit(self, shop: Shop) -> None:
        """30.00 owed, 50.00 paid: 20.00 are there besides the limit."""
        till, card = shop.till(), await credit_card(shop)
        await till.sale(card, 3000)
        paid = await pay(shop, card, 5000)
        assert (paid.result, paid.approved, paid.balance, paid.available) == (Result.APPROVED, 5000, 2000, 22_000)
        assert (await pay(shop, card, 0)).reason == Reason.AMOUNT_ZERO
        await shop.check_books()

    async def test_on_a_blocked_card(self, shop: Shop) -> None:
        """A suspended holder may pay, not buy."""
        till, card = shop.till(), await credit_card(shop)
        await till.sale(card, 3000)
        await till.ask(Command.BLOCK, card=card, reason=GivenReason.SUSPICION)
        assert (await till.sale(card, 1)).reason == Reason.BLOCKED
        assert (await pay(shop, card, 3000)).balance == 0

    async def test_who_owes_is_not_given_more(self, shop: Shop) -> None:
        """What is owed besides the debt counts against the limit, and is due: 300.00 owed, a limit of 250.00."""
        till, card = shop.till(), await credit_card(shop, overdue_block_days=0)
        await till.sale(card, 20_000)
        paid = await pay(shop, card, 5000)
        await till.sale(card, 5000)
        await till.reverse(name_of(paid), 5000)
        raised = await limit(shop, card, 25_000)
        assert (raised.balance, raised.available, await shop.owed(card)) == (-20_000, 0, -5000)
        assert (await till.sale(card, 1)).reason == Reason.FUNDS
        assert await due(shop, card) != ""
        await pay(shop, card, 5001)
        assert (await till.sale(card, 1)).result == Result.APPROVED
        await shop.check_books()

    async def test_a_payment_that_is_undone(self, shop: Shop) -> None:
        """The debt is there again; what the limit has no room for is owed, and the next payment settles that first."""
        till, card = shop.till(), await credit_card(shop)
        await till.sale(card, 20_000)
        paid = await pay(shop, card, 5000)
        await till.sale(card, 4000)
        back = await till.reverse(name_of(paid), 5000)
        assert (back.result, back.balance, back.available) == (Result.APPROVED, -20_000, 0)
        assert await shop.owed(card) == -4000
        assert (await pay(shop, card, 5000)).balance == -19_000
        assert await shop.owed(card) == 0
        await shop.check_books()

    async def test_goods_brought_back_lower_the_debt(self, shop: Shop) -> None:
        """A refund is a payment by goods."""
        till, card = shop.till(), await credit_card(shop)
        bought = await till.sale(card, 3000)
        assert (await till.ask(Command.REFUND, original=name_of(bought), amount=1000)).balance == -2000

    async def test_cash_out_of_what_was_paid_too_much(self, shop: Shop) -> None:
        """Not while the card owes; then what is over is paid out and the card closed."""
        till, card = shop.till(), await credit_card(shop)
        await till.sale(card, 3000)
        assert (await till.ask(Command.CASH_OUT, card=card)).reason == Reason.OWES
        await pay(shop, card, 3500)
        closed = await till.ask(Command.CASH_OUT, card=card)
        assert (closed.approved, closed.balance, closed.available, closed.valid_until) == (500, 0, 0, None)
        assert [word for word in (b"Limit", b"Available", b"Valid until") if word in closed.text] == []
        assert (await till.sale(card, 1)).reason == Reason.CLOSED
        await shop.check_books()

    async def test_on_a_closed_card_that_owes(self, shop: Shop) -> None:
        """A payment bounced after the rest was paid out: what is owed can be paid, no more, and once."""
        till, card = shop.till(), await credit_card(shop)
        paid = await pay(shop, card, 5000)
        await till.ask(Command.CASH_OUT, card=card)
        await till.reverse(name_of(paid), 5000)
        assert (await pay(shop, card, 5001)).reason == Reason.BALANCE_LIMIT
        assert (await pay(shop, card, 5000)).result == Result.APPROVED
        assert (await pay(shop, card, 1)).reason == Reason.CLOSED
        await shop.check_books()


class TestDueDates:
    async def test_a_purchase_is_due_after_its_days(self, shop: Shop) -> None:
        """14 days from today; nothing is due where nothing is owed."""
        till, card = shop.till(), await credit_card(shop, **FROM_PURCHASE)
        assert await due(shop, card) == ""
        await till.sale(card, 1000)
        assert await due(shop, card) == written(await shop.today() + 14 * A_DAY)
        await pay(shop, card, 1000)
        assert await due(shop, card) == ""

    async def test_a_payment_settles_the_oldest(self, shop: Shop) -> None:
        """10.00 of ten days ago and 5.00 of today: 9.99 do not move the date, 10.00 do; undone, it is back."""
        till, card, today = shop.till(), await credit_card(shop, **FROM_PURCHASE), await shop.today()
        await bought_ago(shop, card, 10, 1000)
        await till.sale(card, 500)
        await pay(shop, card, 999)
        assert await due(shop, card) == written(today + 4 * A_DAY)
        last = await pay(shop, card, 1)
        assert await due(shop, card) == written(today + 14 * A_DAY)
        await till.reverse(name_of(last), 1)
        assert await due(shop, card) == written(today + 4 * A_DAY)

    async def test_goods_brought_back_are_their_own_charge(self, shop: Shop) -> None:
        """Returning what was bought today does not pay what was bought ten days ago."""
        till, card, today = shop.till(), await credit_card(shop, **FROM_PURCHASE), await shop.today()
        old = await bought_ago(shop, card, 10, 1000)
        new = await till.sale(card, 500)
        back = await till.ask(Command.REFUND, original=name_of(new), amount=500)
        assert await due(shop, card) == written(today + 4 * A_DAY)
        await till.reverse(name_of(back), 500)
        await till.reverse(name_of(old), 1000)
        assert await due(shop, card) == written(today + 14 * A_DAY)

    async def test_overdue_blocks_purchases(self, shop: Shop) -> None:
        """On the last day of grace all is well, the day after nothing is sold on credit; a payment opens it again."""
        till, card = shop.till(), await credit_card(shop, **FROM_PURCHASE, overdue_block_days=30)
        await bought_ago(shop, card, 14 + 30, 1000)
        assert (await till.sale(card, 1)).result == Result.APPROVED
        await bought_ago(shop, card, 14 + 31, 500)
        refused = await till.sale(card, 1)
        assert (refused.result, refused.reason) == (Result.RESTRICTED, Reason.OVERDUE)
        assert (await till.ask(Command.HOLD, card=card, amount=1)).reason == Reason.OVERDUE
        await pay(shop, card, 1501)
        assert (await till.sale(card, 1)).result == Result.APPROVED

    async def test_charges_are_known_where_no_limit_was(self, shop: Shop) -> None:
        """Paid, the limit 0: in one batch it is raised and the payment undone, and what was bought is overdue again."""
        till, desk, card = shop.till(), shop.till(DESK), await credit_card(shop, **FROM_PURCHASE, overdue_block_days=0)
        await bought_ago(shop, card, 15, 1000)
        paid = await pay(shop, card, 1000)
        await limit(shop, card, 0)
        asks = [
            desk.opened(await desk.request(Command.LIMIT, card=card, limit=20_000)),
            till.opened(await till.request(Command.REVERSE, original=name_of(paid), amount=1000)),
            till.opened(await till.request(Command.SALE, card=card, amount=1)),
        ]
        answers = [Response.decode(answer or b"") for answer in await at_once(shop, asks)]
        assert [each.reason for each in answers] == [0, 0, Reason.OVERDUE]

    async def test_in_one_batch_with_its_payment(self, shop: Shop) -> None:
        """Refused, paid, sold, the payment undone, refused: each in its place, though older charges must be known."""
        till, card = shop.till(), await credit_card(shop, **FROM_PURCHASE, overdue_block_days=0)
        await bought_ago(shop, card, 15, 1000)
        paid = await pay(shop, card, 1000)
        requests = [
            await till.request(Command.SALE, card=card, amount=1),
            await till.request(Command.REVERSE, original=name_of(paid), amount=1000),
            await till.request(Command.SALE, card=card, amount=1),
            await till.request(Command.PAYMENT, card=card, amount=1000),
            await till.request(Command.SALE, card=card, amount=1),
        ]
        answers = await at_once(shop, [till.opened(request) for request in requests])
        assert [Response.decode(answer or b"").reason for answer in answers] == [0, 0, Reason.OVERDUE, 0, 0]
        await shop.check_books()
