"""Metrics, as a monitor reads them."""

import subprocess

import pytest
from prometheus_client import REGISTRY, generate_latest

from authsrv.shell import metrics
from authsrv.shell.tally import BOUNDS, TALLY, Tally

ALLOWED_LABELS = {"why", "result", "fault", "le"}


def test_no_label_can_tell_of_a_card_or_an_amount() -> None:
    """Labels are of closed sets: a reason, a result, a fault; never a number that came over the wire."""
    ours = [metric for metric in REGISTRY.collect() if metric.name.startswith("authsrv_")]
    TALLY.answered(0, 0.0)
    assert len(ours) >= 10
    assert {label for metric in ours for sample in metric.samples for label in sample.labels} <= ALLOWED_LABELS


def test_each_answer_is_counted_once() -> None:
    """By its result, by the first bound that it does not exceed, and in the sum of seconds."""
    tally = Tally()
    for result, seconds in ((0, 0.0), (0, 0.001), (51, 0.0011), (91, 16.0)):
        tally.answered(result, seconds)
    assert {result: number for result, number in enumerate(tally.answers) if number} == {0: 2, 51: 1, 91: 1}
    assert tally.within == [2, 1, *[0] * (len(BOUNDS) - 2), 1]
    assert tally.seconds == pytest.approx(16.0021)


def test_what_was_tallied_is_collected() -> None:
    """A monitor reads every answer since the last time: by result, and up to each bound with those below it."""

    def read() -> dict[tuple[str, str], float]:
        return {
            (sample.name, "".join(sample.labels.values())): sample.value
            for metric in REGISTRY.collect()
            for sample in metric.samples
            if sample.name.startswith("authsrv_answer")
        }

    TALLY.answered(7, 0.0)
    before = read()
    TALLY.answered(7, 0.3)
    after = read()
    grown = {name for name in after if after[name] > before[name]}
    assert grown == {
        ("authsrv_answers_total", "7"),
        ("authsrv_answer_seconds_count", ""),
        ("authsrv_answer_seconds_sum", ""),
        *(("authsrv_answer_seconds_bucket", bound) for bound in ("0.5", "1.0", "2.0", "5.0", "15.0", "+Inf")),
    }


@pytest.mark.system
def test_a_monitor_reads_them() -> None:
    """Prometheus' own checker finds nothing to say about what a scrape gets."""
    TALLY.answered(0, 0.0)
    metrics.DROPPED.labels("FRAMING").inc(0)
    metrics.FAULTS.labels("Unavailable").inc(0)
    ours = b"".join(
        b"# HELP " + block for block in generate_latest().split(b"# HELP ") if block.startswith(b"authsrv_")
    )
    checked = subprocess.run(["promtool", "check", "metrics"], input=ours, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
