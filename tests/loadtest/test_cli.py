"""The command line of the harness: what it prints, what it refuses, and what it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from loadtest.shell.cli import app
from loadtest.shell.ground import GroundError, Size, _remove, open_ground

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = """
name = "small"
load = "closed"
connections = 2
modules_per_connection = 4
cards = 150
[mix]
sale = 1
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One that a run has left."""
    made = Path(tempfile.mkdtemp(prefix="authsrv-", dir="/tmp"))  # below pytest's own the database's account may not go
    made.chmod(0o711)
    with open_ground(made, Size(modules=64, cards=150, fresh_cards=60)):
        pass
    yield made
    shutil.rmtree(made)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from loadtest.shell.cli import main; main()"]
    return subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)


def test_the_command_prints_json_alone_and_ends_well(folder: Path, tmp_path: Path) -> None:
    """`run --json` is for scripts, `--html` for people; exit 0 says that every answer was true."""
    profile, page = tmp_path / "small.toml", tmp_path / "report.html"
    profile.write_text(SMALL)
    place = ["--data-dir", str(folder), "--duration-s", "1"]
    done = command("run", str(profile), "--json", "--html", str(page), *place)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["profile"], result["verified"], result["findings"]) == ("small", True, [])
    assert (result["modules"], result["connections"], result["asked_per_s"]) == (8, 2, None)
    assert "8 modules over 2 connections, each as it is answered" in page.read_text()
    assert page.read_text().count("<svg") == 5
    assert "<script" not in page.read_text()


def test_what_cannot_be_run_is_said_in_a_line(folder: Path) -> None:
    """An unknown profile, and one with more modules than the folder has: a sentence, no trace, exit 1."""
    for name, told in (
        ("terminal", "terminals"),
        ("concentrator", "needs 256 modules"),
        ("nowhere.toml", "nowhere.toml cannot be read: No such file"),
    ):
        done = command("run", name, "--json", "--data-dir", str(folder))
        assert (done.returncode, done.stdout) == (1, "")
        assert told in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "terminals", "--set", "worker=4"), "no setting 'worker'"),
        (("run", "terminals", "--set", "workers=x"), "workers=x is not a number"),
        (("run", "terminals", "--set", "listen=x:1"), "given by the harness"),
        (("run", "terminals", "--set", "lanes"), "not NAME=VALUE"),
        (("run", "terminals", "--duration-s", "inf"), "less than or equal to"),
        (("run", "terminals", "--html", "/nowhere/page.html"), "written to the folder /nowhere"),
        (("growth", "/nowhere"), "does not exist"),
        (("grow", "/nowhere", "--cards", "100", "--authorizations", "50"), "100 cards need as many to be sold"),
    ],
)
def test_a_mistake_is_told_before_anything_is_made(arguments: tuple[str, ...], told: str) -> None:
    """Exit 2, as for every mistake on the command line."""
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stdout == ""


def test_a_folder_is_for_one_run_at_a_time(folder: Path) -> None:
    """A second one would give the database new passwords under the first."""
    with open_ground(folder) as ground:
        with pytest.raises(GroundError, match="used by another run"), open_ground(folder):
            pass
        assert ground.query("select 1")


def test_a_new_folder_may_lie_in_a_new_one() -> None:
    """Whatever is missing above it is made as well, so that the database's account can pass."""
    made = Path(tempfile.mkdtemp(prefix="authsrv-", dir="/tmp"))  # as above
    made.chmod(0o711)
    try:
        with open_ground(made / "new" / "newer", Size(modules=1, cards=0, fresh_cards=0)) as ground:
            assert ground.query("select 1")
    finally:
        shutil.rmtree(made)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """A switch's folder is not filled with load; one that is empty is taken."""
    (tmp_path / "kek").write_text("")
    with pytest.raises(GroundError, match="holds something else"), open_ground(tmp_path):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["kek"]
    with pytest.raises(GroundError, match="is a file"), open_ground(tmp_path / "kek"):
        pass


def test_a_folder_without_a_past_is_not_compared(folder: Path) -> None:
    """A `grow` that was broken off leaves no cards to work with: both commands that need them say so."""
    kit = folder / "loadtest.json"
    whole = kit.read_text()
    kit.write_text(json.dumps(json.loads(whole) | {"cards": 0, "fresh_cards": 0}))
    try:
        for arguments in (("growth", str(folder)), ("run", "terminals", "--data-dir", str(folder))):
            done = command(*arguments)
            assert done.returncode == 1
            assert "`grow` did not end there" in done.stderr
            assert "Traceback" not in done.stderr
        done = command("grow", str(folder))
        assert done.returncode == 1
        assert "holds cards already" in done.stderr
        kit.write_text("{}")
        done = command("run", "terminals", "--data-dir", str(folder))
        assert done.returncode == 1
        assert "is not what a run has left there" in done.stderr
    finally:
        kit.write_text(whole)


def test_a_switch_that_dies_is_named(folder: Path) -> None:
    """Killed while it is measured: one line says so, and nothing of a connection that was refused."""
    program = [sys.executable, "-c", "from loadtest.shell.cli import main; main()", "run", "terminals"]
    with (folder / "profile.toml").open("w") as profile:
        profile.write(SMALL)
    arguments = [*program[:-1], profile.name, "--data-dir", str(folder), "--duration-s", "2"]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        told = ""
        for line in run.stderr:
            told += line
            if line.startswith("the switch is process"):
                switch = int(line.split()[-1])
            if line.startswith("small:"):  # it is measured
                os.kill(switch, signal.SIGKILL)
                break
        told += run.stderr.read()
        assert run.wait() == 1
    assert "the switch ended, or stands still, while it was measured" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_leaves_nothing_behind(ending: signal.Signals) -> None:
    """Not the folder, and not the server, which would keep it busy."""
    program = [sys.executable, "-c", "from loadtest.shell.cli import main; main()", "run", "terminals"]
    made = Path(tempfile.mkdtemp(prefix="authsrv-", dir="/tmp"))  # as above
    made.chmod(0o711)
    try:
        with subprocess.Popen(
            program, env=os.environ | {"TMPDIR": str(made)}, stderr=subprocess.PIPE, text=True
        ) as run:
            assert run.stderr is not None
            assert any(line.startswith("the switch is process") for line in run.stderr)
            run.send_signal(ending)
            assert run.wait(30) != 0
        assert list(made.iterdir()) == []
    finally:
        shutil.rmtree(made)


def test_a_folder_in_which_somebody_is_still_ending_is_removed(tmp_path: Path) -> None:
    """A file that comes while it is removed is removed too."""
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)

    remove, tries = shutil.rmtree, list[int]()

    def busy(path: Path) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OSError(39, "Directory not empty")
        remove(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loadtest.shell.ground.shutil.rmtree", busy)
        _remove(folder)
    assert not folder.exists()
    assert len(tries) == 2
