"""What bounds the switch beside the procedure: the walls behind the bars of `compare`, each measured.

**Rates.** On a machine that is busy, rates are as the CPU that one authorization takes in all processes together. So
what the procedure takes, divided by what the switch cannot do without, is the ratio that no switch over these
statements can pass. Measured for that, in turns:

  * the procedure, with pgbench and the server, over a few clients, where it costs least;
  * the batch SQL alone, in batches as large as the switch's are: the server's part, and the driver's;
  * the way in and out: a switch that has room for one waiting request, while the cards are locked for its lanes. So it
    refuses all others: they are read, opened, answered, sealed and written, and neither decided nor recorded;
  * the whole switch.

**One card** is served by one transaction after the other, so there the wall is time: the batch SQL alone on one card
against the procedure on one.

**Latency.** The batch SQL alone commits what comes at half the procedure's rate, each lane taking what has come by
then: its p99 against the procedure's at that rate.
"""

import asyncio
import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

from loadtest.comparison import HOT
from loadtest.measurement import US, Window, latencies, latency_histogram
from loadtest.profile import Profile, load_profile
from loadtest.result import Outcome
from loadtest.shell import cpu
from loadtest.shell.baseline import Baseline
from loadtest.shell.ground import Ground
from loadtest.shell.limit import CARDS, Limit
from loadtest.shell.run import Shift, run_profile
from loadtest.shell.switch import running_switch, runs_compiled

CLIENTS: Final = 8
TURNS_A_ROUND: Final = 9  # that write
PROFILES: Final = ("concentrator", "terminals")
REFUSING: Final = {"waiting_max": "1", "log_level": "error"}  # that its lanes get no lock is meant


@dataclass(slots=True)
class _Spent:
    """CPU seconds: of the server, of what this process has waited for, of this process."""

    database: float = 0.0
    children: float = 0.0
    own: float = 0.0


@contextmanager
def _spending(ground: Ground) -> Iterator[_Spent]:
    """What is spent within."""
    spent = _Spent()
    before = (cpu.tree_s(ground.postmaster), _children_s(), cpu.own_s())
    yield spent
    after = (cpu.tree_s(ground.postmaster), _children_s(), cpu.own_s())
    spent.database, spent.children, spent.own = (late - early for early, late in zip(before, after, strict=True))


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_bounds(
    ground: Ground,
    settings: Mapping[str, str],
    *,
    turn_s: float,
    rounds: int,
    seed: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Measure each part `rounds` times in turns of `turn_s` seconds.

    Microseconds of CPU are for each authorization, those of the way for each answer.
    """
    ground.make_log(turn_s * TURNS_A_ROUND * rounds)
    measured = _Parts(ground, settings, turn_s=turn_s, seed=seed)
    with Baseline(ground) as baseline:
        for number in range(1, rounds + 1):
            progress(f"round {number} of {rounds}")
            measured.measure(baseline)
    return measured.result()


class _Parts:
    """What all turns have measured."""

    def __init__(self, ground: Ground, settings: Mapping[str, str], *, turn_s: float, seed: int) -> None:
        self._ground = ground
        self._settings = settings
        self._turn_s = turn_s
        self._seed = seed
        self._found: dict[str, list[float]] = {}
        self._findings: list[str] = []
        self._limits: dict[int, Limit] = {}

    def measure(self, baseline: Baseline) -> None:
        """One round."""
        batch = 1.0
        for name in PROFILES:
            window = self._run_switch(name).window
            batch = max(batch, window.batch_mean() or 1)
            self._note_window(window, name)
            self._note_window(self._refused(name), f"way of {name}")
        rate_per_s = self._weigh_procedure(baseline)
        self._weigh_statements(batch)
        self._time_one_card(baseline)
        self._time_latency(baseline, rate_per_s / 2)

    def result(self) -> dict[str, Any]:
        """The medians, and what follows from them."""
        found = {name: median(each) for name, each in self._found.items()}
        us = {name: round(value, 1) for name, value in found.items() if name.partition(": ")[0] not in (HOT, "latency")}
        procedure = us["procedure: server"] + us["procedure: pgbench"]
        ratios = {}
        for name in PROFILES:
            whole = us[f"{name}: switch"] + us[f"{name}: database"] + us[f"{name}: generator"]
            least = us["statements: server"] + us[f"way of {name}: switch"] + us[f"way of {name}: generator"]
            ratios[name] = {"ratio": round(procedure / whole, 2), "at_most": round(procedure / least, 2)}
        hot, statements, one_by_one = (found[f"{HOT}: {what}"] for what in ("switch", "statements", "procedure"))
        ratios[HOT] = {"ratio": round(hot / one_by_one, 2), "at_most": round(statements / one_by_one, 2)}
        slow, base = found["latency: statements_p99_ms"], found["latency: baseline_p99_ms"]
        return {
            "cpu_us": us,
            "ratios": ratios,
            "latency": {
                "rate_per_s": round(found["latency: rate_per_s"], 1),
                "baseline_p99_ms": round(base, 3),
                "statements_p99_ms": round(slow, 3),
                "at_least": round(slow / base, 2),
            },
            "batch": {str(cards): limit.batch for cards, limit in self._limits.items()},
            "settings": dict(self._settings),
            "compiled": runs_compiled(),
            "findings": self._findings,
            "verified": not self._findings,
        }

    def _note(self, name: str, value: float) -> None:
        self._found.setdefault(name, []).append(value)

    def _note_window(self, window: Window, which: str) -> None:
        for who, us in window.cpu_us().items():
            self._note(f"{which}: {who}", us)

    def _profile(self, name: str) -> Profile:
        return replace(load_profile(name), duration_s=self._turn_s)

    def _run_switch(self, name: str) -> Outcome:
        with running_switch(self._ground, self._settings) as switch:
            outcome = run_profile(self._ground, switch, self._profile(name), seed=self._seed, progress=lambda _: None)
        self._findings += outcome.verdict.findings
        return outcome

    def _weigh_procedure(self, baseline: Baseline) -> float:
        with _spending(self._ground) as spent:
            procedure = baseline.run(clients=CLIENTS, duration_s=self._turn_s)
        self._note("procedure: server", spent.database / procedure.done * US)
        self._note("procedure: pgbench", spent.children / procedure.done * US)
        return procedure.rate_per_s

    def _limit(self, cards: int, batch: float) -> Limit:
        """The batch SQL in batches as large as they were in the first round."""
        if cards not in self._limits:
            settings = {**self._settings, "batch_max": str(round(batch))}
            self._limits[cards] = Limit(self._ground, settings, seed=self._seed, cards=cards)
        return self._limits[cards]

    def _weigh_statements(self, batch: float) -> None:
        limit = self._limit(CARDS, batch)
        ready = limit.ready(self._turn_s)
        with _spending(self._ground) as spent:
            done, _ = limit.measure(ready, self._turn_s)
        self._note("statements: server", spent.database / done * US)
        self._note("statements: driver", spent.own / done * US)

    def _time_one_card(self, baseline: Baseline) -> None:
        outcome = self._run_switch(HOT)
        self._note(f"{HOT}: switch", outcome.authorizations_per_s)
        self._note(f"{HOT}: statements", self._limit(1, outcome.window.batch_mean() or 1).run(self._turn_s))
        procedure = baseline.run(clients=CLIENTS, duration_s=self._turn_s, cards=1)
        self._note(f"{HOT}: procedure", procedure.rate_per_s)

    def _time_latency(self, baseline: Baseline, rate_per_s: float) -> None:
        procedure = baseline.run(clients=CLIENTS, duration_s=self._turn_s, rate_per_s=rate_per_s)
        profile = load_profile("concentrator").changed(duration_s=self._turn_s, rate_per_s=rate_per_s)
        statements = latencies(latency_histogram(self._limits[CARDS].pairs(profile)))
        self._note("latency: rate_per_s", rate_per_s)
        self._note("latency: baseline_p99_ms", procedure.p99_ms or 0.0)
        self._note("latency: statements_p99_ms", statements["p99_ms"])

    def _refused(self, name: str) -> Window:
        with running_switch(self._ground, {**self._settings, **REFUSING}) as switch:
            shift = Shift(self._ground, switch, self._profile(name), seed=self._seed, progress=lambda _: None)
            try:
                with _locked_cards(self._ground):
                    shift.warm_up()
                    return shift.measure(self._turn_s)
            finally:
                shift.close()


@contextmanager
def _locked_cards(ground: Ground) -> Iterator[None]:
    """Nobody reads or changes a card meanwhile."""
    with asyncio.Runner() as runner:
        connection = runner.run(ground.connect())
        try:
            runner.run(connection.execute("begin; lock table cards in access exclusive mode"))
            yield
        finally:
            runner.run(connection.close())
