"""A switch in this process that serves a real socket, and what tests do around it.

The amounts here are those that tests use on a wire, so that a log can be searched for them.
"""

from __future__ import annotations

import re
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shop import BARE, CODE, CODED, KEK, OTHER, TILLS, UNKNOWN, as_owner
from wire_client import connect

from authsrv.shell.enrolment import ModuleTraits, enroll_modules
from protocol.numbers import Command, Result, Suite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import trio
    from shop import Shop
    from wire_client import Caller

    from protocol.signon import ModuleIdentity

LOADED = 8117  # amounts that nothing else in a log looks like
SOLD = 2339
SECRETS = re.compile(rf"{CODED}|{BARE}|{OTHER}|{UNKNOWN}|\b(?:{CODE}|{LOADED}|{SOLD}|81[.,]17|23[.,]39)\b")


@dataclass
class Switch:
    """A switch that serves a real socket."""

    shop: Shop
    address: tuple[str, int]
    stop: trio.Event
    over: trio.Event

    @asynccontextmanager
    async def caller(self, module: int = TILLS[0]) -> AsyncIterator[Caller]:
        """A module on a connection of its own, its session live."""
        async with connect(self.address) as wire:
            caller = await wire.sign_on(self.shop, self.shop.identities[module])
            assert (await caller.ask(Command.ECHO)).result == Result.APPROVED
            yield caller

    async def recorded(self) -> int:
        """How many authorizations stand in the ledger."""
        [row] = await self.shop.query("select count(*) as number from authorizations")
        number: int = row["number"]
        return number

    async def still_sells(self) -> None:
        """A sale on another connection is approved, and the books are right."""
        async with self.caller(TILLS[1]) as caller:
            assert (await caller.ask(Command.SALE, card=OTHER, amount=SOLD)).result == Result.APPROVED
        await self.shop.check_books()


async def enroll(shop: Shop, *modules: int, suite: Suite = Suite.SHARED_KEY_X25519) -> list[ModuleIdentity]:
    """Enrol further modules of branch 1."""
    named = [(number, 1, f"till {number}") for number in modules]

    async def work(connection: Any) -> list[ModuleIdentity]:
        traits = ModuleTraits(suite=suite)
        return await enroll_modules(connection, KEK, named, traits=traits, random=secrets.token_bytes)

    identities: list[ModuleIdentity] = await as_owner(shop.owner_dsn, work)
    shop.identities.update({identity.module: identity for identity in identities})
    return identities
