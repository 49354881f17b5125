"""The key-encryption key on its way from the operating system to us: 32 bytes, written as 64 hexadecimal digits.

It is looked for in this order, and the first that is there is the one, good or bad, so that nobody works with another
key than they think:

    $CREDENTIALS_DIRECTORY/authsrv.kek   a systemd credential: systemd keeps it from everybody else
    the file that was named              --key-file, or AUTHSRV_KEY_FILE
    $AUTHSRV_KEK                         the digits themselves, for containers: any process of ours can read them
    DIR/kek                              in a data folder

A key file must be a plain file of ours that nobody else may read. A copy of it belongs in a safe: without it, what the
database holds cannot be opened by anybody.

The key that is to take its place lies beside it while the change is under way: `authsrv.kek.next`, FILE.next,
$AUTHSRV_KEK_NEXT, kek.next. Which of the two is the one, the database says: it is the one that opens its keys.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from authsrv.keys import KEY_BYTES
from authsrv.shell.secret_file import sync_folder
from protocol.crypto import check_value

CREDENTIAL: Final = "authsrv.kek"
VARIABLE: Final = "AUTHSRV_KEK"
NEXT: Final = ".next"
NEXT_VARIABLE: Final = "AUTHSRV_KEK_NEXT"
FILE: Final = "kek"
MODE: Final = 0o400
CONTENT_MAX: Final = 1024
_TOO_OPEN: Final = stat.S_IRWXG | stat.S_IRWXO


class KeyFileError(Exception):
    """The key-encryption key is not there or may not be used; the message says what to do, and never shows the key."""


def default_file(data_dir: Path) -> Path:
    """Where a data folder keeps the key."""
    return data_dir / FILE


def file_in_use(
    *, key_file: Path | None = None, data_dir: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Path | None:
    """The key file that `load_key` would read; None where the key comes from elsewhere, or from nowhere."""
    if _credential(environment) is not None:
        return None
    if key_file is not None:
        return key_file
    if VARIABLE in environment or data_dir is None:
        return None
    return default_file(data_dir)


def load_keys(
    *, key_file: Path | None = None, data_dir: Path | None = None, environment: Mapping[str, str] = os.environ
) -> tuple[bytes, ...]:
    """Find and read the key-encryption key, and the one that is to take its place, where there is one.

    Args:
        key_file: the file that was named, if one was.
        data_dir: the data folder, if there is one; its key is the last that is looked for.
        environment: where the credentials' folder and the variable are looked up.

    Raises:
        KeyFileError: where there is none, or the first one found may not be used.

    """
    credential = _credential(environment)
    if credential is not None:
        following = next_to(credential)
        return tuple(
            _key(_read_credential(each), f"the credential {each}")
            for each in (credential, following)
            if each is credential or each.exists()
        )
    file = file_in_use(key_file=key_file, data_dir=data_dir, environment=environment)
    if file is not None:
        coming = _read_next(next_to(file))  # first: it may take the other's place meanwhile
        return (read_key_file(file), coming) if coming is not None else (read_key_file(file),)
    if VARIABLE in environment:
        return tuple(
            _key(os.fsencode(environment[each]), f"the variable {each}")
            for each in (VARIABLE, NEXT_VARIABLE)
            if each in environment
        )
    raise KeyFileError(
        "there is no key-encryption key: give --key-file FILE with the one that `authsrv keys init` made, "
        f"or the credential {CREDENTIAL}"
    )


def _read_next(file: Path) -> bytes | None:
    try:
        return read_key_file(file) if file.exists() else None
    except KeyFileError:
        if file.exists():
            raise
        return None


def next_to(file: Path) -> Path:
    """Where the key lies that is to take the place of the one in `file`."""
    return file.with_name(file.name + NEXT)


def read_key_file(path: Path) -> bytes:
    """Read the key from a file of ours that nobody else may read; raises `KeyFileError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would make us wait for a writer
    except FileNotFoundError:
        raise KeyFileError(
            f"there is no key file {path}: `authsrv keys init` makes one for a new issuer; for one that has keys, "
            "bring back the copy that was put away"
        ) from None
    except OSError as error:
        raise KeyFileError(f"the key file {path} cannot be read: {error.strerror}") from None
    try:
        _check_file(path, os.fstat(descriptor))
        return _key(os.read(descriptor, CONTENT_MAX), f"the key file {path}")
    finally:
        os.close(descriptor)


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileError(f"the key file {path} is not a plain file")
    if found.st_uid != os.geteuid():
        raise KeyFileError(f"the key file {path} belongs to another user; `chown` it to the one that runs this command")
    if found.st_mode & _TOO_OPEN:
        raise KeyFileError(
            f"the key file {path} has the mode {stat.S_IMODE(found.st_mode):04o}, so that others may use it; "
            f"`chmod 0400 {path}`, and ask yourself whether somebody has read it"
        )


def make_key_file(path: Path, key: bytes) -> None:
    """Write a new key file, 0400, safe on the disk when this returns; raises `KeyFileError` where there is one."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError:
        raise KeyFileError(f"there is a key file {path} already; nothing was changed") from None
    except OSError as error:
        raise KeyFileError(f"the key file {path} cannot be made: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        os.fchmod(descriptor, MODE)  # whatever the umask took away
        out.write(key.hex() + "\n")
        out.flush()
        os.fsync(descriptor)
    sync_folder(path.parent)


def outside_names(environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Where a key that lies in no file of ours comes from, and what the next one is called there."""
    if _credential(environment) is not None:
        return f"the credential {CREDENTIAL}", f"the credential {CREDENTIAL}{NEXT}"
    return f"the variable {VARIABLE}", f"the variable {NEXT_VARIABLE}"


def take_place(file: Path) -> Path:
    """Put the next key in the place of the one in `file`, which stays under a name with its check value; that name.

    Broken off anywhere, the key and the next one both lie there, or the change is done.
    """
    key = read_key_file(file)
    old = file.with_name(f"{file.name}.old-{check_value(key).hex()}")
    if not old.exists():
        os.link(file, old)
        sync_folder(file.parent)
    next_to(file).rename(file)
    sync_folder(file.parent)
    return old


def _credential(environment: Mapping[str, str]) -> Path | None:
    folder = environment.get("CREDENTIALS_DIRECTORY")
    credential = Path(folder) / CREDENTIAL if folder else None
    return credential if credential is not None and credential.exists() else None


def _read_credential(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"the credential {path} cannot be read: {error.strerror}") from None


def _key(content: bytes, source: str) -> bytes:
    try:
        key = bytes.fromhex(content.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"{source} does not hold a key: {2 * KEY_BYTES} hexadecimal digits and nothing else")
    return key
