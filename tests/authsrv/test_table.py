"""The table command x state, cell by cell, through the real ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from back_office import active_card, bring_into, new_card
from shop import UNKNOWN, name_of

from authsrv.table import TABLE, State
from protocol.messages import OriginalName
from protocol.numbers import Command, Reason

if TYPE_CHECKING:
    from shop import Shop

# By hand, after the requirements: what the card is decides before anything else of it is looked at.
UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, EXPIRED, NOT_ACTIVE, ALREADY = 1401, 1402, 5704, 6201, 5401, 5701, 5702
CELLS = {
    Command.BALANCE: (UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, 0, 0, 0),
    Command.ACTIVATE: (UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, EXPIRED, 0, ALREADY),
    Command.RELOAD: (UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, EXPIRED, NOT_ACTIVE, 0),
    Command.SALE: (UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, EXPIRED, NOT_ACTIVE, 0),
    Command.REFUND: (UNKNOWN_CARD, REPLACED, CLOSED, 0, 0, NOT_ACTIVE, 0),
}
ROWS = [(state, {command: row[place] for command, row in CELLS.items()}) for place, state in enumerate(State)]


def test_every_cell_is_tested() -> None:
    """The cells here are those of the table, no more and no fewer."""
    assert TABLE.keys() == {(command, state) for state, row in ROWS for command in row}


@pytest.mark.parametrize(("state", "row"), ROWS, ids=[state.name for state, _ in ROWS])
async def test_each_command_in_a_state(shop: Shop, state: State, row: dict[Command, int]) -> None:
    """Each command on a card in this state gets the cell's reason and its result; a decline moves nothing."""
    till = shop.till()
    for command, reason in row.items():
        card, fields = await prepared(shop, command, state)
        before = await shop.balance(card) if card in shop.card_ids else 0
        answer = await till.ask(command, card=card, **fields)
        assert (answer.reason, answer.result) == (reason, Reason(reason).result if reason else 0), command
        if reason and card in shop.card_ids:
            assert await shop.balance(card) == before
    await shop.check_books()


async def prepared(shop: Shop, command: Command, state: State) -> tuple[str, dict[str, Any]]:
    """A card in this state, and what a command on it needs besides."""
    if state is State.ISSUED and command is not Command.REFUND:
        card = await new_card(shop)
    else:
        card = await active_card(shop)
    fields: dict[str, Any] = {} if command is Command.BALANCE else {"amount": 1000}
    if command is Command.REFUND:
        sold = await shop.till().sale(card, 1000)
        fields["original"] = name_of(sold)
        assert isinstance(fields["original"], OriginalName)
    await bring_into(shop, card, state)
    return (UNKNOWN if state is State.UNKNOWN else card), fields
