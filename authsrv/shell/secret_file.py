"""A new file for what is shown nowhere else: keys, numbers with codes, DSNs with passwords.

It is ours alone (0600) from its first moment and never in the place of another one. It is opened before the work that
brings the secrets, so that nothing is made which then has nowhere to go, and finished before they are committed. Where
the work fails it is taken back; but not where the commit may have happened, in doubt or broken off by a person, because
then the secrets are in use.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from ledger.faults import InDoubt

MODE: Final = 0o600


class SecretFileError(Exception):
    """The file cannot be made; the message says why."""


class SecretFile:
    """The file while it is being written."""

    def __init__(self, path: Path, out: IO[str]) -> None:
        self._path = path
        self._out = out
        self.finished = False

    def write(self, text: str) -> None:
        """Write further text."""
        self._out.write(text)

    def finish(self) -> None:
        """Have it on the disk; what it tells of may be committed now, and not before."""
        self._out.flush()
        os.fsync(self._out.fileno())
        sync_folder(self._path.parent)
        self.finished = True


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk: a file that is there under no name is lost."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def new_secret_file(path: Path) -> Iterator[SecretFile]:
    """Make the file; it stays where the body ends well, or may have. Raises `SecretFileError`."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError:
        raise SecretFileError(f"there is a file {path} already; name another one, or move it away") from None
    except OSError as error:
        raise SecretFileError(f"the file {path} cannot be made: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        file = SecretFile(path, out)
        try:
            yield file
        except InDoubt:
            raise
        except BaseException as error:
            if isinstance(error, Exception) or not file.finished:
                path.unlink(missing_ok=True)
            raise
