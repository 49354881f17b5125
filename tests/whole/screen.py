"""A till on a terminal of its own, as a cashier sits before it: a real pseudo-terminal with the program behind it.

What it shows is read as it comes, without the sequences that move and colour. `expect` goes on from where the last one
ended, so a test reads like a dialogue.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyte

if TYPE_CHECKING:
    from protocol.signon import ModuleIdentity

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
COLUMNS, LINES = 100, 60
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][0-9A-B]|\x1b[=>78]|\x1b\][^\x07]*\x07|[\x00\x07]")
ENTER, ESC = "\r", "\x1b"


@dataclass
class Screen:
    """The program and its terminal."""

    process: subprocess.Popen[bytes]
    master: int
    raw: bytes = b""
    read_to: int = 0
    typed: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """All that was shown, cleaned."""
        return ESCAPES.sub("", self.raw.decode(errors="replace")).replace("\r\n", "\n").replace("\r", "")

    @property
    def seen(self) -> str:
        """What stands on the screen and behind it now, as a terminal draws what was sent."""
        screen = pyte.HistoryScreen(COLUMNS, LINES, history=10_000, ratio=1.0)
        pyte.ByteStream(screen).feed(self.raw)
        above = ["".join(line[x].data for x in range(COLUMNS)) for line in screen.history.top]
        return "\n".join(line.rstrip() for line in [*above, *screen.display])

    def type(self, text: str, end: str = ENTER) -> None:
        """Type a line at once, as a scanner does, or a key."""
        os.write(self.master, (text + end).encode())

    def expect(self, *texts: str) -> str:
        """Wait until each of these was shown, one behind the other; what was shown up to there since the last time."""
        start = self.read_to
        for text in texts:
            deadline = time.monotonic() + PATIENCE_S
            while (found := self.shown.find(text, self.read_to)) < 0:
                assert self._read(deadline), f"{text!r} was not shown; there is:\n{self.shown[start:]}"
            self.read_to = found + len(text)
        return self.shown[start : self.read_to]

    def answer(self, question: str, text: str, end: str = ENTER) -> None:
        """Wait for a question and answer it."""
        self.expect(f"{question}:")
        self.type(text, end)

    def end(self) -> int:
        """Wait until the program has ended; its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read(deadline):
            pass
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """The power fails."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)

    def close(self) -> None:
        """Take everything away."""
        self.kill()
        os.close(self.master)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self.master, 65_536)
        except OSError:  # nobody holds the other end any more
            data = b""
        self.raw += data
        return bool(data)


def sit_down(*arguments: object, term: str = "xterm", **variables: str) -> Screen:
    """Start the program on a new terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {**os.environ, **variables, "TERM": term, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        [sys.executable, "-m", "terminal", *map(str, arguments)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    return Screen(process, master)


def write_kit(path: Path, identity: ModuleIdentity, port: int) -> Path:
    """A kit file as `module enroll` writes it: one module, no cards."""
    modules = [identity.to_json() | {"branch": 1, "language": "en"}]
    kit = {"host": "127.0.0.1", "port": port, "currency": 978, "exponent": 2, "modules": modules, "cards": []}
    path.write_text(json.dumps(kit))
    return path
