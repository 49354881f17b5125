"""Files for secrets: whose they are, and when they stay."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from authsrv.shell.secret_file import SecretFileError, new_secret_file
from ledger.faults import InDoubt, Unavailable

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_ours_alone_from_its_first_moment(tmp_path: Path) -> None:
    """0600 before anything is in it, and whole when it is finished."""
    with new_secret_file(tmp_path / "kit") as file:
        assert stat.S_IMODE((tmp_path / "kit").stat().st_mode) == 0o600
        file.write("keys")
        file.finish()
        assert (tmp_path / "kit").read_text() == "keys"


def test_it_is_on_the_disk_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished, the file is written through, and then the folder that names it."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    with new_secret_file(tmp_path / "kit") as file:
        file.finish()
        assert synced == [(tmp_path / "kit").stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.parametrize(
    ("fault", "finished", "stays"),
    [
        (InDoubt, True, True),
        (KeyboardInterrupt, True, True),
        (KeyboardInterrupt, False, False),
        (Unavailable, True, False),
        (Unavailable, False, False),
    ],
)
def test_it_stays_where_the_commit_may_have_happened(
    tmp_path: Path, fault: type[BaseException], finished: bool, stays: bool
) -> None:
    """The keys may be in use, and nobody else has them; where nothing was done it goes."""

    def work() -> None:
        with new_secret_file(tmp_path / "kit") as file:
            if finished:
                file.finish()
            raise fault

    with pytest.raises(fault):
        work()
    assert (tmp_path / "kit").exists() is stays


def test_it_never_takes_the_place_of_another(tmp_path: Path) -> None:
    """Nor is one made where no file can be; the body does not run."""
    (tmp_path / "kit").write_text("keys")
    for path, said in ((tmp_path / "kit", "already"), (tmp_path / "none" / "kit", "cannot be made")):
        with pytest.raises(SecretFileError, match=said), new_secret_file(path):
            pytest.fail("the body ran")
    assert (tmp_path / "kit").read_text() == "keys"
