"""The one door between Trio, where the switch lives, and asyncio, where asyncpg lives.

`await door.run(work)` takes one connection and makes **one crossing**: `work` runs on the asyncio side from its first
statement to its last COMMIT, whether of one transaction or of many. What must hold:

- **The crossing is shielded.** A cancellation that reached asyncpg during COMMIT would leave a committed row and a
  caller who does not know. So a caller can give up while it waits for a connection, never later; what it does with a
  late result is its own affair.
- **No timeout ever touches COMMIT.** The server bounds each statement (`lock_timeout` below `statement_timeout`),
  `commit` lifts what would reach into COMMIT, and asyncpg's own timeouts stay off: it would apply them to COMMIT too.
  The same goes for a statement that COMMIT follows in one exchange: it is the server alone that bounds it.
- **What is not known is said.** A COMMIT that was sent and not plainly answered is `InDoubt`: connection lost, backend
  killed, or a warning that a synchronous standby did not confirm.
- **Foreign errors end here**, as `ledger.faults`, without the driver's text and without the driver's exception behind
  them: both can quote keys and amounts.

The pool is ours and a dozen lines, because asyncpg's resets each connection with a round trip when it is given back,
and waits for a free one on the side where we cannot be cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import asyncpg
import trio

from ledger.faults import BadRow, Conflict, InDoubt, LedgerFault, NameTaken, Unavailable, Unfit
from ledger.shell.bridge import Bridge, open_bridge
from ledger.shell.cores import Core, share_core
from ledger.shell.exchange import Exchange, exchange_of
from ledger.shell.revisions import HEAD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asyncpg.prepared_stmt import PreparedStatement

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
T = TypeVar("T")

logger = logging.getLogger(__name__)

LOCK_TIMEOUT_MS = 1_500
STATEMENT_TIMEOUT_MS = 5_000
# For every statement but COMMIT and the one in front of it: a server that stands still cannot even say that it took too
# long. For those two nothing is left but the end of the connection.
ANSWER_S = 8.0
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
DEAD_PEER_MS = 10_000
SERVER_VERSION_MIN = 150_000

# What the driver and the network throw; anything else is a mistake of ours and passes as it is.
FOREIGN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

_BEGIN = "begin"
# The server's statement_timeout ends where the work of COMMIT begins, its lock_timeout does not. Both go together, so
# it takes no round trip more, and the timeout comes back by itself when the transaction has ended.
_LAST = ("set local lock_timeout = 0", "commit")
_WORDS = (_BEGIN, *_LAST)


class Door:
    """Connections of one database, to be used from Trio."""

    def __init__(
        self,
        bridge: Bridge,
        dsn: str,
        settings: dict[str, str],
        *,
        connections: int,
        wait_s: float,
        connect_s: float,
        core: Core | None,
    ) -> None:
        self._bridge = bridge
        self._dsn = dsn
        self._settings = settings
        self._wait_s = wait_s
        self._connect_s = connect_s
        self._core = core
        self._kept: bool | None = None  # to the core, as far as was tried
        self._free = trio.Semaphore(connections)
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._connections = connections
        self._abandoned = False

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` on the asyncio side with a connection of its own, and return what it returns.

        A transaction that `work` leaves open is rolled back. Raises `Unavailable` when no connection is free or can be
        made in time, and the other classes of `ledger.faults` for what the database says.
        """
        with trio.move_on_after(self._wait_s) as wait:
            await self._free.acquire()
        if wait.cancelled_caught:
            raise Unavailable(f"all {self._connections} connections to the database were busy for {self._wait_s} s")
        try:
            return await self._bridge.run(self._cross(work))
        finally:
            self._free.release()

    def abandon(self) -> None:
        """Break all connections and use no further one, for an end that cannot wait.

        What runs is `Unavailable`, or `InDoubt` from the last statement on; what would begin is `Unavailable`.
        """
        self._abandoned = True
        for connection in [*self._busy, *self._idle]:
            connection.terminate()

    async def _cross(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            connection = await self._connection()
            if self._abandoned:  # meanwhile: nobody would end the wait for its COMMIT
                connection.terminate()
                raise Unavailable("the connections to the database were broken off")
            self._busy.add(connection)
            try:
                return await work(connection)
            except TimeoutError:
                connection.terminate()  # whoever did not answer that will not answer a rollback
                raise
            finally:
                self._busy.discard(connection)
                await self._give_back(connection)
        except FOREIGN as error:
            fault = translated(error)
        raise fault  # outside of `except`, so that the driver's exception does not hang on to it

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()  # the warmest; one whose backend was killed meanwhile is closed already
            if not connection.is_closed():
                return connection
        connection = await asyncpg.connect(self._dsn, timeout=self._connect_s, server_settings=self._settings)
        # asyncpg shows its transport in no public way.
        end = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # noqa: SLF001
        _keep_alive(end)
        if self._core is not None:
            self._keep_to(self._core, end, connection.get_server_pid())
        return connection

    def _keep_to(self, core: Core, end: socket.socket, process: int) -> None:
        kept = share_core(core, end, process)
        if kept and not self._kept:
            logger.info("keeping to core %d", core.number)
        elif not kept and self._kept is not False:
            logger.info("keeping to no core: the server is elsewhere, or not ours to bind")
        self._kept = kept

    async def _give_back(self, connection: Connection) -> None:
        if not connection.is_closed() and connection.is_in_transaction():
            with contextlib.suppress(*FOREIGN):
                await connection.execute("rollback", timeout=STATEMENT_TIMEOUT_MS / 1000)
        if connection.is_closed():
            return
        if connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(connection)

    async def close(self) -> None:
        """Close the connections that nobody uses; to be called when nobody uses any."""
        await self._bridge.run(self._close())

    async def _close(self) -> None:
        for connection in self._idle:
            with contextlib.suppress(*FOREIGN):
                await connection.close(timeout=self._connect_s)


@asynccontextmanager
async def open_door(
    dsn: str,
    *,
    schema: str,
    connections: int = 4,
    wait_s: float = 2.0,
    connect_s: float = 3.0,
    application: str = "authsrv",
    core: Core | None = None,
) -> AsyncIterator[Door]:
    """Open the door to the database of `dsn`, for one issuer's `schema`.

    At most `connections` are made, each when it is first needed, so this succeeds without a database. `wait_s` bounds
    the wait for a free one, `connect_s` the making of one, both in seconds. `application` is how the server's views
    show us. Where a `core` is given, we and the server's processes that work for us keep to it, if
    those are ours to bind.
    """
    settings = {
        "application_name": application,
        "search_path": schema,
        "default_transaction_isolation": "read committed",
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        "statement_timeout": str(STATEMENT_TIMEOUT_MS),
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "2",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": str(DEAD_PEER_MS),
        "timezone": "UTC",
        "jit": "off",
    }
    failure: Exception | None = None
    async with open_bridge(_note) as bridge:
        door = Door(bridge, dsn, settings, connections=connections, wait_s=wait_s, connect_s=connect_s, core=core)
        try:
            yield door
        except Exception as error:  # noqa: BLE001 -- raised below, where the bridge's nursery cannot wrap it in a group
            failure = error
        finally:
            await door.close()
    if failure is not None:
        raise failure


def _note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # The default handler would end the loop with all that runs on it, because of one connection's left-over.
    logger.warning("left over by the database driver: %s", type(context.get("exception")).__name__)


def _keep_alive(end: socket.socket) -> None:
    """Let our kernel end a connection whose host is gone: nothing else ends the wait for a COMMIT's answer."""
    if end.family == socket.AF_UNIX:
        return
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 5),
        ("TCP_KEEPINTVL", 2),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", DEAD_PEER_MS),
    ):
        if hasattr(socket, option):  # not each system has each
            end.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def prepare(connection: Connection, *statements: str) -> None:
    """Have these statements ready for `begin` and `commit`, which would otherwise make them ready with cards locked."""
    for statement in (*_WORDS, *statements):
        await _prepared(connection, statement)


async def begin(connection: Connection, first: str, *arguments: object) -> asyncpg.Record | None:
    """Begin a transaction with its `first` statement, both in one exchange, and return the first row of that."""
    exchange, statement = await _prepared(connection, first)
    _, before = await _prepared(connection, _BEGIN)
    exchange.send_before(before)
    try:
        return await statement.fetchrow(*arguments, timeout=ANSWER_S)
    except FOREIGN:
        exchange.prepared.pop(first, None)
        raise
    finally:
        exchange.take_back()


async def commit(connection: Connection, last: str | None = None, *arguments: object) -> None:
    """Execute the `last` statement of the open transaction, if there is one, and COMMIT in the same exchange, however
    long they take.

    Raises `InDoubt` when COMMIT was sent and not plainly confirmed; any other fault means that nothing was committed.
    """
    if connection.is_closed():
        raise Unavailable("the connection was lost before COMMIT was sent")
    warned: list[str] = []

    def listen(_connection: object, message: asyncpg.PostgresLogMessage) -> None:
        if getattr(message, "severity_en", None) == "WARNING":
            warned.append(str(getattr(message, "sqlstate", None)))

    first, *rest = _LAST if last is None else (last, *_LAST)
    exchange, statement = await _prepared(connection, first)
    behind = [(await _prepared(connection, each))[1] for each in rest]
    exchange.send_behind(*behind)
    fault: LedgerFault | None = None
    try:
        connection.add_log_listener(listen)
        await statement.fetch(*arguments)  # by no timeout of ours: COMMIT goes with it
        if (status := statement.get_statusmsg()) != "COMMIT":
            fault = Unavailable(f"COMMIT ended as {status}")
    except Exception as error:  # whatever it is, COMMIT may have gone with what failed
        if last is not None:
            exchange.prepared.pop(last, None)
        if exchange.take_back():  # it was not sent
            raise
        # An ERROR comes before the commit record is written; FATAL, PANIC and the driver's own may come after.
        fault = translated(error) if _refused(error) else _in_doubt(error)
    finally:
        exchange.take_back()
        connection.remove_log_listener(listen)
    if warned and fault is None:
        fault = InDoubt(f"the server warned on COMMIT ({', '.join(warned)})")
    if fault is not None:
        raise fault


async def _prepared(connection: Connection, statement: str) -> tuple[Exchange, PreparedStatement[asyncpg.Record]]:
    """A statement that one message executes, and what that goes through; one that failed is prepared anew."""
    exchange = exchange_of(connection)
    prepared = exchange.prepared.get(statement)
    if prepared is None:
        name = statement if statement in _WORDS else None  # else by the driver's count
        async with asyncio.timeout(ANSWER_S):  # the driver's own does not reach into the end of one that failed before
            prepared = exchange.prepared[statement] = await connection.prepare(statement, name=name)
    return exchange, prepared


def _refused(error: Exception) -> bool:
    return isinstance(error, asyncpg.PostgresError) and getattr(error, "severity_en", None) == "ERROR"


def _in_doubt(error: Exception) -> InDoubt:
    how = getattr(error, "sqlstate", None) or type(error).__name__
    return InDoubt(f"the connection ended during COMMIT ({how})")


def translated(error: BaseException) -> LedgerFault:
    """An error of the driver or the network in the ledger's words, by its SQLSTATE, with no value of any row."""
    if not isinstance(error, asyncpg.PostgresError):
        return Unavailable(f"the database cannot be reached: {type(error).__name__}")
    state = error.sqlstate or ""
    constraint = getattr(error, "constraint_name", None) or ""
    what = f"{type(error).__name__} {state}" + (f" on {constraint}" if constraint else "")
    match state[:2]:
        case "23" if state == "23505" and constraint.startswith("authorizations") and constraint.endswith("_pkey"):
            return NameTaken(what)
        case "40":
            return Conflict(what)
        case "22" | "23" | "AU":
            return BadRow(what)
        case _:
            return Unavailable(what)


FITNESS = """
select current_setting('server_version_num')::int as version,
       current_setting('fsync') as fsync,
       current_setting('full_page_writes') as full_page_writes,
       current_setting('synchronous_commit') as synchronous_commit,
       coalesce(current_setting('transaction_timeout', true), '0') as transaction_timeout,
       current_user::text as role,
       (select rolsuper from pg_roles where rolname = current_user) as superuser,
       has_database_privilege(current_database(), 'temporary') as temporary,
       current_schema() as schema,
       coalesce((select pg_has_role(current_user, nspowner, 'member')
                   from pg_namespace where nspname = current_schema()), false) as owner,
       (select min(relname)::text from pg_class join pg_namespace on pg_namespace.oid = relnamespace
         where nspname = current_schema() and relkind in ('r', 'p')
           and has_table_privilege(pg_class.oid, 'insert, update, delete, truncate, references, trigger')) as writable,
       to_regclass('schema_version') is not null as migrated
"""


async def check_server(connection: Connection) -> None:
    """Refuse a server, a role or a schema that the laws do not hold on.

    Raises `Unfit` with what is wrong and what mends it. To be run through the door before the first authorization.
    """
    facts = await connection.fetchrow(FITNESS)
    assert facts is not None  # noqa: S101 -- a select without a from has one row
    if facts["version"] < SERVER_VERSION_MIN:
        raise Unfit(f"the server is PostgreSQL {facts['version'] // 10_000}; 15 or later is needed")
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        if facts[setting] == "off":
            raise Unfit(
                f"{setting} is off, so an approved authorization could be lost; set it on and reload the server"
            )
    if facts["transaction_timeout"] != "0":
        raise Unfit("transaction_timeout is set and would break a COMMIT off; set it to 0 for this role")
    if facts["superuser"]:
        raise Unfit(f"{facts['role']} is a superuser and could change history; connect as the issuer's switch role")
    if facts["temporary"]:
        raise Unfit(f"{facts['role']} may make temporary tables; `authsrv db init` takes that right from everybody")
    if facts["schema"] is None:
        raise Unfit("the issuer's schema is not there; run `authsrv db init`")
    if facts["owner"]:
        raise Unfit(f"{facts['role']} owns the schema and could change history; connect as the issuer's switch role")
    if facts["writable"] is not None:
        raise Unfit(f"{facts['role']} may write to the table {facts['writable']} past the functions; revoke that right")
    if not facts["migrated"]:
        raise Unfit("the issuer's schema is empty; run `authsrv db migrate`")
    current = await connection.fetchval("select version_num from schema_version")
    if current is None or current < HEAD:
        raise Unfit(f"the schema is at revision {current}, this program needs {HEAD}; run `authsrv db migrate`")
    if current > HEAD:
        raise Unfit(
            f"the schema is at revision {current}, this program knows {HEAD} at most; install the newer program"
        )
