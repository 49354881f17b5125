"""A small file that is whole on the disk whenever the power fails: the old one or the new one, never a part."""

import os
from pathlib import Path
from typing import Final

OWNER_ONLY: Final = 0o600


def write_durably(path: Path, data: bytes) -> None:
    """Let a file, 0600, hold these bytes; they are on the disk when this returns. Raises OSError."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)  # of one that was cut off; whoever may read it may not read this
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
