"""The comparison, in turns, on one server: the stored procedure, the batch SQL alone, the switch."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from loadtest.comparison import COMPARED, HOT, Comparison, LatencyTurn, Turn, unapproved
from loadtest.measurement import latencies
from loadtest.profile import Profile, load_profile
from loadtest.result import Outcome
from loadtest.shell.baseline import CARDS, Baseline
from loadtest.shell.ground import Ground
from loadtest.shell.limit import Limit
from loadtest.shell.run import run_profile
from loadtest.shell.switch import running_switch, runs_compiled

CLIENTS: Final = (4, 8, 16, 32, 64)
SEARCH_SHARE: Final = 0.4  # of a turn, for each number of clients that is tried
TURNS_A_ROUND: Final = 9
TURNS_BEFORE: Final = 2 * len(CLIENTS) * SEARCH_SHARE
SERVER_SETTINGS: Final = (
    *("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers"),
    *("max_wal_size", "wal_compression", "checkpoint_timeout"),
)

Progress = Callable[[str], None]


def compare(
    ground: Ground, settings: Mapping[str, str], *, turn_s: float, rounds: int, seed: int, progress: Progress
) -> Comparison:
    """Measure everything `rounds` times in turns of `turn_s` seconds."""
    return _Turns(ground, settings, turn_s=turn_s, seed=seed, progress=progress).run(rounds)


class _Turns:
    def __init__(
        self, ground: Ground, settings: Mapping[str, str], *, turn_s: float, seed: int, progress: Progress
    ) -> None:
        self._ground = ground
        self._settings = settings
        self._turn_s = turn_s
        self._seed = seed
        self._progress = progress
        self._findings: list[str] = []

    def run(self, rounds: int) -> Comparison:
        self._run_switch(replace(load_profile("concentrator"), duration_s=1.0))  # sells the cards
        self._ground.make_log(self._turn_s * (TURNS_A_ROUND * rounds + TURNS_BEFORE))
        with Baseline(self._ground) as baseline:
            return self._rounds(baseline, rounds)

    def _rounds(self, baseline: Baseline, rounds: int) -> Comparison:
        limit = Limit(self._ground, self._settings, seed=self._seed)
        clients = {CARDS: self._best_clients(baseline, CARDS), 1: self._best_clients(baseline, 1)}
        comparison = Comparison(self._described(rounds, clients, limit))
        for number in range(1, rounds + 1):
            self._progress(f"round {number} of {rounds}")
            for name in COMPARED:
                cards = 1 if name == HOT else CARDS
                procedure = baseline.run(clients=clients[cards], duration_s=self._turn_s, cards=cards)
                self._progress(f"baseline, {cards} cards: {procedure.rate_per_s:.0f}/s")
                outcome = self._run_switch(replace(load_profile(name), duration_s=self._turn_s))
                comparison.turns[name].append(_turn(outcome, procedure.rate_per_s))
            comparison.limits_per_s.append(limit.run(self._turn_s))
            self._progress(f"limit: {comparison.limits_per_s[-1]:.0f}/s")
        comparison.latency_rate_per_s = max(turn.baseline_per_s for turn in comparison.turns["concentrator"]) / 2
        for _ in range(rounds):
            self._compare_latency(baseline, clients[CARDS], comparison)
        comparison.findings += self._findings
        if not baseline.books_balance():
            comparison.findings.append("the baseline's books do not balance")
        return comparison

    def _best_clients(self, baseline: Baseline, cards: int) -> int:
        rates = {
            clients: baseline.run(clients=clients, duration_s=self._turn_s * SEARCH_SHARE, cards=cards).rate_per_s
            for clients in CLIENTS
        }
        best = max(rates, key=lambda clients: rates[clients])
        self._progress(f"baseline, {cards} cards: best with {best} clients, {rates[best]:.0f}/s")
        return best

    def _compare_latency(self, baseline: Baseline, clients: int, comparison: Comparison) -> None:
        rate = comparison.latency_rate_per_s
        procedure = baseline.run(clients=clients, duration_s=self._turn_s, rate_per_s=rate)
        profile = load_profile("concentrator").changed(duration_s=self._turn_s, rate_per_s=rate)
        outcome = self._run_switch(profile)
        p99_ms = latencies(outcome.window.histogram())["p99_ms"]
        comparison.latency.append(LatencyTurn(procedure.p99_ms or 0.0, p99_ms))
        self._progress(f"p99 at {rate:.0f}/s: baseline {procedure.p99_ms} ms, switch {p99_ms} ms")

    def _run_switch(self, profile: Profile) -> Outcome:
        with running_switch(self._ground, self._settings) as switch:
            outcome = run_profile(self._ground, switch, profile, seed=self._seed, progress=lambda _: None)
        self._progress(f"{profile.name}: {outcome.authorizations_per_s:.0f}/s")
        self._findings += [*outcome.verdict.findings, *unapproved(profile.name, outcome.verdict.answers)]
        return outcome

    def _described(self, rounds: int, clients: Mapping[int, int], limit: Limit) -> dict[str, Any]:
        names = ", ".join(f"current_setting('{name}') as {name}" for name in SERVER_SETTINGS)
        [row] = self._ground.query(f"select {names}")
        return {
            "cores": os.cpu_count(),
            "turn_s": self._turn_s,
            "rounds": rounds,
            "postgres": dict(row),
            "switch": dict(self._settings),
            "compiled": runs_compiled(),
            "baseline_clients": {"concentrator": clients[CARDS], "terminals": clients[CARDS], HOT: clients[1]},
            "limit": {"lanes": limit.lanes, "batch": limit.batch},
        }


def _turn(outcome: Outcome, baseline_per_s: float) -> Turn:
    figures = latencies(outcome.window.histogram())
    return Turn(
        outcome.authorizations_per_s,
        baseline_per_s,
        figures["p50_ms"],
        figures["p99_ms"],
        outcome.window.cpu_us(),
    )
