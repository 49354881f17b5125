"""Copies of the embedded database, and what is to be done when one takes its place."""

import asyncio
import datetime as dt
from pathlib import Path

import asyncpg
import trio

from authsrv.shell.owner import Entry, as_owner
from authsrv.shell.report import Report
from authsrv.shell.settings import Settings, SettingsError
from ledger.shell import backup, embedded
from ledger.shell.door import FOREIGN, translated


def _data_dir(settings: Settings) -> Path:
    if settings.data_dir is None:
        raise SettingsError(
            "this is for the embedded database: give --data-dir; a server of one's own is copied by its own tools, "
            "see deploy/BACKUP.md"
        )
    return settings.data_dir


async def back_up(settings: Settings, copy: Path) -> Report:
    """Copy the embedded database into a new data folder."""
    data_dir = _data_dir(settings)

    def work() -> list[Path]:
        attachment = embedded.attach(data_dir)
        try:
            return backup.back_up(data_dir, copy)
        finally:
            attachment.detach()

    cleared = await trio.to_thread.run_sync(work)
    return Report(
        {"copy": str(copy)},
        (
            *(f"{left} was left by a copy that was broken off, and is cleared away" for left in cleared),
            f"the copy is in {copy}, verified; the key-encryption key is not in it, keep that elsewhere",
        ),
    )


async def archive(settings: Settings, folder: Path) -> Report:
    """Have the embedded server keep its log in `folder` from its next start on."""
    data_dir = _data_dir(settings)

    async def set_up(dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            for name, value in zip(("archive_mode", "archive_command"), backup.archive_setting(folder), strict=True):
                literal = await connection.fetchval("select quote_literal($1)", value)
                await connection.execute(f"alter system set {name} = {literal}")
        finally:
            await connection.close()

    def work() -> None:
        backup.make_archive(folder)
        attachment = embedded.attach(data_dir)
        try:
            asyncio.run(set_up(attachment.admin_dsn))
        finally:
            attachment.detach()

    try:
        await trio.to_thread.run_sync(work)
    except FOREIGN as error:
        fault = translated(error)
    else:
        return Report(
            {"archive": str(folder)},
            (
                f"the log is kept in {folder} from the server's next start on: end what uses {data_dir}, start again",
                "make a copy then (`authsrv db backup`): the log leads on from one",
            ),
        )
    raise fault


def recover(settings: Settings, archive: Path, until: dt.datetime | None) -> Report:
    """Have the next start of a copy replay an archive."""
    copy = _data_dir(settings)
    moment = until if until is None or until.tzinfo is not None else until.replace(tzinfo=dt.UTC)
    try:
        backup.prepare_recovery(copy, archive, moment)
    except OSError as error:
        raise embedded.EmbeddedError(f"cannot work in {copy}: {error.strerror}: {error.filename}") from None
    return Report(
        {"copy": str(copy), "until": None if moment is None else moment.isoformat()},
        (
            f"the next start over {copy} replays {archive}{'' if moment is None else f' up to {moment.isoformat()}'}",
            f"then, before it serves: authsrv db recovered --data-dir {copy}",
        ),
    )


async def recovered(settings: Settings, skip: int, *, without_log: bool) -> Report:
    """Leave out the authorization numbers that were given out after the copy.

    Raises EmbeddedError for a copy that was not started and not told of a log, unless it is to go on `without_log`.
    """
    if settings.data_dir is not None and backup.waits_for_log(settings.data_dir) and not without_log:
        raise embedded.EmbeddedError(
            f"{settings.data_dir} is a copy that has not been told which log to replay, and this command starts it: a"
            " copy that was started takes no log any more. Give `authsrv db recover --archive FOLDER` first; where no"
            " log was kept, give this command again with --without-log"
        )
    months: int = await as_owner(
        settings,
        lambda connection: connection.fetchval("select skip_numbers($1)", skip),
        Entry("db recovered", {"skipped": skip}),
    )
    return Report(
        {"skipped": skip, "months": months},
        (f"authorization numbers go on {skip} later in each of {months} months",),
    )
