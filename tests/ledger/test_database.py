"""An issuer's place: two roles that can do no more than they must, and commands that find it again."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest
import trio

from ledger.shell import embedded
from ledger.shell.database import Database, DatabaseError, Passwords, create_issuer_database, open_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any


def ask(dsn: str, *statements: str) -> list[tuple[object, ...]]:
    """What the last of the statements answers."""

    async def asked() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(dsn)
        try:
            answers = [await connection.fetch(statement) for statement in statements]
        finally:
            await connection.close()
        return [tuple(row) for row in answers[-1]]

    return asyncio.run(asked())


async def ask_here(dsn: str, statement: str) -> list[tuple[object, ...]]:
    """The same from a Trio test."""
    return await trio.to_thread.run_sync(ask, dsn, statement)


@pytest.fixture
def place(database: Any) -> Iterator[Database]:
    """A new issuer beside the others, gone after the test."""
    yield create_issuer_database(database.admin_dsn, "bare", database="bare")
    ask(database.admin_dsn, "drop database bare with (force)")
    ask(database.admin_dsn, "drop role bare_owner", "drop role bare_switch")


class TestCreate:
    @pytest.mark.parametrize(
        "statement",
        [
            "create table bare.mine (number int)",
            "create table public.mine (number int)",
            "create temporary table mine (number int)",
            "create schema mine",
            "create function bare.mine() returns int language sql as 'select 1'",
            "create role mine",
            "create database mine",
            "set role bare_owner",
        ],
    )
    def test_the_switch_can_make_nothing(self, place: Database, statement: str) -> None:
        """The switch's role has no right to make anything, nor to become the owner."""
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            ask(place.switch_dsn, statement)

    def test_the_switch_runs_only_what_it_is_granted(self, place: Database) -> None:
        """A function that the owner makes is nobody's to run until it says so."""
        ask(place.owner_dsn, "create function bare.inner_one() returns int language sql as 'select 1'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            ask(place.switch_dsn, "select bare.inner_one()")
        ask(place.owner_dsn, "grant execute on function bare.inner_one to bare_switch")
        assert ask(place.switch_dsn, "select bare.inner_one()") == [(1,)]

    @pytest.mark.usefixtures("place")
    def test_another_issuers_role_stays_out(self, database: Any) -> None:
        """A role of one issuer cannot connect to another's database."""
        elsewhere = urlsplit(database.template.switch_dsn)._replace(path="/bare").geturl()
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            ask(elsewhere, "select 1")

    def test_again_changes_nothing(self, place: Database, database: Any) -> None:
        """With the passwords given, a second time leaves schema, data and DSNs as they were."""
        ask(place.owner_dsn, "create table bare.kept as select 7 as number")
        passwords = Passwords(*(str(urlsplit(dsn).password) for dsn in (place.owner_dsn, place.switch_dsn)))
        assert create_issuer_database(database.admin_dsn, "bare", database="bare", passwords=passwords) == place
        assert ask(place.owner_dsn, "select number from bare.kept") == [(7,)]

    @pytest.mark.usefixtures("place")
    def test_passwords_are_stored_as_scram(self, database: Any) -> None:
        """The server holds verifiers, and the statement that set them held no password."""
        stored = ask(database.admin_dsn, "select rolpassword from pg_authid where rolname like 'bare%'")
        assert [str(password)[:18] for (password,) in stored] == ["SCRAM-SHA-256$4096"] * 2

    def test_an_administrator_need_not_be_a_superuser(self, database: Any) -> None:
        """A role that may make databases and roles is enough, as on hosted servers."""
        ask(database.admin_dsn, "create role hosted login createdb createrole password 'hosted'")
        parts = urlsplit(database.admin_dsn)
        hosted = parts._replace(netloc="hosted:hosted@").geturl()
        try:
            made = create_issuer_database(hosted, "bare", database="bare")
            ask(made.owner_dsn, "create table bare.mine (number int)")
            assert create_issuer_database(hosted, "bare", database="bare").schema == "bare"
        finally:
            ask(database.admin_dsn, "drop database if exists bare with (force)")
            ask(database.admin_dsn, "drop role bare_owner", "drop role bare_switch", "drop role hosted")

    def test_nothing_secret_shows(self, place: Database) -> None:
        """Neither passwords nor DSNs appear in a repr."""
        assert "postgresql" not in repr(place)
        assert "x" not in repr(Passwords("xx", "xx"))


class TestOpen:
    async def test_a_data_folder_is_found_again(self, database_folder: Path) -> None:
        """What `create` made in a folder, a later command finds there, also when the folder has moved."""
        folder = database_folder / "one"
        async with open_database(data_dir=folder, schema="corner_shop", create=True) as made:
            assert await ask_here(made.owner_dsn, "select current_user::text") == [("corner_shop_owner",)]
        assert (folder / "database.json").stat().st_mode & 0o777 == 0o600
        moved = folder.rename(database_folder / "two")
        async with open_database(data_dir=moved) as found:
            assert found.schema == "corner_shop"
            assert await ask_here(found.switch_dsn, "select current_user::text") == [("corner_shop_switch",)]

    async def test_create_again_keeps_the_passwords(self, database_folder: Path) -> None:
        """`create` on a folder that has an issuer changes nothing that a running switch rests on."""
        async with open_database(data_dir=database_folder, create=True) as first:
            async with open_database(data_dir=database_folder, create=True) as second:
                assert second == first
            assert await ask_here(first.switch_dsn, "select 1") == [(1,)]

    async def test_a_folder_is_one_issuers(self, database_folder: Path) -> None:
        """A second issuer does not slip into the first one's folder."""
        async with open_database(data_dir=database_folder, schema="first", create=True):
            with pytest.raises(DatabaseError, match="holds the issuer first"):
                async with open_database(data_dir=database_folder, schema="second", create=True):
                    pass
        assert json.loads((database_folder / "database.json").read_text())["schema"] == "first"

    async def test_a_failing_command_leaves_no_server(self, database_folder: Path) -> None:
        """What the body raises passes as it is, and the server is stopped."""
        with pytest.raises(KeyError):
            async with open_database(data_dir=database_folder, create=True):
                raise KeyError("a mistake of ours")
        assert not (database_folder / "postgres" / "postmaster.pid").exists()

    async def test_a_cancelled_command_leaves_no_server(self, database_folder: Path) -> None:
        """A cancellation waits for the server to be stopped."""
        with trio.CancelScope() as scope:
            async with open_database(data_dir=database_folder, create=True):
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert not (database_folder / "postgres" / "postmaster.pid").exists()

    async def test_a_dsn_says_the_issuer_by_its_role(self, issuer: Any) -> None:
        """A DSN of one of the two roles is enough; what needs the other role says so."""
        async with open_database(dsn=issuer.switch_dsn) as as_switch:
            assert (as_switch.schema, as_switch.switch_dsn) == (issuer.schema, issuer.switch_dsn)
            with pytest.raises(DatabaseError, match="role issuer_owner"):
                as_switch.owner_dsn  # noqa: B018 -- asking is what is tried
        async with open_database(dsn=issuer.owner_dsn) as as_owner:
            assert (as_owner.schema, as_owner.owner_dsn) == (issuer.schema, issuer.owner_dsn)
            with pytest.raises(DatabaseError, match="role issuer_switch"):
                as_owner.switch_dsn  # noqa: B018 -- asking is what is tried

    async def test_an_administrators_dsn_creates(self, database: Any) -> None:
        """On any server an administrator's DSN makes the issuer, in the database of the usual name."""
        async with open_database(dsn=database.admin_dsn, schema="bare", create=True) as made:
            assert await ask_here(made.switch_dsn, "select current_database()::text") == [("authsrv",)]
        await ask_here(database.admin_dsn, "drop database authsrv with (force)")
        await ask_here(database.admin_dsn, "drop role bare_owner")
        await ask_here(database.admin_dsn, "drop role bare_switch")

    async def test_a_stranger_is_refused(self, database: Any) -> None:
        """A DSN of any other role is refused with the two that will do."""
        with pytest.raises(DatabaseError, match="<schema>_switch"):
            async with open_database(dsn=database.admin_dsn):
                pass

    @pytest.mark.parametrize("role", ["Corner-Shop_owner", "_switch", "1_owner"])
    async def test_a_role_of_no_schema_is_refused(self, role: str) -> None:
        """A role that ends like one of the two, and whose schema could have no such name, is neither."""
        with pytest.raises(DatabaseError, match=f"role is {role}"):
            async with open_database(dsn=f"postgresql://{role}:secret@localhost/authsrv"):
                pass

    @pytest.mark.parametrize("create", [False, True])
    @pytest.mark.parametrize("where", ["secret@[half", "x@localhost:secret", "secret/x@localhost"])
    async def test_what_is_no_dsn_is_refused(self, where: str, create: bool) -> None:
        """Without a word of it: a password stands in it, and a slash in one makes the rest of it look like a port."""
        with pytest.raises(DatabaseError) as caught:
            async with open_database(dsn=f"postgresql://issuer_owner:{where}/authsrv", create=create):
                pass
        assert "secret" not in str(caught.value)

    async def test_several_hosts_are_taken(self) -> None:
        """A DSN may name a server and its standby."""
        async with open_database(dsn="postgresql://issuer_owner:x@one:5432,two:5433/authsrv") as database:
            assert database.schema == "issuer"

    async def test_nothing_given(self) -> None:
        """Without folder and DSN the message names both."""
        with pytest.raises(DatabaseError, match=r"--data-dir .* --database"):
            async with open_database():
                pass

    async def test_a_cluster_without_an_issuer(self, database_folder: Path) -> None:
        """A folder whose making was broken off before there was an issuer is to be made whole by `db init`."""
        await trio.to_thread.run_sync(lambda: embedded.attach(database_folder, create=True).detach())
        with pytest.raises(DatabaseError, match="authsrv db init"):
            async with open_database(data_dir=database_folder):
                pass
