"""The key-encryption key: where it is looked for, and what is refused."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from authsrv.shell.key_file import KeyFileError, file_in_use, load_keys, make_key_file, read_key_file

if TYPE_CHECKING:
    from pathlib import Path

KEYS = [bytes([place]) * 32 for place in range(4)]


def test_a_made_file_is_read_back_and_nobody_else_may(tmp_path: Path) -> None:
    """Mode 0400 whatever the umask, and the same key."""
    make_key_file(tmp_path / "kek", KEYS[1])
    assert stat.S_IMODE((tmp_path / "kek").stat().st_mode) == 0o400
    assert read_key_file(tmp_path / "kek") == KEYS[1]


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    """The key that a database was set up with would be lost."""
    make_key_file(tmp_path / "kek", KEYS[1])
    with pytest.raises(KeyFileError, match="already"):
        make_key_file(tmp_path / "kek", KEYS[2])
    assert read_key_file(tmp_path / "kek") == KEYS[1]


def test_the_first_place_that_has_a_key_decides(tmp_path: Path) -> None:
    """Credential, named file, variable, data folder: each gives way to the one before it."""
    credentials, data = tmp_path / "credentials", tmp_path / "data"
    credentials.mkdir()
    data.mkdir()
    (credentials / "authsrv.kek").write_text(KEYS[0].hex())
    named = tmp_path / "named"
    make_key_file(named, KEYS[1])
    make_key_file(data / "kek", KEYS[3])
    variable = {"AUTHSRV_KEK": KEYS[2].hex()}
    credential = {"CREDENTIALS_DIRECTORY": str(credentials)}

    assert load_keys(key_file=named, data_dir=data, environment=variable | credential) == (KEYS[0],)
    assert load_keys(key_file=named, data_dir=data, environment=variable) == (KEYS[1],)
    assert load_keys(data_dir=data, environment=variable) == (KEYS[2],)
    assert load_keys(data_dir=data, environment={}) == (KEYS[3],)
    assert load_keys(data_dir=data, environment={"CREDENTIALS_DIRECTORY": str(tmp_path)}) == (KEYS[3],)


def test_the_next_key_is_read_beside_the_key(tmp_path: Path) -> None:
    """From the same place, behind it, and with the same care; elsewhere it is not looked for."""
    make_key_file(tmp_path / "kek", KEYS[0])
    make_key_file(tmp_path / "kek.next", KEYS[1])
    assert load_keys(data_dir=tmp_path, environment={"AUTHSRV_KEK_NEXT": KEYS[2].hex()}) == (KEYS[0], KEYS[1])
    both = {"AUTHSRV_KEK": KEYS[2].hex(), "AUTHSRV_KEK_NEXT": KEYS[3].hex()}
    assert load_keys(data_dir=tmp_path, environment=both) == (KEYS[2], KEYS[3])
    (tmp_path / "authsrv.kek").write_text(KEYS[3].hex())
    (tmp_path / "authsrv.kek.next").write_text(KEYS[2].hex())
    assert load_keys(environment={"CREDENTIALS_DIRECTORY": str(tmp_path)}) == (KEYS[3], KEYS[2])
    (tmp_path / "kek.next").chmod(0o644)
    with pytest.raises(KeyFileError, match=r"kek\.next.*0644"):
        load_keys(data_dir=tmp_path, environment={})


def test_the_file_to_make_is_the_one_that_would_be_read(tmp_path: Path) -> None:
    """A credential or a variable needs none; else it is the named one before the data folder's."""
    named = tmp_path / "named"
    (tmp_path / "authsrv.kek").write_text(KEYS[0].hex())
    variable = {"AUTHSRV_KEK": KEYS[2].hex()}
    assert file_in_use(key_file=named, environment={"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None
    assert file_in_use(key_file=named, data_dir=tmp_path, environment=variable) == named
    assert file_in_use(data_dir=tmp_path, environment=variable) is None
    assert file_in_use(data_dir=tmp_path, environment={}) == tmp_path / "kek"
    assert file_in_use(environment={}) is None


def test_a_bad_key_is_not_passed_over_for_a_good_one(tmp_path: Path) -> None:
    """Working with another key than was named would be worse than not working."""
    make_key_file(tmp_path / "kek", KEYS[3])
    with pytest.raises(KeyFileError, match="AUTHSRV_KEK"):
        load_keys(data_dir=tmp_path, environment={"AUTHSRV_KEK": "12"})


def test_no_key_anywhere_says_what_to_do() -> None:
    """The operator reads which setting is missing."""
    with pytest.raises(KeyFileError, match="--key-file"):
        load_keys(environment={})


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o644, 0o620, 0o602, 0o410])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    """With the mode that it has and the command that mends it."""
    path = tmp_path / "kek"
    make_key_file(path, KEYS[1])
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"{mode:04o}.*chmod 0400"):
        read_key_file(path)


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_file_of_ours_alone_is_read(tmp_path: Path, mode: int) -> None:
    """Read-only or writable by us."""
    path = tmp_path / "kek"
    make_key_file(path, KEYS[1])
    path.chmod(mode)
    assert read_key_file(path) == KEYS[1]


@pytest.mark.parametrize("content", ["", "00" * 31, "00" * 33, "zz" * 32, "é" * 32, "00" * 32 + "\n# note"])
def test_what_is_no_key_is_refused_without_being_shown(tmp_path: Path, content: str) -> None:
    """The message names the file, not what stands in it."""
    path = tmp_path / "kek"
    path.write_text(content)
    path.chmod(0o400)
    with pytest.raises(KeyFileError, match="64 hexadecimal digits") as refused:
        read_key_file(path)
    assert not content or content not in str(refused.value)


def test_a_lost_file_says_to_bring_it_back(tmp_path: Path) -> None:
    """No other key would open what is there."""
    with pytest.raises(KeyFileError, match="bring back the copy"):
        read_key_file(tmp_path / "kek")


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    """Only a plain file is read."""
    with pytest.raises(KeyFileError, match="not a plain file"):
        read_key_file(tmp_path)


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who owns it can change it."""
    make_key_file(tmp_path / "kek", KEYS[1])
    owner = (tmp_path / "kek").stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(KeyFileError, match="another user"):
        read_key_file(tmp_path / "kek")
