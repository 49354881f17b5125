"""The switch under test: a process of its own, started as its operator would, and looked at from outside."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from authsrv import fold
from loadtest.shell.ground import Ground

START_S: Final = 30.0
STOP_S: Final = 30.0
TRIES: Final = 20
HOST: Final = "127.0.0.1"
_BATCHES: Final = "authsrv_batch_requests"


class SwitchError(Exception):
    """The switch did not start, or ended; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A running switch."""

    process: subprocess.Popen[bytes]
    port: int
    metrics_ports: range  # one for each worker

    @property
    def pid(self) -> int:
        """The process that was started; its workers are below it."""
        return self.process.pid

    @property
    def address(self) -> tuple[str, int]:
        """Where modules connect."""
        return HOST, self.port

    def batches(self) -> tuple[dict[float, int], float]:
        """How many batches had at most so many requests, by bound and cumulated; and the requests in all of them.

        Raises `SwitchError`.
        """
        counts: dict[float, int] = {}
        total = 0.0
        for port in self.metrics_ports:
            try:
                with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5) as page:
                    text = page.read().decode()
            except (OSError, HTTPException):
                raise SwitchError("the switch ended, or stands still, while it was measured") from None
            for family in text_string_to_metric_families(text):
                if family.name == _BATCHES:
                    for sample in family.samples:
                        if sample.name.endswith("_bucket"):
                            bound = float(sample.labels["le"])
                            counts[bound] = counts.get(bound, 0) + int(sample.value)
                        elif sample.name.endswith("_sum"):
                            total += sample.value
        return counts, total


def runs_compiled() -> bool:
    """Whether the switch that is installed here has its hot path compiled, as a host that serves should."""
    return not str(fold.__file__).endswith(".py")


@contextmanager
def running_switch(ground: Ground, settings: Mapping[str, str]) -> Iterator[Switch]:
    """Run a switch on `ground` with further `settings` by their names. Raises `SwitchError`."""
    workers = int(settings.get("workers", "1"))
    port, metrics_ports = _free_ports(workers)
    given = {
        "database": ground.database.switch_dsn,
        "kek": ground.key_encryption_key.hex(),
        "listen": f"{HOST}:{port}",
        "metrics": f"{HOST}:{metrics_ports.start}",
        "log_level": "warning",
        **settings,
    }
    environment = os.environ | {f"AUTHSRV_{name.upper()}": value for name, value in given.items()}
    process = subprocess.Popen(
        # -P: what is installed, or stands on PYTHONPATH, and not what happens to lie in the folder that we stand in.
        [sys.executable, "-P", "-c", "from authsrv.shell.cli import main; main()", "serve"],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        for each in (port, *metrics_ports):
            _wait_for(process, each)
        yield Switch(process, port, metrics_ports)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(workers: int) -> tuple[int, range]:
    """A port to listen on, and so many in a row for metrics. Raises `SwitchError`."""
    for _ in range(TRIES):
        with ExitStack() as held:

            def free(port: int, held: ExitStack = held) -> int:
                number: int = held.enter_context(socket.create_server((HOST, port))).getsockname()[1]
                return number

            port, first = free(0), free(0)
            with suppress(OSError, OverflowError):
                for further in range(1, workers):
                    free(first + further)
                return port, range(first, first + workers)
    raise SwitchError(f"no {workers} free ports in a row were found; close what listens on {HOST}")


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SwitchError(f"the switch ended with {process.returncode} before it served; see above what it said")
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SwitchError(f"the switch did not serve within {START_S:.0f} s")
