"""An issuer with tills and cards in a database of its own, two switch processes before it, and its books as the owner
sees them: everything in plain blocking calls.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
from shop import BELOW_FLOOR, DESK, KEK, TILLS, furnish
from whole.till import Line, Name, Slip

from authsrv.books import CHECKS
from authsrv.keys import KeyRing
from authsrv.shell.enrolment import issue_cards, load_ring

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Coroutine

    from whole.switches import SwitchProcess

    from protocol.numbers import Command
    from protocol.signon import ModuleIdentity

MODULES = (*TILLS, DESK)
CARDS_AHEAD = 200
PATIENCE_S = 10.0


@dataclass
class Books:
    """The owner's connection, outside of any event loop that a test may run."""

    dsn: str
    runner: asyncio.Runner = field(default_factory=lambda: asyncio.Runner(loop_factory=asyncio.SelectorEventLoop))
    connection: Any = None

    def open(self) -> None:
        """Connect; again, if the server has been away."""
        if self.connection is not None:
            self.connection.terminate()
        settings = {"search_path": "issuer"}
        self.connection = self.run(asyncpg.connect(self.dsn, server_settings=settings))

    def close(self) -> None:
        """Leave."""
        self.run(self.connection.close())
        self.runner.close()

    def abandon(self) -> None:
        """Leave a server that may be away."""
        self.connection.terminate()
        self.run(asyncio.sleep(0))  # in which the loop closes the socket
        self.runner.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run this now."""
        return self.runner.run(work)

    def query(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Ask the database as the issuer's owner."""
        rows: list[asyncpg.Record] = self.run(self.connection.fetch(sql, *arguments))
        return rows

    def value(self, sql: str, *arguments: Any) -> Any:
        """Ask for one value."""
        return self.query(sql, *arguments)[0][0]

    def check(self) -> None:
        """Each unit sums to zero, each balance is what its postings add up to, no value lies below its floor, nothing
        is undone twice or beyond what was approved, and every posting belongs to an approved authorization."""
        assert not self.query("select unit from trial_balance group by unit having sum(balance) <> 0")
        assert not self.query("select * from unbalanced_accounts")
        assert not self.query("select * from unbalanced_holds")
        assert not self.query(BELOW_FLOOR)
        assert not self.query("select card from accounts where kind = 2 and balance > 0")
        assert not self.query(
            """select module, date, sequence from postings p
                where module > 0 and not exists (select from authorizations a
                                   where (a.module, a.date, a.sequence) = (p.module, p.date, p.sequence)
                                     and a.result in (0, 10) and not a.tombstone and a.card = p.card)"""
        )
        assert not self.query(
            """select module, date, sequence from undos group by module, date, sequence
               having count(*) filter (where reversal) > 1 or sum(amount) filter (where not reversal) < 0"""
        )
        assert not self.query(
            """select from authorizations a
                where a.approved < (select sum(u.amount) from undos u
                                     where not u.reversal
                                       and (u.module, u.date, u.sequence) = (a.module, a.date, a.sequence))"""
        )
        assert not self.query("select number from authorizations group by number having count(*) > 1")
        for (
            check
        ) in CHECKS:  # all that `authsrv reconcile` would call a difference; a request may well come behind totals
            if not check.dated:
                assert not self.query(f"select * from {check.relation}"), check.sort  # noqa: S608 - ours

    def held(self, *cards: int) -> AbstractContextManager[Gate]:
        """Hold the lock of these cards: who wants one queues behind us, in the order of coming, until the end."""
        return self._holding("select from cards where id = any ($1) order by id for update", list(cards))

    def name_held(self, name: Name, date: dt.date) -> AbstractContextManager[Gate]:
        """Hold a name as if it were being recorded: who wants to record it waits, and then finds that it is free."""
        return self._holding(
            """insert into authorizations (module, date, sequence, number, decided_at, booked_on, tombstone, command,
                                           result, reason, branch, unit, requested, approved, cashier)
               values ($1, $2, $3, 0, clock_timestamp(), $2, true, 0, 0, 0, 1, 978, 0, 0, 0)""",
            name.module,
            date,
            name.sequence,
        )

    @contextmanager
    def _holding(self, sql: str, *arguments: Any) -> Iterator[Gate]:
        holder = self.run(asyncpg.connect(self.dsn, server_settings={"search_path": "issuer"}))
        try:
            self.run(holder.execute("begin"))
            self.run(holder.fetch(sql, *arguments))
            yield Gate(self)
        finally:
            self.run(holder.close())


@dataclass
class Gate:
    """A lock that is held by the test."""

    books: Books

    def await_waiting(self, number: int) -> None:
        """Wait until so many transactions wait for a lock."""
        sql = "select count(distinct pid) from pg_locks where not granted"
        deadline = self.books.runner.get_loop().time() + PATIENCE_S
        while self.books.value(sql) < number:
            assert self.books.runner.get_loop().time() < deadline, f"there never were {number} waiting"


@dataclass
class Shopfront:
    """The shop, its processes and its lines."""

    books: Books
    identities: dict[int, ModuleIdentity]
    ring: KeyRing
    date: dt.date
    switch_dsn: str
    schema: str
    processes: list[SwitchProcess] = field(default_factory=list)
    lines: dict[tuple[int, int], Line] = field(default_factory=dict)
    card_ids: dict[str, int] = field(default_factory=dict)
    sequences: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _fresh: dict[tuple[str | None, str], list[str]] = field(default_factory=dict)

    def line(self, module: int, process: int) -> Line:
        """The module's session with a process; signs on when first asked for, or when it has ended."""
        if (module, process) not in self.lines:
            self.lines[module, process] = Line(self.identities[module], self.processes[process].address, self.date)
        return self.lines[module, process]

    def replace(self, place: int, process: SwitchProcess) -> None:
        """Put a process where another was, which is killed if it still runs."""
        for module, at in [key for key in self.lines if key[1] == place]:
            self.lines.pop((module, at)).close()
        self.processes[place].kill()
        self.processes[place] = process

    def hang_up(self) -> None:
        """End all sessions."""
        for line in self.lines.values():
            line.close()
        self.lines.clear()

    def name(self, module: int) -> Name:
        """A name that nobody has used."""
        return Name(module, next(self.sequences))

    def slip(self, module: int, command: Command, **fields: Any) -> Slip:
        """A slip under a new name."""
        return Slip(self.name(module), command, **fields)

    def card(self, code: str | None = None, programme: str = "gift") -> str:
        """The number of a card that nobody has used, issued and not active."""
        fresh = self._fresh.setdefault((code, programme), [])
        if not fresh:
            fresh += self._issue(code, programme)
        return fresh.pop()

    def unknown_card(self) -> str:
        """A number that was never issued."""
        return f"{637199 * 10**12 + next(self._numbers):018d}"

    def _issue(self, code: str | None, programme: str) -> list[str]:
        numbers = [f"{637112 * 10**12 + next(self._numbers):018d}" for _ in range(CARDS_AHEAD)]
        work = issue_cards(self.books.connection, self.ring, programme, [(number, code) for number in numbers])
        self.card_ids |= dict(zip(numbers, self.books.run(work), strict=True))
        return numbers

    def volley(self, shots: Sequence[tuple[Slip, int]]) -> list[bytes]:
        """Send slips at once, each to its process, and wait for all answers."""
        posted = [(line, line.post(slip)) for slip, process in shots for line in [self.line(slip.name.module, process)]]
        return [line.answer(counter) for line, counter in posted]


def open_shopfront(owner_dsn: str, switch_dsn: str, schema: str) -> Shopfront:
    """Furnish a shop in a fresh schema; its processes are still to be started."""
    books = Books(owner_dsn)
    books.open()
    identities, _, _ = books.run(furnish(books.connection))
    # Noon, wherever that is: no day ends during a test. And over many examples nobody runs out of guesses.
    hour = books.value("select extract(hour from clock_timestamp() at time zone 'UTC')::int")
    books.query("update issuer set zone = $1", f"Etc/GMT{hour - 12:+d}")
    books.query("update modules set bad_cards_per_day = 1000000000")
    ring = books.run(load_ring(books.connection, KEK))
    date = books.value("select (clock_timestamp() at time zone zone)::date from issuer")
    return Shopfront(books, identities, ring, date, switch_dsn, schema)
