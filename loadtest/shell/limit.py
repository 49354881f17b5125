"""The limit: the switch's own batch SQL without the switch.

The same two statements in the same transaction over the same driver, as many lanes, batches as large as a lane takes,
of which those who ask for a card of another lane's batch are left to the next one, as the switch leaves them; but
nothing is received, decided, sealed or answered. What is written has the shape that the switch gives it: one batch
is decided by the switch's own fold, in a transaction that is rolled back, and the pattern of its rows is repeated for
other cards under other names.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import partial
from itertools import islice
from random import Random
from typing import Final

import asyncpg

from authsrv.ask import Ask, open_ask
from authsrv.fold import Fold, answer_all
from authsrv.keys import CARD_BYTES, KeyRing
from authsrv.registry import Registry
from authsrv.shell.serve import Service, lanes_for
from ledger.authorizations import Authorization
from ledger.batch import Gathered, Lookup, Writes
from ledger.names import Name
from ledger.shell.store import transact
from loadtest.cards import Plastic
from loadtest.profile import Profile
from loadtest.shell.ground import Ground
from loadtest.shell.till import clock
from loadtest.traffic import arrivals
from protocol.crypto import BlockCipher
from protocol.messages import Request
from protocol.numbers import Command

CARDS: Final = 10_000
RATE_MAX_PER_S: Final = 40_000
AMOUNT_MINOR: Final = 1_000


class LimitError(Exception):
    """The batch SQL cannot be measured; the message says why."""


class _PatternTaken(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Batch:
    lookups: list[Lookup]
    rows: list[Authorization]

    def part(self, places: Iterable[int]) -> _Batch:
        """Those at these places of it."""
        at = sorted(places)
        return _Batch([self.lookups[place] for place in at], [self.rows[place] for place in at])

    def with_first(self, others: _Batch) -> _Batch:
        """These, behind others."""
        return _Batch(others.lookups + self.lookups, others.rows + self.rows)


class Limit:
    """Batches ready to be run; the modules are those at the end of the ground's, which no profile uses."""

    def __init__(self, ground: Ground, settings: Mapping[str, str], *, seed: int, cards: int = CARDS) -> None:
        """Learn the shape of what the switch writes of a sale; lanes and batches are those of all its workers, and
        sales are drawn from so many cards."""
        workers = int(settings.get("workers", "1"))
        self.lanes = workers * int(settings.get("lanes", lanes_for(workers)))
        self.batch = int(settings.get("batch_max", Service().batch_max))
        self.put_off = 0  # how often one was left to the next batch
        self._ground = ground
        self._random = Random(seed)  # noqa: S311 - which card is next
        self._today = dt.datetime.now(dt.UTC).date()
        self._modules = [identity.module for identity in ground.modules[-self.batch :]]
        registry, ring = ground.rules()
        self._token = {card: ring.token(card.number.encode().ljust(CARD_BYTES, b"\0")) for card in ground.cards[:cards]}
        rows = ground.query("select token, card from card_numbers")
        self._card_id = {row["token"]: row["card"] for row in rows}
        self._sequence = self._last_sequence()
        self._pattern, self._writes_cards = asyncio.run(self._take_pattern(registry, ring))

    def run(self, duration_s: float) -> float:
        """Run batches in all lanes; authorizations a second."""
        done, took_s = self.measure(self.ready(duration_s), duration_s)
        return done / took_s

    def ready(self, duration_s: float) -> list[list[_Batch]]:
        """Batches enough for all lanes for so long."""
        batches = self._batches()
        return [
            list(islice(batches, round(duration_s * RATE_MAX_PER_S / self.batch / self.lanes)))
            for _ in range(self.lanes)
        ]

    def measure(self, ready: list[list[_Batch]], duration_s: float) -> tuple[int, float]:
        """Run what is ready; how many authorizations, in how many seconds."""
        return asyncio.run(self._measure(ready, duration_s))

    def pairs(self, profile: Profile) -> list[tuple[float, float]]:
        """Have sales come at the rate of an open profile and lanes take what has come; for each when it came, and when
        it was committed, in seconds."""
        return asyncio.run(self._answer(arrivals(profile, self._random)))

    def _last_sequence(self) -> int:
        [row] = self._ground.query(
            "select coalesce(max(sequence), 0) as last from authorizations where module = any($1)", self._modules
        )
        last: int = row["last"]
        return last

    async def _connect(self) -> asyncpg.Connection[asyncpg.Record]:
        database = self._ground.database
        return await asyncpg.connect(database.switch_dsn, server_settings={"search_path": database.schema})

    async def _take_pattern(self, registry: Registry, ring: KeyRing) -> tuple[Authorization, bool]:
        card = next(card for card in self._ground.cards if card.access_code is None)
        ask = self._ask(card, ring)
        seen: list[Writes] = []

        def decide(gathered: Gathered) -> tuple[None, Writes]:
            fold = Fold(gathered, registry, ring, secrets.token_bytes)
            answer_all([ask], fold)
            seen.append(fold.writes)
            raise _PatternTaken

        connection = await self._connect()
        try:
            await transact([ask.lookup()], decide)(connection)
        except _PatternTaken:
            pass
        finally:
            await connection.close()
        [written] = seen[0].authorizations
        if not written.postings:
            raise LimitError(f"the sale that is to be the pattern was declined: {written.result:02}/{written.reason}")
        return written, bool(seen[0].cards)

    def _ask(self, card: Plastic, ring: KeyRing) -> Ask:
        request = Request(
            command=Command.SALE,
            module=self._modules[0],
            date=self._today,
            sequence=self._sequence + 1,
            card=card.number,
            amount=AMOUNT_MINOR,
        )
        _, ask = open_ask(request.encode(), request.module, BlockCipher(bytes(16)), ring)
        if not isinstance(ask, Ask):
            raise LimitError(f"the sale that is to be the pattern is refused: {ask.name}")
        return ask

    def _batches(self) -> Iterator[_Batch]:
        cards_used = list(self._token)
        while True:
            self._sequence += 1
            cards = self._random.choices(cards_used, k=len(self._modules))
            names = [Name(module, self._today, self._sequence) for module in self._modules]
            tokens = [self._token[card] for card in cards]
            yield _Batch(
                [
                    Lookup(name, token, card.access_code is not None, None, None)
                    for name, token, card in zip(names, tokens, cards, strict=True)
                ],
                [
                    self._pattern._replace(name=name, card=self._card_id[token])
                    for name, token in zip(names, tokens, strict=True)
                ],
            )

    async def _measure(self, ready: list[list[_Batch]], duration_s: float) -> tuple[int, float]:
        connections = [await self._connect() for _ in ready]
        started = clock()
        until = started + duration_s

        async def lane(connection: asyncpg.Connection[asyncpg.Record], batches: list[_Batch]) -> int:
            done, put_off = 0, _Batch([], [])
            for fresh in batches:
                batch = fresh
                if put_off.rows:
                    batch = fresh.with_first(put_off).part(range(self.batch))
                busy = await self._settle(connection, batch, wait=bool(put_off.rows))
                done += len(batch.rows) - len(busy)
                put_off = batch.part(busy)
                self.put_off += len(busy)
                if clock() >= until:
                    break
            return done

        try:
            done = await asyncio.gather(*map(lane, connections, ready))
            return sum(done), clock() - started
        finally:
            for connection in connections:
                await connection.close()

    async def _answer(self, wanted: list[float]) -> list[tuple[float, float]]:
        batches = self._batches()
        pairs: list[tuple[float, float]] = []
        connections = [await self._connect() for _ in range(self.lanes)]
        for connection in connections:  # what a connection's first batch makes ready is not counted
            await self._settle(connection, next(batches).part([0]), wait=True)
        started = clock()

        async def lane(connection: asyncpg.Connection[asyncpg.Record], coming: list[float]) -> None:
            put_off, came = _Batch([], []), list[float]()
            while coming or came:
                if not came and (early := coming[0] - (clock() - started)) > 0:
                    await asyncio.sleep(early)
                come = min(bisect_right(coming, clock() - started), self.batch - len(came))
                if not come and not came:
                    continue
                batch, came = next(batches).part(range(come)).with_first(put_off), came + coming[:come]
                del coming[:come]
                busy = await self._settle(connection, batch, wait=bool(put_off.rows))
                pairs.extend((at, clock() - started) for place, at in enumerate(came) if place not in busy)
                put_off, came = batch.part(busy), [at for place, at in enumerate(came) if place in busy]

        try:
            await asyncio.gather(*(lane(each, wanted[at :: self.lanes]) for at, each in enumerate(connections)))
            return pairs
        finally:
            for connection in connections:
                await connection.close()

    async def _settle(self, connection: asyncpg.Connection[asyncpg.Record], batch: _Batch, *, wait: bool) -> Set[int]:
        """Record a batch, or what of it need not wait; the places of those that are left."""
        return await transact(batch.lookups, partial(self._writes, batch.rows), wait=wait)(connection)

    def _writes(self, rows: list[Authorization], gathered: Gathered) -> tuple[Set[int], Writes]:
        numbered = [row._replace(number=serial) for row, serial in zip(rows, gathered.serials, strict=True) if serial]
        return gathered.busy, Writes(numbered, dict(gathered.cards) if self._writes_cards else {})
