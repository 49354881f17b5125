"""Results: what a run gives, and the one place where a figure gets its name in JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from loadtest.measurement import Window, latencies, percentile_curve
from loadtest.profile import Profile
from loadtest.storm import Storm
from loadtest.verification import Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    profile: Profile
    window: Window
    verdict: Verdict
    refused: int  # measured answers that say no more than that nothing was done
    resolved: int  # requests that had no recorded answer when the run ended, and got it by a repeat
    ended: int  # sessions that the switch ended
    sealed_late: int  # requests that had to be sealed while measuring: the generator was the brake
    storm: Storm | None = None

    @property
    def authorizations_per_s(self) -> float:
        """Answers a second, without those that decided nothing."""
        return max(0.0, self.window.answers - self.refused) / self.window.duration_s


def run_result(outcome: Outcome, settings: Mapping[str, str]) -> dict[str, Any]:
    """The result of one run."""
    window, verdict = outcome.window, outcome.verdict
    histogram = window.histogram()
    return {
        "profile": outcome.profile.name,
        "load": outcome.profile.load.value,
        "connections": outcome.profile.connections,
        "modules": outcome.profile.modules,
        "asked_per_s": outcome.profile.rate_per_s or None,
        "duration_s": window.duration_s,
        "authorizations_per_s": round(outcome.authorizations_per_s, 1),
        **latencies(histogram),
        "cpu_us": window.cpu_us(),
        "batch_mean": window.batch_mean(),
        "answers": dict(sorted(verdict.answers.items())),
        "refused": outcome.refused,
        "resolved": outcome.resolved,
        "sessions_ended": outcome.ended,
        "sealed_late": outcome.sealed_late,
        "recorded": verdict.recorded,
        "verified": verdict.holds,
        "findings": list(verdict.findings[:20]),
        "storm": outcome.storm.result(window.wanted_s, window.answered_s) if outcome.storm else None,
        "settings": dict(settings),
        "percentiles": percentile_curve(histogram),
        "course": window.course(),
        "cpu_course": window.cpu_course(),
        "batches": [
            {"at_most": bound if isfinite(bound) else None, "batches": count} for bound, count in window.batches.items()
        ],
    }
