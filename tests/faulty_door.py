"""A door that breaks as a real one does, where a test says so.

It wraps the real one and, for chosen calls, raises before it, or after it as a lost COMMIT does, when rows are there
and nobody was told. Without a script it only counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import trio

from authsrv.shell.lanes import Lanes
from ledger.faults import InDoubt, LedgerFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shop import Shop

    from authsrv.ask import Ask
    from ledger.shell.door import Connection

T = TypeVar("T")
LOST_BEFORE, LOST_AFTER = "the COMMIT was sent and did not happen", "the COMMIT happened and was not confirmed"


class FaultyDoor:
    """The real door, but for the faults that a script gives to the next calls; None: no fault."""

    def __init__(self, shop: Shop, *script: LedgerFault | str | None, then: LedgerFault | None = None) -> None:
        self._door, self._script, self._then = shop.door, list(script), then
        self.calls = 0

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What the real one does, or the next fault."""
        self.calls += 1
        match self._script.pop(0) if self._script else self._then:
            case None:
                return await self._door.run(work)
            case str(when):
                if when == LOST_AFTER:
                    await self._door.run(work)
                raise InDoubt(when)
            case fault:
                await trio.lowlevel.checkpoint()
                raise fault


def through(shop: Shop, door: Any, **bounds: int) -> Shop:
    """Have the shop's requests settled through this door."""
    bounds = {"lanes": 1, "batch_max": 256, "waiting_max": 1024} | bounds
    shop.lanes = Lanes(door, shop.rules, **bounds)
    return shop


async def at_once(shop: Shop, asks: list[Ask]) -> list[bytes | None]:
    """The answers to one batch in one transaction: what the database would refuse, the fold has not asked for."""
    door = FaultyDoor(shop)
    answers = await through(shop, door).settle(asks)
    assert door.calls == 1
    return answers
