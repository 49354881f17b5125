"""What is counted for each request: plain numbers, which `metrics.py` makes into metrics when a monitor asks.

The library's own counters take a lock for every count, which is too much for every request.
"""

from bisect import bisect_left
from typing import Final

BOUNDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0)
RESULTS: Final = 100


class Tally:
    """The counts of one process; `within` has a place for each of `BOUNDS` and one for what took longer."""

    def __init__(self) -> None:
        self.requests = 0
        self.silences = 0
        self.answers = [0] * RESULTS
        self.within = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def answered(self, result: int, seconds: float) -> None:
        """Count an answer by its result, and how long it took."""
        self.answers[result] += 1
        self.within[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


TALLY: Final = Tally()
