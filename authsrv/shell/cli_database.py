"""The database's part of the command line: made, migrated, looked at, copied, and filled for tests."""

import datetime as dt
import secrets
from pathlib import Path
from typing import Annotated

import trio
import typer

from authsrv.shell import backups, commands
from authsrv.shell.command import COMMON, ENTERED, LISTENING, app, command, database_commands
from authsrv.shell.report import Report
from authsrv.shell.settings import Settings

KitFile = Annotated[Path, typer.Option("--kit", help="a new file, 0600, for what is shown nowhere else")]


@command(database_commands, "init")
def db_init(
    settings: Settings,
    issuer: Annotated[str | None, typer.Option("--issuer", help="the issuer's name, printed on receipts")] = None,
    zone: Annotated[str, typer.Option("--zone", help="its time zone (IANA)")] = "UTC",
    currency: Annotated[str, typer.Option("--currency", help="its currency (ISO 4217)")] = "EUR",
    number: Annotated[int, typer.Option("--number", help="its number, part of every card token")] = 1,
    group: Annotated[int, typer.Option("--group", help="the group of its modules, no other issuer's")] = 1,
    dsns: Annotated[Path | None, typer.Option("--dsns", help="with --database: a new file, 0600, for the DSNs")] = None,
) -> Report:
    """Make the database, its two roles and the schema, migrate it, and say whose it is.

    With --data-dir the embedded server is made there too. With --database DSN of a role that may make databases and
    roles, the DSNs to work with afterwards go into the file of --dsns.

    Example:
      authsrv db init --data-dir /var/lib/authsrv --issuer "Corner Shop" --zone Europe/Riga --currency EUR

    JSON:
      {"schema": "issuer", "revision": "0001", "issuer": "Corner Shop"}
    """
    return trio.run(
        lambda: commands.init_database(
            settings, name=issuer, zone=zone, currency=currency, number=number, group=group, dsns=dsns
        )
    )


@command(database_commands, "migrate")
def db_migrate(settings: Settings) -> Report:
    """Bring the schema up to the revision that this program works with.

    Example:
      authsrv db migrate --data-dir /var/lib/authsrv

    JSON:
      {"schema": "issuer", "before": null, "revision": "0001"}
    """
    return trio.run(commands.migrate_database, settings)


@command(database_commands, "status")
def db_status(settings: Settings) -> Report:
    """Show the schema's revision, the server, and what is set up.

    Example:
      authsrv db status --data-dir /var/lib/authsrv

    JSON:
      {"schema": "issuer", "revision": "0001", "newest": "0001", "server": "18.0", "issuer": "Corner Shop",
       "modules": 2, "keys": 7, "programmes": 1}
    """
    return trio.run(commands.database_status, settings)


@command(database_commands, "backup")
def db_backup(
    settings: Settings, copy: Annotated[Path, typer.Argument(help="a new data folder, for the copy")]
) -> Report:
    """Copy the embedded database into a data folder of its own, while it serves.

    The key-encryption key is not in the copy: keep that elsewhere. With --database, use the server's own tools; see
    deploy/BACKUP.md.

    Example:
      authsrv db backup /backup/monday --data-dir /var/lib/authsrv

    JSON:
      {"copy": "/backup/monday"}
    """
    return trio.run(backups.back_up, settings, copy)


@command(database_commands, "archive")
def db_archive(
    settings: Settings, archive: Annotated[Path, typer.Argument(help="a folder, on another disk")]
) -> Report:
    """Keep the embedded server's log of every change in a folder, from its next start on.

    With a copy and the log since, the database can be brought to any moment, the last one too.

    Example:
      authsrv db archive /archive/authsrv --data-dir /var/lib/authsrv

    JSON:
      {"archive": "/archive/authsrv"}
    """
    return trio.run(backups.archive, settings, archive)


@command(database_commands, "recover")
def db_recover(
    settings: Settings,
    archive: Annotated[Path, typer.Option("--archive", help="the folder of `authsrv db archive`")],
    until: Annotated[
        dt.datetime | None,
        typer.Option(
            "--until", formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"], help="a moment, UTC; else all there is"
        ),
    ] = None,
) -> Report:
    """Have the next start of a copy replay the log that was kept since; --data-dir is the copy.

    Example:
      authsrv db recover --archive /archive/authsrv --until 2026-01-31T09:30:00 --data-dir /backup/monday

    JSON:
      {"copy": "/backup/monday", "until": "2026-01-31T09:30:00+00:00"}
    """
    return backups.recover(settings, archive, until)


@command(database_commands, "recovered", ENTERED)
def db_recovered(
    settings: Settings,
    skip: Annotated[
        int, typer.Option("--skip", min=1, max=50_000_000, help="how many numbers to leave out")
    ] = 1_000_000,
    without_log: Annotated[
        bool, typer.Option("--without-log", help="start a copy that was not told which log to replay: there is none")
    ] = False,
) -> Report:
    """Say that the database was brought back without its last moments, before it serves again.

    Authorization numbers that were given out in those moments stand on receipts; none of them is given out again.
    It starts a copy, which takes no log any more then: `authsrv db recover` comes before it.

    Example:
      authsrv db recovered --data-dir /var/lib/authsrv

    JSON:
      {"skipped": 1000000, "months": 3}
    """
    return trio.run(lambda: backups.recovered(settings, skip, without_log=without_log))


@command(app, "seed", (*COMMON, *LISTENING))
def seed(
    settings: Settings,
    cards: Annotated[int, typer.Option("--cards", min=0, max=10_000_000, help="how many cards")],
    modules: Annotated[int, typer.Option("--modules", min=0, max=100_000, help="how many modules")],
    kit: KitFile,
) -> Report:
    """Fill a new issuer for tests: two branches, the gift programme, modules from 1001 on, and cards.

    Every second card has an access code. The numbers are serials and easy to guess: not for cards that are sold. An
    issuer that has anything already is refused and left alone.

    Example:
      authsrv seed --cards 1000000 --modules 200 --kit kit.json --data-dir /var/lib/authsrv

    JSON:
      {"cards": 1000000, "modules": 200, "kit": "kit.json"}
    """

    def progress(done: int) -> None:
        typer.echo(f"{done} of {cards} cards", err=True)

    return trio.run(
        lambda: commands.seed(
            settings, cards=cards, modules=modules, kit=kit, random=secrets.token_bytes, progress=progress
        )
    )
