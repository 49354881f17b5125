"""The baseline: a stored procedure, one call a transaction, driven by pgbench in C on the same server.

pgbench comes with the embedded server, so both are of one version. With a rate it counts a transaction's time from when
it was due, as our own open load does.
"""

import asyncio
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from ledger.shell import embedded
from ledger.shell.database import DATABASE
from loadtest.measurement import US, latency_histogram
from loadtest.shell.ground import Ground
from loadtest.traffic import OPENING_MINOR

CARDS: Final = 10_000
LATE_S: Final = 30.0
BOOKS: Final = """
    select a.card from baseline.accounts a
      left join (select card, sum(amount) as spent from baseline.postings group by card) p using (card)
     where a.balance <> $1 - coalesce(p.spent, 0)
     limit 1
"""
_RATE: Final = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_DONE: Final = re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE)
_FAILED: Final = re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE)


class BaselineError(Exception):
    """pgbench did not do what it was asked for; the message is its own."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of pgbench gave: so many authorizations; the latency only where it kept to a rate."""

    rate_per_s: float
    done: int
    p50_ms: float | None = None
    p99_ms: float | None = None


class Baseline:
    """The procedure and its tables, in a schema of their own."""

    def __init__(self, ground: Ground) -> None:
        """Make them anew."""
        self._ground = ground
        self._runs = count(1)
        self._dsn = urlsplit(ground.admin_dsn)._replace(path=f"/{DATABASE}").geturl()
        asyncio.run(self._make())

    def run(self, *, clients: int, duration_s: float, cards: int = CARDS, rate_per_s: float | None = None) -> Measured:
        """Call the procedure from `clients` connections. Raises `BaselineError`."""
        with tempfile.TemporaryDirectory() as folder, as_file(files("loadtest") / "baseline.pgbench") as script:
            said = self._pgbench(
                f"--client={clients}",
                f"--jobs={min(clients, os.cpu_count() or 1)}",
                f"--time={max(1, round(duration_s))}",
                f"--define=run={next(self._runs)}",
                f"--define=cards={cards}",
                "--define=sequence=0",
                f"--file={script}",
                *(() if rate_per_s is None else (f"--rate={rate_per_s}", "--log", f"--log-prefix={folder}/log")),
                timeout_s=duration_s + LATE_S,
            )
            rate, done, failed = (pattern.search(said) for pattern in (_RATE, _DONE, _FAILED))
            if rate is None or done is None or failed is None or int(failed[1]):
                raise BaselineError(said.strip()[-500:])
            if rate_per_s is None:
                return Measured(float(rate[1]), int(done[1]))
            lines = [line for file in Path(folder).iterdir() for line in file.read_text().splitlines()]
            histogram = latency_histogram((0.0, int(line.split()[2]) / US) for line in lines)
            return Measured(
                float(rate[1]),
                int(done[1]),
                histogram.get_value_at_percentile(50) / 1000,
                histogram.get_value_at_percentile(99) / 1000,
            )

    def books_balance(self) -> bool:
        """Whether each account holds what its postings leave."""

        async def ask() -> bool:
            connection = await asyncpg.connect(self._dsn)
            try:
                return await connection.fetchval(BOOKS, OPENING_MINOR) is None
            finally:
                await connection.close()

        return asyncio.run(ask())

    def __enter__(self) -> Self:
        """Leave nothing behind."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the schema away again."""
        asyncio.run(self._execute("drop schema baseline cascade"))

    async def _make(self) -> None:
        await self._execute(
            files("loadtest").joinpath("baseline.sql").read_text("utf-8"),
            f"insert into baseline.accounts select card, {OPENING_MINOR} from generate_series(1, {CARDS}) card",  # noqa: S608
            "vacuum analyze baseline.accounts",
        )

    async def _execute(self, *statements: str) -> None:
        connection = await asyncpg.connect(self._dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    def _pgbench(self, *arguments: str, timeout_s: float) -> str:
        spec = find_spec(embedded.PACKAGE)
        if spec is None or spec.origin is None:
            raise BaselineError(f"pgbench is missing; install the package {embedded.PACKAGE}")
        program = Path(spec.origin).parent / f"pginstall{embedded.MAJOR}" / "bin" / "pgbench"
        parts = urlsplit(self._dsn)
        environment = os.environ | {
            "PGHOST": parse_qs(parts.query)["host"][0],
            "PGUSER": unquote(parts.username or ""),
            "PGPASSWORD": unquote(parts.password or ""),
            "PGDATABASE": DATABASE,
        }
        done = subprocess.run(  # noqa: S603 - pgbench of the package that we depend on
            [program, "--no-vacuum", "--protocol=prepared", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise BaselineError(done.stderr.strip()[-500:])
        return done.stdout
