"""Accounts and balances."""

from ledger.accounts import Account, Balances
from ledger.cards import Card, CardStatus


def test_a_cards_accounts_are_its_own() -> None:
    """Value and what is owed belong to a card; tender, redeemed value and loss to the issuer."""
    assert [account for account in Account if account.of_card] == [Account.VALUE, Account.OWED]


def test_available_is_what_lies_above_the_floor() -> None:
    """What may be taken is the value above the floor, and never less than nothing."""
    assert Balances(value=500).available == 500
    assert Balances(value=-200, floor=-1000).available == 800
    assert Balances(value=0, owed=-300).available == 0
    assert Balances(value=-1200, floor=-1000).available == 0


def test_balances_show_nothing_in_a_card() -> None:
    """A card's repr, as it may stand in an error, does not show its balances."""
    card = Card(7, 1, CardStatus.ACTIVE, 1, b"verifier", None, None, 0, None, (), None, (), Balances(123_456))
    assert "123456" not in repr(card)
    assert "verifier=" not in repr(card)
