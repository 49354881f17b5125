"""A module's own totals: counted from answers, as the switch will count them."""

import datetime as dt
from typing import Any

from protocol.messages import OriginalName, Request, RequestName, Response
from protocol.numbers import VISIT, Command, Reason, Result, TotalsKind
from terminal.answer import Answer
from terminal.tally import Tally

DAY = dt.date(2026, 3, 14)
EUR = 978


def answer(sequence: int, command: Command = Command.SALE, approved: int = 0, **said: Any) -> Answer:
    """An answer to a request of this sequence; `original` is a sequence or an authorization number."""
    original = said.pop("original", None)
    named = OriginalName(DAY, original) if isinstance(original, int) else original
    request = Request(command=command, module=1001, date=DAY, sequence=sequence, original=named)
    fields: dict[str, Any] = {"unit": EUR, "authorization": f"3230000000{sequence:02}", "pages": 1, "page": 1} | said
    response = Response(command=command, sequence=sequence, date=20260314, module=1001, approved=approved, **fields)
    read = Answer.read(request, response.encode())
    assert read is not None
    return read


def counted(*answers: Answer, unit: int = EUR) -> tuple[tuple[int, int], dict[str, tuple[int, int]]]:
    """The interval's sequences and the pairs that are not zero."""
    tally = Tally()
    for each in answers:
        tally.add(each)
    totals = tally.totals(unit)
    assert totals is not None
    pairs = {kind.name: pair for kind, pair in zip(TotalsKind, totals.pairs, strict=True) if pair != (0, 0)}
    return (totals.first.sequence, totals.last.sequence), pairs


def test_approvals_by_kind_and_unit() -> None:
    """Declines widen the interval and count nowhere; a part counts as approved; what is no kind is an other."""
    answers = (
        answer(4, approved=1000),
        answer(5, approved=300, result=Result.PARTLY),
        answer(6, result=Result.FUNDS),
        answer(7, Command.HOLD, 200),
        answer(8, Command.VISIT, 2, unit=VISIT),
        answer(9, Command.RELOAD, 1, result=Result.AMOUNT_LIMIT),
    )
    assert counted(*answers) == ((4, 9), {"SALE": (2, 1300), "OTHER": (1, 200)})
    assert counted(*answers, unit=VISIT) == ((4, 9), {"VISIT": (1, 2)})


def test_the_same_answer_counts_once() -> None:
    """A repeat of what was answered is no second sale."""
    assert counted(answer(4, approved=1000), answer(4, approved=1000))[1] == {"SALE": (1, 1000)}


def test_a_reversal_and_its_original_count_neither() -> None:
    """By name or by number, in whatever order their answers came; one that moved nothing never counts."""
    sale = answer(4, approved=1000)
    by_name = answer(5, Command.REVERSE, 1000, original=4)
    by_number = answer(6, Command.REVERSE, 1000, original=sale.authorization)
    nothing = answer(7, Command.REVERSE, reason=Reason.TOMBSTONE, original=20)
    again = answer(8, Command.REVERSE, 1000, reason=Reason.AGAIN, original=4)
    assert counted(sale, by_name, nothing, again)[1] == {}
    assert counted(sale, by_number)[1] == {}
    assert counted(answer(2, result=Result.FUNDS), by_name, sale)[1] == {}


def test_the_reversal_of_a_request_without_an_answer() -> None:
    """Its original lies in the interval though the till never heard of it: neither counts."""
    tally = Tally()
    tally.take(RequestName(1001, DAY, 4))
    for each in (answer(5, approved=1), answer(6, Command.REVERSE, 1000, original=4)):
        tally.add(each)
    totals = tally.totals(EUR)
    assert totals is not None
    assert (totals.first.sequence, totals.pairs[TotalsKind.SALE], totals.pairs[TotalsKind.REVERSE]) == (
        4,
        (1, 1),
        (0, 0),
    )


def test_of_an_original_before_the_interval_the_reversal_counts() -> None:
    """It was counted in the totals before."""
    tally = Tally()
    tally.add(answer(4, approved=1000))
    tally.begin(4)
    assert tally.totals(EUR) is None
    tally.add(answer(6, Command.REVERSE, 1000, original=4))
    totals = tally.totals(EUR)
    assert totals is not None
    assert (totals.first.sequence, totals.pairs[TotalsKind.REVERSE]) == (6, (1, 1000))


def test_what_was_answered_meanwhile_is_of_the_next_interval() -> None:
    """Totals up to 4 were asked for, 5 was answered before they were closed: 5 counts next, from behind 4 on."""
    tally = Tally()
    for sequence in (4, 5):
        tally.add(answer(sequence, approved=1000))
    tally.begin(4)
    totals = tally.totals(EUR)
    assert totals is not None
    assert (totals.first.sequence, totals.last.sequence, totals.pairs[TotalsKind.SALE]) == (5, 5, (1, 1000))


def test_it_keeps_no_more_than_can_be_counted() -> None:
    """Behind 10,000 names it says so, and holds nothing, until a new interval begins."""
    tally = Tally()
    tally.add(answer(1, approved=1))
    tally.take(RequestName(1001, DAY, 10_000))
    assert not tally.too_long
    tally.take(RequestName(1001, DAY, 10_001))
    assert (tally.too_long, repr(tally)) == (True, "<Tally of 0>")
    tally.begin(10_001)
    tally.add(answer(2, approved=5))
    assert not tally.too_long
