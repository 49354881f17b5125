"""The table command x state, cell by cell, through the real ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from back_office import bring_into, new_card
from shop import CODE, DESK, TILLS, UNKNOWN, name_of

from authsrv.table import DESK_ONLY, OF_KIND, TABLE, State
from loyalty.programme import Kind
from protocol.messages import Freeze
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
    Command.BLOCK: (UNKNOWN_CARD, REPLACED, CLOSED, 0, 0, 0, 0),
    Command.UNBLOCK: (UNKNOWN_CARD, REPLACED, CLOSED, 0, FREE, FREE, FREE),
    Command.CHANGE_ACCESS_CODE: (UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, EXPIRED, NOT_ACTIVE, 0),
    Command.REPLACE: (UNKNOWN_CARD, REPLACED, CLOSED, 0, 0, NOT_ACTIVE, 0),
    Command.RESET_TRIES: (UNKNOWN_CARD, REPLACED, CLOSED, 0, 0, 0, 0),
    Command.PAYMENT: (UNKNOWN_CARD, REPLACED, 0, 0, 0, NOT_ACTIVE, 0),  # closed: where it owes
    Command.LIMIT: (UNKNOWN_CARD, REPLACED, CLOSED, 0, 0, NOT_ACTIVE, 0),
    Command.VISIT: (UNKNOWN_CARD, REPLACED, CLOSED, BLOCKED, EXPIRED, NOT_ACTIVE, 0),
    Command.FREEZE: (UNKNOWN_CARD, REPLACED, CLOSED, 0, EXPIRED, NOT_ACTIVE, 0),
}
KINDS = {
    Kind.GIFT: {
        *(Command.BALANCE, Command.ACTIVATE, Command.RELOAD, Command.SALE, Command.HOLD, Command.CONFIRM),
        *(Command.RELEASE, Command.REFUND, Command.CASH_OUT, Command.BLOCK, Command.UNBLOCK),
        *(Command.CHANGE_ACCESS_CODE, Command.REPLACE, Command.RESET_TRIES),
    },
    Kind.VISITS: {
        *(Command.BALANCE, Command.ACTIVATE, Command.RELOAD, Command.VISIT, Command.FREEZE, Command.BLOCK),
        *(Command.UNBLOCK, Command.CHANGE_ACCESS_CODE, Command.REPLACE, Command.RESET_TRIES),
    },
    Kind.CREDIT: {
        *(Command.BALANCE, Command.ACTIVATE, Command.SALE, Command.HOLD, Command.CONFIRM, Command.RELEASE),
        *(Command.REFUND, Command.PAYMENT, Command.CASH_OUT, Command.LIMIT, Command.BLOCK, Command.UNBLOCK),
        *(Command.CHANGE_ACCESS_CODE, Command.REPLACE, Command.RESET_TRIES),
    },
}
SOLD_AS_IT_IS = {Kind.VISITS, Kind.CREDIT}
WITH_AN_AMOUNT = {
    *(Command.ACTIVATE, Command.RELOAD, Command.SALE, Command.HOLD, Command.CONFIRM, Command.REFUND),
    Command.PAYMENT,
}
ON_AN_ORIGINAL = {Command.CONFIRM: Command.HOLD, Command.RELEASE: Command.HOLD, Command.REFUND: Command.SALE}
ROWS = [(state, {command: row[place] for command, row in CELLS.items()}) for place, state in enumerate(State)]


def test_every_cell_is_tested() -> None:
    """The cells here are those of the table, no more and no fewer."""
    assert TABLE.keys() == {(command, state) for state, row in ROWS for command in row}


def test_what_each_kind_has() -> None:
    """Each command is some kind's, and each kind has those of its ledger."""
    assert OF_KIND == KINDS
    assert set().union(*KINDS.values()) == CELLS.keys()


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(("state", "row"), ROWS, ids=[state.name for state, _ in ROWS])
async def test_each_command_in_a_state(shop: Shop, kind: Kind, state: State, row: dict[Command, int]) -> None:
    """Each command on a card in this state gets the cell's reason and its result; a decline moves nothing.

    Where the state has nothing against it, what the kind does not have is declined as not the programme's.
    """
    for command, cell in row.items():
        if command in ON_AN_ORIGINAL and command not in KINDS[kind]:
            continue  # there can be no original
        till = shop.till(DESK if command in DESK_ONLY else TILLS[0])
        card, fields = await prepared(shop, kind, command, state)
        before = await shop.balance(card) if card in shop.card_ids else 0
        answer = await till.ask(command, card=card, **fields)
        reason = cell
        if kind is Kind.VISITS and (command, state) == (Command.RELOAD, State.EXPIRED):
            reason = 0
        if (command, state, kind) == (Command.PAYMENT, State.CLOSED, Kind.CREDIT):
            reason = CLOSED  # nothing is owed
        if not reason and command not in KINDS[kind]:
            reason = Reason.NOT_PROGRAMME
        assert (answer.reason, answer.result) == (reason, Reason(reason).result if reason else 0), command
        if reason and card in shop.card_ids and state is not State.EXPIRED:  # a pass lapses, whatever is asked
            assert await shop.balance(card) == before
    await shop.check_books()


async def prepared(shop: Shop, kind: Kind, command: Command, state: State) -> tuple[str, dict[str, Any]]:
    """A card in this state, and what a command on it needs besides."""
    card = await new_card(shop, kind=kind)
    if state is not State.ISSUED or command in ON_AN_ORIGINAL:
        sold = await shop.till().activate(card, 0 if kind in SOLD_AS_IT_IS else 5000)
        assert sold.result == 0
    fields: dict[str, Any] = {"amount": 1000} if command in WITH_AN_AMOUNT else {}
    if kind in SOLD_AS_IT_IS and command is Command.ACTIVATE:
        fields["amount"] = 0
    if kind is Kind.VISITS and command is Command.RELOAD:
        fields["amount"] = 10
    match command:
        case Command.BLOCK | Command.UNBLOCK:
            fields["reason"] = GivenReason.HOLDER
        case Command.CHANGE_ACCESS_CODE:
            fields["new_code"] = CODE
        case Command.REPLACE:
            fields["new_card"] = await new_card(shop, kind=kind)
        case Command.FREEZE:
            fields["freeze"] = Freeze(await shop.today(), await shop.today())
        case Command.LIMIT:
            fields["limit"] = 1000
        case _ if command in ON_AN_ORIGINAL:
            made = await shop.till().ask(ON_AN_ORIGINAL[command], card=card, amount=1000)
            fields["original"] = name_of(made)
    await bring_into(shop, card, state)
    return (UNKNOWN if state is State.UNKNOWN else card), fields
