"""What the switch decides, seen from a till: one request a batch, through the real ledger."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from back_office import A_DECLINE_LEAVES, active_card, bring_into, new_card, recorded, snapshot
from faulty_door import at_once, through
from shop import BARE, CODE, DESK, KEK, OTHER, TILLS, UNKNOWN, name_of

from authsrv.keys import Purpose
from authsrv.shell.rotation import rotate
from authsrv.table import State
from ledger.shell.door import open_door
from loyalty.programme import AccessCode
from protocol.messages import OriginalName, Response
from protocol.numbers import Command, Flag, GivenReason, Reason, Result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shop import Shop


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

    async def test_each_column_of_the_record_is_what_it_says(self, shop: Shop) -> None:
        """No two of them are alike here, so that none can stand in another's place."""
        async with open_door(shop.owner_dsn, schema=shop.schema, connections=1) as door:
            await rotate(door, [KEK], Purpose.TOKEN, secrets.token_bytes, lambda _: None)
        card = await active_card(shop, 3000, partial=True)
        sold = await shop.till(2001).sale(card, 5000, flags=Flag.PARTIAL, cashier=77)
        [row] = await shop.query(
            """select module, sequence, command, result, reason, branch, unit, cashier, card, programme,
                      programme_version, requested, approved, token_key, digest_key, tombstone, term_days,
                      original_sequence, (select array_agg(p.amount) from unnest(postings) p) as moved
                 from authorizations where number = $1""",
            int(sold.authorization),
        )
        [programme] = await shop.query("select programme from cards where id = $1", shop.card_ids[card])
        assert dict(row) == {
            "module": 2001,
            "sequence": sold.sequence,
            "command": Command.SALE,
            "result": Result.PARTLY,
            "reason": Reason.NONE,
            "branch": 2,
            "unit": 978,
            "cashier": 77,
            "card": shop.card_ids[card],
            "programme": programme["programme"],
            "programme_version": 1,
            "requested": 5000,
            "approved": 3000,
            "token_key": 2,
            "digest_key": 1,
            "tombstone": False,
            "term_days": None,
            "original_sequence": None,
            "moved": [3000],
        }

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
