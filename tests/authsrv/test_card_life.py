"""What becomes of a card besides its value: blocked, paid out, with another code or number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from back_office import active_card, new_card
from faulty_door import at_once
from shop import CODE, DESK, name_of

from protocol.messages import Response
from protocol.numbers import Command, GivenReason, Reason, Result

if TYPE_CHECKING:
    from shop import Shop

NEW_CODE = "135790"


class TestBlock:
    async def test_a_card_that_was_found_again(self, shop: Shop) -> None:
        """Blocked at a till, refused, told as lost; the desk unblocks it, and it is what it was."""
        till, card = shop.till(), await active_card(shop, 5000)
        assert (await till.ask(Command.BLOCK, card=card, reason=GivenReason.LOST)).result == Result.APPROVED
        refused = await till.sale(card, 100)
        assert (refused.result, refused.reason) == (Result.LOST, Reason.LOST)
        assert (await till.ask(Command.UNBLOCK, card=card, reason=GivenReason.FOUND)).reason == Reason.COMMAND
        freed = await shop.till(DESK).ask(Command.UNBLOCK, card=card, reason=GivenReason.FOUND)
        assert (freed.result, (await till.sale(card, 100)).balance) == (Result.APPROVED, 4900)

    async def test_a_till_unblocks_what_is_not_lost(self, shop: Shop) -> None:
        """A block at the holder's wish, or for suspicion, is taken away where it was set."""
        till, card = shop.till(), await active_card(shop, 5000)
        await till.ask(Command.BLOCK, card=card, reason=GivenReason.HOLDER)
        assert (await till.sale(card, 100)).reason == Reason.BLOCKED
        assert (await till.ask(Command.UNBLOCK, card=card, reason=GivenReason.HOLDER)).result == Result.APPROVED
        assert (await till.sale(card, 100)).result == Result.APPROVED

    async def test_a_mislaid_card_turns_out_to_be_stolen(self, shop: Shop) -> None:
        """The graver reason takes the place of the other; a till cannot take it back by blocking for a lighter one."""
        till, card = shop.till(), await active_card(shop, 5000)
        for reason in (GivenReason.HOLDER, GivenReason.STOLEN):
            assert (await till.ask(Command.BLOCK, card=card, reason=reason)).result == Result.APPROVED
        lighter = await till.ask(Command.BLOCK, card=card, reason=GivenReason.HOLDER)
        assert (lighter.result, lighter.reason) == (Result.STOLEN, Reason.STOLEN)
        assert (await till.sale(card, 1)).reason == Reason.STOLEN
        desk = await shop.till(DESK).ask(Command.BLOCK, card=card, reason=GivenReason.HOLDER)
        assert (desk.result, (await till.sale(card, 1)).reason) == (Result.APPROVED, Reason.BLOCKED)

    async def test_a_stolen_box_cannot_be_sold(self, shop: Shop) -> None:
        """A card that was never sold can be blocked; unblocked it is unsold still."""
        card = await new_card(shop)
        await shop.till().ask(Command.BLOCK, card=card, reason=GivenReason.STOLEN)
        assert (await shop.till().activate(card, 1000)).result == Result.STOLEN
        await shop.till(DESK).ask(Command.UNBLOCK, card=card, reason=GivenReason.FOUND)
        assert (await shop.till().sale(card, 100)).reason == Reason.NOT_ACTIVE
        assert (await shop.till().activate(card, 1000)).result == Result.APPROVED

    async def test_who_blocks_a_card_with_a_code_learns_nothing_of_it(self, shop: Shop) -> None:
        """Nor who unblocks it: neither had to prove to be the holder. A card without a code tells, as ever."""
        till, coded, bare = shop.till(), await active_card(shop, 4321, code=CODE), await active_card(shop, 4321)
        for command in (Command.BLOCK, Command.UNBLOCK):
            answer = await till.ask(command, card=coded, reason=GivenReason.HOLDER)
            told = (answer.result, answer.balance, answer.available, answer.valid_until)
            assert told == (Result.APPROVED, 0, 0, None)
            assert b"43.21" not in answer.text
            assert (await till.ask(command, card=bare, reason=GivenReason.HOLDER)).balance == 4321

    async def test_a_block_is_seen_by_who_comes_behind_it(self, shop: Shop) -> None:
        """In one batch: sale, block, sale."""
        till, card = shop.till(), await active_card(shop, 5000)
        requests = [
            await till.request(Command.SALE, card=card, amount=100),
            await till.request(Command.BLOCK, card=card, reason=GivenReason.SUSPICION),
            await till.request(Command.SALE, card=card, amount=100),
        ]
        answers = await at_once(shop, [till.opened(request) for request in requests])
        assert [Response.decode(answer or b"").reason for answer in answers] == [0, 0, Reason.BLOCKED]
        assert await shop.balance(card) == 4900


class TestCashOut:
    async def test_the_whole_is_paid_out_and_the_card_closed(self, shop: Shop) -> None:
        """The money goes back to the tills' account; every further command finds a closed card."""
        till, card = shop.till(), await active_card(shop, 5000)
        await till.sale(card, 1250)
        paid = await till.ask(Command.CASH_OUT, card=card)
        assert (paid.result, paid.approved, paid.balance) == (Result.APPROVED, 3750, 0)
        for command, fields in ((Command.BALANCE, {}), (Command.RELOAD, {"amount": 1000}), (Command.CASH_OUT, {})):
            assert (await till.ask(command, card=card, **fields)).reason == Reason.CLOSED
        [tender] = await shop.query("select balance from issuer_balances where kind = 100")
        assert tender["balance"] == 3750 - 5000
        await shop.check_books()

    async def test_it_cannot_be_undone(self, shop: Shop) -> None:
        """The money is in somebody's pocket."""
        till, card = shop.till(), await active_card(shop, 5000)
        paid = await till.ask(Command.CASH_OUT, card=card)
        assert (await till.reverse(name_of(paid), 0)).reason == Reason.NOT_REVERSIBLE

    async def test_an_empty_card_is_closed_too(self, shop: Shop) -> None:
        """Nothing is paid."""
        till, card = shop.till(), await active_card(shop, 1000)
        await till.sale(card, 1000)
        paid = await till.ask(Command.CASH_OUT, card=card)
        assert (paid.result, paid.approved) == (Result.APPROVED, 0)
        assert (await till.sale(card, 1)).reason == Reason.CLOSED


class TestChangeOfCode:
    async def test_the_new_code_counts_from_now_on(self, shop: Shop) -> None:
        """The old one is wrong behind it, also in the same batch."""
        till, card = shop.till(), await active_card(shop, 5000, code=CODE)
        requests = [
            await till.request(Command.CHANGE_ACCESS_CODE, card=card, code=CODE, new_code=NEW_CODE),
            await till.request(Command.SALE, card=card, amount=1, code=CODE),
            await till.request(Command.SALE, card=card, amount=1, code=NEW_CODE),
        ]
        answers = await at_once(shop, [till.opened(request) for request in requests])
        assert [Response.decode(answer or b"").reason for answer in answers] == [0, Reason.WRONG_CODE, 0]
        assert (await till.sale(card, 1, code=NEW_CODE)).balance == 4998
        assert (await till.sale(card, 1, code=CODE)).reason == Reason.WRONG_CODE

    async def test_a_card_without_code_gets_one(self, shop: Shop) -> None:
        """Whoever holds it may set the first; from then on it is asked for."""
        till, card = shop.till(), await active_card(shop, 5000)
        assert (await till.ask(Command.CHANGE_ACCESS_CODE, card=card, new_code=NEW_CODE)).result == Result.APPROVED
        assert (await till.sale(card, 1)).reason == Reason.CODE_MISSING
        assert (await till.sale(card, 1, code=NEW_CODE)).result == Result.APPROVED

    async def test_a_desk_helps_who_has_forgotten_it(self, shop: Shop) -> None:
        """Tries are cleared and a new code is set without the old one; a till may do neither."""
        till, desk, card = shop.till(), shop.till(DESK), await active_card(shop, 5000, code=CODE)
        for _ in range(3):
            await till.sale(card, 1, code="9999")
        assert (await till.sale(card, 1, code=CODE)).reason == Reason.LOCKED
        assert (await desk.ask(Command.RESET_TRIES, card=card)).result == Result.APPROVED
        assert (await till.sale(card, 1, code=CODE)).result == Result.APPROVED
        assert (await desk.ask(Command.CHANGE_ACCESS_CODE, card=card, new_code=NEW_CODE)).result == Result.APPROVED
        assert (await till.sale(card, 1, code=NEW_CODE)).result == Result.APPROVED

    async def test_a_repeat_is_the_same_request_though_its_codes_are_sealed_anew(self, shop: Shop) -> None:
        """The block of the new code differs from copy to copy and is no part of what was asked."""
        till, card = shop.till(), await active_card(shop)
        first = await till.request(Command.CHANGE_ACCESS_CODE, card=card, new_code=NEW_CODE)
        again = await till.request(Command.CHANGE_ACCESS_CODE, card=card, new_code="2468")
        answer = await till.send(first)
        assert await till.send(again._replace(date=first.date, sequence=first.sequence, time=first.time)) == answer
        assert (await till.sale(card, 1, code=NEW_CODE)).result == Result.APPROVED


class TestReplace:
    async def test_a_new_number_for_the_same_card(self, shop: Shop) -> None:
        """What is on the card is on the new number; the old one is dead; nothing moved."""
        till, card, new = shop.till(), await active_card(shop, 5000), await new_card(shop)
        answer = await till.ask(Command.REPLACE, card=card, new_card=new)
        assert (answer.result, answer.balance) == (Result.APPROVED, 5000)
        assert (await till.sale(new, 100)).balance == 4900
        assert (await till.sale(card, 100)).reason == Reason.REPLACED
        assert not await shop.query("select from postings where card <> $1 and amount <> 5000", shop.card_ids[card])
        await shop.check_books()

    async def test_the_code_and_its_tries_stay(self, shop: Shop) -> None:
        """The holder keeps the code; the new card's own, if it had one, opens nothing."""
        till, card, new = shop.till(), await active_card(shop, 5000, code=CODE), await new_card(shop, code="7777")
        told = await till.ask(Command.REPLACE, card=card, new_card=new, code=CODE)
        assert (told.result, told.reason) == (Result.APPROVED, Reason.CODE_STAYS)
        assert (await till.sale(new, 1, code="7777")).reason == Reason.WRONG_CODE
        assert (await till.sale(new, 1, code=CODE)).result == Result.APPROVED

    @pytest.mark.parametrize("reason", [GivenReason.LOST, GivenReason.DAMAGED])
    async def test_a_block_of_the_plastic_ends_with_it(self, shop: Shop, reason: GivenReason) -> None:
        """Lost, blocked, replaced at the desk: the new card works."""
        card, new = await active_card(shop, 5000), await new_card(shop)
        await shop.till().ask(Command.BLOCK, card=card, reason=reason)
        assert (await shop.till(DESK).ask(Command.REPLACE, card=card, new_card=new)).result == Result.APPROVED
        assert (await shop.till().sale(new, 100)).result == Result.APPROVED

    async def test_a_block_for_suspicion_stays(self, shop: Shop) -> None:
        """New plastic is no way around it."""
        card, new = await active_card(shop, 5000), await new_card(shop)
        await shop.till().ask(Command.BLOCK, card=card, reason=GivenReason.SUSPICION)
        assert (await shop.till(DESK).ask(Command.REPLACE, card=card, new_card=new)).result == Result.APPROVED
        assert (await shop.till().sale(new, 100)).reason == Reason.BLOCKED

    async def test_in_one_batch_each_sees_what_those_before_it_did(self, shop: Shop) -> None:
        """A sale by the old number, the replacement, a sale by each, and a second card that wants the same number."""
        till, card, other, new = (
            shop.till(), await active_card(shop, 5000), await active_card(shop, 700), await new_card(shop),
        )  # fmt: skip
        requests = [
            await till.request(Command.SALE, card=card, amount=100),
            await till.request(Command.REPLACE, card=card, new_card=new),
            await till.request(Command.SALE, card=card, amount=100),
            await till.request(Command.SALE, card=new, amount=100),
            await till.request(Command.REPLACE, card=other, new_card=new),
        ]
        answers = await at_once(shop, [till.opened(request) for request in requests])
        reasons = [Response.decode(answer or b"").reason for answer in answers]
        assert reasons == [0, 0, Reason.REPLACED, 0, Reason.NEW_CARD_IN_USE]
        assert await shop.balance(card) == 4800

    async def test_goods_come_back_to_the_new_number(self, shop: Shop) -> None:
        """A refund of a sale that was made with the old number, shown with the new one."""
        till, card, new = shop.till(), await active_card(shop, 5000), await new_card(shop)
        sold = name_of(await till.sale(card, 1000))
        await till.ask(Command.REPLACE, card=card, new_card=new)
        assert (await till.ask(Command.REFUND, original=sold, amount=400, card=new)).balance == 4400
