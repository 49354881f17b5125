"""A shop over a real database: two branches, three tills and a desk, gift cards, and the lanes without sockets.

`shop.till(1001)` asks as that module would, through the whole of `open_ask`, lanes, fold and ledger, and reads the
answer.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import trio

from authsrv.ask import Ask, open_ask
from authsrv.shell.enrolment import (
    ModuleTraits,
    add_branch,
    add_programme,
    create_issuer,
    enroll_modules,
    init_keys,
    issue_cards,
    load_ring,
)
from authsrv.shell.lanes import Lanes
from authsrv.shell.rules import Rules
from ledger.shell.door import Door
from loyalty.source import parse_programme
from protocol import access_code
from protocol.crypto import BlockCipher
from protocol.messages import OriginalName, Request, Response
from protocol.numbers import Command, Flag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from authsrv.keys import KeyRing
    from protocol.signon import ModuleIdentity

KEK = bytes(range(32))
TILLS = (1001, 1002, 2001)
DESK = 9001
CODED = "6371120000000000017"  # with the access code below
BARE = "6371120000000000025"  # without one
OTHER = "6371120000000000033"
UNKNOWN = "6371120000000009990"
CODE = "4321"
TERM = 90  # days of a pass here
PROGRAMMES = Path(__file__).parents[1] / "loyalty" / "programmes"
GIFT, VISITS, CREDIT = (PROGRAMMES / f"{kind}.toml" for kind in ("gift", "visits", "credit"))

# Value below its floor; the limit of credit may be cut below what is owed or held.
BELOW_FLOOR = """
    select card from accounts a where kind = 1 and balance - held < floor
       and not exists (select from cards c join programme_versions v using (programme)
                        where c.id = a.card and v.document ->> 'kind' = 'credit')
"""


@dataclass
class Shop:
    """The issuer as the tests see it: through its tills, and through its owner's eyes."""

    owner_dsn: str
    switch_dsn: str
    schema: str
    identities: dict[int, ModuleIdentity]
    card_ids: dict[str, int]
    tills: dict[int, Till] = field(default_factory=dict)
    door: Door = field(init=False)
    rules: Rules = field(init=False)
    lanes: Lanes = field(init=False)

    def till(self, module: int = TILLS[0]) -> Till:
        """The module of that number; its sequence goes on."""
        return self.tills.setdefault(module, Till(self, module))

    async def query(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Ask the database as the issuer's owner."""
        return await as_owner(self.owner_dsn, lambda connection: connection.fetch(sql, *arguments))

    async def today(self) -> dt.date:
        """The issuer's day by the database's clock."""
        rows = await self.query("select (clock_timestamp() at time zone zone)::date as today from issuer")
        day: dt.date = rows[0]["today"]
        return day

    async def balance(self, card: str) -> int:
        """A card's value by its account row."""
        rows = await self.query("select balance from accounts where card = $1 and kind = 1", self.card_ids[card])
        return rows[0]["balance"] if rows else 0

    async def owed(self, card: str) -> int:
        """What a card owes, zero or below."""
        rows = await self.query("select balance from accounts where card = $1 and kind = 2", self.card_ids[card])
        return rows[0]["balance"] if rows else 0

    async def check_books(self) -> None:
        """Each unit sums to zero, each balance is what its postings add up to, no value lies below its floor."""
        assert not await self.query("select unit from trial_balance group by unit having sum(balance) <> 0")
        assert not await self.query("select * from unbalanced_accounts")
        assert not await self.query("select * from unbalanced_holds")
        assert not await self.query(BELOW_FLOOR)

    async def settle(self, asks: Sequence[Ask], deadline_s: float = 15) -> list[bytes | None]:
        """Let a lane settle these requests as one batch; the answers in their order, None for silence."""
        answers: list[bytes | None] = [None] * len(asks)

        def put(place: int) -> Callable[[bytes], None]:
            def reply(answer: bytes) -> None:
                assert answers[place] is None
                answers[place] = answer

            return reply

        deadline = trio.current_time() + deadline_s
        await self.lanes.settle([Waiting(ask, deadline, put(place)) for place, ask in enumerate(asks)])
        return answers


@dataclass(eq=False)
class Waiting:
    """A request on its way to whoever is called with its answer."""

    ask: Ask
    deadline: float
    answered: Callable[[bytes], None] = field(repr=False)
    in_doubt: bool = False

    def reply(self, answer: bytes, now: float) -> None:
        """Hand the answer on."""
        assert now <= trio.current_time()
        self.answered(answer)

    def stay_silent(self) -> None:
        """Nobody is told."""


@dataclass
class Till:
    """A module that asks without a socket."""

    shop: Shop
    module: int
    sequence: int = 0
    access_code_key: bytes = bytes(range(16))

    async def request(self, command: Command, **fields: Any) -> Request:
        """A request with the next sequence, dated today; `code` and `new_code` seal access codes."""
        code, new_code = fields.pop("code", None), fields.pop("new_code", None)
        self.sequence += 1
        fields = {"date": await self.shop.today(), "sequence": self.sequence, "time": dt.time(12)} | fields
        if code is not None:
            block = access_code.encode(code, fields["card"], self.access_code_key, secrets.token_bytes(8))
            fields |= {"access_code_block": block, "flags": fields.get("flags", Flag(0)) | Flag.ACCESS_CODE}
        if new_code is not None:
            block = access_code.encode(new_code, fields["card"], self.access_code_key, secrets.token_bytes(8))
            fields["new_access_code_block"] = block
        return Request(command=command, module=self.module, **fields)

    def opened(self, request: Request | bytes) -> Ask:
        """The request as a lane takes it."""
        plain = request if isinstance(request, bytes) else request.encode()
        _, ask = open_ask(plain, self.module, BlockCipher(self.access_code_key), self.shop.rules.ring)
        assert isinstance(ask, Ask), ask
        return ask

    async def send(self, request: Request | bytes) -> bytes:
        """The recorded answer to one request, alone in its batch."""
        [answer] = await self.shop.settle([self.opened(request)])
        assert answer is not None
        return answer

    async def ask(self, command: Command, **fields: Any) -> Response:
        """Ask and read the answer."""
        return Response.decode(await self.send(await self.request(command, **fields)))

    async def activate(self, card: str, amount: int) -> Response:
        """Sell a card."""
        return await self.ask(Command.ACTIVATE, card=card, amount=amount)

    async def sale(self, card: str, amount: int, **fields: Any) -> Response:
        """Sell goods."""
        return await self.ask(Command.SALE, card=card, amount=amount, **fields)

    async def reverse(self, original: OriginalName | str, amount: int, **fields: Any) -> Response:
        """Undo a request."""
        return await self.ask(Command.REVERSE, original=original, amount=amount, **fields)


def name_of(answer: Response) -> OriginalName:
    """The name of the request that was answered, as a later one refers to it."""
    day = answer.date
    return OriginalName(dt.date(day // 10_000, day // 100 % 100, day % 100), answer.sequence)


async def as_owner(dsn: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        connection = await asyncpg.connect(dsn, server_settings={"search_path": "issuer"})
        try:
            return await work(connection)
        finally:
            await connection.close()

    return await trio.to_thread.run_sync(asyncio.run, run())


async def furnish(connection: Any) -> tuple[dict[int, ModuleIdentity], dict[str, int], KeyRing]:
    """Set the issuer up as its operator would: keys, branches, tills, a desk, a programme, cards."""
    await create_issuer(connection, 41, "Kafija SIA", zone="Europe/Riga", code="EUR", group=7)
    await init_keys(connection, KEK, secrets.token_bytes)
    await add_branch(connection, 1, "Brivibas 1")
    await add_branch(connection, 2, "Valnu 2")
    for file in (GIFT, VISITS, CREDIT):
        programme = parse_programme(file.read_text(), file.name)
        if file == VISITS:
            programme = replace(programme, valid_months=None, valid_days=TERM)
        await add_programme(connection, programme)
    modules = [(number, number // 1000, f"till {number}") for number in TILLS]
    identities = await enroll_modules(connection, KEK, modules, random=secrets.token_bytes)
    desk = ModuleTraits(desk=True)
    identities += await enroll_modules(connection, KEK, [(DESK, 1, "desk")], traits=desk, random=secrets.token_bytes)
    ring = await load_ring(connection, KEK)
    cards = [(CODED, CODE), (BARE, None), (OTHER, None)]
    ids = await issue_cards(connection, ring, "gift", cards)
    return (
        {each.module: each for each in identities},
        dict(zip((number for number, _ in cards), ids, strict=True)),
        ring,
    )
