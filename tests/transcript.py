"""Pages whose commands are run as they stand, and whose output is what came.

A page has blocks marked `console`: lines that begin with `$ ` are given to a shell, the others are what it printed. All
blocks of a page are one run in one new folder; a command that ends with `&` runs beside the others to the end. What
differs from run to run is written alike: authorization numbers in the order in which they appear, so that a later
command may name one, dates by their distance from today, times.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
MONDAY = dt.date(2026, 2, 2)  # the day of every page
NUMBER = re.compile(r"(?<!\d)\d{12}(?!\d)")
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
PATIENCE_S = 60.0


@dataclass
class Alike:
    """What is written in place of what differs."""

    today: dt.date
    numbers: dict[str, str] = field(default_factory=dict)  # as they came, and as they are written

    def written(self, text: str) -> str:
        """Output as the page has it."""
        text = NUMBER.sub(lambda found: self._number(found[0]), text)
        text = re.sub(r"\b(\d{4}-\d\d-\d\d)(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|\+00:00)?)?", self._date, text)
        text = re.sub(r"\b(\d{1,2}) ([A-Z][a-z]{2}) (\d{4})(?: \d\d:\d\d:\d\d)?", self._printed, text)
        return re.sub(r"\n{3,}", "\n\n", text)

    def command(self, text: str) -> str:
        """A command as it is run: with the numbers and dates of this run."""
        real = {written: came for came, written in self.numbers.items()}
        text = NUMBER.sub(lambda found: real.get(found[0], found[0]), text)

        def day(found: re.Match[str]) -> str:
            return (self.today + (dt.date.fromisoformat(found[0]) - MONDAY)).isoformat()

        return re.sub(r"\b2026-\d\d-\d\d\b", day, text)

    def _number(self, came: str) -> str:
        return self.numbers.setdefault(came, f"314{len(self.numbers) + 1:09d}")

    def _day(self, came: dt.date) -> dt.date:
        """Days around today by their distance, later ones by whole years; what is long past is the same in each run."""
        distance = (came - self.today).days
        if abs(distance) < 62:
            return MONDAY + dt.timedelta(days=distance)
        return came if distance < 0 else MONDAY.replace(year=MONDAY.year + round(distance / 365.25))

    def _date(self, found: re.Match[str]) -> str:
        whole, day = found[0], dt.date.fromisoformat(found[1])
        written = self._day(day).isoformat()
        return (
            written
            if whole == found[1]
            else f"{written}{whole[10]}09:30{whole[16:] and ':00' if len(whole) > 16 else ''}"
        )

    def _printed(self, found: re.Match[str]) -> str:
        if found[2] not in MONTHS:
            return found[0]
        day = self._day(dt.date(int(found[3]), MONTHS.index(found[2]) + 1, int(found[1])))
        written = f"{day.day} {MONTHS[day.month - 1]} {day.year}"
        return f"{written} 09:30:00" if ":" in found[0] else written


def played(page: str, folder: Path) -> str:
    """The page with what its commands print now."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "120",
        "AUTHSRV_OPERATOR": "anna",
    }
    alike = Alike(dt.datetime.now(dt.UTC).date())
    with ExitStack() as stack:

        def run(command: str) -> str:
            real = alike.command(command)
            if real.endswith("&"):
                process = subprocess.Popen(
                    ["/bin/bash", "-c", f"exec {real.removesuffix('&')}"],
                    cwd=folder, env=environment, stderr=subprocess.PIPE, text=True,
                )  # fmt: skip
                stack.callback(_end, process)
                assert process.stderr is not None
                first = process.stderr.readline()
                while first and "listening" not in first:
                    first = process.stderr.readline()
                assert first, f"{command} ended"
                return ""
            done = subprocess.run(
                ["/bin/bash", "-c", real], cwd=folder, env=environment, text=True, timeout=PATIENCE_S, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            return done.stdout + (f"[exit code {done.returncode}]\n" if done.returncode else "")

        def block(found: re.Match[str]) -> str:
            lines = []
            for line in found[1].splitlines():
                if line.startswith("$ "):
                    output = run(line.removeprefix("$ "))
                    lines += [line, *(each.rstrip() for each in alike.written(output).splitlines())]
            return "```console\n" + "\n".join(lines) + "\n```"

        return BLOCK.sub(block, page)


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    with process:
        process.wait(PATIENCE_S)
