"""Behind the counter of `shop.py`: further programmes and cards, states that no command makes yet, snapshots."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from books import contents
from shop import KEK, PROGRAMMES, Shop, as_owner

from authsrv.shell.enrolment import add_programme, issue_cards, load_ring
from authsrv.table import State
from loyalty.programme import Kind
from loyalty.source import parse_programme

if TYPE_CHECKING:
    from ledger.shell.door import Connection

_NUMBERS = itertools.count(637112_5000000000000)
_PROGRAMMES = itertools.count(1)

A_DECLINE_LEAVES = ("authorizations", "pages", "tries", "bad_cards", "totals")
"""What a decline may change: its record with the totals that it is about, and the counts of bad codes and cards."""


async def new_card(shop: Shop, code: str | None = None, kind: Kind = Kind.GIFT, **rules: Any) -> str:
    """A card with a number of its own, issued and not active; `rules` change its programme's for it alone."""

    async def issue(connection: Connection) -> str:
        programme = parse_programme((PROGRAMMES / f"{kind}.toml").read_text(), kind)
        if rules:
            programme = replace(programme, name=f"{kind}-{next(_PROGRAMMES)}", **rules)
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


async def new_pass(shop: Shop, code: str | None = None, **rules: Any) -> str:
    """A pass that was sold, of ten visits unless the rules say otherwise."""
    number = await new_card(shop, code, Kind.VISITS, **rules)
    sold = await shop.till().activate(number, 0)
    assert sold.result == 0, sold
    return number


async def credit_card(shop: Shop, code: str | None = None, **rules: Any) -> str:
    """A local credit card that was handed out, with a limit of 200.00 unless the rules say otherwise."""
    number = await new_card(shop, code, Kind.CREDIT, **rules)
    opened = await shop.till().activate(number, 0)
    assert opened.result == 0, opened
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
