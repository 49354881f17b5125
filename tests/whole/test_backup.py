"""Copies that are made while tills sell, and brought back: nothing of what they hold is lost, and what tills still have
open is settled."""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from shop import KEK, TILLS
from whole.shopfront import Books, Shopfront, open_shopfront
from whole.witness import read

from authsrv.shell.key_file import make_key_file
from ledger.shell import backup, embedded
from ledger.shell.database import Database, open_database
from ledger.shell.embedded import EmbeddedError
from ledger.shell.migrate import migrate
from protocol.numbers import Command, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whole.switches import Switches
    from whole.till import Slip

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def authsrv(*words: str) -> str:
    """Run a command, which goes well."""
    done = complained(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def complained(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command, however it goes; in a process of its own, since it is called beside an event loop."""
    return subprocess.run(
        [sys.executable, "-m", "authsrv", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def over(folder: Path, work: Callable[[Database], None], *, create: bool = False) -> None:
    """Do something over the database of a data folder."""

    async def whole() -> None:
        async with open_database(data_dir=folder, create=create) as database:
            await trio.to_thread.run_sync(work, database)

    trio.run(whole)


@pytest.fixture
def place(database_folder: Path) -> Iterator[Path]:
    """A folder for data folders, that the server's account can enter."""
    place = database_folder.with_name(database_folder.name + "-b")
    place.mkdir(mode=0o711)
    place.chmod(0o711)
    yield place
    shutil.rmtree(place)


class Trade:
    """A shop that sells on one card, and the slips of what it asked."""

    def __init__(self, front: Shopfront, switches: Switches) -> None:
        self.front = front
        front.processes = [switches.start(front.switch_dsn, front.schema, KEK)]
        self.card = front.card()
        self.line = front.line(TILLS[0], 0)
        self.dice = random.Random(3)  # noqa: S311 - dice, not keys
        self.answers: dict[Slip, bytes] = {}
        self.ask(front.slip(TILLS[0], Command.ACTIVATE, card=self.card, amount=50_000))

    def ask(self, slip: Slip) -> bytes:
        """Ask, and keep what comes."""
        answer = self.answers[slip] = self.line.answer_of(slip)
        return answer

    def sell(self, times: int) -> None:
        """Some sales of a few cents."""
        for _ in range(times):
            slip = self.front.slip(TILLS[0], Command.SALE, card=self.card, amount=self.dice.randrange(1, 9))
            assert read(self.ask(slip)).result is Result.APPROVED

    def end(self) -> None:
        """Close the shop."""
        self.front.hang_up()
        for process in self.front.processes:
            process.kill()
        self.front.processes.clear()


def reopened(trade: Trade, database: Database, switches: Switches) -> None:
    """The same tills and cards before another server."""
    front = trade.front
    front.books.abandon()
    front.books = Books(database.owner_dsn)
    front.books.open()
    front.switch_dsn = database.switch_dsn
    front.processes = [switches.start(front.switch_dsn, front.schema, KEK)]
    trade.line = front.line(TILLS[0], 0)


def judge(trade: Trade) -> set[Slip]:
    """Whatever was recorded before is answered as before, and whatever was not is done once; those that were not."""
    front, lost = trade.front, set()
    for slip, before in trade.answers.items():
        [row] = front.books.query("select count(*) from authorizations where sequence = $1", slip.name.sequence)
        answer = trade.line.answer_of(slip)
        assert read(answer).result is Result.APPROVED
        if row["count"]:
            assert answer == before
        else:
            lost.add(slip)
    numbers = [row["number"] for row in front.books.query("select number from authorizations")]
    assert len(set(numbers)) == len(numbers)
    front.books.check()
    return lost


def test_a_copy_made_at_work_serves(database_folder: Path, place: Path, switches: Switches) -> None:
    """Copied between sales, with a request under way; brought back it has every sale up to then, the request is
    settled by a repeat, and the numbers of later receipts are not given out again."""
    copy = place / "copy"

    def before(database: Database) -> None:
        migrate(database.owner_dsn, database.schema)
        trade = trades.setdefault("", Trade(open_shopfront(*dsns(database)), switches))
        trade.sell(20)
        authsrv("db", "backup", str(copy), "--data-dir", str(database_folder))
        trade.sell(5)
        trade.end()

    def after(database: Database) -> None:
        trade = trades[""]
        later = {int(re.findall(rb"\d{12}", answer)[0]) for answer in [*trade.answers.values()][-5:]}
        authsrv("db", "recovered", "--data-dir", str(copy))
        reopened(trade, database, switches)
        assert len(judge(trade)) == 5
        again = {row["number"] for row in trade.front.books.query("select number from authorizations")}
        assert not later & again
        trade.sell(3)
        trade.end()
        trade.front.books.close()

    trades: dict[str, Trade] = {}
    make_key_file(database_folder / "kek", KEK)
    over(database_folder, before, create=True)
    assert not (copy / "kek").exists()
    assert not list((copy / "postgres").glob(".s.PGSQL*"))  # the copied lock would name a server that lives
    make_key_file(copy / "kek", KEK)
    over(copy, after)


def dsns(database: Database) -> tuple[str, str, str]:
    """What a shopfront opens on."""
    return database.owner_dsn, database.switch_dsn, database.schema


@pytest.mark.parametrize("moment", ["the last", "an earlier"])
def test_a_copy_is_brought_to_a_moment(database_folder: Path, place: Path, switches: Switches, moment: str) -> None:
    """The server dies after sales that no copy has. With the log that was kept the copy has all that was approved; or,
    as of a moment, what was approved until then, and the rest is asked again and done once."""
    copy, archive = place / "copy", place / "archive"
    known: dict[str, Any] = {}

    def first(database: Database) -> None:
        migrate(database.owner_dsn, database.schema)
        known["trade"] = Trade(open_shopfront(*dsns(database)), switches)
        known["trade"].end()
        authsrv("db", "archive", str(archive), "--data-dir", str(database_folder))

    def second(database: Database) -> None:
        trade = known["trade"]
        reopened(trade, database, switches)
        authsrv("db", "backup", str(copy), "--data-dir", str(database_folder))
        trade.sell(10)
        known["until"] = trade.front.books.value("select date_trunc('second', clock_timestamp()) + interval '1 s'")
        while trade.front.books.value("select clock_timestamp()") <= known["until"]:
            pass
        trade.sell(7)
        attachment = embedded.attach(database_folder)
        admin = Books(attachment.admin_dsn)
        admin.open()
        wal = admin.value("select pg_walfile_name(pg_switch_wal())")
        while not (archive / wal).exists():
            pass
        admin.close()
        trade.end()
        pid = int((database_folder / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        attachment.detach()

    def third(database: Database) -> None:
        trade = known["trade"]
        reopened(trade, database, switches)
        assert len(judge(trade)) == (0 if moment == "the last" else 7)
        trade.end()
        trade.front.books.close()

    make_key_file(database_folder / "kek", KEK)
    over(database_folder, first, create=True)
    over(database_folder, second)
    make_key_file(copy / "kek", KEK)
    # Changed one's mind: what was said last counts.
    other = [] if moment == "an earlier" else ["--until", f"{known['until']:%Y-%m-%dT%H:%M:%S}"]
    authsrv("db", "recover", "--archive", str(archive), *other, "--data-dir", str(copy))
    until = ["--until", f"{known['until']:%Y-%m-%dT%H:%M:%S}"] if moment == "an earlier" else []
    authsrv("db", "recover", "--archive", str(archive), *until, "--data-dir", str(copy))
    over(copy, third)


def test_a_dump_is_restored_on_another_server(database_folder: Path, place: Path, switches: Switches) -> None:
    """By the commands that deploy/BACKUP.md gives for a server of one's own, over a switch at work."""
    page = (ROOT / "deploy" / "BACKUP.md").read_text()
    [dump, restore] = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)[:2]
    known: dict[str, Any] = {}
    other = place / "other"
    _, programs = embedded.account_and_programs()

    def run(commands: str, dsn: str) -> None:
        environment = {"PATH": f"{programs}:/usr/bin:/bin", "OWNER": dsn, "LC_ALL": "C"}
        subprocess.run(["/bin/sh", "-eu", "-c", commands], check=True, env=environment, cwd=place)

    def before(database: Database) -> None:
        migrate(database.owner_dsn, database.schema)
        trade = known["trade"] = Trade(open_shopfront(*dsns(database)), switches)
        trade.sell(10)
        run(dump, database.owner_dsn)
        trade.sell(4)
        trade.end()

    def after(database: Database) -> None:
        migrate(database.owner_dsn, database.schema)
        run(restore, database.owner_dsn)
        authsrv("db", "recovered", "--data-dir", str(other))
        reopened(known["trade"], database, switches)
        assert len(judge(known["trade"])) == 4
        known["trade"].end()
        known["trade"].front.books.close()

    over(database_folder, before, create=True)
    over(other, after, create=True)


def test_what_cannot_be_recovered(database_folder: Path, place: Path) -> None:
    """A folder that is no copy, an archive that is not there, a server that is not ours to copy."""
    over(database_folder, lambda _: None, create=True)
    for words, complaint in (
        (("recover", "--archive", str(place), "--data-dir", str(database_folder)), "is no copy"),
        (("backup", str(place), "--data-dir", str(database_folder)), "there is something"),
    ):
        done = complained("db", *words)
        assert (done.returncode, complaint in done.stderr) == (1, True), done.stderr
    done = complained("db", "backup", "x", "--database", "postgresql://issuer_owner@127.0.0.1:1/x")
    assert (done.returncode, "its own tools" in done.stderr) == (2, True), done.stderr


def test_a_copy_that_was_killed_is_cleared_away(database_folder: Path, place: Path) -> None:
    """By the next one of that name, which says so; another's unfinished copy, and one that is being made, stay."""
    words = ("db", "backup", str(place / "copy"), "--data-dir", str(database_folder))

    def killed(_: Database) -> None:
        program = subprocess.Popen([sys.executable, "-m", "authsrv", *words], cwd=ROOT, start_new_session=True)
        deadline = time.monotonic() + 60
        while not list(place.glob("copy.unfinished-*/postgres/*")):
            assert program.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
        os.killpg(program.pid, signal.SIGKILL)  # and the program that it has fill the copy
        program.wait()
        [left] = place.glob("copy.unfinished-*")
        others, busy = place / "other.unfinished-abc", place / "copy.unfinished-busy"
        others.mkdir()
        busy.mkdir()
        held = os.open(busy, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
        assert f"{left} was left by a copy that was broken off, and is cleared away" in authsrv(*words)
        os.close(held)
        assert sorted(place.iterdir()) == [place / "copy", busy, others]

    over(database_folder, killed, create=True)


def test_a_copy_is_not_spent_before_its_log(database_folder: Path, place: Path) -> None:
    """`recovered` starts a copy, which takes no log then: it asks first, and changes nothing."""
    words = ("db", "recovered", "--data-dir", str(place / "copy"))

    def copied(database: Database) -> None:
        migrate(database.owner_dsn, database.schema)
        backup.back_up(database_folder, place / "copy")

    over(database_folder, copied, create=True)
    done = complained(*words)
    assert (done.returncode, "`authsrv db recover --archive FOLDER` first" in done.stderr) == (1, True), done.stderr
    assert (place / "copy" / "postgres" / "backup_label").exists()
    authsrv(*words, "--without-log")
    assert not (place / "copy" / "postgres" / "backup_label").exists()
    authsrv(*words)  # what was started is only skipped in


@pytest.mark.parametrize("name", ["postgresql.auto.conf", "recovery.signal"])
def test_a_link_in_a_copy_is_not_followed(database_folder: Path, place: Path, name: str) -> None:
    """The server's account owns the copy's cluster and may lay a link there; what it points to is not touched."""
    over(database_folder, lambda _: backup.back_up(database_folder, place / "copy"), create=True)
    precious = place / "precious"
    precious.write_text("ours\n")
    link = place / "copy" / "postgres" / name
    link.unlink(missing_ok=True)
    link.symlink_to(precious)
    done = complained("db", "recover", "--archive", str(place), "--data-dir", str(place / "copy"))
    assert (done.returncode, done.stderr.count("\n"), name in done.stderr) == (1, 1, True), done.stderr
    assert precious.read_text() == "ours\n"
    assert precious.stat().st_uid == place.stat().st_uid


def test_a_copy_that_is_not_whole_is_not_given_its_name(
    database_folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changed on its way is found when the copy is read back, and nothing is left where it was to be."""
    run = backup._run

    def spoil(command: Any, what: str, password: str = "", held: int | None = None) -> None:
        run(command, what, password, held)
        [file] = place.glob("copy.*/postgres/global/pg_control")
        file.write_bytes(file.read_bytes()[:-1] + b"x")

    monkeypatch.setattr(backup, "_run", spoil)

    def spoiled(_: Database) -> None:
        with pytest.raises(EmbeddedError, match="global/pg_control is not what it was"):
            backup.back_up(database_folder, place / "copy")

    over(database_folder, spoiled, create=True)
    assert list(place.iterdir()) == []
