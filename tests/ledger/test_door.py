"""The door: one crossing, a COMMIT that nothing disturbs, and every foreign error in the ledger's words."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from ledger.faults import BadRow, Conflict, InDoubt, LedgerFault, NameTaken, Unavailable, Unfit
from ledger.shell import door as door_module
from ledger.shell.door import Connection, Door, begin, check_server, commit, open_door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Any

    Work = Callable[[Connection], Awaitable[str]]

# A table whose COMMIT waits for as long as somebody holds the advisory lock 1: a deferred trigger runs inside COMMIT.
SLOW_COMMIT = """
create table slow (number int);
create function wait_for_lock() returns trigger language plpgsql as
    $$ begin perform pg_advisory_xact_lock_shared(1); return null; end $$;
create constraint trigger waits after insert on slow deferrable initially deferred
    for each row execute function wait_for_lock();
"""
IN_COMMIT = "select pid from pg_stat_activity where query like '%commit' and wait_event_type in ('Lock', 'IPC')"


@pytest.fixture
async def owner(issuer: Any) -> AsyncIterator[Door]:
    """A door with the owner's rights, because the switch may not make what these tests need."""
    async with open_door(issuer.owner_dsn, schema=issuer.schema, connections=2) as opened:
        yield opened


@pytest.fixture
async def admin(issuer: Any) -> AsyncIterator[Door]:
    """A door with one connection that can see, hold up and kill the others."""
    async with open_door(issuer.admin_dsn, schema=issuer.schema, connections=1) as opened:
        yield opened


def asking(question: str, *arguments: object) -> Callable[[Connection], Awaitable[Any]]:
    return lambda connection: connection.fetchval(question, *arguments)


def doing(statements: str) -> Callable[[Connection], Awaitable[Any]]:
    return lambda connection: connection.execute(statements)


async def insert_and_commit(connection: Connection) -> str:
    await connection.execute("begin; insert into slow values (1)")
    await commit(connection)
    return "committed"


async def insert_with_commit(connection: Connection) -> str:
    await begin(connection, "select 1")
    await commit(connection, "insert into slow values ($1)", 1)
    return "committed"


@pytest.fixture(params=[insert_and_commit, insert_with_commit])
def slow_insert(request: pytest.FixtureRequest) -> Work:
    """A row in `slow`, with its COMMIT in an exchange of its own, or behind it in the same."""
    insert: Work = request.param
    return insert


@asynccontextmanager
async def commits_held_up(admin: Door) -> AsyncIterator[None]:
    """Inside, a COMMIT of a row in `slow` waits."""
    await admin.run(doing("select pg_advisory_lock(1)"))
    yield
    await admin.run(doing("select pg_advisory_unlock(1)"))


async def until(door: Door, question: str) -> Any:
    """What the server answers, as soon as it answers anything true."""
    with trio.fail_after(20):
        while not (answer := await door.run(asking(question))):
            await trio.lowlevel.checkpoint()
    return answer


class TestRun:
    async def test_work_returns_its_value(self, door: Door) -> None:
        """What the work returns comes back through the door."""
        assert await door.run(asking("select 6 * 7")) == 42

    async def test_a_session_is_bounded(self, door: Door, issuer: Any) -> None:
        """A session waits at most 1.5 s for a lock, 5 s for a statement, 10 s idle in a transaction, in its schema."""
        names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "search_path", "jit")
        found = [await door.run(asking("select current_setting($1)", name)) for name in names]
        assert found == ["1500ms", "5s", "10s", issuer.schema, "off"]

    async def test_an_error_of_the_work_rolls_back_and_passes(self, owner: Door) -> None:
        """What is not the database's error passes as it is; the transaction is rolled back, the connection kept."""
        await owner.run(doing("create table kept (number int)"))

        async def stumble(connection: Connection) -> None:
            await connection.execute("begin; insert into kept values (1)")
            raise KeyError("a mistake of ours")

        before = await owner.run(asking("select pg_backend_pid()"))
        with pytest.raises(KeyError):
            await owner.run(stumble)
        assert await owner.run(asking("select count(*) from kept")) == 0
        assert await owner.run(asking("select pg_backend_pid()")) == before

    async def test_a_killed_idle_connection_is_replaced(self, door: Door, admin: Door) -> None:
        """A backend that was killed while its connection was idle costs nobody an answer."""
        pid = await door.run(asking("select pg_backend_pid()"))
        await admin.run(asking("select pg_terminate_backend($1, 5000)", pid))
        assert await door.run(asking("select pg_backend_pid()")) != pid

    async def test_a_killed_busy_connection_is_unavailable(self, admin: Door) -> None:
        """A backend that is killed under its work is `Unavailable`, and the next work gets a new one."""
        with pytest.raises(Unavailable):
            await admin.run(asking("select pg_terminate_backend(pg_backend_pid())"))
        assert await admin.run(asking("select 1")) == 1

    async def test_a_free_connection_is_awaited_for_so_long(
        self, issuer: Any, owner: Door, admin: Door, slow_insert: Work
    ) -> None:
        """With all connections busy a caller gets `Unavailable` after `wait_s`, and can give up earlier."""
        await owner.run(doing(SLOW_COMMIT))
        async with (
            open_door(issuer.owner_dsn, schema=issuer.schema, connections=1, wait_s=0.05) as narrow,
            trio.open_nursery() as nursery,
            commits_held_up(admin),
        ):
            nursery.start_soon(narrow.run, slow_insert)
            await until(admin, IN_COMMIT)
            with pytest.raises(Unavailable, match="busy"):
                await narrow.run(asking("select 1"))
            with trio.CancelScope() as scope:
                scope.cancel()
                await narrow.run(asking("select 1"))
            assert scope.cancelled_caught

    async def test_no_database(self, issuer: Any) -> None:
        """The door opens without a database; what goes through it is `Unavailable`."""
        nowhere = issuer.switch_dsn.replace("%2Fpostgres", "%2Fnowhere")
        async with open_door(nowhere, schema=issuer.schema) as closed:
            with pytest.raises(Unavailable):
                await closed.run(asking("select 1"))

    async def test_an_error_beside_the_door_is_not_wrapped(self, issuer: Any) -> None:
        """What the body raises leaves `open_door` as it is, in no group."""
        with pytest.raises(KeyError):
            async with open_door(issuer.switch_dsn, schema=issuer.schema):
                raise KeyError("a mistake of ours")


class TestCommit:
    async def test_a_commit_is_there(self, owner: Door, slow_insert: Work) -> None:
        """After `commit` another connection sees the row."""
        await owner.run(doing(SLOW_COMMIT))
        assert await owner.run(slow_insert) == "committed"
        assert await owner.run(asking("select count(*) from slow")) == 1

    async def test_a_failed_transaction_does_not_count_as_committed(self, owner: Door) -> None:
        """Committing a transaction whose error was swallowed is a fault, never a success."""

        async def swallow(connection: Connection) -> None:
            await connection.execute("begin")
            with pytest.raises(Exception, match="division by zero"):
                await connection.execute("select 1 / 0")
            await commit(connection)

        with pytest.raises(Unavailable):
            await owner.run(swallow)

    async def test_cancelling_the_caller_does_not_cancel_the_commit(
        self, owner: Door, admin: Door, slow_insert: Work
    ) -> None:
        """A caller cancelled during a slow COMMIT gets its result all the same, and the row is there."""
        await owner.run(doing(SLOW_COMMIT))
        results = []

        async def call(scope: trio.CancelScope) -> None:
            with scope:
                results.append(await owner.run(slow_insert))

        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery, commits_held_up(admin):
            nursery.start_soon(call, scope)
            await until(admin, IN_COMMIT)
            scope.cancel()
        assert results == ["committed"]
        assert await owner.run(asking("select count(*) from slow")) == 1

    @pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
    async def test_no_timeout_hits_it(self, owner: Door, admin: Door, setting: str, slow_insert: Work) -> None:
        """A COMMIT that takes ten times as long as each of the session's timeouts still commits."""
        await owner.run(doing(SLOW_COMMIT))

        async def hurried(connection: Connection) -> str:
            await connection.execute(f"set {setting} = '20ms'")
            return await slow_insert(connection)

        results = []

        async def call() -> None:
            results.append(await owner.run(hurried))

        async with trio.open_nursery() as nursery, commits_held_up(admin):
            nursery.start_soon(call)
            await until(admin, IN_COMMIT + " and clock_timestamp() - query_start > '200 ms'")
        assert results == ["committed"]

    async def test_the_timeouts_come_back(self, owner: Door, slow_insert: Work) -> None:
        """What is lifted for a COMMIT is back for the next statement of the session."""
        await owner.run(doing(SLOW_COMMIT))

        async def commit_and_ask(connection: Connection) -> object:
            await slow_insert(connection)
            return await connection.fetchval(
                "select current_setting('lock_timeout') || ' ' || current_setting('statement_timeout')"
            )

        assert await owner.run(commit_and_ask) == "1500ms 5s"

    async def test_a_backend_killed_in_it_leaves_a_doubt(self, owner: Door, admin: Door, slow_insert: Work) -> None:
        """A backend that is killed during COMMIT is `InDoubt`, because the row may be there."""
        await owner.run(doing(SLOW_COMMIT))
        with pytest.raises(InDoubt):
            await self._commit_while(
                owner, admin, slow_insert, lambda: admin.run(asking(f"select pg_terminate_backend(({IN_COMMIT}))"))
            )

    async def test_a_connection_lost_in_it_leaves_a_doubt(self, owner: Door, admin: Door, slow_insert: Work) -> None:
        """A connection that breaks during COMMIT is `InDoubt`."""
        await owner.run(doing(SLOW_COMMIT))

        async def abandon() -> None:
            owner.abandon()

        with pytest.raises(InDoubt):
            await self._commit_while(owner, admin, slow_insert, abandon)

    async def test_a_refusal_is_no_doubt(self, owner: Door) -> None:
        """A constraint that is checked at COMMIT refuses it: nothing was recorded, and that is known."""
        await owner.run(doing("create table once (number int unique deferrable initially deferred)"))

        async def twice(connection: Connection) -> None:
            await connection.execute("begin; insert into once values (1), (1)")
            await commit(connection)

        with pytest.raises(BadRow):
            await owner.run(twice)

    async def test_a_connection_lost_before_it_is_no_doubt(self, owner: Door) -> None:
        """A connection that was lost before COMMIT was sent is `Unavailable`: nothing can have been recorded."""

        async def lost(connection: Connection) -> None:
            await connection.execute("begin")
            connection.terminate()
            await commit(connection)

        with pytest.raises(Unavailable):
            await owner.run(lost)

    async def test_an_unconfirmed_standby_leaves_a_doubt(self, owner: Door, admin: Door, slow_insert: Work) -> None:
        """A COMMIT whose wait for the synchronous standby was broken off is `InDoubt`, though the row is visible."""
        await owner.run(doing("create table slow (number int)"))
        await admin.run(doing("alter system set synchronous_standby_names = 'nobody'"))
        await admin.run(doing("select pg_reload_conf()"))
        try:
            await until(owner, "select current_setting('synchronous_standby_names') = 'nobody'")
            with pytest.raises(InDoubt, match="warned"):
                await self._commit_while(
                    owner,
                    admin,
                    slow_insert,
                    lambda: admin.run(asking(f"select pg_cancel_backend(({IN_COMMIT}))")),
                    held_up=False,
                )
            assert await admin.run(asking("select count(*) from issuer.slow")) >= 1
        finally:
            await admin.run(doing("alter system reset synchronous_standby_names"))
            await admin.run(doing("select pg_reload_conf()"))
            await until(admin, "select current_setting('synchronous_standby_names') = ''")

    @staticmethod
    async def _commit_while(
        owner: Door, admin: Door, slow_insert: Work, act: Callable[[], Awaitable[object]], *, held_up: bool = True
    ) -> None:
        """Commit until one is slow, `act` in the middle of it, and raise what that COMMIT raised."""
        faults: list[LedgerFault] = []
        finished = trio.Event()

        async def call() -> None:
            while not faults:
                try:
                    await owner.run(slow_insert)
                except LedgerFault as fault:
                    faults.append(fault)
            finished.set()

        if held_up:
            await admin.run(doing("select pg_advisory_lock(1)"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await until(admin, IN_COMMIT)
            await act()
            with trio.move_on_after(20):
                await finished.wait()
            owner.abandon()  # else a COMMIT that should have ended would hang here for ever, shielded as it is
        raise faults[0]


class TestFaults:
    @pytest.mark.parametrize(
        ("state", "fault"),
        [
            ("40001", Conflict),
            ("40P01", Conflict),
            ("22003", BadRow),
            ("23514", BadRow),
            ("AU001", BadRow),
            ("08006", Unavailable),
            ("53100", Unavailable),
            ("55P03", Unavailable),
            ("57014", Unavailable),
            ("58030", Unavailable),
            ("42P01", Unavailable),
            ("XX000", Unavailable),
        ],
    )
    async def test_by_sqlstate(self, door: Door, state: str, fault: type[LedgerFault]) -> None:
        """Each class of SQLSTATE is one fault, which says the state and neither text nor values of the server."""
        with pytest.raises(fault) as raised:
            await door.run(
                doing(f"do $$ begin raise 'of card 4111' using errcode = '{state}', detail = 'Key (4111)'; end $$")
            )
        assert type(raised.value) is fault
        assert state in str(raised.value)
        assert "4111" not in str(raised.value)
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None

    async def test_a_name_that_is_taken(self, owner: Door) -> None:
        """A second row under one name, in whichever month's table, is `NameTaken`; another double key is not."""
        await owner.run(
            doing("create table authorizations_209901 (name int primary key, number int unique, other int)")
        )
        await owner.run(doing("insert into authorizations_209901 values (1, 1)"))
        with pytest.raises(NameTaken):
            await owner.run(doing("insert into authorizations_209901 values (1, 2)"))
        with pytest.raises(BadRow):
            await owner.run(doing("insert into authorizations_209901 values (2, 1)"))

    async def test_the_name_tables_key_is_called_so(self, admin: Door) -> None:
        """The real tables of names have keys whose names are told apart by that rule."""
        keys = await admin.run(
            asking(
                "select array_agg(conname::text) from pg_constraint join pg_class on pg_class.oid = conrelid "
                "where contype = 'p' and relname like 'authorizations%'"
            )
        )
        assert "authorizations_pkey" in keys
        assert all(key.startswith("authorizations") and key.endswith("_pkey") for key in keys)

    async def test_a_value_that_does_not_fit_its_type(self, door: Door) -> None:
        """What the driver refuses to encode is a `BadRow`, like what the server refuses."""
        with pytest.raises(BadRow) as raised:
            await door.run(asking("select $1::int", 2**40 + 4111))
        assert str(2**40 + 4111) not in str(raised.value)


class TestCheckServer:
    async def test_a_fresh_issuer_is_fit(self, door: Door) -> None:
        """The server, role and schema that we make ourselves pass our own check."""
        await door.run(check_server)

    @pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
    async def test_durability_off_is_refused(self, door: Door, admin: Door, setting: str) -> None:
        """A server that can lose what it confirmed is refused by the setting's name."""
        await admin.run(doing(f"alter system set {setting} = off"))
        await admin.run(doing("select pg_reload_conf()"))
        try:
            await until(door, f"select current_setting('{setting}') = 'off'")
            with pytest.raises(Unfit, match=f"^{setting} is off"):
                await door.run(check_server)
        finally:
            await admin.run(doing(f"alter system reset {setting}"))
            await admin.run(doing("select pg_reload_conf()"))
            await until(door, f"select current_setting('{setting}') = 'on'")

    @pytest.mark.parametrize(("setting", "value"), [("synchronous_commit", "off"), ("transaction_timeout", "60s")])
    async def test_a_session_that_endangers_commit_is_refused(self, door: Door, setting: str, value: str) -> None:
        """A role or database whose settings endanger COMMIT is refused by the setting's name."""

        async def check(connection: Connection) -> None:
            await connection.execute(f"set {setting} = '{value}'")
            await check_server(connection)

        with pytest.raises(Unfit, match=setting):
            await door.run(check)

    async def test_an_old_server_is_refused(self, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server older than the least version is refused by its version."""
        monkeypatch.setattr(door_module, "SERVER_VERSION_MIN", 990_000)
        with pytest.raises(Unfit, match="the server is PostgreSQL 1"):
            await door.run(check_server)

    async def test_roles_that_could_change_history_are_refused(self, door: Door, owner: Door, admin: Door) -> None:
        """A superuser, the schema's owner and a role with a right on a table are each refused."""
        with pytest.raises(Unfit, match="superuser"):
            await admin.run(check_server)
        with pytest.raises(Unfit, match="owns the schema"):
            await owner.run(check_server)
        await admin.run(
            doing("do $$ begin execute format('grant temp on database %I to public', current_database()); end $$")
        )
        with pytest.raises(Unfit, match="temporary"):
            await door.run(check_server)
        await admin.run(
            doing("do $$ begin execute format('revoke temp on database %I from public', current_database()); end $$")
        )
        await owner.run(doing("grant update on authorizations to issuer_switch"))
        with pytest.raises(Unfit, match="may write to the table authorizations"):
            await door.run(check_server)

    async def test_schemas_of_other_programs_are_refused(self, door: Door, owner: Door) -> None:
        """An older schema is to be migrated, a newer one needs the newer program, none at all needs both."""
        await owner.run(doing("update schema_version set version_num = '0000'"))
        with pytest.raises(Unfit, match="authsrv db migrate"):
            await door.run(check_server)
        await owner.run(doing("update schema_version set version_num = '9999'"))
        with pytest.raises(Unfit, match="newer program"):
            await door.run(check_server)
        await owner.run(doing("drop table schema_version"))
        with pytest.raises(Unfit, match="authsrv db migrate"):
            await door.run(check_server)

    async def test_a_missing_schema_is_refused(self, issuer: Any) -> None:
        """A database without the issuer's schema is to be made first."""
        async with open_door(issuer.switch_dsn, schema="nobody") as lost:
            with pytest.raises(Unfit, match="authsrv db init"):
                await lost.run(check_server)
