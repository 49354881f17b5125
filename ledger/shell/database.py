"""An issuer's place in a database, and how every command finds it.

One issuer is one schema with two roles: `<schema>_owner` for migrations and maintenance, `<schema>_switch` for the
switch, which may run functions and read views and nothing else. `create_issuer_database` makes all of that on any
server.

`open_database` is what commands use. With a data folder it is the embedded server, started, joined or adopted and left
again; DIR/database.json (0600) holds the schema's name and the two passwords, not DSNs, so that the folder may be
moved. With a DSN it is any server: an administrator's DSN to `create`, afterwards the owner's or the switch's, whose
role says the schema.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import secrets
import signal
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

import asyncpg
import trio

from ledger.shell import embedded
from ledger.shell.door import FOREIGN, translated
from ledger.shell.migrate import IDENTIFIER, checked_identifier, owner_role, switch_role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DATABASE = "authsrv"
SCHEMA = "issuer"
CONNECT_S = 10.0
STATEMENT_TIMEOUT_MS = 60_000
SCRAM_ITERATIONS = 4096  # PostgreSQL's own; the passwords are random, so more would only cost time


class DatabaseError(Exception):
    """No database can be opened with what was given; the message says what to give."""


@dataclass(frozen=True, slots=True)
class Passwords:
    """The passwords of an issuer's two roles."""

    owner: str = field(repr=False)
    switch: str = field(repr=False)

    @classmethod
    def generated(cls) -> Passwords:
        """Two new ones."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24))


@dataclass(frozen=True, slots=True)
class Database:
    """An issuer's schema, and its two DSNs; None where the DSN that was given is the other role's."""

    schema: str
    owner: str | None = field(repr=False)
    switch: str | None = field(repr=False)

    @property
    def owner_dsn(self) -> str:
        """The owner's DSN. Raises `DatabaseError` if only the switch's was given."""
        if self.owner is None:
            raise DatabaseError(
                f"this needs the owner's rights: give --database a DSN with the role {owner_role(self.schema)}"
            )
        return self.owner

    @property
    def switch_dsn(self) -> str:
        """The switch's DSN. Raises `DatabaseError` if only the owner's was given."""
        if self.switch is None:
            raise DatabaseError(
                f"this runs as the switch: give --database a DSN with the role {switch_role(self.schema)}"
            )
        return self.switch


def create_issuer_database(
    admin_dsn: str, schema: str = SCHEMA, *, database: str = DATABASE, passwords: Passwords | None = None
) -> Database:
    """Make an issuer's database, roles and schema where they are missing, and bring rights and passwords in order.

    `admin_dsn` is of a role that may create databases and roles. Without `passwords` new ones are made and set, also
    for roles that exist. Blocks and runs an event loop of its own. Raises the faults of `ledger.faults`.
    """
    _parts(admin_dsn)
    passwords = passwords or Passwords.generated()
    try:
        asyncio.run(_create(admin_dsn, schema, checked_identifier(database), passwords))
    except FOREIGN as error:
        fault = translated(error)
    else:
        return Database(
            schema,
            owner=_dsn_as(admin_dsn, owner_role(schema), passwords.owner, database),
            switch=_dsn_as(admin_dsn, switch_role(schema), passwords.switch, database),
        )
    raise fault


@asynccontextmanager
async def open_database(
    *, data_dir: Path | None = None, dsn: str | None = None, schema: str = SCHEMA, create: bool = False
) -> AsyncIterator[Database]:
    """Open the database of a command, from `--data-dir` or `--database`, and leave it as it must be left.

    `create` makes roles and `schema` (it does not migrate) and needs an administrator's `dsn`, or a `data_dir`. An
    embedded server is also left properly on SIGTERM, which ends the process when that is done, unless the command
    listens for it itself. Raises `DatabaseError`, `embedded.EmbeddedError` and the faults of `ledger.faults`.
    """
    if dsn is not None:
        yield await trio.to_thread.run_sync(create_issuer_database, dsn, schema) if create else _of_role(dsn)
    elif data_dir is not None:
        async with _embedded(data_dir, schema, create=create) as database:
            yield database
    else:
        raise DatabaseError("give --data-dir DIR for the embedded database, or --database DSN for a server")


@asynccontextmanager
async def _embedded(data_dir: Path, schema: str, *, create: bool) -> AsyncIterator[Database]:
    async with _ending_on_sigterm():
        attachment = await trio.to_thread.run_sync(partial(embedded.attach, data_dir, create=create))
        try:
            yield await trio.to_thread.run_sync(_issuer_of, data_dir, attachment, schema, create)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(attachment.detach)


@asynccontextmanager
async def _ending_on_sigterm() -> AsyncIterator[None]:
    """Cancel the body on SIGTERM, and end the process by it once the body has cleaned up.

    A receiver that the body opens itself comes before this one. A system task and no nursery, which would wrap
    the body's errors in groups.
    """
    terminated, ended = False, trio.Event()
    body, listening = trio.CancelScope(), trio.CancelScope()

    async def listen() -> None:
        nonlocal terminated
        with listening, trio.open_signal_receiver(signal.SIGTERM) as signals:
            ready.set()
            async for _ in signals:
                terminated = True
                body.cancel()
        ended.set()

    ready = trio.Event()
    trio.lowlevel.spawn_system_task(listen)
    await ready.wait()
    try:
        with body:
            yield
    finally:
        listening.cancel()
        with trio.CancelScope(shield=True):
            await ended.wait()
        if terminated:
            signal.raise_signal(signal.SIGTERM)  # by now it does what it did before us


def _issuer_of(data_dir: Path, attachment: embedded.Attachment, schema: str, create: bool) -> Database:
    file = data_dir / "database.json"
    if not file.exists():
        if not create:
            raise DatabaseError(f"there is no issuer in {data_dir}; `authsrv db init` makes one")
        passwords = Passwords.generated()
        _write(file, {"schema": checked_identifier(schema), "owner": passwords.owner, "switch": passwords.switch})
    known = json.loads(file.read_text())
    if create and known["schema"] != schema:
        raise DatabaseError(f"{data_dir} holds the issuer {known['schema']}; {schema} needs a folder of its own")
    schema, passwords = known["schema"], Passwords(known["owner"], known["switch"])
    if create:
        return create_issuer_database(attachment.admin_dsn, schema, passwords=passwords)
    return Database(
        schema,
        owner=attachment.dsn(owner_role(schema), passwords.owner, DATABASE),
        switch=attachment.dsn(switch_role(schema), passwords.switch, DATABASE),
    )


def _write(file: Path, content: dict[str, str]) -> None:
    unfinished = file.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(content, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    unfinished.rename(file)


def _of_role(dsn: str) -> Database:
    role = unquote(_parts(dsn).username or "")
    schema, _, end = role.rpartition("_")
    match end:
        case "owner" if IDENTIFIER.fullmatch(schema):
            return Database(schema, owner=dsn, switch=None)
        case "switch" if IDENTIFIER.fullmatch(schema):
            return Database(schema, owner=None, switch=dsn)
        case _:
            raise DatabaseError(
                f"the DSN's role is {role or 'not given'}; give one of the two that `authsrv db init` has made, "
                f"postgresql://<schema>_switch:... or postgresql://<schema>_owner:..."
            )


def _parts(dsn: str) -> SplitResult:
    """A DSN in its parts, whose ports are numbers; raises `DatabaseError`."""
    try:
        parts = urlsplit(dsn)
        for host in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{host}").port
    except ValueError:  # its text quotes what it took for a port: a password with a slash in it, perhaps
        raise DatabaseError(
            "the DSN cannot be read; give postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE, "
            "where a password's / is written %2F, its @ %40, its # %23 and its ? %3F"
        ) from None
    return parts


def _dsn_as(dsn: str, role: str, password: str, database: str) -> str:
    """The same server, for another role and database."""
    parts = _parts(dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{quote(password, safe='')}@{host}", path=f"/{database}"))


async def _create(admin_dsn: str, schema: str, database: str, passwords: Passwords) -> None:
    settings = {"application_name": "authsrv db init", "statement_timeout": str(STATEMENT_TIMEOUT_MS)}
    owner, switch = owner_role(schema), switch_role(schema)
    admin = await asyncpg.connect(admin_dsn, timeout=CONNECT_S, server_settings=settings)
    try:
        for role, password in ((owner, passwords.owner), (switch, passwords.switch)):
            if not await admin.fetchval("select exists (select from pg_roles where rolname = $1)", role):
                await admin.execute(f"create role {role} login noinherit")
            await admin.execute(f"alter role {role} password '{_scram(password)}'")
        # Only a member may make a schema for another, and say what its functions' rights start with.
        await admin.execute(f"grant {owner} to current_user")
        if not await admin.fetchval("select exists (select from pg_database where datname = $1)", database):
            await admin.execute(f"create database {database} encoding 'UTF8' template template0")
        await guard_database(admin, schema, database)
    finally:
        await admin.close(timeout=CONNECT_S)
    inside = await asyncpg.connect(admin_dsn, database=database, timeout=CONNECT_S, server_settings=settings)
    try:
        await inside.execute(
            f"""
            revoke all on schema public from public;
            create schema if not exists {schema} authorization {owner};
            revoke all on schema {schema} from public;
            grant usage on schema {schema} to {switch};
            alter default privileges for role {owner} revoke execute on functions from public;
            """
        )
    finally:
        await inside.close(timeout=CONNECT_S)


async def guard_database(admin: asyncpg.Connection[asyncpg.Record], schema: str, database: str) -> None:
    """Let only the issuer's two roles connect to `database`, and nobody make schemas or temporary tables in it."""
    await admin.execute(f"revoke all on database {database} from public")
    await admin.execute(f"grant connect on database {database} to {owner_role(schema)}, {switch_role(schema)}")


def _scram(password: str) -> str:
    """What PostgreSQL stores (RFC 5803), so that no password stands in a statement that a server may log."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored_text, server_text = (b64encode(part).decode() for part in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{salt_text}${stored_text}:{server_text}"
