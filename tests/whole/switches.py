"""Switch processes, as a test holds them: start, kill, stop and go on, and what they have told."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(__file__).with_name("switch_program.py")
ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0


@dataclass
class Switches:
    """The program that forks switches."""

    program: subprocess.Popen[bytes]
    told: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def start(
        self, dsn: str, schema: str, kek: bytes, *, port: int = 0, lanes: int = 2, idle_ms: int = 0, **faults: Any
    ) -> SwitchProcess:
        """Start a switch and wait until it listens. `faults`: a fault's name, and its arguments as a dict."""
        order = {"dsn": dsn, "schema": schema, "kek": kek.hex(), "port": port, "lanes": lanes, "faults": faults}
        if idle_ms:
            order["idle_in_transaction_ms"] = idle_ms
        self._input.write(json.dumps(order).encode() + b"\n")
        self._input.flush()
        while not (started := [line for lines in self.told.values() for line in lines if "started" in line]):
            self.read()
        process = SwitchProcess(self, started[0]["pid"])
        process.until("started")
        process.port = process.until("port")["port"]
        return process

    def has_told_more(self) -> bool:
        """Whether there is a line to read."""
        return bool(select.select([self._output], [], [], 0)[0])

    def read(self) -> None:
        """Read a line, and keep it for whom it is of."""
        ready, _, _ = select.select([self._output], [], [], PATIENCE_S)
        line = self._output.readline() if ready else b""
        assert line, "the program of the switches did not tell what was waited for"
        told = json.loads(line)
        self.told[told["pid"]].append(told)

    @property
    def _input(self) -> IO[bytes]:
        assert self.program.stdin is not None
        return self.program.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self.program.stdout is not None
        return self.program.stdout


@dataclass
class SwitchProcess:
    """One switch process."""

    switches: Switches
    pid: int
    port: int = 0
    has_ended: bool = False

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    def until(self, what: str) -> dict[str, Any]:
        """Wait until it tells this, once more than it was waited for before."""
        told = self.switches.told[self.pid]
        while True:
            for line in told:
                if what in line:
                    told.remove(line)
                    self.has_ended |= what == "ended"
                    return line
                assert "ended" not in line, f"the switch ended before it told {what}"
            self.switches.read()

    def committing(self) -> set[tuple[int, int]]:
        """The names, as module and sequence, whose COMMIT it has told of since it was asked before."""
        told = self.switches.told[self.pid]
        while self.switches.has_told_more():
            self.switches.read()
        lines = [line for line in told if "committing" in line]
        told[:] = [line for line in told if "committing" not in line]
        return {(module, sequence) for line in lines for module, sequence in line["committing"]}

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, and wait until it has ended."""
        if not self.has_ended:
            self.send(signal.SIGKILL)
            self.until("ended")


@contextmanager
def running_program() -> Iterator[Switches]:
    """The program, ended with all that it started."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM)], cwd=ROOT, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        yield Switches(program)
        assert program.stdin is not None
        program.stdin.close()
        program.wait(PATIENCE_S)
