"""Movements as postings: what a load, a spending or an undoing moves, given what is there.

What must hold:
  * Every posting has one side at the card and the other at the issuer, and one amount above zero.
  * Value that comes to a card settles what it owes first, whatever brings it.
  * `spend` never asks for more than is available; its caller has checked, and the database checks again.
  * `undo` gives back the recorded amounts. What a card can no longer give goes to its `owed` account, in full: undoing
    is never refused because the money was spent (law 3).
  * So a card owes only when nothing is left on it to spend, in whatever order things are brought, spent and undone.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from ledger.accounts import Account, Balances


class Posting(NamedTuple):
    """One movement of `amount` minor units (> 0) from the debited to the credited account."""

    debit: Account
    credit: Account
    amount: int

    def __repr__(self) -> str:
        return f"<Posting {self.debit.name} to {self.credit.name}>"


# What a NamedTuple is made by is Python, and takes twice as long as what it calls; every request makes several.
_new: Final = tuple.__new__

# Bound once: reading a member of an enumeration is a call, and every request reads several.
_VALUE: Final = Account.VALUE
_OWED: Final = Account.OWED
_REDEEMED: Final = Account.REDEEMED


def apply(balances: Balances, postings: Iterable[Posting]) -> Balances:
    """The card's balances after the postings; the issuer's side of each is not the card's."""
    value, owed, floor, held = balances
    for debit, credit, amount in postings:
        if debit is _VALUE:
            value -= amount
        elif debit is _OWED:
            owed -= amount
        if credit is _VALUE:
            value += amount
        elif credit is _OWED:
            owed += amount
    return _new(Balances, (value, owed, floor, held))


def bring(balances: Balances, source: Account, amount: int) -> tuple[Posting, ...]:
    """Value from `source` to the card: what it owes is settled first, the rest is there to spend."""
    settled = min(amount, -balances.owed)
    return _nonzero(Posting(source, Account.OWED, settled), Posting(source, Account.VALUE, amount - settled))


def spend(amount: int) -> tuple[Posting, ...]:
    """Value from the card to what the branches have redeemed."""
    return (_new(Posting, (_VALUE, _REDEEMED, amount)),) if amount else ()


def lapse(amount: int) -> tuple[Posting, ...]:
    """Value that a card loses with its end."""
    return _nonzero(Posting(Account.VALUE, Account.LAPSED, amount))


def pay_out(amount: int) -> tuple[Posting, ...]:
    """Value from the card back to the holder, in money."""
    return _nonzero(Posting(Account.VALUE, Account.TENDER, amount))


def take_back(balances: Balances, target: Account, amount: int) -> tuple[Posting, ...]:
    """Value from the card back to `target`: what is available, and the rest as owed."""
    taken = min(amount, balances.available)
    return _nonzero(Posting(Account.VALUE, target, taken), Posting(Account.OWED, target, amount - taken))


def undo(balances: Balances, postings: Iterable[Posting]) -> tuple[Posting, ...]:
    """The postings that give back what the recorded ones moved, the last first."""
    undone: list[Posting] = []
    for posting in reversed(tuple(postings)):
        if posting.debit.of_card:
            back = bring(balances, posting.credit, posting.amount)
        else:
            back = take_back(balances, posting.debit, posting.amount)
        balances = apply(balances, back)
        undone += back
    return tuple(undone)


def _nonzero(*postings: Posting) -> tuple[Posting, ...]:
    return tuple(posting for posting in postings if posting.amount)
