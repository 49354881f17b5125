"""The table command x state, cell by cell, through the real ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from back_office import active_card, bring_into, new_card
from shop import CODE, DESK, TILLS, UNKNOWN, name_of

from authsrv.table import DESK_ONLY, TABLE, State
from protocol.numbers import Command, GivenReason, Reason

if TYPE_CHECKING:
    from shop import Shop

# By hand, after the requirements: what the card is decides before anything else of it is looked at.
UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, EXPIRED, NOT_ACTIVE, ALREADY, FREE = (
    *(1401, 1402, 5704, 6201, 5401, 5701, 5702),
    1217,
)
CELLS = {
    Command.BALANCE: (UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, 0, 0, 0),
    Command.ACTIVATE: (UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, EXPIRED, 0, ALREADY),
    Command.RELOAD: (UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, EXPIRED, NOT_ACTIVE, 0),
    Command.SALE: (UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, EXPIRED, NOT_ACTIVE, 0),
    Command.HOLD: (UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, EXPIRED, NOT_ACTIVE, 0),
    Command.CONFIRM: (UNKNOWN_CARD, REPLACED, CLOSED, 0, 0, 0, 0),
    Command.RELEASE: (UNKNOWN_CARD, REPLACED, CLOSED, 0, 0, 0, 0),
    Command.REFUND: (UNKNOWN_CARD, REPLACED, CLOSED, 0, 0, NOT_ACTIVE, 0),
    Command.CASH_OUT: (UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, EXPIRED, NOT_ACTIVE, 0),
    Command.BLOCK: (UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, 0, 0, 0),
    Command.UNBLOCK: (UNKNOWN_CARD, REPLACED, CLOSED, 0, FREE, FREE, FREE),
    Command.CHANGE_ACCESS_CODE: (UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, EXPIRED, NOT_ACTIVE, 0),
    Command.REPLACE: (UNKNOWN_CARD, REPLACED, CLOSED, 0, 0, NOT_ACTIVE, 0),
    Command.RESET_TRIES: (UNKNOWN_CARD, REPLACED, CLOSED, 0, 0, 0, 0),
}
WITH_AN_AMOUNT = {Command.ACTIVATE, Command.RELOAD, Command.SALE, Command.HOLD, Command.CONFIRM, Command.REFUND}
ON_AN_ORIGINAL = {Command.CONFIRM: Command.HOLD, Command.RELEASE: Command.HOLD, Command.REFUND: Command.SALE}
ROWS = [(state, {command: row[place] for command, row in CELLS.items()}) for place, state in enumerate(State)]


def test_every_cell_is_tested() -> None:
    """The cells here are those of the table, no more and no fewer."""
    assert TABLE.keys() == {(command, state) for state, row in ROWS for command in row}


@pytest.mark.parametrize(("state", "row"), ROWS, ids=[state.name for state, _ in ROWS])
async def test_each_command_in_a_state(shop: Shop, state: State, row: dict[Command, int]) -> None:
    """Each command on a card in this state gets the cell's reason and its result; a decline moves nothing."""
    for command, reason in row.items():
        till = shop.till(DESK if command in DESK_ONLY else TILLS[0])
        card, fields = await prepared(shop, command, state)
        before = await shop.balance(card) if card in shop.card_ids else 0
        answer = await till.ask(command, card=card, **fields)
        assert (answer.reason, answer.result) == (reason, Reason(reason).result if reason else 0), command
        if reason and card in shop.card_ids:
            assert await shop.balance(card) == before
    await shop.check_books()


async def prepared(shop: Shop, command: Command, state: State) -> tuple[str, dict[str, Any]]:
    """A card in this state, and what a command on it needs besides."""
    if state is State.ISSUED and command not in ON_AN_ORIGINAL:
        card = await new_card(shop)
    else:
        card = await active_card(shop)
    fields: dict[str, Any] = {"amount": 1000} if command in WITH_AN_AMOUNT else {}
    match command:
        case Command.BLOCK | Command.UNBLOCK:
            fields["reason"] = GivenReason.HOLDER
        case Command.CHANGE_ACCESS_CODE:
            fields["new_code"] = CODE
        case Command.REPLACE:
            fields["new_card"] = await new_card(shop)
        case _ if command in ON_AN_ORIGINAL:
            made = await shop.till().ask(ON_AN_ORIGINAL[command], card=card, amount=1000)
            fields["original"] = name_of(made)
    await bring_into(shop, card, state)
    return (UNKNOWN if state is State.UNKNOWN else card), fields
