"""What a monitor reads of a switch. No label and no value tells of a card, a code or an amount (law 6)."""

from prometheus_client import Counter, Gauge, Histogram

CONNECTIONS = Gauge("authsrv_connections", "Open connections")
SESSIONS = Gauge("authsrv_sessions", "Live sessions")
SIGN_ONS = Counter("authsrv_sign_ons_total", "Sessions that became live")
DROPPED = Counter("authsrv_dropped_total", "Connections that were closed for a breach of the protocol", ["why"])
REQUESTS = Counter("authsrv_requests_total", "Requests that were opened")
ANSWERS = Counter("authsrv_answers_total", "Answers by result", ["result"])
SILENCES = Counter("authsrv_silences_total", "Requests in doubt at their deadline, left without an answer")
FAULTS = Counter("authsrv_faults_total", "Batches that did not settle at once, by fault", ["fault"])
BATCH_REQUESTS = Histogram(
    "authsrv_batch_requests", "Requests in a batch", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
)
BATCH_SECONDS = Histogram(
    "authsrv_batch_seconds", "A batch from its first statement to its commit",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)  # fmt: skip
ANSWER_SECONDS = Histogram(
    "authsrv_answer_seconds", "From a request's last byte to its answer's first",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15),
)  # fmt: skip
