"""Several messages in one exchange: BEGIN before a statement, COMMIT behind one, and nothing taken for another's."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trio
from authority import Authority
from relay import Relay, relay

from ledger.faults import BadRow, InDoubt, LedgerFault, Unavailable
from ledger.shell import door as door_module
from ledger.shell.door import ANSWER_S, Connection, Door, begin, commit, open_door, prepare
from ledger.shell.exchange import Exchange, exchange_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

TABLES = """
create table rows (number int check (number > 0));
create table once (number int unique deferrable initially deferred);
"""
INSERT = "insert into rows select unnest($1::int[])"
COUNT = "select count(*) from rows"


@pytest.fixture(params=["plain", "TLS"])
async def line(issuer: Any, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Relay]:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if request.param == "TLS" else None
    if tls:
        tls.load_cert_chain(*Authority.found(tmp_path).issue("database"))
    async with relay(issuer.owner_dsn, tls) as opened:
        yield opened


@pytest.fixture
async def owner(line: Relay, issuer: Any) -> AsyncIterator[Door]:
    """A door with one connection over the line, with the owner's rights: there are tables to write to."""
    async with open_door(line.dsn, schema=issuer.schema, connections=1) as opened:
        await opened.run(lambda connection: connection.execute(TABLES))
        yield opened


@pytest.fixture
async def admin(issuer: Any) -> AsyncIterator[Door]:
    async with open_door(issuer.admin_dsn, schema=issuer.schema, connections=1) as opened:
        yield opened


def inserting(*numbers: int, first: str = "select 1", last: str = INSERT) -> Callable[[Connection], Awaitable[int]]:
    """A transaction in two exchanges; what its first statement returned."""

    async def work(connection: Connection) -> int:
        row = await begin(connection, first)
        assert row is not None
        assert connection.is_in_transaction()
        await commit(connection, last, list(numbers))
        assert not connection.is_in_transaction()
        found: int = row[0]
        return found

    return work


async def pid_and_count(door: Door) -> tuple[int, int]:
    """By which backend a door is served, and how many rows it sees."""

    async def work(connection: Connection) -> tuple[int, int]:
        assert not connection.is_in_transaction()
        return connection.get_server_pid(), await connection.fetchval(COUNT)

    return await door.run(work)


async def fail(door: Door, work: Callable[[Connection], Awaitable[object]], faults: list[LedgerFault]) -> None:
    """Run what fails, and note how."""
    try:
        await door.run(work)
    except LedgerFault as fault:
        faults.append(fault)


async def test_a_transaction_is_two_exchanges(owner: Door, line: Relay) -> None:
    """With its statements prepared a transaction is said in two pieces and answered in two, its first one too; what it
    wrote is there."""
    await owner.run(lambda connection: prepare(connection, "select 41", INSERT))
    for number in (1, 2):
        line.pieces = line.answers = 0
        assert await owner.run(inserting(number, first="select 41")) == 41
        assert (line.pieces, line.answers) == (2, 2)
        assert (await pid_and_count(owner))[1] == number


@pytest.mark.parametrize("changed", ["first", "last"])
async def test_a_statement_whose_rows_have_changed_is_made_ready_anew(
    owner: Door, admin: Door, issuer: Any, changed: str
) -> None:
    """The driver ends such a statement for good: one transaction may fail of it, and the next ones go well."""

    async def work(connection: Connection) -> None:
        statements = {"first": "select 1", "last": "select 1", changed: "select once from once"}
        await begin(connection, statements["first"])
        await commit(connection, statements["last"])

    await owner.run(lambda connection: connection.execute("insert into once values (1)"))
    await owner.run(work)
    await admin.run(lambda connection: connection.execute(f"alter table {issuer.schema}.once add column more int"))
    with contextlib.suppress(LedgerFault):
        await owner.run(work)
    await owner.run(work)
    await owner.run(work)


async def test_making_ready_does_not_wait_without_end(
    owner: Door, line: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a statement that failed the driver first ends that one: a server that stands still then is told too."""
    with pytest.raises(BadRow):
        await owner.run(lambda connection: begin(connection, "select 1 / $1::int", 0))
    monkeypatch.setattr(door_module, "ANSWER_S", 0.1)
    line.hold(b"C\0\0\0")
    with trio.fail_after(20), pytest.raises(Unavailable):
        await owner.run(lambda connection: begin(connection, "select 1 / $1::int", 1))
    assert line.held.is_set()
    line.let_go()


@pytest.mark.parametrize("piece_bytes", [1, 3, 7])
async def test_answers_that_come_piece_by_piece(owner: Door, line: Relay, piece_bytes: int) -> None:
    """Wherever an answer is cut, each is whose it is: also where a statement or its COMMIT is refused in between."""
    line.piece_bytes = piece_bytes
    for number in range(1, 4):
        assert await owner.run(inserting(number, number, first=f"select {number}")) == number
        with pytest.raises(BadRow):
            await owner.run(inserting(-number))
        with pytest.raises(BadRow):
            await owner.run(inserting(number, number, last="insert into once select unnest($1::int[])"))
    assert (await pid_and_count(owner))[1] == 6


class TestBegin:
    async def test_a_refused_statement_leaves_nothing(self, owner: Door) -> None:
        """The first statement fails: its fault, no transaction, and the connection serves on."""
        before = await pid_and_count(owner)
        with pytest.raises(BadRow):
            await owner.run(lambda connection: begin(connection, "select 1 / $1::int", 0))
        assert await pid_and_count(owner) == before

    @pytest.mark.parametrize("statement", ["select nothing", "select $1::int"])
    async def test_nothing_begins_for_what_is_not_sent(self, owner: Door, statement: str) -> None:
        """A statement that cannot be prepared or whose argument cannot be packed: the next one begins nothing."""

        async def work(connection: Connection) -> bool:
            with pytest.raises(Exception, match=r"nothing|integer"):
                await begin(connection, statement, *(["seven"] if "$1" in statement else []))
            await connection.fetchval("select 1")
            return connection.is_in_transaction()

        assert not await owner.run(work)

    async def test_a_begin_that_is_refused_is_the_statements_fault(self, owner: Door) -> None:
        """In a transaction that has failed BEGIN is refused like all else: a fault, and the connection serves on."""
        before = await pid_and_count(owner)

        async def work(connection: Connection) -> None:
            await begin(connection, "select 1")
            with pytest.raises(Exception, match="division by zero"):
                await connection.fetchval("select 1 / 0")
            await begin(connection, "select 1")

        with pytest.raises(Unavailable, match="InFailedSQLTransactionError"):
            await owner.run(work)
        assert await pid_and_count(owner) == before

    async def test_what_is_behind_something_that_fails_is_not_executed(self, owner: Door) -> None:
        """Also where the server could execute it: the fault is the driver's answer, and the connection serves on."""
        before = await pid_and_count(owner)

        async def work(connection: Connection) -> None:
            statement = await connection.prepare(INSERT)
            exchange_of(connection).send_before(await connection.prepare("do $$ begin perform 1 / 0; end $$"))
            await statement.fetch([1])

        with pytest.raises(BadRow):
            await owner.run(work)
        assert await pid_and_count(owner) == before

    async def test_a_notice_in_front_of_it_is_shown(self, owner: Door) -> None:
        """The server warns of a transaction that is open already: the driver's listeners hear it, in its place."""
        heard: list[str] = []

        async def work(connection: Connection) -> None:
            connection.add_log_listener(lambda _, message: heard.append(message.sqlstate))
            await begin(connection, "select 1")
            await begin(connection, "select 1")

        await owner.run(work)
        assert heard == ["25001"]  # active_sql_transaction

    async def test_a_backend_that_ends_before_it(self, owner: Door, line: Relay, admin: Door) -> None:
        """Killed while BEGIN is on its way: `Unavailable`."""
        pid, _ = await pid_and_count(owner)
        await owner.run(prepare)
        line.hold(b"begin\0")
        faults: list[LedgerFault] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, owner, inserting(1), faults)
            await line.held.wait()
            await admin.run(lambda connection: connection.fetchval("select pg_terminate_backend($1, 5000)", pid))
        line.let_go()
        assert [type(fault) for fault in faults] == [Unavailable]
        after, count = await pid_and_count(owner)
        assert (after == pid, count) == (False, 0)

    async def test_on_a_connection_that_is_lost(self, owner: Door) -> None:
        """The door's word for it, as for any other statement on it."""

        async def work(connection: Connection) -> None:
            connection.terminate()
            await asyncio.sleep(0)  # one turn, in which the transport lets go of who it tells
            assert connection._transport.get_protocol() is None
            await begin(connection, "select 1")

        with pytest.raises(Unavailable):
            await owner.run(work)


class TestCommit:
    async def test_a_refused_statement_commits_nothing(self, owner: Door) -> None:
        """The last statement fails: its fault and no doubt, nothing is there, and the connection serves on."""
        before = await pid_and_count(owner)
        with pytest.raises(BadRow):
            await owner.run(inserting(1, -1))
        assert await pid_and_count(owner) == before
        assert await owner.run(inserting(2)) == 1

    async def test_a_refused_commit_is_the_commits(self, owner: Door) -> None:
        """What is checked at COMMIT fails there, behind a statement that went well."""
        before = await pid_and_count(owner)
        with pytest.raises(BadRow):
            await owner.run(inserting(1, 1, last="insert into once select unnest($1::int[])"))
        assert await pid_and_count(owner) == before

    @pytest.mark.parametrize("statement", ["insert into nowhere values (1)", INSERT])
    async def test_no_commit_for_what_is_not_sent(self, owner: Door, statement: str) -> None:
        """A statement that cannot be prepared or whose argument cannot be packed: no COMMIT, none with the next."""

        async def work(connection: Connection) -> bool:
            await begin(connection, "insert into rows values (7) returning 1")
            with pytest.raises(Exception, match=r"nowhere|a sized iterable"):
                await commit(connection, statement, *([7] if "$1" in statement else []))
            if "$1" in statement:
                await connection.fetchval("select 1")
            return connection.is_in_transaction()

        assert await owner.run(work)
        assert (await pid_and_count(owner))[1] == 0

    async def test_a_backend_killed_in_the_statement_leaves_a_doubt(self, owner: Door, admin: Door) -> None:
        """COMMIT was behind it: nobody has said that it was not done."""
        sleeping = "select pid from pg_stat_activity where wait_event = 'PgSleep'"
        last = "select pg_sleep(60) from unnest($1::int[])"
        faults: list[LedgerFault] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, owner, inserting(1, last=last), faults)
            with trio.fail_after(20):
                while (pid := await admin.run(lambda c: c.fetchval(sleeping))) is None:
                    await trio.lowlevel.checkpoint()
            await admin.run(lambda c: c.fetchval("select pg_terminate_backend($1)", pid))
        assert [type(fault) for fault in faults] == [InDoubt]
        assert (await pid_and_count(owner))[1] == 0

    async def test_what_warned_before_it_was_refused_is_no_doubt(self, owner: Door) -> None:
        """A warning leaves a doubt only where all else says that it was done."""
        await owner.run(
            lambda connection: connection.execute(
                """create function shout(numbers int[]) returns void language plpgsql as $$ begin
                       raise warning 'loud';
                       perform 1 / cardinality(numbers);
                   end $$"""
            )
        )
        with pytest.raises(BadRow):
            await owner.run(inserting(last="select shout($1)"))
        with pytest.raises(InDoubt, match="warned"):
            await owner.run(inserting(1, last="select shout($1)"))

    async def test_in_a_transaction_that_has_failed_it_is_refused(self, owner: Door) -> None:
        """COMMIT would end as a rollback: a fault and no doubt."""

        async def work(connection: Connection) -> None:
            await begin(connection, "insert into rows values (7) returning 1")
            with pytest.raises(Exception, match="division by zero"):
                await connection.fetchval("select 1 / 0")
            await commit(connection)

        for _ in ("made ready in it", "made ready before"):
            with pytest.raises(Unavailable):
                await owner.run(work)
            await owner.run(prepare)
        assert (await pid_and_count(owner))[1] == 0

    async def test_a_driver_that_says_it_in_pieces_is_cut_off(self, owner: Door) -> None:
        """COMMIT would end up behind the wrong one; this driver does not."""

        async def work(connection: Connection) -> None:
            exchange_of(connection).send_behind(await connection.prepare("commit"))
            connection._transport.write(b"B\0\0\0\x0c" + bytes(8))
            await connection.fetchval("select 1")

        with trio.fail_after(ANSWER_S / 2), pytest.raises(Unavailable):
            await owner.run(work)

    async def test_one_stands_between_for_good(self, owner: Door) -> None:
        """It is asked for with each batch and put there once."""

        async def both(connection: Connection) -> tuple[Exchange, Exchange]:
            return exchange_of(connection), exchange_of(connection)

        first, second = await owner.run(both)
        assert first is second
