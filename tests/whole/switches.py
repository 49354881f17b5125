"""Switch processes, as a test holds them: start, kill, stop and go on, and what they have told."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        started = self.await_line(lambda line: "started" in line and not self._is_known(line["pid"]))
        process = SwitchProcess(self, started["pid"])
        self.told[process.pid].append(started)
        process.port = process.until("port")["port"]
        return process

    def await_line(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read lines until the wanted one; the others are kept for whom they are of."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._output], [], [], PATIENCE_S)
            if not ready or not (read := self._output.readline()):
                break
            line = json.loads(read)
            if wanted(line):
                return line
            self.told[line["pid"]].append(line)
        raise AssertionError("the program of the switches did not tell what was waited for")

    def _is_known(self, pid: int) -> bool:
        return any("started" in line for line in self.told[pid])

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

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    def until(self, what: str) -> dict[str, Any]:
        """Wait until it has told this."""
        told = self.switches.told[self.pid]
        for line in told:
            if what in line:
                return line
            assert "ended" not in line, f"the switch ended before it told {what}"
        line = self.switches.await_line(lambda line: line["pid"] == self.pid and (what in line or "ended" in line))
        told.append(line)
        assert what in line, f"the switch ended before it told {what}"
        return line

    def committing(self) -> set[tuple[int, int]]:
        """The names, as module and sequence, whose COMMIT it has told of so far."""
        lines = self.switches.told[self.pid]
        return {tuple(name) for line in lines for name in line.get("committing", ())}

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, and wait until it has ended."""
        if not any("ended" in line for line in self.switches.told[self.pid]):
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
