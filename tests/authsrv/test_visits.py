"""Passes, seen from a till: visits taken off, the same visit again, a pass that begins, stands still, ends."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from back_office import new_card, new_pass
from faulty_door import at_once
from shop import DESK, name_of

from ledger.shell import store
from loyalty.programme import Begins, Kind
from protocol.messages import Freeze, Response
from protocol.numbers import VISIT, Command, Reason, Result

if TYPE_CHECKING:
    from shop import Shop

A_DAY = dt.timedelta(days=1)
EACH_COUNTS: dict[str, Any] = {"same_visit_minutes": 0, "visits_per_day": None}


async def enter(shop: Shop, card: str, visits: int = 0) -> Response:
    return await shop.till().ask(Command.VISIT, card=card, amount=visits)


async def end(shop: Shop, card: str, last_day: dt.date) -> None:
    """Let a pass have had this last day."""
    card_id = shop.card_ids[card]
    await shop.query("update cards set valid_until = $2 where id = $1", card_id, last_day)
    await shop.query("update passes set lapses_on = $2 where card = $1", card_id, last_day + A_DAY)


async def last_day(shop: Shop, card: str) -> dt.date | None:
    [row] = await shop.query("select valid_until from cards where id = $1", shop.card_ids[card])
    day: dt.date | None = row["valid_until"]
    return day


class TestVisits:
    async def test_the_eleventh_is_refused(self, shop: Shop) -> None:
        """Ten visits on a pass of ten, and no more; the answer counts them down, in visits."""
        card = await new_pass(shop, **EACH_COUNTS)
        left = [await enter(shop, card) for _ in range(10)]
        assert [(each.result, each.approved, each.visits_left, each.unit) for each in left] == [
            (0, 1, visits, VISIT) for visits in range(9, -1, -1)
        ]
        refused = await enter(shop, card)
        assert (refused.result, refused.reason, refused.visits_left) == (Result.FUNDS, Reason.VISITS_USED, 0)
        await shop.check_books()

    async def test_more_persons_are_another_visit(self, shop: Shop) -> None:
        """One has entered: who comes back is on the same visit, five are not; three entered: any two of them are."""
        one, three = await new_pass(shop, visits_per_day=None), await new_pass(shop, visits_per_day=None)
        await enter(shop, one)
        again = await enter(shop, one, 5)
        assert (again.reason, again.approved, again.visits_left) == (Reason.NONE, 5, 4)
        await enter(shop, three, 3)
        assert (await enter(shop, three, 2)).reason == Reason.SAME_VISIT

    async def test_several_persons_on_one_pass(self, shop: Shop) -> None:
        """Three at once take three off; more than are left are refused, and nothing is taken."""
        card = await new_pass(shop, **EACH_COUNTS)
        assert (await enter(shop, card, 3)).visits_left == 7
        assert (await enter(shop, card, 8)).reason == Reason.VISITS_USED
        assert await shop.balance(card) == 7

    async def test_who_comes_back_within_the_minutes_is_on_the_same_visit(self, shop: Shop) -> None:
        """A second entry takes nothing and says so; a quarter of an hour after the first, one is taken off again."""
        card = await new_pass(shop, visits_per_day=None)
        first, again = await enter(shop, card), await enter(shop, card)
        assert (first.reason, first.visits_left) == (Reason.NONE, 9)
        assert (again.result, again.reason, again.approved, again.visits_left) == (0, Reason.SAME_VISIT, 0, 9)
        await shop.query(
            "update passes set entered_at = entered_at - interval '15 minutes' where card = $1", shop.card_ids[card]
        )
        assert (await enter(shop, card)).visits_left == 8

    async def test_in_one_batch(self, shop: Shop) -> None:
        """Two gates at once: one visit is taken off, whichever comes first."""
        till, card = shop.till(), await new_pass(shop)
        requests = [await till.request(Command.VISIT, card=card) for _ in range(2)]
        answers = await at_once(shop, [till.opened(request) for request in requests])
        reasons = [Response.decode(answer or b"").reason for answer in answers]
        assert (reasons, await shop.balance(card)) == ([Reason.NONE, Reason.SAME_VISIT], 9)

    async def test_one_of_two_groups_at_one_moment_is_undone(self, shop: Shop) -> None:
        """One and three entered in one batch, at the same time: without the one, the three are still on their visit."""
        till, card = shop.till(), await new_pass(shop, visits_per_day=None)
        requests = [await till.request(Command.VISIT, card=card, amount=persons) for persons in (1, 3)]
        one, _ = [Response.decode(each or b"") for each in await at_once(shop, [till.opened(r) for r in requests])]
        assert (await till.reverse(name_of(one), 1)).visits_left == 7
        assert (await enter(shop, card, 3)).reason == Reason.SAME_VISIT

    async def test_so_many_a_day(self, shop: Shop) -> None:
        """The third visit of a day is refused with 65, and tomorrow it is not."""
        card = await new_pass(shop, same_visit_minutes=0, visits_per_day=2)
        await enter(shop, card)
        assert (await enter(shop, card, 2)).reason == Reason.VISITS_PER_DAY
        await enter(shop, card)
        refused = await enter(shop, card)
        assert (refused.result, refused.reason) == (Result.COUNT_LIMIT, Reason.VISITS_PER_DAY)
        await shop.query("update passes set entries_on = entries_on - 1 where card = $1", shop.card_ids[card])
        assert (await enter(shop, card)).visits_left == 7

    async def test_an_undone_visit_did_not_happen(self, shop: Shop) -> None:
        """It is on the pass again, does not count for the day, and who comes now is not on the same visit."""
        till, card = shop.till(), await new_pass(shop, visits_per_day=1)
        entered = await enter(shop, card)
        assert (await till.reverse(name_of(entered), 0)).visits_left == 10
        again = await enter(shop, card)
        assert (again.reason, again.visits_left) == (Reason.NONE, 9)
        await shop.check_books()

    async def test_undone_where_no_rules_are_in_force(self, shop: Shop) -> None:
        """The programme has ended: a visit that is undone comes back as a visit, and not as a cent."""
        till, card = shop.till(), await new_pass(shop, **EACH_COUNTS)
        entered = await enter(shop, card)
        yesterday = (await shop.today() - A_DAY).isoformat()
        await shop.query(
            """update programme_versions set document = document || jsonb_build_object('effective_until', $2::text)
                where programme = (select programme from cards where id = $1)""",
            shop.card_ids[card],
            yesterday,
        )
        assert (await enter(shop, card)).reason == Reason.NOT_PROGRAMME
        back = await till.reverse(name_of(entered), 0)
        assert (back.result, back.unit, back.visits_left) == (Result.APPROVED, VISIT, 10)
        assert {
            row["unit"] for row in await shop.query("select unit from postings where card = $1", shop.card_ids[card])
        } == {VISIT}
        await shop.check_books()

    async def test_what_is_bought_on_a_pass(self, shop: Shop) -> None:
        """Nothing: sales, holds, payments and cash-outs are not the programme's, and other units are refused."""
        till, card = shop.till(), await new_pass(shop)
        for command in (Command.SALE, Command.HOLD, Command.PAYMENT):
            assert (await till.ask(command, card=card, amount=1)).reason == Reason.NOT_PROGRAMME
        assert (await till.ask(Command.CASH_OUT, card=card)).reason == Reason.NOT_PROGRAMME
        assert (await till.ask(Command.VISIT, card=card, unit=978)).reason == Reason.UNIT_DIFFERS
        assert (await till.ask(Command.VISIT, card=card, unit=VISIT)).result == Result.APPROVED


class TestDays:
    async def test_a_pass_begins_with_its_first_visit(self, shop: Shop) -> None:
        """Sold without an end; its first visit sets it, three months on, and the second does not move it."""
        card = await new_pass(shop, valid_months=None, valid_days=90, **EACH_COUNTS)
        assert await last_day(shop, card) is None
        ends = await shop.today() + dt.timedelta(days=90)
        assert [(await enter(shop, card)).valid_until for _ in range(2)] == [ends, ends]

    async def test_visits_that_are_all_undone_begin_nothing(self, shop: Shop) -> None:
        """The last first, as a clerk goes back: none stands, so that no day of the pass is over."""
        till, card = shop.till(), await new_pass(shop, **EACH_COUNTS)
        first, second = await enter(shop, card), await enter(shop, card)
        await till.reverse(name_of(second), 0)
        assert await last_day(shop, card) is not None
        await till.reverse(name_of(first), 0)
        assert await last_day(shop, card) is None

    async def test_a_visit_of_another_day_keeps_what_the_first_began(self, shop: Shop) -> None:
        """The first was yesterday; with today's undone before it, it cannot be told whether others stand: they may."""
        till, card = shop.till(), await new_pass(shop, **EACH_COUNTS)
        first = await enter(shop, card)
        await shop.query("alter table authorizations disable trigger append_only")
        await shop.query(
            """update authorizations set booked_on = booked_on - 1, decided_at = decided_at - interval '1 day'
                where card = $1 and command = 26""",
            shop.card_ids[card],
        )
        await shop.query("alter table authorizations enable trigger append_only")
        ends = await last_day(shop, card)
        assert ends is not None
        await end(shop, card, ends - A_DAY)
        await shop.query(
            "update passes set entries_on = entries_on - 1, entered_at = entered_at - interval '1 day' where card = $1",
            shop.card_ids[card],
        )
        await enter(shop, card)
        await till.reverse(name_of(first), 0)
        assert await last_day(shop, card) == ends - A_DAY

    async def test_one_that_counts_from_its_sale(self, shop: Shop) -> None:
        """It has an end before anybody came."""
        card = await new_pass(shop, begins=Begins.PURCHASE, valid_months=None, valid_days=30)
        assert await last_day(shop, card) == await shop.today() + dt.timedelta(days=30)

    async def test_a_first_visit_that_is_undone_begins_nothing(self, shop: Shop) -> None:
        """Unless another visit stands: then the days go on."""
        till, card = shop.till(), await new_pass(shop, **EACH_COUNTS)
        first = await enter(shop, card)
        await till.reverse(name_of(first), 0)
        assert await last_day(shop, card) is None
        first, _ = await enter(shop, card), await enter(shop, card)
        await till.reverse(name_of(first), 0)
        assert await last_day(shop, card) is not None

    async def test_the_last_day_counts_to_its_end(self, shop: Shop) -> None:
        """Today is a day of the pass; what ended yesterday has lapsed, and that is booked before anything is said."""
        card, today = await new_pass(shop, **EACH_COUNTS), await shop.today()
        await end(shop, card, today)
        assert (await enter(shop, card)).visits_left == 9
        await end(shop, card, today - A_DAY)
        refused = await enter(shop, card)
        assert (refused.result, refused.reason) == (Result.EXPIRED, Reason.EXPIRED)
        assert await shop.balance(card) == 0
        [row] = await shop.query(
            "select amount, unit, ended_on, booked_on from lapses where card = $1", shop.card_ids[card]
        )
        assert tuple(row) == (9, VISIT, today - A_DAY, today)
        [lapsed] = await shop.query("select balance from issuer_balances where kind = 103")
        assert lapsed["balance"] >= 9
        await shop.check_books()

    async def test_the_sweep_lapses_what_nobody_asks_for(self, shop: Shop) -> None:
        """Once, so many at a time; a pass that goes on and one that is used up are left alone."""
        over, goes_on, used = [await new_pass(shop, **EACH_COUNTS) for _ in range(3)]
        await enter(shop, used, 10)
        today = await shop.today()
        await end(shop, over, today - A_DAY)
        await end(shop, goes_on, today)
        assert [await shop.door.run(store.lapse_passes(5)) for _ in range(2)] == [1, 0]
        assert [await shop.balance(card) for card in (over, goes_on, used)] == [0, 10, 0]
        await shop.check_books()

    async def test_the_day_is_the_issuers(self, shop: Shop) -> None:
        """The same moment is the last day in Samoa and the day behind it on Kiritimati: a day and an hour apart."""
        card = await new_pass(shop, **EACH_COUNTS)
        await shop.query("update issuer set zone = 'Pacific/Pago_Pago'")
        await end(shop, card, await shop.today())
        assert (await enter(shop, card)).result == Result.APPROVED
        await shop.query("update issuer set zone = 'Pacific/Kiritimati'")
        assert (await enter(shop, card)).reason == Reason.EXPIRED

    async def test_a_visit_that_is_undone_too_late_lapses(self, shop: Shop) -> None:
        """It comes back to a pass that has ended, and goes with the next look at it."""
        till, card = shop.till(), await new_pass(shop, **EACH_COUNTS)
        entered = await enter(shop, card)
        await end(shop, card, await shop.today() - A_DAY)
        assert (await till.reverse(name_of(entered), 0)).result == Result.APPROVED
        assert await shop.balance(card) == 1
        assert await shop.door.run(store.lapse_passes(5)) == 1
        assert await shop.balance(card) == 0
        await shop.check_books()

    async def test_in_one_batch_with_a_new_pass(self, shop: Shop) -> None:
        """A visit of an ended pass is undone and a new one sold at once: what came back has lapsed before that."""
        till, card = shop.till(), await new_pass(shop, **EACH_COUNTS)
        await enter(shop, card)
        second = await enter(shop, card)
        await end(shop, card, await shop.today() - A_DAY)
        requests = [
            await till.request(Command.REVERSE, original=name_of(second), amount=0),
            await till.request(Command.RELOAD, card=card, amount=10),
        ]
        answers = await at_once(shop, [till.opened(request) for request in requests])
        assert [Response.decode(answer or b"").visits_left for answer in answers] == [1, 10]
        lapsed = await shop.query("select sum(amount)::int as amount from lapses where card = $1", shop.card_ids[card])
        assert (lapsed[0]["amount"], await shop.balance(card)) == (9, 10)
        await shop.check_books()


class TestReload:
    async def test_ten_more_and_as_many_days(self, shop: Shop) -> None:
        """Visits add up, and so do days; undone, both are as they were."""
        till = shop.till()
        card = await new_pass(shop, begins=Begins.PURCHASE, valid_months=None, valid_days=30, loads_per_day=3)
        today = await shop.today()
        await end(shop, card, today + 5 * A_DAY)
        more = await till.ask(Command.RELOAD, card=card, amount=10)
        assert (more.visits_left, more.valid_until) == (20, today + 35 * A_DAY)
        undone = await till.reverse(name_of(more), 10)
        assert (undone.visits_left, undone.valid_until) == (10, today + 5 * A_DAY)

    async def test_one_of_two_is_undone(self, shop: Shop) -> None:
        """A double click is taken back, whichever of the two: the other keeps its visits and its days."""
        till = shop.till()
        card = await new_pass(shop, begins=Begins.PURCHASE, valid_months=None, valid_days=30, loads_per_day=3)
        today = await shop.today()
        first, second = [await till.ask(Command.RELOAD, card=card, amount=10) for _ in range(2)]
        assert second.valid_until == today + 90 * A_DAY
        undone = await till.reverse(name_of(first), 10)
        assert (undone.visits_left, undone.valid_until) == (20, today + 60 * A_DAY)
        undone = await till.reverse(name_of(second), 10)
        assert (undone.visits_left, undone.valid_until) == (10, today + 30 * A_DAY)

    async def test_a_used_up_pass_whose_days_run(self, shop: Shop) -> None:
        """From its sale on: another is added to it. From its first visit on: the days begin anew with the next one."""
        till, today, rules = shop.till(), await shop.today(), {"valid_months": None, "valid_days": 30, **EACH_COUNTS}
        ends = []
        for begins in (Begins.PURCHASE, Begins.FIRST_USE):
            card = await new_pass(shop, begins=begins, **rules)
            await enter(shop, card, 10)
            ends.append((await till.ask(Command.RELOAD, card=card, amount=10)).valid_until)
        assert ends == [today + 60 * A_DAY, None]

    async def test_a_pass_that_has_ended_is_sold_anew(self, shop: Shop) -> None:
        """What was left has lapsed; the new pass begins with its first visit."""
        card = await new_pass(shop, **EACH_COUNTS)
        await enter(shop, card)
        await end(shop, card, await shop.today() - A_DAY)
        sold = await shop.till().ask(Command.RELOAD, card=card, amount=10)
        assert (sold.result, sold.visits_left, sold.valid_until) == (Result.APPROVED, 10, None)
        await shop.check_books()

    async def test_only_as_many_as_the_programme_sells(self, shop: Shop) -> None:
        """A till cannot sell a pass of 99."""
        card = await new_card(shop, kind=Kind.VISITS)
        assert (await shop.till().activate(card, 99)).reason == Reason.AMOUNT_FIXED
        assert (await shop.till().activate(card, 10)).result == Result.APPROVED

    async def test_money_asked_of_a_pass_is_told_as_money(self, shop: Shop) -> None:
        """The clerk who rings 3.00 up reads that it was 3.00; the pass has no visits taken off."""
        card = await new_pass(shop)
        for command in (Command.SALE, Command.HOLD):
            refused = await shop.till().ask(command, card=card, amount=300)
            assert (refused.result, refused.reason) == (Result.NOT_FOR_CARD, Reason.NOT_PROGRAMME)
            assert (b"3.00 EUR" in refused.text, b"visits" in refused.text) == (True, False), refused.text
        assert await shop.balance(card) == 10

    async def test_an_amount_that_a_pass_has_not_is_told_in_the_unit_that_was_said(self, shop: Shop) -> None:
        """A till program that says visits is told visits; where nobody said whether 50.00 or 5,000, none is."""
        card = await new_card(shop, kind=Kind.VISITS)
        told = await shop.till().ask(Command.ACTIVATE, card=card, amount=99, unit=VISIT)
        untold = await shop.till().ask(Command.ACTIVATE, card=card, amount=5000)
        assert told.reason == untold.reason == Reason.AMOUNT_FIXED
        assert (b"99 visits" in told.text, b"Requested" in untold.text) == (True, False)

    async def test_a_sale_undone_after_visits_is_owed(self, shop: Shop) -> None:
        """Nine are taken back, the one that was used is owed and comes off the next load."""
        till, card = shop.till(), await new_pass(shop, **EACH_COUNTS)
        [sold] = await shop.query("select number, module from authorizations where card = $1", shop.card_ids[card])
        await enter(shop, card)
        undone = await shop.till(DESK).reverse(f"{sold['number']:012}", 0)
        assert (undone.result, await shop.balance(card), await shop.owed(card)) == (Result.APPROVED, 0, -1)
        assert (await till.activate(card, 10)).visits_left == 9
        await shop.check_books()


class TestFreeze:
    async def freeze(self, shop: Shop, card: str, first: dt.date, last: dt.date | None) -> Response:
        return await shop.till(DESK).ask(Command.FREEZE, card=card, freeze=Freeze(first, last))

    async def test_a_frozen_pass_stands_still_and_ends_later(self, shop: Shop) -> None:
        """Ten days frozen from today: no visit, and ten days more at the end."""
        card, today = await new_pass(shop, begins=Begins.PURCHASE, **EACH_COUNTS), await shop.today()
        ends = await last_day(shop, card)
        assert ends is not None
        frozen = await self.freeze(shop, card, today, today + 9 * A_DAY)
        assert (frozen.result, frozen.valid_until) == (Result.APPROVED, ends + 10 * A_DAY)
        assert (b"Frozen from" in frozen.text, b"Frozen until" in frozen.text) == (True, True)
        refused = await enter(shop, card)
        assert (refused.result, refused.reason) == (Result.RESTRICTED, Reason.FROZEN)

    async def test_before_and_behind_it_visits_count(self, shop: Shop) -> None:
        """A freeze that begins tomorrow, or ended yesterday, is no hindrance today."""
        card, today = await new_pass(shop, **EACH_COUNTS), await shop.today()
        await self.freeze(shop, card, today + A_DAY, today + 2 * A_DAY)
        assert (await enter(shop, card)).result == Result.APPROVED
        await shop.query(
            "update passes set frozen_from = $2, frozen_until = $2 where card = $1", shop.card_ids[card], today - A_DAY
        )
        assert (await enter(shop, card)).result == Result.APPROVED

    async def test_who_comes_back_early_goes_on(self, shop: Shop) -> None:
        """Frozen yesterday for ten days and thawed today: one day was used, nine are given back."""
        card, today = await new_pass(shop, begins=Begins.PURCHASE, **EACH_COUNTS), await shop.today()
        ends = await last_day(shop, card)
        assert ends is not None
        await self.freeze(shop, card, today, today + 9 * A_DAY)
        await shop.query(
            "update passes set frozen_from = frozen_from - 1, frozen_until = frozen_until - 1 where card = $1",
            shop.card_ids[card],
        )
        thawed = await self.freeze(shop, card, today, None)
        assert (thawed.result, thawed.valid_until) == (Result.APPROVED, ends + A_DAY)
        assert (await enter(shop, card)).result == Result.APPROVED
        assert (await self.freeze(shop, card, today, None)).reason == Reason.FREEZE_DAYS

    async def test_a_pass_that_begins_before_its_freeze(self, shop: Shop) -> None:
        """Frozen while unused, then begun: it ends later by the days that lie ahead, and earlier again when thawed."""
        card, today = await new_pass(shop, valid_months=None, valid_days=30, **EACH_COUNTS), await shop.today()
        await self.freeze(shop, card, today + 5 * A_DAY, today + 14 * A_DAY)
        assert (await enter(shop, card)).valid_until == today + 40 * A_DAY
        thawed = await self.freeze(shop, card, today + 7 * A_DAY, None)
        assert thawed.valid_until == today + 32 * A_DAY

    async def test_a_pass_that_is_loaded_before_its_freeze(self, shop: Shop) -> None:
        """Days that were bought are not lost with the thaw."""
        card = await new_pass(shop, begins=Begins.PURCHASE, valid_months=None, valid_days=30, loads_per_day=3)
        today = await shop.today()
        await self.freeze(shop, card, today + 20 * A_DAY, today + 29 * A_DAY)
        loaded = await shop.till().ask(Command.RELOAD, card=card, amount=10)
        assert loaded.valid_until == today + 70 * A_DAY
        assert (await self.freeze(shop, card, today, None)).valid_until == today + 60 * A_DAY

    async def test_another_freeze_takes_its_place(self, shop: Shop) -> None:
        """Days that were not yet frozen do not count twice."""
        card, today = await new_pass(shop, begins=Begins.PURCHASE, **EACH_COUNTS), await shop.today()
        ends = await last_day(shop, card)
        assert ends is not None
        await self.freeze(shop, card, today, today + 9 * A_DAY)
        other = await self.freeze(shop, card, today + 20 * A_DAY, today + 22 * A_DAY)
        assert other.valid_until == ends + 3 * A_DAY
        assert (await enter(shop, card)).result == Result.APPROVED

    @pytest.mark.parametrize(
        ("first", "last", "reason"),
        [(-1, 1, Reason.FREEZE_DAYS), (0, 30, Reason.FREEZE_LIMIT), (400, 401, Reason.FREEZE_DAYS)],
    )
    async def test_days_that_cannot_be(self, shop: Shop, first: int, last: int, reason: Reason) -> None:
        """From yesterday, for 31 days, behind the pass's end."""
        card, today = await new_pass(shop, begins=Begins.PURCHASE, **EACH_COUNTS), await shop.today()
        answer = await self.freeze(shop, card, today + first * A_DAY, today + last * A_DAY)
        assert (answer.reason, (await enter(shop, card)).result) == (reason, Result.APPROVED)

    async def test_a_desk_alone_freezes(self, shop: Shop) -> None:
        """A till cannot give days away."""
        card, today = await new_pass(shop), await shop.today()
        asked = await shop.till().ask(Command.FREEZE, card=card, freeze=Freeze(today, today))
        assert asked.reason == Reason.COMMAND
