"""The demo, run as a program: a day that ends, and one that a person breaks off."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import trio

CALL = "from authsrv.shell.cli import main; main()"


def demo(folder: Path, *more: str) -> list[str]:
    """The command line of a demo in a folder, on whatever port is free."""
    return [sys.executable, "-c", CALL, "demo", "--data-dir", str(folder), "--listen", "127.0.0.1:0", *more]


async def test_a_day_goes_as_its_script_says_and_ends(database_folder: Path) -> None:
    """Exit 0, the receipts on the screen, and its server is gone."""
    folder = database_folder / "demo"
    with trio.fail_after(120):
        done = await trio.run_process(demo(folder, "--once"), capture_stdout=True, capture_stderr=True, check=False)
    assert (done.returncode, b"each as expected" in done.stdout) == (0, True)
    assert not (folder / "postgres" / "postmaster.pid").exists()


async def test_ctrl_c_in_the_middle_of_the_day_ends_all_of_it(database_folder: Path) -> None:
    """The keyboard sends SIGINT to the whole group; no traceback is shown, no server and no till stays."""
    folder = database_folder / "demo"
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(
                trio.run_process,
                demo(folder),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                check=False,
                start_new_session=True,
            )
        )
        heard = b""
        with trio.fail_after(120):
            while b"[1/" not in heard:
                heard += await process.stdout.receive_some()
            os.killpg(process.pid, signal.SIGINT)
            told = b""
            async for part in process.stderr:
                told += part
            async for part in process.stdout:
                heard += part
            await process.wait()
    assert b"Traceback" not in told + heard
    assert b"Aborted" not in told  # as the tills say when the key reaches them too
    assert not (folder / "postgres" / "postmaster.pid").exists()
