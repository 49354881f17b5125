"""Figures worked by hand from a few answers."""

import pytest

from loadtest.measurement import CpuSample, Window, latencies, latency_histogram


def window(**changed: object) -> Window:
    used = [{"switch": 10.0, "database": 4.0}, {"switch": 10.5, "database": 4.25}, {"switch": 12.0, "database": 5.0}]
    fields: dict[str, object] = {
        "duration_s": 2.0,
        "wanted_s": [0.0, 0.5, 1.0, 1.9],
        "answered_s": [0.1, 0.7, 1.4, 2.5],
        "cpu": [CpuSample(at, each) for at, each in zip((0.0, 1.0, 2.0), used, strict=True)],
        "batches": {1.0: 2, 2.0: 1},
        "batch_requests": 4.0,
    }
    return Window(**fields | changed)  # type: ignore[arg-type]


def test_answers_after_the_end_count_for_latency_and_not_for_the_rate() -> None:
    """Three of four answers came within two seconds; the fourth's wait is not hidden."""
    measured = window()
    assert (measured.answers, measured.rate_per_s) == (3, 1.5)
    assert latencies(measured.histogram())["max_ms"] == pytest.approx(600, rel=0.002)


def test_latency_counts_from_when_the_customer_came() -> None:
    """A switch that stands still for a second shows it in all who came meanwhile: 0.1 to 1.0 s of waiting."""
    stalled = latency_histogram((wanted / 10, 1.0) for wanted in range(10))
    assert latencies(stalled)["p50_ms"] == pytest.approx(500, rel=0.002)
    assert latencies(stalled)["max_ms"] == pytest.approx(1000, rel=0.002)


def test_the_course_is_told_by_the_second_in_which_an_answer_came() -> None:
    """Two answers in the first second, one in the second; the late one is in neither."""
    course = window().course()
    assert [point["answers_per_s"] for point in course] == [2, 1]
    assert course[1]["p99_ms"] == pytest.approx(400, rel=0.002)


def test_cpu_is_told_in_cores_over_time_and_in_microseconds_an_answer() -> None:
    """The switch used 2 s over three answers, and half a core in the first second."""
    measured = window()
    assert measured.cpu_course() == [
        {"at_s": 0.0, "switch": 0.5, "database": 0.25},
        {"at_s": 1.0, "switch": 1.5, "database": 0.75},
    ]
    assert measured.cpu_us() == {"switch": 666_666.7, "database": 333_333.3}


def test_the_mean_of_a_batch_is_requests_over_batches() -> None:
    """Four requests in three batches; none where there was no batch."""
    assert window().batch_mean() == 1.3
    assert window(batches={}).batch_mean() is None
