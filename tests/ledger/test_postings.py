"""Postings: whatever is brought, spent, taken back and undone, in any order, the laws of value hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.accounts import Account, Balances
from ledger.postings import Posting, apply, bring, spend, take_back, undo

AMOUNTS = st.integers(min_value=0, max_value=2**63 - 1)
FLOORS = st.integers(min_value=-10_000, max_value=0)
OWED = st.integers(min_value=-10_000, max_value=0)


@st.composite
def balances(draw: st.DrawFn) -> Balances:
    """A card as the ledger may hold one: something to spend, or something owed, or neither."""
    floor = draw(FLOORS)
    available = draw(st.integers(0, 10_000))
    return Balances(floor + available, 0 if available else draw(OWED), floor)


def check(before: Balances, postings: tuple[Posting, ...]) -> Balances:
    """The balances afterwards, which must be allowed, as must each posting."""
    for posting in postings:
        assert posting.amount > 0
        assert posting.debit.of_card != posting.credit.of_card
    after = apply(before, postings)
    assert after.value >= after.floor
    assert after.owed <= 0
    assert after.owed == 0 or after.available == 0, "it owes, and can spend"
    return after


@given(st.data(), balances())
def test_no_sequence_breaks_the_laws_of_value(data: st.DataObject, now: Balances) -> None:
    """Amounts are above zero, each posting joins card and issuer, value stays above its floor, nothing owed turns."""
    standing: list[tuple[Posting, ...]] = []
    for _ in range(data.draw(st.integers(1, 12))):
        match data.draw(st.sampled_from(["load", "refund", "spend", "take back", "undo"])):
            case "load":
                made = bring(now, Account.TENDER, data.draw(st.integers(0, 5000)))
            case "refund":
                made = bring(now, Account.REDEEMED, data.draw(st.integers(0, 5000)))
            case "spend":
                made = spend(data.draw(st.integers(0, now.available)))
            case "take back":
                made = take_back(now, Account.TENDER, data.draw(st.integers(0, 5000)))
            case _ if standing:
                made = undo(now, standing.pop(data.draw(st.integers(0, len(standing) - 1))))
            case _:
                continue
        now = check(now, made)
        standing.append(made)


@given(balances(), AMOUNTS, st.sampled_from([Account.TENDER, Account.REDEEMED]))
def test_what_is_owed_is_settled_first(before: Balances, amount: int, source: Account) -> None:
    """Value that comes in goes to what is owed until nothing is, and only then to the card; none of it is lost."""
    after = check(before, bring(before, source, amount))
    assert after.owed == min(0, before.owed + amount)
    assert after.value + after.owed == before.value + before.owed + amount
    assert after.value == before.value or after.owed == 0


@given(balances(), AMOUNTS)
def test_what_is_not_there_is_owed(before: Balances, amount: int) -> None:
    """Taking back takes the whole amount: what is available, and the rest as owed."""
    after = check(before, take_back(before, Account.TENDER, amount))
    assert after.value + after.owed == before.value + before.owed - amount
    assert after.owed == before.owed or after.available == 0


@given(balances(), AMOUNTS)
def test_undoing_a_load_restores_and_undoing_that_too(before: Balances, amount: int) -> None:
    """Where nothing was spent between, an undone load leaves what was there, and undoing the undoing the load."""
    load = bring(before, Account.TENDER, amount)
    loaded = check(before, load)
    back = undo(loaded, load)
    assert check(loaded, back) == before
    assert check(before, undo(before, back)) == loaded


@given(st.data(), balances())
def test_undoing_a_purchase_restores(data: st.DataObject, before: Balances) -> None:
    """An undone purchase gives back what it took; a card that owes settles that with it, and the sum is the same."""
    purchase = spend(data.draw(st.integers(0, before.available)))
    spent = check(before, purchase)
    after = check(spent, undo(spent, purchase))
    assert after.value + after.owed == before.value + before.owed
    assert after == before or before.owed < 0


def test_an_undone_load_that_settled_a_debt_is_taken_from_what_is_there() -> None:
    """30 owed. 40 loaded: 10 to spend. 50 loaded: 60. The first of them undone: 40 taken, 20 to spend, nothing owed. By
    hand."""
    owing = Balances(owed=-30)
    first = bring(owing, Account.TENDER, 40)
    now = apply(apply(owing, first), bring(apply(owing, first), Account.TENDER, 50))
    assert now == Balances(value=60)
    assert check(now, undo(now, first)) == Balances(value=20)


def test_a_spent_load_is_owed_and_the_next_load_settles_it() -> None:
    """50 loaded, 30 spent, the load undone: 20 taken, 30 owed. 40 loaded: 30 settle, 10 to spend. By hand."""
    empty = Balances()
    load = bring(empty, Account.TENDER, 50)
    now = apply(apply(empty, load), spend(30))
    back = undo(now, load)
    assert back == (Posting(Account.VALUE, Account.TENDER, 20), Posting(Account.OWED, Account.TENDER, 30))
    now = apply(now, back)
    assert now == Balances(value=0, owed=-30)
    following = bring(now, Account.TENDER, 40)
    assert following == (Posting(Account.TENDER, Account.OWED, 30), Posting(Account.TENDER, Account.VALUE, 10))
    now = apply(now, following)
    assert now == Balances(value=10, owed=0)
    last_first = (Posting(Account.VALUE, Account.TENDER, 10), Posting(Account.OWED, Account.TENDER, 30))
    assert undo(now, following) == last_first


def test_nothing_is_posted_for_nothing() -> None:
    """An amount of 0 makes no posting, since a posting of 0 would be refused."""
    assert bring(Balances(), Account.TENDER, 0) == spend(0) == take_back(Balances(), Account.TENDER, 0) == ()
