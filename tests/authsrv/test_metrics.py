"""Metrics, as a monitor reads them."""

import subprocess

import pytest
from prometheus_client import REGISTRY, generate_latest

from authsrv.shell import metrics

ALLOWED_LABELS = {"why", "result", "fault", "le"}


def test_no_label_can_tell_of_a_card_or_an_amount() -> None:
    """Labels are of closed sets: a reason, a result, a fault; never a number that came over the wire."""
    ours = [metric for metric in REGISTRY.collect() if metric.name.startswith("authsrv_")]
    metrics.TALLY.answered(0, 0.0)
    assert len(ours) >= 10
    assert {label for metric in ours for sample in metric.samples for label in sample.labels} <= ALLOWED_LABELS


@pytest.mark.system
def test_a_monitor_reads_them() -> None:
    """Prometheus' own checker finds nothing to say about what a scrape gets."""
    metrics.TALLY.answered(0, 0.0)
    metrics.DROPPED.labels("FRAMING").inc(0)
    metrics.FAULTS.labels("Unavailable").inc(0)
    ours = b"".join(
        b"# HELP " + block for block in generate_latest().split(b"# HELP ") if block.startswith(b"authsrv_")
    )
    checked = subprocess.run(["promtool", "check", "metrics"], input=ours, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
