"""What a monitor reads of a switch. No label and no value tells of a card, a code or an amount (law 6)."""

from collections.abc import Iterator

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from authsrv.shell.tally import BOUNDS, TALLY

CONNECTIONS = Gauge("authsrv_connections", "Open connections")
SESSIONS = Gauge("authsrv_sessions", "Live sessions")
SIGN_ONS = Counter("authsrv_sign_ons_total", "Sessions that became live")
DROPPED = Counter("authsrv_dropped_total", "Connections that were closed for a breach of the protocol", ["why"])
FAULTS = Counter("authsrv_faults_total", "Tries of a batch that came to nothing, by fault", ["fault"])
PUT_OFF = Counter("authsrv_put_off_total", "Requests left to the next batch, as another one held their card")
BATCH_REQUESTS = Histogram(
    "authsrv_batch_requests", "Requests in a batch", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
)
BATCH_SECONDS = Histogram(
    "authsrv_batch_seconds", "A batch from when it was taken to its commit",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)  # fmt: skip


class Tallied(Collector):
    """The counts of every request, made into metrics when a monitor asks."""

    def collect(self) -> Iterator[Metric]:
        """What a monitor reads."""
        yield CounterMetricFamily("authsrv_requests", "Requests that were opened", value=TALLY.requests)
        yield CounterMetricFamily(
            "authsrv_silences", "Requests in doubt at their deadline, left without an answer", value=TALLY.silences
        )
        answers = CounterMetricFamily("authsrv_answers", "Answers by result", labels=("result",))
        for result, number in enumerate(TALLY.answers):
            if number:
                answers.add_metric((str(result),), number)
        yield answers
        total, buckets = 0, []
        for bound, number in zip((*map(str, BOUNDS), "+Inf"), TALLY.within, strict=True):
            total += number
            buckets.append((bound, total))
        yield HistogramMetricFamily(
            "authsrv_answer_seconds",
            "From a request's last byte to its answer's first",
            buckets=buckets,
            sum_value=TALLY.seconds,
        )


REGISTRY.register(Tallied())
