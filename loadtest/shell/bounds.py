"""What bounds the switch's rate beside the procedure's: the CPU that each part of an authorization takes, apart.

On a machine that is busy, rates are as the CPU that one authorization takes in all processes together. So what the
procedure takes, divided by what the switch cannot do without, is the ratio that no switch over these statements can
pass. Measured for that, in turns:

  * the procedure, with pgbench and the server, over a few clients, where it costs least;
  * the batch SQL alone, in batches as large as the switch's are: the server's part, and the driver's;
  * the way in and out: a switch that has room for one waiting request, while the cards are locked for its lanes. So it
    refuses all others: they are read, opened, answered, sealed and written, and neither decided nor recorded;
  * the whole switch.
"""

import asyncio
import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

from loadtest.measurement import US, Window
from loadtest.profile import Profile, load_profile
from loadtest.shell import cpu
from loadtest.shell.baseline import Baseline
from loadtest.shell.ground import Ground
from loadtest.shell.limit import Limit
from loadtest.shell.run import Shift, run_profile
from loadtest.shell.switch import running_switch, runs_compiled

CLIENTS: Final = 8
PROFILE: Final = "concentrator"
REFUSING: Final = {"waiting_max": "1"}


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
    """Measure each part `rounds` times in turns of `turn_s` seconds; microseconds of CPU for each authorization, and of
    the way for each answer."""
    profile = replace(load_profile(PROFILE), duration_s=turn_s)
    found: dict[str, list[float]] = {}
    findings: list[str] = []
    limit = None

    def note(name: str, seconds: float, authorizations: float) -> None:
        found.setdefault(name, []).append(seconds / authorizations * US)

    with Baseline(ground) as baseline:
        for number in range(1, rounds + 1):
            progress(f"round {number} of {rounds}")
            with running_switch(ground, settings) as switch:
                outcome = run_profile(ground, switch, profile, seed=seed, progress=lambda _: None)
            findings += outcome.verdict.findings
            _note_window(outcome.window, "switch", found)
            with _spending(ground) as spent:
                rate_per_s = baseline.run(clients=CLIENTS, duration_s=turn_s).rate_per_s
            note("procedure: server", spent.database, rate_per_s * turn_s)
            note("procedure: pgbench", spent.children, rate_per_s * turn_s)
            if limit is None:
                batch = round(outcome.window.batch_mean() or 1)
                limit = Limit(ground, {**settings, "batch_max": str(batch)}, seed=seed)
            ready = limit.ready(turn_s)
            with _spending(ground) as spent:
                done, _ = limit.measure(ready, turn_s)
            note("statements: server", spent.database, done)
            note("statements: driver", spent.own, done)
            _note_window(_refused(ground, settings, profile, seed), "way", found)
    us = {name: round(median(each), 1) for name, each in found.items()}
    procedure = us["procedure: server"] + us["procedure: pgbench"]
    whole = us["switch: switch"] + us["switch: database"] + us["switch: generator"]
    least = us["statements: server"] + us["way: switch"] + us["way: generator"]
    return {
        "cpu_us": us,
        "ratio": round(procedure / whole, 2),
        "ratio_at_most": round(procedure / least, 2),
        "batch": limit.batch if limit is not None else None,
        "settings": dict(settings),
        "compiled": runs_compiled(),
        "findings": findings,
        "verified": not findings,
    }


def _note_window(window: Window, which: str, found: dict[str, list[float]]) -> None:
    for who, us in window.cpu_us().items():
        found.setdefault(f"{which}: {who}", []).append(us)


def _refused(ground: Ground, settings: Mapping[str, str], profile: Profile, seed: int) -> Window:
    with running_switch(ground, {**settings, **REFUSING}) as switch:
        shift = Shift(ground, switch, profile, seed=seed, progress=lambda _: None)
        try:
            with _locked_cards(ground):
                shift.warm_up()
                return shift.measure(profile.duration_s)
        finally:
            shift.hang_up()


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
