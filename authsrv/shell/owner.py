"""Work as the owner of an issuer's schema: one transaction, and its entry in the audit trail.

What must hold: an act that changes what is set up stands in the trail with who gave it, or was not carried out; both
come with one commit. Acts on cards and authorizations are requests, and `authsrv.shell.desk` has them.
"""

import json
import os
import pwd
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from authsrv.shell.settings import Settings, SettingsError
from ledger.faults import Unfit
from ledger.shell.database import open_database
from ledger.shell.door import Connection, Door, commit, open_door
from ledger.shell.revisions import HEAD

T = TypeVar("T")

WORDS_MAX: Final = 500  # of why, and of a ticket


@dataclass(frozen=True, slots=True)
class Entry:
    """An act for the audit trail: the words of its command, and what it was about, without a secret."""

    act: str
    about: dict[str, Any] = field(default_factory=dict)


@asynccontextmanager
async def owner_door(settings: Settings, application: str = "authsrv desk") -> AsyncIterator[Door]:
    """The door to the issuer's database as the owner of its schema."""
    async with (
        open_database(**settings.place) as database,
        open_door(
            database.owner_dsn, schema=database.schema, connections=1, connect_s=10.0, application=application
        ) as door,
    ):
        yield door


def transaction(
    work: Callable[[Connection], Awaitable[T]], begin: str = "begin"
) -> Callable[[Connection], Awaitable[T]]:
    """`work` as one whole transaction, opened by `begin`, to be given to `Door.run`; raises `Unfit` for a schema of
    another revision."""

    async def whole(connection: Connection) -> T:
        await connection.execute(begin)
        await connection.execute("set local statement_timeout = 0")  # a person waits, and can break it off
        await check_revision(connection)
        result = await work(connection)
        await commit(connection)
        return result

    return whole


async def as_owner(
    settings: Settings,
    work: Callable[[Connection], Awaitable[T]],
    entry: Entry | None = None,
    begin: str = "begin",
) -> T:
    """Run `work` in one transaction, opened by `begin`, as the owner of the issuer's schema; return what it returns.

    `entry` goes into the audit trail in the same transaction; what only reads has none.
    """

    async def with_entry(connection: Connection) -> T:
        result = await work(connection)
        if entry is not None:
            await enter(connection, settings, entry.act, entry.about)
        return result

    async with owner_door(settings) as door:
        return await door.run(transaction(with_entry, begin))


async def enter(connection: Connection, settings: Settings, act: str, about: dict[str, Any]) -> None:
    """Enter an act into the audit trail, in the transaction that is open."""
    await connection.execute(
        "insert into audit_trail (who, why, act, detail) values ($1, $2, $3, $4)",
        *(operator_name(settings), settings.why, act, json.dumps(about)),
    )


def check_words(option: str, text: str, card: str | None = None) -> None:
    """Refuse words for the trail that are too long, or hold what could be a card's number, as `card` is (law 6)."""
    if len(text) > WORDS_MAX:
        raise SettingsError(f"{option} is longer than {WORDS_MAX} signs; say it shorter")
    if re.search(r"[0-9]{13}", re.sub(r"[ -]", "", text)) or (card is not None and card in text):
        raise SettingsError(
            f"{option} holds what could be a card's number, which the trail must not keep; leave it out"
        )


async def check_revision(connection: Connection) -> None:
    """Raise `Unfit` for a schema that this program does not work with."""
    migrated = await connection.fetchval("select to_regclass('schema_version') is not null")
    revision = await connection.fetchval("select version_num from schema_version") if migrated else None
    if revision != HEAD:
        raise Unfit(f"the schema is at revision {revision}, this program works with {HEAD}; run `authsrv db migrate`")


def operator_name(settings: Settings) -> str:
    """Who gives a command: as it is set, else the login name behind `sudo`, else that of the process."""
    return settings.operator or os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
