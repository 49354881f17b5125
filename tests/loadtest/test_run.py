"""Whole runs against a real switch and a real PostgreSQL, honest ones and ones with a lie in them."""

from __future__ import annotations

import asyncio
import datetime as dt
import resource
import shutil
import signal
import socket
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from struct import pack
from typing import TYPE_CHECKING

import asyncpg
import pytest

from ledger.shell.database import DATABASE
from loadtest.profile import Act, load_profile
from loadtest.shell.generator import Generator
from loadtest.shell.ground import Size, open_ground
from loadtest.shell.idle import measure_idle
from loadtest.shell.run import Shift, run_profile
from loadtest.shell.switch import running_switch
from loadtest.shell.till import Line, SignOnError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtest.profile import Profile
    from loadtest.shell.ground import Ground
    from loadtest.shell.switch import Switch

_A_SHOPS = load_profile("mixed")
# What is rare in a shop comes often enough to be met in a second on a machine that has other work.
MIXED = replace(
    _A_SHOPS,
    mix={**_A_SHOPS.mix, Act.NOT_SERVED: 100, Act.WRONG_CODE: 100},
    connections=4,
    modules_per_connection=4,
    cards=150,
    duration_s=1.0,
    warm_up_s=0.2,
)
RUNS_MAX = 5
SALES = replace(load_profile("concentrator"), connections=2, modules_per_connection=4, duration_s=0.5, warm_up_s=0.2)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="authsrv-", dir="/tmp"))  # below pytest's own the database's account may not go
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def ground(folder: Path) -> Iterator[Ground]:
    with open_ground(folder, Size(modules=64, cards=150, fresh_cards=60)) as opened:
        yield opened


@pytest.fixture(scope="module")
def switch(ground: Ground) -> Iterator[Switch]:
    with running_switch(ground, {"lanes": "2"}) as running:
        yield running


def at_work(ground: Ground, switch: Switch, profile: Profile) -> Shift:
    shift = Shift(ground, switch, profile, seed=7, progress=lambda _: None)
    shift.activate_cards()
    shift.warm_up()
    return shift


def test_every_command_in_one_run_and_every_answer_is_true(ground: Ground, switch: Switch) -> None:
    """A shop's mix is decided, and the ledger holds exactly what was asked; the rare results come, at the latest in a
    further run where the machine was slow."""
    wanted, answers = {"00", "12", "55"}, set[str]()
    for _ in range(RUNS_MAX):
        outcome = run_profile(ground, switch, MIXED, seed=7, progress=lambda _: None)
        assert outcome.verdict.findings == ()
        assert outcome.refused == outcome.resolved == 0
        assert outcome.authorizations_per_s > 0
        assert sum(outcome.window.batches.values()) > 0
        assert set(outcome.window.cpu_us()) == {"switch", "database", "generator"}
        answers |= set(outcome.verdict.answers)
        if wanted <= answers:
            break
    assert wanted <= answers


def test_a_switch_that_stands_still_is_waited_for_and_accused_of_nothing(ground: Ground, switch: Switch) -> None:
    """What is in flight is not asked a second time: when the switch goes on, every answer belongs to its request."""
    shift = at_work(ground, switch, SALES)
    window = shift.measure(0.3)
    generator = shift._generator
    for till in shift.tills:
        till.seal_next(1)
    switch.process.send_signal(signal.SIGSTOP)
    try:
        assert not generator.settle(0.2)
        assert not generator.settle(0.2)
    finally:
        switch.process.send_signal(signal.SIGCONT)
    assert generator.settle()
    assert shift.finish(window).verdict.findings == ()


def test_who_cannot_sign_on_keeps_no_connection(ground: Ground, switch: Switch) -> None:
    """Where no further file may be opened the tills hang up: leaving the database needs one too."""
    shift = Shift(ground, switch, SALES, seed=7, progress=lambda _: None)
    shift.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(list(Path("/dev/fd").iterdir()))
    with socket.socket() as highest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno() + 12, hard))
    many = replace(SALES, connections=20, modules_per_connection=1)
    try:
        with pytest.raises((SignOnError, OSError), match="Too many open files"):
            Shift(ground, switch, many, seed=7, progress=lambda _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_switch_that_hangs_up_on_who_signs_on_is_told_of(ground: Ground) -> None:
    """As ours does on one connection with more modules than it takes: in words, not by what the socket raised."""
    with socket.create_server(("127.0.0.1", 0)) as rude:
        line = Line(rude.getsockname())
        accepted, _ = rude.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        accepted.close()
        with pytest.raises(SignOnError, match="hung up while modules signed on"):
            line.sign_on(ground.modules[:1], dt.datetime.now(dt.UTC).date())
        line.socket.close()


def test_customers_at_a_rate_are_all_served(ground: Ground, switch: Switch) -> None:
    """An open load answers as many as come: about 100 in a second at 100/s."""
    outcome = run_profile(
        ground, switch, SALES.changed(duration_s=1.0, rate_per_s=100), seed=7, progress=lambda _: None
    )
    assert outcome.verdict.holds
    assert 50 < len(outcome.window.answered_s) < 150


def test_customers_who_had_to_wait_are_not_forgotten(ground: Ground, switch: Switch) -> None:
    """Three come at once to one till: all are served, the last after the run's end, and the wait of each counts."""
    shift = at_work(ground, switch, replace(SALES, connections=1, modules_per_connection=1))
    generator = Generator()
    [till] = shift.tills
    generator.add(till.line)
    generator.drive(0.05, arrivals=[0.049, 0.049, 0.049])
    assert list(generator.wanted_s) == [0.049] * 3
    assert list(generator.answered_s) == sorted(generator.answered_s)
    assert 0.05 < max(generator.answered_s) < 10
    shift.close()


def test_modules_sign_on_beside_those_at_work(ground: Ground, switch: Switch) -> None:
    """A small storm: all are live, its CPU is weighed, nobody's answer suffers."""
    profile = replace(SALES.changed(duration_s=2.0, rate_per_s=50), storm_modules=20)
    outcome = run_profile(ground, switch, profile, seed=7, progress=lambda _: None)
    assert outcome.verdict.findings == ()
    assert outcome.storm is not None
    assert all(at >= outcome.storm.began_s for at in outcome.storm.live_at_s)
    assert len(outcome.storm.live_at_s) == outcome.storm.modules == 20
    assert outcome.storm.sign_on_cpu_s > 0
    assert outcome.ended == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_idle_modules_are_all_live(ground: Ground, workers: int) -> None:
    """Every module that signed on is counted, and the memory of all the switch's processes is told."""
    result = measure_idle(ground, {"workers": str(workers)}, sessions=30, progress=lambda _: None)
    assert (result["live"], result["verified"]) == (30, True)
    assert result["after_mib"] >= result["before_mib"] > 50 * workers


def test_an_answer_that_never_arrived_is_got_by_a_repeat(ground: Ground, switch: Switch) -> None:
    """The ledger has the authorization, the module does not know: a repeat tells it, with the code sealed anew."""
    shift = at_work(ground, switch, SALES)
    window = shift.measure(0.5)
    for till in shift.tills:
        till.answers.pop()
    outcome = shift.finish(window)
    assert outcome.verdict.findings == ()
    assert outcome.resolved == len(shift.tills)


def test_a_changed_answer_is_found(ground: Ground, switch: Switch) -> None:
    """One flipped bit in one answer fails the run."""
    shift = at_work(ground, switch, SALES)
    window = shift.measure(0.5)
    answers = shift.tills[0].answers
    answers[0] = answers[0][:-1] + bytes([answers[0][-1] ^ 1])
    verdict = shift.finish(window).verdict
    assert "forged" in Counter(finding.partition(":")[0] for finding in verdict.findings)


def test_an_authorization_that_nobody_asked_for_is_found(ground: Ground, switch: Switch) -> None:
    """What the ledger holds of a module that is not at work in this run is a stranger."""
    shift = at_work(ground, switch, SALES)
    window = shift.measure(0.5)
    others = replace(SALES, connections=1, modules_per_connection=16)
    elsewhere = at_work(ground, switch, others)
    elsewhere.finish(elsewhere.measure(0.3))
    verdict = shift.finish(window).verdict
    assert {finding.partition(":")[0] for finding in verdict.findings} >= {"stranger"}


def test_connections_to_the_database_may_break_and_nothing_is_lost(ground: Ground, switch: Switch) -> None:
    """Whatever a broken transaction left open is settled by repeats."""
    shift = at_work(ground, switch, SALES)

    async def cut() -> None:
        connection = await asyncpg.connect(ground.admin_dsn, database=DATABASE)
        try:
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'issuer_switch'"
            )
        finally:
            await connection.close()

    window = shift.measure(0.3)
    asyncio.run(cut())
    second = shift.measure(0.5)
    assert len(window.answered_s) > 0
    assert shift.finish(second).verdict.findings == ()
