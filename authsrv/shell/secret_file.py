"""A new file for what is shown nowhere else: keys, numbers with codes, DSNs with passwords.

It is ours alone (0600) from its first moment and never in the place of another one. It is opened before the work that
brings the secrets, so that nothing is made which then has nowhere to go, and taken back where that work fails; but not
where a commit is in doubt, because then the secrets may be in use.
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


@contextmanager
def new_secret_file(path: Path) -> Iterator[IO[str]]:
    """Make the file, and have it on the disk when the body has ended. Raises `SecretFileError`."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError:
        raise SecretFileError(f"there is a file {path} already; name another one, or move it away") from None
    except OSError as error:
        raise SecretFileError(f"the file {path} cannot be made: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        try:
            yield out
            safe(out)
        except InDoubt:
            raise
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def safe(out: IO[str]) -> None:
    """Have what was written so far on the disk."""
    out.flush()
    os.fsync(out.fileno())
