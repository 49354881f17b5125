"""Totals, seen from a till: both sides count the same, whatever happened; what differs is told and kept."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from back_office import active_card, credit_card, new_pass
from faulty_door import at_once
from shop import DESK, TILLS, Till, name_of

from protocol.messages import OriginalName, Response, Totals
from protocol.numbers import VISIT, Command, Reason, Result, TotalsKind

if TYPE_CHECKING:
    from shop import Shop

EUR = 978
NOTHING = (0, 0)


async def totals(
    till: Till, first: int, last: int, unit: int = EUR, day: dt.date | None = None, **counted: tuple[int, int]
) -> Any:
    """A request for totals: this module's sequences, and what it counted by kind."""
    today = day or await till.shop.today()
    pairs = tuple(counted.get(kind.name.lower(), NOTHING) for kind in TotalsKind)
    asked = Totals(OriginalName(today, first), OriginalName(today, last), pairs)
    return await till.request(Command.TOTALS, unit=unit, totals=asked)


async def ask(till: Till, first: int, last: int, **counted: Any) -> Response:
    return Response.decode(await till.send(await totals(till, first, last, **counted)))


def told(answer: Response) -> dict[str, tuple[int, int]]:
    """What the switch counted, without the kinds of which there was nothing."""
    return {kind.name.lower(): pair for kind, pair in zip(TotalsKind, answer.totals, strict=True) if pair != NOTHING}


async def test_a_day_that_agrees(shop: Shop) -> None:
    """One of each kind that moves money: counts and sums are the till's own, declines count nowhere."""
    till = shop.till()
    card, credit = await active_card(shop, 5000), await credit_card(shop)
    first = till.sequence + 1
    await till.sale(card, 1000)
    await till.sale(card, 999_999)
    await till.ask(Command.RELOAD, card=card, amount=2000)
    sold = await till.sale(card, 500)
    await till.ask(Command.REFUND, original=name_of(sold), amount=200)
    held = await till.ask(Command.HOLD, card=card, amount=300)
    await till.ask(Command.CONFIRM, original=name_of(held), amount=250)
    await till.sale(credit, 700)
    await till.ask(Command.PAYMENT, card=credit, amount=600)
    await till.ask(Command.BALANCE, card=card)
    paid_out = await till.ask(Command.CASH_OUT, card=card)
    counted = {
        "reload": (1, 2000), "sale": (3, 2200), "refund": (1, 200), "confirm": (1, 250), "payment": (1, 600),
        "cash_out": (1, paid_out.approved), "other": (2, 300),
    }  # fmt: skip
    answer = await ask(till, first, till.sequence, **counted)
    assert (answer.result, answer.reason, answer.unit) == (Result.APPROVED, Reason.NONE, EUR)
    assert told(answer) == counted


async def test_each_unit_by_itself(shop: Shop) -> None:
    """Visits are counted as visits, and money does not see them."""
    till = shop.till()
    first = till.sequence + 1
    card, passes = await active_card(shop, 5000), await new_pass(shop)
    await till.ask(Command.VISIT, card=passes, amount=2)
    await till.sale(card, 100)
    last = till.sequence
    assert told(await ask(till, first, last)) == {"activate": (1, 5000), "sale": (1, 100)}
    assert told(await ask(till, first, last, unit=VISIT)) == {"activate": (1, 10), "visit": (1, 2)}


async def test_a_reversal_and_its_original_count_neither(shop: Shop) -> None:
    """Within one interval; of an original before it the reversal counts, and what moved nothing never does."""
    till, card = shop.till(), await active_card(shop, 5000)
    before = await till.sale(card, 100)
    first = till.sequence + 1
    within = await till.sale(card, 200)
    await till.reverse(name_of(within), 200)
    await till.reverse(name_of(within), 200)
    await till.reverse(name_of(before), 100)
    declined = await till.sale(card, 999_999)
    await till.reverse(name_of(declined), 999_999)
    await till.reverse(OriginalName(await shop.today(), till.sequence + 100), 1)
    assert told(await ask(till, first, till.sequence)) == {"reverse": (1, 100)}
    assert told(await ask(till, first - 1, till.sequence)) == {}


async def test_undone_behind_the_interval_it_counted_in_it(shop: Shop) -> None:
    """Yesterday's sale that is reversed today was a sale yesterday; one that a desk undid is the desk's reversal."""
    till, card = shop.till(), await active_card(shop, 5000)
    sold, other = await till.sale(card, 100), await till.sale(card, 200)
    first, last = sold.sequence, other.sequence
    await till.reverse(name_of(sold), 100)
    desk = shop.till(DESK)
    desk.sequence = first - 1  # so that its reversal bears a sequence of the interval
    await desk.reverse(other.authorization, 0)
    assert told(await ask(till, first, last)) == {"sale": (2, 300)}


async def test_a_module_that_lies(shop: Shop) -> None:
    """95, with what the switch has counted, on the receipt too; both are kept, and nothing else changes."""
    till, card = shop.till(), await active_card(shop, 5000)
    sold = await till.sale(card, 1000)
    answer = await ask(till, sold.sequence, sold.sequence, sale=(2, 1500), refund=(1, 1))
    assert (answer.result, answer.reason) == (Result.TOTALS_DIFFER, Reason.TOTALS_DIFFER)
    assert told(answer) == {"sale": (1, 1000)}
    text = answer.text.decode("ascii")
    assert "2 / 15.00 EUR" in text
    assert "1 / 10.00 EUR" in text
    [kept] = await shop.query(
        "select asked, counted from totals where module = $1 and sequence = $2", till.module, answer.sequence
    )
    assert (kept["asked"][2], kept["counted"][2]) == ((2, 1500), (1, 1000))
    await shop.check_books()


async def test_another_modules_names_are_not_counted(shop: Shop) -> None:
    """Sequences are each module's own."""
    till, other, card = shop.till(), shop.till(TILLS[1]), await active_card(shop, 5000)
    other.sequence = till.sequence
    await other.sale(card, 700)
    sold = await till.sale(card, 100)
    assert told(await ask(till, sold.sequence, sold.sequence + 5)).get("sale") == (1, 100)


async def test_in_one_batch_with_what_they_cover(shop: Shop) -> None:
    """Sale, reversal of an earlier sale, totals: what comes along counts as if it had been recorded before."""
    till, card = shop.till(), await active_card(shop, 5000)
    earlier = await till.sale(card, 300)
    requests = [
        await till.request(Command.SALE, card=card, amount=100),
        await till.request(Command.REVERSE, original=name_of(earlier), amount=300),
        await till.request(Command.SALE, card=card, amount=50),
        await till.request(Command.REVERSE, original=OriginalName(await shop.today(), till.sequence), amount=50),
    ]
    requests.append(await totals(till, earlier.sequence, till.sequence, sale=(1, 100)))
    requests.append(await till.request(Command.SALE, card=card, amount=1))
    answers = await at_once(shop, [till.opened(request) for request in requests])
    answer = Response.decode(answers[4] or b"")
    assert (answer.result, told(answer)) == (Result.APPROVED, {"sale": (1, 100)})
    alone = await ask(till, earlier.sequence, requests[-1].sequence)
    assert told(alone) == {"sale": (2, 101), "other": (1, 0)}


async def test_what_comes_late_shows(shop: Shop) -> None:
    """A request of a closed interval that arrives behind its totals is served, and the totals are flagged."""
    till, card = shop.till(), await active_card(shop, 5000)
    first = till.sequence + 1
    await till.sale(card, 100)
    late = await till.request(Command.SALE, card=card, amount=40)
    answer = await ask(till, first, late.sequence, sale=(1, 100))
    assert answer.result == Result.APPROVED
    own = "select found, expected from late_totals_since(current_date - 9) where module = $1 and sequence = $2"
    assert not await shop.query(own, till.module, answer.sequence)
    assert Response.decode(await till.send(late)).result == Result.APPROVED
    [flagged] = await shop.query(own, till.module, answer.sequence)
    assert tuple(flagged) == (1, 2)
    assert not await shop.query(own.replace("- 9", "+ 9"), till.module, answer.sequence)


async def test_over_midnight_and_with_a_clock_that_was_wrong(shop: Shop) -> None:
    """Names of several days count in one interval by their sequence, also one that was dated outside its ends."""
    till, card, today = shop.till(), await active_card(shop, 5000), await shop.today()
    first = till.sequence + 1
    for days in (2, 1, 30, 0):
        await till.sale(card, 10, date=today - dt.timedelta(days=days))
    asked = Totals(
        OriginalName(today - dt.timedelta(days=2), first), OriginalName(today, till.sequence), (NOTHING,) * 10
    )
    answer = await till.ask(Command.TOTALS, unit=EUR, totals=asked)
    assert told(answer) == {"sale": (4, 40)}


@pytest.mark.parametrize(("days", "names"), [(63, 1), (0, 10_000)])
async def test_an_interval_that_is_too_long(shop: Shop, days: int, names: int) -> None:
    """It is declined before anything is counted; nothing is kept of it."""
    till, today = shop.till(), await shop.today()
    asked = Totals(OriginalName(today - dt.timedelta(days=days), 1), OriginalName(today, 1 + names), (NOTHING,) * 10)
    answer = await till.ask(Command.TOTALS, unit=EUR, totals=asked)
    assert (answer.reason, told(answer)) == (Reason.INTERVAL, {})
    assert not await shop.query("select from totals where module = $1 and sequence = $2", till.module, answer.sequence)


async def test_a_repeat_is_the_recorded_answer(shop: Shop) -> None:
    """Whatever was recorded meanwhile, and its further pages carry the totals too."""
    till, card = shop.till(), await active_card(shop, 5000)
    first = till.sequence + 1
    await till.sale(card, 100)
    request = await totals(till, first, till.sequence, sale=(1, 100))
    answer = await till.send(request)
    await till.sale(card, 100)
    assert await till.send(request) == answer


async def test_totals_of_visits_are_not_money(shop: Shop) -> None:
    """The receipt counts visits, as does the answer's unit."""
    till, passes = shop.till(), await new_pass(shop)
    answer = await ask(till, 1, till.sequence, unit=VISIT, activate=(1, 10))
    assert (answer.unit, b"1 / 10 visits" in answer.text, b"EUR" in answer.text) == (VISIT, True, False)
    assert passes not in answer.text.decode("ascii")


async def test_a_copy_of_totals_counts_as_it_was_answered(shop: Shop) -> None:
    """A reprint is an approval without an amount, in the unit that its answer names: both sides count it alike."""
    till, card = shop.till(), await active_card(shop, 5000)
    sold = await till.sale(card, 100)
    counted = await ask(till, sold.sequence, sold.sequence, sale=(1, 100))
    first = till.sequence + 1
    copies = [await till.ask(Command.REPRINT, original=name_of(each)) for each in (counted, sold)]
    assert [(copy.unit, copy.approved) for copy in copies] == [(EUR, 0)] * 2
    assert told(await ask(till, first, till.sequence)) == {"other": (2, 0)}


async def test_amounts_without_end(shop: Shop) -> None:
    """Two payments of nearly 2^63 add up to what the wire can say, recorded before or in the same batch."""
    till, cards, most = shop.till(), [await credit_card(shop, limit_minor=0) for _ in range(2)], 2**63 - 1
    paid = [await till.request(Command.PAYMENT, card=card, amount=most) for card in cards]
    request = await totals(till, paid[0].sequence, till.sequence)
    answers = await at_once(shop, [till.opened(each) for each in (*paid, request)])
    assert told(Response.decode(answers[2] or b"")) == {"payment": (2, most)}
    assert told(await ask(till, paid[0].sequence, paid[1].sequence)) == {"payment": (2, most)}


async def test_dates_beyond_all_calendars(shop: Shop) -> None:
    """The last and the first day that there are cost nothing: nothing is counted, and neighbours are served."""
    till, card = shop.till(), await active_card(shop, 5000)
    for day in (dt.date.max, dt.date.min):
        request = await totals(till, 1, 2, day=day)
        request = request._replace(date=await shop.today())
        sale = await till.request(Command.SALE, card=card, amount=1)
        answers = [
            Response.decode(answer or b"")
            for answer in await shop.settle([till.opened(each) for each in (request, sale)])
        ]
        assert [answer.reason for answer in answers] == [Reason.INTERVAL, Reason.NONE]


async def test_many_at_once_are_counted_a_few_at_a_time(shop: Shop) -> None:
    """Nine in one batch are nine answers: none is refused for the others."""
    till = shop.till()
    requests = [await totals(till, 800_001, 800_001) for _ in range(9)]
    answers = await shop.settle([till.opened(request) for request in requests])
    assert {Response.decode(answer or b"").result for answer in answers} == {Result.APPROVED}
