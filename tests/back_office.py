"""Behind the counter of `shop.py`: further programmes and cards, states that no command makes yet, snapshots."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from books import contents
from shop import GIFT, KEK, Shop, as_owner

from authsrv.shell.enrolment import add_programme, issue_cards, load_ring
from authsrv.table import State
from loyalty.source import parse_programme

if TYPE_CHECKING:
    from ledger.shell.door import Connection

_NUMBERS = itertools.count(637112_5000000000000)
_PROGRAMMES = itertools.count(1)

A_DECLINE_LEAVES = ("authorizations", "pages", "tries", "bad_cards")
"""What a decline may change: its record, and the counts of bad codes and bad cards."""


async def new_card(shop: Shop, code: str | None = None, **rules: Any) -> str:
    """A card with a number of its own, issued and not active; `rules` change the gift programme's for it alone."""

    async def issue(connection: Connection) -> str:
        programme = parse_programme(GIFT.read_text(), "gift.toml")
        if rules:
            programme = replace(programme, name=f"gift-{next(_PROGRAMMES)}", **rules)
            await add_programme(connection, programme)
        number = str(next(_NUMBERS))
        ring = await load_ring(connection, KEK)
        [shop.card_ids[number]] = await issue_cards(connection, ring, programme.name, [(number, code)])
        return number

    number: str = await as_owner(shop.owner_dsn, issue)
    return number


async def active_card(shop: Shop, amount: int = 5000, code: str | None = None, **rules: Any) -> str:
    """A card that was sold with this amount on it."""
    number = await new_card(shop, code, **rules)
    sold = await shop.till().activate(number, amount)
    assert sold.result == 0, sold
    return number


async def bring_into(shop: Shop, card: str, state: State) -> None:
    """Bring an active card into a state that no command makes yet, or that takes years."""
    card_id = shop.card_ids[card]
    match state:
        case State.REPLACED:
            await shop.query("update card_numbers set live = false where card = $1", card_id)
        case State.CLOSED:
            await shop.query("update cards set status = 3 where id = $1", card_id)
        case State.BLOCKED:
            await shop.query("update cards set blocked = 7 where id = $1", card_id)
        case State.EXPIRED:
            yesterday = await shop.today() - dt.timedelta(days=1)
            await shop.query("update cards set valid_until = $2 where id = $1", card_id, yesterday)
        case State.ISSUED:
            await shop.query("update cards set status = 0, valid_until = null where id = $1", card_id)
        case State.ACTIVE | State.UNKNOWN:
            pass


async def expire_holds(shop: Shop, card: str) -> None:
    """The time of all open holds of a card is over."""
    await shop.query(
        "update holds set expires_at = clock_timestamp() where card = $1 and ended is null", shop.card_ids[card]
    )


async def snapshot(shop: Shop, *besides: str) -> dict[str, str | None]:
    """A digest of every table but those `besides`."""
    kept: dict[str, str | None] = await as_owner(shop.owner_dsn, lambda connection: contents(connection, besides))
    return kept


async def recorded(shop: Shop) -> int:
    """How many names are recorded."""
    [row] = await shop.query("select count(*) from authorizations")
    count: int = row["count"]
    return count
