"""The furnished shop of `shop.py`, over a fresh database for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from shop import KEK, Shop, as_owner, furnish

from authsrv.shell.lanes import Lanes
from authsrv.shell.rules import Rules
from ledger.shell import store
from ledger.shell.door import open_door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def shop(issuer: Any) -> AsyncIterator[Shop]:
    """A furnished issuer with lanes at work on it."""
    async with open_door(issuer.switch_dsn, schema=issuer.schema) as door:
        identities, cards, _ = await as_owner(issuer.owner_dsn, furnish)
        shop = Shop(issuer.owner_dsn, issuer.switch_dsn, issuer.schema, identities, cards)
        shop.door, shop.rules = door, Rules(KEK)
        await door.run(store.make_months)
        await shop.rules.load(door)
        shop.lanes = Lanes(door, shop.rules, lanes=2, batch_max=256, waiting_max=1024)
        yield shop
