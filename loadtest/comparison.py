"""`compare`: what was measured in turns, and the figures that come of it.

The machine is not ours alone and its speed wanders, so each round measures everything once, one after the other, and a
figure is the median of its rounds; a ratio is taken of the medians. The baseline's number of clients is the best one
for it, found before the rounds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

COMPARED: Final = ("concentrator", "terminals", "hot-card")
BARS: Final = {"concentrator": 2.0, "terminals": 1.0, "hot-card": 5.0}
LIMIT_BAR: Final = 0.45  # of the limit that `concentrator` reaches
LATENCY_BAR: Final = 1.5
HOT: Final = "hot-card"


@dataclass(frozen=True, slots=True)
class Turn:
    """One profile's turn in one round, beside the baseline's."""

    authorizations_per_s: float
    baseline_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class LatencyTurn:
    """Both at the same rate."""

    baseline_p99_ms: float
    switch_p99_ms: float


@dataclass(slots=True)
class Comparison:
    """All rounds."""

    settings: Mapping[str, Any]
    turns: dict[str, list[Turn]] = field(default_factory=lambda: {name: [] for name in COMPARED})
    limits_per_s: list[float] = field(default_factory=list)
    latency_rate_per_s: float = 0.0
    latency: list[LatencyTurn] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def result(self) -> dict[str, Any]:
        """The figures, under the names that scripts read."""
        profiles = {name: _profile(turns) for name, turns in self.turns.items() if turns}
        return {
            "profiles": profiles,
            "limit_per_s": round(median(self.limits_per_s), 1),
            "latency": self._latency(),
            "settings": dict(self.settings),
            "verified": not self.findings,
        }

    def _latency(self) -> dict[str, float]:
        baseline = median(turn.baseline_p99_ms for turn in self.latency)
        switch = median(turn.switch_p99_ms for turn in self.latency)
        return {
            "rate_per_s": round(self.latency_rate_per_s, 1),
            "baseline_p99_ms": round(baseline, 3),
            "switch_p99_ms": round(switch, 3),
            "ratio": round(switch / baseline, 3),
        }


def _profile(turns: Sequence[Turn]) -> dict[str, Any]:
    rate = median(turn.authorizations_per_s for turn in turns)
    baseline = median(turn.baseline_per_s for turn in turns)
    return {
        "authorizations_per_s": round(rate, 1),
        "baseline_per_s": round(baseline, 1),
        "ratio": round(rate / baseline, 3),
        "p50_ms": round(median(turn.p50_ms for turn in turns), 3),
        "p99_ms": round(median(turn.p99_ms for turn in turns), 3),
        "cpu_us": {who: round(median(turn.cpu_us[who] for turn in turns), 1) for who in turns[0].cpu_us},
    }


def unapproved(profile: str, answers: Mapping[str, int]) -> list[str]:
    """What was not approved of a profile of sales alone, in words: a decline costs less, so it would flatter a rate."""
    others = {result: count for result, count in answers.items() if result not in ("00", "none")}
    return [
        f"{profile}: {count} answers were {result} in place of approvals" for result, count in sorted(others.items())
    ]


def below(result: Mapping[str, Any], share: float) -> list[str]:
    """The rates that do not reach their bars, taken at `share` of their height, each in words."""
    missed = [
        f"{name}: {result['profiles'][name]['ratio']} times the baseline, the bar is {bar} times"
        for name, bar in BARS.items()
        if result["profiles"][name]["ratio"] < share * bar
    ]
    of_limit = round(result["profiles"]["concentrator"]["authorizations_per_s"] / result["limit_per_s"], 3)
    if of_limit < share * LIMIT_BAR:
        missed.append(f"concentrator: {of_limit} of the limit, the bar is {LIMIT_BAR}")
    return missed


def late(result: Mapping[str, Any]) -> list[str]:
    """Whether the p99 misses its bar, in words; the p99 of a few seconds of a shared machine is nothing to fail by."""
    ratio = result["latency"]["ratio"]
    return [f"p99: {ratio} times the baseline's, the bar is {LATENCY_BAR} at most"] if ratio > LATENCY_BAR else []
