"""Copies of the embedded database: taken while it serves, and brought to any moment since.

A copy is a data folder like the one that it was made from, with everything in it but the key-encryption key: whoever
holds the copy alone can open nothing, and whoever lost the key cannot either. What must hold:

  * A copy is whole before it has its name: it is made beside, checked against its manifest, and renamed. What a copy
    that was killed has left beside is cleared away by the next one of that name.
  * A copy holds all that was committed when it was begun, and what its log holds up to its end.
  * With an archive of the log a copy is brought to any later moment, the last one too. The archive never overwrites a
    file, and a file is in it whole or not at all.

The programs are PostgreSQL's own. All of this blocks, as `embedded` does.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import glob
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.shell import embedded
from ledger.shell.embedded import EmbeddedError, Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT = ("database.json", "postgres.password")
"""What belongs to a data folder besides the cluster; not the key, which is kept apart."""


UNFINISHED = ".unfinished-"
"""What the name of a copy is followed by until it is whole."""


def back_up(data_dir: Path, copy: Path) -> list[Path]:
    """Copy the database of `data_dir`, whose server runs, into the new data folder `copy`.

    Returns the folders that were left by copies of this name that were broken off, and are cleared away.

    Raises `EmbeddedError` where there is something at `copy`, or the copy cannot be made or does not verify.
    """
    source, target = Layout(data_dir.resolve()), Layout(copy.resolve())
    if target.root.exists():
        raise EmbeddedError(f"there is something at {target.root} already; give a new folder")
    account, binaries = embedded.account_and_programs()
    cleared = _clear(target.root)
    unfinished = Layout(Path(tempfile.mkdtemp(prefix=f"{target.root.name}{UNFINISHED}", dir=target.root.parent)))
    held = _hold(unfinished.root)
    unfinished.root.chmod(0o700 if account is None else 0o711)
    try:
        _run(
            [
                *(binaries / "pg_basebackup", f"--host={source.cluster}", f"--username={embedded.ADMIN}"),
                *(f"--pgdata={unfinished.cluster}", "--wal-method=stream", "--checkpoint=fast", "--no-password"),
                "--manifest-checksums=SHA256",
            ],
            "copy the database",
            password=source.password.read_text().strip(),
            held=held,
        )
        _verify(unfinished.cluster)
        # A copy is not the server that it was made from: neither its socket's lock nor its archive are its own.
        for lock in unfinished.cluster.glob(".s.PGSQL.*"):
            lock.unlink()
        _settings(unfinished, [("archive_mode", "off")])
        for name in KEPT:
            _copy_secret(source.root / name, unfinished.root / name)
        if account is not None:
            for each in (unfinished.cluster, *unfinished.cluster.rglob("*")):
                os.chown(each, account.uid, account.gid, follow_symlinks=False)
        unfinished.root.rename(target.root)
    except BaseException:
        shutil.rmtree(unfinished.root, ignore_errors=True)
        raise
    finally:
        os.close(held)
    return cleared


def _clear(copy: Path) -> list[Path]:
    """Take away what copies of this name that were killed have left; what somebody works at is left alone."""
    cleared = []
    for left in sorted(copy.parent.glob(f"{glob.escape(copy.name)}{UNFINISHED}*")):
        if left.is_symlink() or not left.is_dir():
            continue
        try:
            held = _hold(left)
        except BlockingIOError:
            continue
        try:
            shutil.rmtree(left)
        finally:
            os.close(held)
        cleared.append(left)
    return cleared


def _hold(folder: Path) -> int:
    """Hold a folder as long as this program, and the one that it has fill it, live; raises BlockingIOError."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(held)
        raise
    return held


def archive_setting(archive: Path) -> tuple[str, str]:
    """The `archive_mode` and `archive_command` that keep each finished file of the log in `archive`.

    The file is copied under another name, brought to the disk, and linked to its own, which fails where there is one.
    """
    folder = _quoted(archive.resolve())
    kept, part = f"{folder}/%f", f"{folder}/%f.part"
    copied = f"rm -f {part} && cp %p {part} && sync {part}"
    named = f"{{ ln {part} {kept} || cmp -s {part} {kept}; }} && sync {folder}"
    return "on", f"{copied} && {named} && rm {part} || {{ rm -f {part}; false; }}"


def make_archive(archive: Path) -> None:
    """Make the folder that the server writes its log into, for its account alone."""
    account, _ = embedded.account_and_programs()
    if not archive.exists():
        embedded.make_folder(archive, account, mode=0o700)
        if account is not None:
            os.chown(archive, account.uid, account.gid)


def prepare_recovery(copy: Path, archive: Path, until: dt.datetime | None) -> None:
    """Have the next start of the server of `copy` replay what `archive` holds, up to a moment or to its end.

    Raises `EmbeddedError` where the copy has been started before, or the archive is not there.
    """
    layout = Layout(copy.resolve())
    if not (layout.cluster / "backup_label").exists():
        raise EmbeddedError(f"{layout.root} is no copy that `authsrv db backup` has made, or it was started already")
    if not archive.is_dir():
        raise EmbeddedError(f"there is no archive {archive}")
    account, _ = embedded.account_and_programs()
    settings = [
        ("archive_mode", "off"),  # a recovered copy begins another history, which goes elsewhere
        ("restore_command", f"cp {_quoted(archive.resolve())}/%f %p"),
        ("recovery_target_action", "promote"),
        ("recovery_target_time", "" if until is None else until.isoformat(sep=" ")),  # the last one counts
    ]
    _settings(layout, settings)
    # Root in the account's folder: what is there may be a link to anywhere, and is not followed.
    made = os.open(layout.cluster / "recovery.signal", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        if account is not None:
            os.fchown(made, account.uid, account.gid)
    finally:
        os.close(made)


def waits_for_log(copy: Path) -> bool:
    """Whether this is a copy that could still be told which log to replay, and was not."""
    cluster = Layout(copy.resolve()).cluster
    return (cluster / "backup_label").exists() and not (cluster / "recovery.signal").exists()


def _settings(layout: Layout, settings: Sequence[tuple[str, str]]) -> None:
    """Set what a server's next start reads last."""
    file = os.open(layout.cluster / "postgresql.auto.conf", os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
    with os.fdopen(file, "a", encoding="utf-8") as out:
        out.writelines(f"{name} = '{_doubled(value)}'\n" for name, value in settings)
        out.flush()
        os.fsync(out.fileno())


def _run(command: Sequence[str | Path], what: str, password: str = "", held: int | None = None) -> None:
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", **({"PGPASSWORD": password} if password else {})}
    done = subprocess.run(  # noqa: S603 - PostgreSQL's own programs
        command, check=False, capture_output=True, text=True, env=environment,
        pass_fds=() if held is None else (held,),
    )  # fmt: skip
    if done.returncode != 0:
        raise EmbeddedError(f"cannot {what}: {' / '.join(done.stderr.strip().splitlines()[-3:])}")


def _verify(cluster: Path) -> None:
    """Read the copy back: each file that its manifest names is there, as long as it was and with its SHA-256.

    As `pg_verifybackup` does, which in the wheel ends in a memory fault.
    """
    manifest = json.loads((cluster / "backup_manifest").read_bytes())
    for entry in manifest["Files"]:
        path = entry["Path"] if "Path" in entry else bytes.fromhex(entry["Encoded-Path"]).decode()
        try:
            with (cluster / path).open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == entry["Checksum"]
        except OSError as error:
            raise EmbeddedError(f"cannot verify the copy: {path}: {error.strerror}") from error
        if not same:
            raise EmbeddedError(f"cannot verify the copy: {path} is not what it was when it was copied")


def _copy_secret(source: Path, target: Path) -> None:
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(source.read_bytes())
        out.flush()
        os.fsync(out.fileno())


def _quoted(path: Path) -> str:
    """A path as the shell reads it; one with a sign that the server or the shell could take for its own is refused."""
    text = str(path)
    if any(sign in text for sign in "'\\%\"\n$`"):
        raise EmbeddedError(f"{path} has a quote, a backslash, a dollar or a percent sign; give a plainer path")
    return f'"{text}"'


def _doubled(value: str) -> str:
    return value.replace("'", "''")
