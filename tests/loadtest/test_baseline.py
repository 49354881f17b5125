"""What the switch is compared with does what it says, on the same server."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ledger.shell.database import DATABASE
from loadtest.profile import load_profile
from loadtest.shell.baseline import Baseline
from loadtest.shell.bounds import measure_bounds
from loadtest.shell.ground import GroundError, Size, open_ground
from loadtest.shell.limit import Limit
from loadtest.shell.run import BOOKS, Shift
from loadtest.shell.switch import running_switch
from loadtest.traffic import OPENING_MINOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtest.shell.ground import Ground


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    folder = Path(tempfile.mkdtemp(prefix="authsrv-", dir="/tmp"))
    folder.chmod(0o711)
    with open_ground(folder, Size(modules=272, cards=40, fresh_cards=0)) as opened:
        yield opened
    shutil.rmtree(folder)


def ask(ground: Ground, sql: str) -> list[asyncpg.Record]:
    async def work() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(ground.admin_dsn, database=DATABASE)
        try:
            return await connection.fetch(sql)
        finally:
            await connection.close()

    return asyncio.run(work())


def test_the_log_is_there_before_it_is_written(ground: Ground) -> None:
    """Files for so many seconds, which the server need not make meanwhile."""

    def ahead() -> int:
        files = "select name from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'"
        return len(ask(ground, f"{files} and name > pg_walfile_name(pg_current_wal_lsn())"))

    assert ahead() < 6
    ground.make_log(8)
    assert ahead() >= 6  # of 16 MiB each
    with pytest.raises(GroundError, match="needs room for 5120 MiB of the server's log, 0 are left"):
        replace(ground, folder=Path("/proc")).make_log(10**9)  # a folder on which nothing can be written


def test_the_procedure_records_a_name_once_and_never_overdraws(ground: Ground) -> None:
    """A repeat gets the recorded result and moves nothing; a debit above the balance is declined, recorded too."""
    with Baseline(ground) as baseline:
        call = "select baseline.authorize(1, current_date, {}, 7, {}) as result"
        results = [
            ask(ground, call.format(sequence, amount))[0]["result"]
            for sequence, amount in (
                (1, 500),
                (1, 500),
                (2, OPENING_MINOR),
                (2, OPENING_MINOR),
                (3, OPENING_MINOR - 500),
            )
        ]
        assert results == [0, 0, 51, 51, 0]
        assert ask(ground, "select balance from baseline.accounts where card = 7")[0]["balance"] == 0
        assert ask(ground, "select count(*) as rows from baseline.authorizations")[0]["rows"] == 3
        assert baseline.books_balance()
    assert ask(ground, "select to_regnamespace('baseline') as left_behind")[0]["left_behind"] is None


def test_pgbench_gives_a_rate_and_at_a_rate_a_latency(ground: Ground) -> None:
    """Free it runs as it can; held to 200/s it keeps to it, and tells how long each call took."""
    with Baseline(ground) as baseline:
        free = baseline.run(clients=4, duration_s=1)
        assert free.rate_per_s > 200
        assert free.p99_ms is None
        held = baseline.run(clients=4, duration_s=2, rate_per_s=200)
        assert held.rate_per_s == pytest.approx(200, rel=0.4)
        assert held.p50_ms is not None
        assert held.p99_ms is not None
        assert 0 < held.p50_ms <= held.p99_ms
        assert ask(ground, "select count(*) as rows from baseline.postings")[0]["rows"] == free.done + held.done > 200
        assert baseline.books_balance()
        ask(ground, "update baseline.accounts set balance = balance - 1 where card = 1")
        assert not baseline.books_balance()


def test_the_batch_sql_writes_what_the_switch_writes(ground: Ground) -> None:
    """Batches go in at a rate, under names of the last modules, and the issuer's books balance afterwards."""
    with running_switch(ground, {}) as switch:
        profile = load_profile("terminals").changed(duration_s=1)
        shift = Shift(ground, switch, profile, seed=1, progress=lambda _: None)
        shift.activate_cards()
        shift.close()
    before = ground.query("select count(*) as rows from authorizations")[0]["rows"]
    limit = Limit(
        ground, {"workers": "2", "lanes": "1", "batch_max": "50"}, seed=1, cards=60
    )  # some of them in both lanes
    done, took_s = limit.measure(limit.ready(0.5), 0.5)
    written = ground.query("select count(*) as rows from authorizations")[0]["rows"] - before
    assert written == done >= 50
    assert limit.put_off > 0
    assert took_s >= 0.5
    assert ground.query("select count(*) as rows from postings")[0]["rows"] == before + written
    assert not [finding for finding, sql in BOOKS.items() if ground.query(sql)]


def test_the_walls_are_measured(ground: Ground) -> None:
    """A request that is refused at once costs the switch less than one that is decided, and the server hardly anything;
    the statements alone are faster than the switch over them."""
    result = measure_bounds(ground, {"workers": "1"}, turn_s=1, rounds=1, seed=1, progress=lambda _: None)
    us = result["cpu_us"]
    assert result["verified"], result["findings"]
    for profile in ("concentrator", "terminals"):
        assert 0 < us[f"way of {profile}: switch"] < us[f"{profile}: switch"]
        assert us[f"way of {profile}: database"] < us["statements: server"]
        assert 0 < result["ratios"][profile]["ratio"] < result["ratios"][profile]["at_most"]
    assert us["procedure: pgbench"] > 0
    assert us["statements: driver"] > 0
    assert 0 < result["ratios"]["hot-card"]["ratio"] < result["ratios"]["hot-card"]["at_most"]
    assert result["latency"]["baseline_p99_ms"] > 0
    assert result["latency"]["statements_p99_ms"] > 0


def test_latency_of_the_batch_sql_counts_from_when_a_sale_came(ground: Ground) -> None:
    """Each sale that comes is committed once, behind its coming."""
    with running_switch(ground, {}) as switch:
        shift = Shift(ground, switch, load_profile("terminals").changed(duration_s=1), seed=1, progress=lambda _: None)
        shift.activate_cards()
        shift.close()
    limit = Limit(ground, {"batch_max": "50"}, seed=1)
    before = ground.query("select count(*) as rows from authorizations")[0]["rows"]
    pairs = limit.pairs(load_profile("concentrator").changed(duration_s=1, rate_per_s=200))
    written = ground.query("select count(*) as rows from authorizations")[0]["rows"] - before
    assert written == len(pairs) + limit.lanes
    assert 100 < len(pairs) < 300
    assert all(0 <= wanted < committed for wanted, committed in pairs)
