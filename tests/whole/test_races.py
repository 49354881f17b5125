"""Two requests that must not both win, on two processes at once.

Where a card decides who is first, the test holds its lock, lets both queue behind it in the order that it wants, and
lets go: both orders are forced. Then the same again without a hand on it, many times. Every answer is judged by the
witness: there is an order that explains all of them, and the ledger stands there.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from shop import CODE, DESK, TILLS
from whole.till import Slip
from whole.witness import Witness

from protocol.numbers import Command, Reason, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from whole.model import Outcome
    from whole.shopfront import Shopfront

ROUNDS = 12
TILL, OTHER_TILL = TILLS[:2]
ORDERS = list(itertools.permutations((0, 1)))


@pytest.fixture
def front(two_switches: Shopfront) -> Iterator[Shopfront]:
    """The shop before a race; after it all books are in order."""
    yield two_switches
    two_switches.books.check()


def loaded(front: Shopfront, amount: int, *, code: str | None = None, cards: int = 1) -> Witness:
    """New cards, each loaded with this, and nothing asked of them since."""
    witness = Witness(front, {front.card(code): code for _ in range(cards)})
    for card in witness.cards:
        [outcome] = witness.send((front.slip(TILL, Command.ACTIVATE, card=card, amount=amount), 0))
        assert outcome.result == Result.APPROVED
    return witness


def forced(witness: Witness, slips: Sequence[Slip], order: Sequence[int]) -> list[Outcome]:
    """Have two slips decided in this order, the first to be decided on process 0."""
    front = witness.front
    posted = {}
    with front.books.held(*(front.card_ids[card] for card in witness.cards)) as gate:
        for waiting, place in enumerate(order):
            line = front.line(slips[place].name.module, waiting)
            posted[place] = line, line.post(slips[place])
            gate.await_waiting(waiting + 1)
    answers = [line.answer(counter) for _, (line, counter) in sorted(posted.items())]
    return witness.judge(slips, answers, [order])


def race(start: Callable[[], tuple[Witness, list[Slip]]]) -> Iterator[list[Outcome]]:
    """The outcomes of a race of two: first in both forced orders, then as it comes, from both sides in turn."""
    for order in ORDERS:
        witness, slips = start()
        yield forced(witness, slips, order)
    for turn in range(ROUNDS):
        witness, slips = start()
        shots = [(slip, (place + turn) % 2) for place, slip in enumerate(slips)]
        backwards = turn % 4 >= 2
        outcomes = witness.send(*(shots[::-1] if backwards else shots))
        yield outcomes[::-1] if backwards else outcomes


def results(outcomes: Sequence[Outcome]) -> list[int]:
    return sorted(outcome.result for outcome in outcomes)


def test_a_repeat_races_its_original(front: Shopfront) -> None:
    """Both get the same bytes, which the witness compares, and the value moves once."""

    def start() -> tuple[Witness, list[Slip]]:
        witness = loaded(front, 5000)
        return witness, [front.slip(TILL, Command.SALE, card=next(iter(witness.cards)), amount=700)] * 2

    for outcomes in race(start):
        assert [outcome.balance for outcome in outcomes] == [4300, 4300]


def test_one_name_on_two_cards(front: Shopfront) -> None:
    """One is approved, the other is told that the name is used; only one card has paid."""

    def start() -> tuple[Witness, list[Slip]]:
        witness = loaded(front, 5000, cards=2)
        name = front.name(TILL)
        return witness, [Slip(name, Command.SALE, card=card, amount=700) for card in witness.cards]

    for turn in range(ROUNDS):
        witness, slips = start()
        posted = []
        with front.books.held(*(front.card_ids[card] for card in witness.cards)) as gate:
            for waiting, slip in enumerate(slips):
                line = front.line(TILL, (waiting + turn) % 2)
                posted.append((line, line.post(slip)))
                gate.await_waiting(waiting + 1)
        outcomes = witness.judge(slips, [line.answer(counter) for line, counter in posted])
        assert results(outcomes) == [Result.APPROVED, Result.DUPLICATE]


@pytest.mark.parametrize("partial", [False, True])
def test_two_sales_of_the_last_money(front: Shopfront, partial: bool) -> None:
    """10.00 are there, both ask for 7.00: one gets it, the other nothing, or the 3.00 that are left."""

    def start() -> tuple[Witness, list[Slip]]:
        witness = loaded(front, 1000)
        [card] = witness.cards
        tills = (TILL, OTHER_TILL)
        return witness, [front.slip(till, Command.SALE, card=card, amount=700, partial=partial) for till in tills]

    for outcomes in race(start):
        assert results(outcomes) == [Result.APPROVED, Result.PARTLY if partial else Result.FUNDS]
        assert sum(outcome.approved for outcome in outcomes) == (1000 if partial else 700)


def test_two_reversals_of_one_original(front: Shopfront) -> None:
    """The till by name and the desk by number: both are told that it is undone, and it is undone once."""

    def start() -> tuple[Witness, list[Slip]]:
        witness = loaded(front, 5000)
        sale = front.slip(TILL, Command.SALE, card=next(iter(witness.cards)), amount=700)
        witness.send((sale, 0))
        original = {"amount": 700, "original": sale.name}
        by_name = front.slip(TILL, Command.REVERSE, **original)
        by_number = front.slip(DESK, Command.REVERSE, **original, number=witness.numbers[sale.name])
        return witness, [by_name, by_number]

    for outcomes in race(start):
        assert results(outcomes) == [Result.APPROVED, Result.APPROVED]
        assert {outcome.reason for outcome in outcomes} == {Reason.NONE, Reason.AGAIN}
        assert {outcome.balance for outcome in outcomes} == {5000}


def test_refunds_race_a_reversal(front: Shopfront) -> None:
    """Two refunds of 6.00 and the reversal of a sale of 10.00, in every order: whoever is first is the only one."""

    def start() -> tuple[Witness, list[Slip]]:
        witness = loaded(front, 5000)
        [card] = witness.cards
        sale = front.slip(TILL, Command.SALE, card=card, amount=1000)
        witness.send((sale, 0))
        refunds = [front.slip(TILL, Command.REFUND, card=card, amount=600, original=sale.name) for _ in range(2)]
        return witness, [*refunds, front.slip(TILL, Command.REVERSE, amount=1000, original=sale.name)]

    for pair in itertools.permutations(range(3), 2):
        witness, slips = start()
        chosen = [slips[place] for place in pair]
        assert forced(witness, chosen, (0, 1))[0].result == Result.APPROVED
    for turn in range(ROUNDS):
        witness, slips = start()
        outcomes = witness.send(*((slip, (place + turn) % 2) for place, slip in enumerate(slips)))
        assert results(outcomes) == [Result.APPROVED, Result.INVALID, Result.INVALID]


def test_a_reversal_overtakes_its_original_at_the_lock(front: Shopfront) -> None:
    """The original waits for its card, the reversal finds nothing and is recorded; the original meets the tombstone."""
    for turn in range(ROUNDS):
        witness = loaded(front, 5000)
        [card] = witness.cards
        sale = front.slip(TILL, Command.SALE, card=card, amount=700)
        reversal = front.slip(TILL, Command.REVERSE, amount=700, original=sale.name)
        with front.books.held(front.card_ids[card]) as gate:
            line = front.line(TILL, turn % 2)
            counter = line.post(sale)
            gate.await_waiting(1)
            [overtaking] = front.volley([(reversal, 1 - turn % 2)])
        outcomes = witness.judge([reversal, sale], [overtaking, line.answer(counter)], [(0, 1)])
        assert [outcome.reason for outcome in outcomes] == [Reason.TOMBSTONE, Reason.REVERSED_BEFORE_ARRIVAL]
        witness.send((sale, 0), (sale, 1))


def test_a_reversal_and_its_original_want_the_same_name(front: Shopfront) -> None:
    """Neither has seen the other when both write the original's name: one is run again, and in every case nothing has
    moved in the end."""
    for turn in range(ROUNDS):
        witness = loaded(front, 5000)
        [card] = witness.cards
        sale = front.slip(TILL, Command.SALE, card=card, amount=700)
        reversal = front.slip(TILL, Command.REVERSE, amount=700, original=sale.name)
        slips = [sale, reversal] if turn % 2 else [reversal, sale]
        posted = []
        with front.books.name_held(sale.name, front.date) as gate:
            for waiting, slip in enumerate(slips):
                line = front.line(TILL, waiting)
                posted.append((line, line.post(slip)))
                gate.await_waiting(waiting + 1)
        witness.judge(slips, [line.answer(counter) for line, counter in posted])
        assert witness.model.issued[card].value == 5000
        witness.send((sale, 0), (reversal, 1))


def test_a_number_changes_its_card_under_who_waits_for_it(front: Shopfront) -> None:
    """A sale by the new number has found the new card and waits for its lock behind the replacement: it is decided on
    the card that the number points to by then, and not as of one that nobody knows."""
    for turn in range(ROUNDS):
        card, new = front.card(), front.card()
        witness = Witness(front, {card: None, new: None})
        witness.send((front.slip(TILL, Command.ACTIVATE, card=card, amount=5000), 0))
        replacement = front.slip(TILL, Command.REPLACE, card=card, new_card=new)
        sale = front.slip(OTHER_TILL, Command.SALE, card=new, amount=700)
        posted = []
        with front.books.held(front.card_ids[new]) as gate:
            for waiting, (slip, process) in enumerate(((replacement, turn % 2), (sale, 1 - turn % 2))):
                line = front.line(slip.name.module, process)
                posted.append((line, line.post(slip)))
                gate.await_waiting(waiting + 1)
        outcomes = witness.judge([replacement, sale], [line.answer(counter) for line, counter in posted], [(0, 1)])
        assert results(outcomes) == [Result.APPROVED, Result.APPROVED]


def test_a_reversal_races_its_original(front: Shopfront) -> None:
    """Whoever comes first, in the end nothing has moved, and each says so again when it is asked again."""
    for turn in range(2 * ROUNDS):
        witness = loaded(front, 5000)
        [card] = witness.cards
        sale = front.slip(TILL, Command.SALE, card=card, amount=700)
        reversal = front.slip(TILL, Command.REVERSE, amount=700, original=sale.name)
        witness.send((sale, turn % 2), (reversal, 1 - turn % 2))
        witness.send((reversal, turn % 2), (sale, 1 - turn % 2))
        assert witness.model.issued[card].value == 5000


def test_the_third_wrong_code(front: Shopfront) -> None:
    """Four wrong codes at once from two processes: two are wrong, the third locks, the fourth finds it locked; three
    are counted, for a card that nobody issued too."""
    for turn in range(ROUNDS):
        witness = loaded(front, 5000, code=CODE)
        witness.unknown = [front.unknown_card()]
        for card in (*witness.cards, *witness.unknown):
            tills = (TILL, OTHER_TILL, TILL, OTHER_TILL)
            slips = [front.slip(till, Command.BALANCE, card=card, code="9999") for till in tills]
            outcomes = witness.send(*((slip, (place + turn) % 2) for place, slip in enumerate(slips)))
            assert sorted(outcome.reason for outcome in outcomes) == [
                *(Reason.WRONG_CODE, Reason.WRONG_CODE),
                *(Reason.LOCKED, Reason.LOCKED),
            ]
            assert witness.model.tries[card] == 3
            witness.send((slips[0], 0), (slips[0], 1))


def test_the_right_code_races_the_third_wrong_one(front: Shopfront) -> None:
    """The right code clears the count or comes too late; never both."""

    def start() -> tuple[Witness, list[Slip]]:
        witness = loaded(front, 5000, code=CODE)
        [card] = witness.cards
        for _ in range(2):
            witness.send((front.slip(TILL, Command.BALANCE, card=card, code="9999"), 0))
        right = front.slip(TILL, Command.BALANCE, card=card, code=CODE)
        return witness, [right, front.slip(OTHER_TILL, Command.BALANCE, card=card, code="9999")]

    for right, wrong in race(start):
        assert (right.reason, wrong.reason) in {(Reason.NONE, Reason.WRONG_CODE), (Reason.LOCKED, Reason.LOCKED)}
