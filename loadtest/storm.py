"""A storm of sign-ons: how long it took, against the CPU time that it needs, and what those at work felt of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadtest.measurement import latency_histogram

STEP_S: Final = 0.5
NORMAL: Final = 2.0  # times the p99 before the storm


@dataclass(frozen=True, slots=True)
class Storm:
    """One storm; times in seconds from the start of the measured part."""

    began_s: float
    live_at_s: Sequence[float]  # of each module that is live
    modules: int
    sign_on_cpu_s: float  # of one sign-on with nothing else going on, all parties together

    @property
    def took_s(self) -> float:
        """From the first HELLO until the last module was live."""
        return max(self.live_at_s, default=self.began_s) - self.began_s

    @property
    def needed_s(self) -> float:
        """The CPU time of all sign-ons."""
        return self.sign_on_cpu_s * self.modules

    def result(self, wanted_s: Sequence[float], answered_s: Sequence[float]) -> dict[str, Any]:
        """The figures, with what the answers to others show."""
        times = list(zip(wanted_s, answered_s, strict=True))
        before = _p99_ms([(wanted, answered) for wanted, answered in times if answered < self.began_s])
        end = self.began_s + self.took_s
        return {
            "modules": self.modules,
            "live": len(self.live_at_s),
            "took_s": round(self.took_s, 3),
            "cpu_needed_s": round(self.needed_s, 3),
            "ratio": round(self.took_s / self.needed_s, 3) if self.needed_s else None,
            "p99_before_ms": before,
            "p99_during_ms": _p99_ms([pair for pair in times if self.began_s <= pair[1] < end]),
            "normal_after_s": _normal_after_s(times, end, NORMAL * before),
        }


def _normal_after_s(times: Sequence[tuple[float, float]], end: float, normal_ms: float) -> float | None:
    """How long after `end` the first step with a normal p99 begins; None if none does."""
    last = max((answered for _, answered in times), default=end)
    start = end
    while start < last:
        step = [pair for pair in times if start <= pair[1] < start + STEP_S]
        if step and _p99_ms(step) <= normal_ms:
            return round(start - end, 3)
        start += STEP_S
    return None


def _p99_ms(times: Sequence[tuple[float, float]]) -> float:
    return round(float(latency_histogram(times).get_value_at_percentile(99)) / 1000, 3)
