"""Behind the counter of `shop.py`: further programmes and cards, states that no command makes yet, snapshots."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from books import contents
from shop import BARE, DESK, KEK, PROGRAMMES, TILLS, Shop, as_owner, name_of

from authsrv.shell.enrolment import add_programme, issue_cards, load_ring
from authsrv.table import State
from loyalty.programme import Kind
from loyalty.source import parse_programme
from protocol.messages import OriginalName, Totals
from protocol.numbers import Command, GivenReason, Result

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


async def trade(shop: Shop) -> dict[str, int]:
    """Something of everything that moves, holds, owes, is undone and is counted; the ids of cards by what they are."""
    till, other, desk = shop.till(), shop.till(TILLS[2]), shop.till(DESK)
    gift, credit, visits = await active_card(shop, 5000), await credit_card(shop), await new_pass(shop)
    await till.sale(gift, 700)
    assert (await till.sale(gift, 999_999)).result == Result.FUNDS
    sold = await other.sale(gift, 500)
    refunded = await other.ask(Command.REFUND, original=name_of(sold), amount=200)
    await other.reverse(name_of(refunded), 200)
    await other.ask(Command.REFUND, original=name_of(sold), amount=100)
    undone = await till.sale(gift, 50)
    await till.reverse(name_of(undone), 50)
    await till.reverse(name_of(undone), 50)
    held = await till.ask(Command.HOLD, card=gift, amount=300)
    await till.ask(Command.CONFIRM, original=name_of(held), amount=250)
    await till.ask(Command.RELEASE, original=name_of(await till.ask(Command.HOLD, card=gift, amount=310)))
    await till.reverse(name_of(await till.ask(Command.HOLD, card=gift, amount=10)), 10)
    await till.ask(Command.HOLD, card=gift, amount=20)
    await till.sale(credit, 1200)
    bought = await till.sale(credit, 300)
    await till.ask(Command.REFUND, original=name_of(bought), amount=300)
    paid = await till.ask(Command.PAYMENT, card=credit, amount=400)
    await till.reverse(name_of(paid), 400)
    await desk.ask(Command.LIMIT, card=credit, limit=100)
    await till.ask(Command.VISIT, card=visits)
    spent = await active_card(shop, 1000)
    reload = await till.ask(Command.RELOAD, card=spent, amount=500)
    await till.sale(spent, 1500)
    await till.reverse(name_of(reload), 500)
    closed = await active_card(shop, 900)
    await till.ask(Command.CASH_OUT, card=closed)
    today = await shop.today()
    tombstone = await till.reverse(OriginalName(today, till.sequence + 50), 700)
    renewed = await new_card(shop)
    await till.ask(Command.BLOCK, card=BARE, reason=GivenReason.STOLEN)
    await till.ask(Command.BLOCK, card=spent, reason=GivenReason.HOLDER)
    await till.ask(Command.UNBLOCK, card=spent, reason=GivenReason.HOLDER)
    await till.ask(Command.BLOCK, card=gift, reason=GivenReason.LOST)
    replaced = await desk.ask(Command.REPLACE, card=gift, new_card=renewed)
    counted = await other.ask(
        Command.TOTALS,
        unit=978,
        totals=Totals(OriginalName(today, 1), OriginalName(today, other.sequence), ((0, 0),) * 10),
    )
    assert (tombstone.reason, replaced.result, counted.result) == (2, Result.APPROVED, Result.TOTALS_DIFFER)
    ids = {"gift": gift, "credit": credit, "visits": visits, "spent": spent, "closed": closed, "new": BARE}
    return {what: shop.card_ids[number] for what, number in ids.items()}
