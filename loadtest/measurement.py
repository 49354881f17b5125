"""What a run measured, from its raw times: rates, histograms, the course over time.

Latencies go into HDR histograms of three digits, from 1 us to 10 minutes. In an open run they count from when the
customer came, not from when the request could be sent, so that a switch that stands still cannot hide the queue that it
made.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from hdrh.histogram import HdrHistogram

HIGHEST_US: Final = 600_000_000
DIGITS: Final = 3
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9, 100.0)
CURVE: Final = (0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 99.95, 99.99, 100.0)
US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class CpuSample:
    """CPU seconds used so far, at a moment of the run in seconds."""

    at_s: float
    used_s: Mapping[str, float]


@dataclass(frozen=True, slots=True, repr=False)
class Window:
    """The measured part of a run: for each answer when it was wanted and when it came, seconds from the start."""

    duration_s: float
    wanted_s: Sequence[float]
    answered_s: Sequence[float]
    cpu: Sequence[CpuSample]
    batches: Mapping[float, int]  # how many batches had at most so many requests and more than the bound before
    batch_requests: float = 0.0  # in all of them

    @property
    def answers(self) -> int:
        """How many answers came within the window."""
        return sum(1 for at in self.answered_s if at <= self.duration_s)

    @property
    def rate_per_s(self) -> float:
        """Answers a second."""
        return self.answers / self.duration_s

    def histogram(self) -> HdrHistogram:
        """All latencies, in microseconds."""
        return latency_histogram(zip(self.wanted_s, self.answered_s, strict=True))

    def course(self) -> list[dict[str, float]]:
        """Second by second: answers, and latencies of those that came in it."""
        seconds: list[list[tuple[float, float]]] = [[] for _ in range(ceil(self.duration_s))]
        for wanted, answered in zip(self.wanted_s, self.answered_s, strict=True):
            if answered < len(seconds):
                seconds[int(answered)].append((wanted, answered))
        return [
            {"at_s": at, "answers_per_s": len(second), **_milliseconds(latency_histogram(second))}
            for at, second in enumerate(seconds)
        ]

    def cpu_course(self) -> list[dict[str, float]]:
        """From each sample to the next one: cores busy, for each of the parties."""
        return [
            {"at_s": before.at_s}
            | {who: (after.used_s[who] - before.used_s[who]) / (after.at_s - before.at_s) for who in after.used_s}
            for before, after in zip(self.cpu, self.cpu[1:], strict=False)
        ]

    def cpu_us(self) -> dict[str, float]:
        """CPU microseconds for each answer, by party."""
        if len(self.cpu) < 2 or not self.answers:
            return {}
        first, last = self.cpu[0], self.cpu[-1]
        return {who: round((last.used_s[who] - first.used_s[who]) / self.answers * US, 1) for who in last.used_s}

    def batch_mean(self) -> float | None:
        """Requests in a batch, on average; None where no batch was seen."""
        count = sum(self.batches.values())
        return round(self.batch_requests / count, 1) if count else None


def latencies(histogram: HdrHistogram) -> dict[str, float]:
    """The percentiles that are reported, in milliseconds."""
    return _milliseconds(histogram)


def percentile_curve(histogram: HdrHistogram) -> list[dict[str, float]]:
    """The latency, in milliseconds, that so many percent of all did not pass."""
    return [{"percentile": point, "ms": round(histogram.get_value_at_percentile(point) / 1000, 3)} for point in CURVE]


def _milliseconds(histogram: HdrHistogram) -> dict[str, float]:
    return {
        ("max_ms" if point == 100.0 else f"p{point:g}_ms".replace(".", "_")): round(
            histogram.get_value_at_percentile(point) / 1000, 3
        )
        for point in PERCENTILES
    }


def latency_histogram(pairs: Iterable[tuple[float, float]]) -> HdrHistogram:
    """Latencies, given as when something was wanted and when it came, in seconds."""
    histogram = HdrHistogram(1, HIGHEST_US, DIGITS)
    for wanted, answered in pairs:
        histogram.record_value(min(HIGHEST_US, max(1, int((answered - wanted) * US))))
    return histogram
