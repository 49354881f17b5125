"""What `compare` tells: medians, ratios of medians, and which bars are missed."""

import pytest

from loadtest.comparison import Comparison, LatencyTurn, Turn, below, late, unapproved


def comparison(hot_card: float = 6000.0) -> Comparison:
    made = Comparison({"cores": 2})
    for rate in (9000.0, 10000.0, 1000.0):  # the last one's neighbour was busy
        made.turns["concentrator"].append(Turn(rate, 4500.0, 5.0, 9.0, {"switch": 60.0}))
    made.turns["terminals"].append(Turn(5000.0, 4000.0, 5.0, 9.0, {"switch": 60.0}))
    made.turns["hot-card"].append(Turn(hot_card, 1000.0, 5.0, 9.0, {"switch": 60.0}))
    made.limits_per_s += [18000.0, 20000.0]
    made.latency_rate_per_s = 2250.0
    made.latency += [LatencyTurn(10.0, 12.0), LatencyTurn(11.0, 30.0), LatencyTurn(9.0, 11.0)]
    return made


def test_a_figure_is_the_median_of_its_turns() -> None:
    """One bad turn moves nothing: 9,000 of 4,500 is 2.0."""
    result = comparison().result()
    concentrator = result["profiles"]["concentrator"]
    assert (concentrator["authorizations_per_s"], concentrator["baseline_per_s"]) == (9000.0, 4500.0)
    assert concentrator["ratio"] == 2.0
    assert result["limit_per_s"] == 19000.0
    assert result["latency"] == {"rate_per_s": 2250.0, "baseline_p99_ms": 10.0, "switch_p99_ms": 12.0, "ratio": 1.2}


def test_the_shape_is_the_one_that_scripts_read() -> None:
    """The names of the requirement, and no other."""
    result = comparison().result()
    assert set(result) == {"profiles", "limit_per_s", "latency", "settings", "verified"}
    assert set(result["profiles"]) == {"concentrator", "terminals", "hot-card"}
    assert set(result["profiles"]["terminals"]) == {
        *("authorizations_per_s", "baseline_per_s", "ratio", "p50_ms", "p99_ms", "cpu_us"),
    }


def test_every_bar_reached_is_no_miss_and_one_missed_is_named() -> None:
    """Concentrator 2.0 of 2.0, terminals 1.25 of 1.0, hot card 6 of 5, limit 0.47 of 0.45, p99 1.2 of 1.5."""
    assert below(comparison().result(), 1.0) == []
    [missed] = below(comparison(hot_card=4000.0).result(), 1.0)
    assert missed.startswith("hot-card: 4.0 times")


@pytest.mark.parametrize(("rate", "fails"), [(2600.0, False), (2400.0, True)])
def test_half_the_bar_is_what_a_continuous_check_holds(rate: float, fails: bool) -> None:
    """On a noisy machine only a broken hot path falls below half of a bar: 2.5 of 5 here."""
    assert bool(below(comparison(hot_card=rate).result(), 0.5)) is fails


def test_what_is_no_approval_is_a_finding() -> None:
    """An answer that never came is resolved by a repeat, so it is none."""
    assert unapproved("hot-card", {"00": 900, "none": 3}) == []
    told = unapproved("hot-card", {"00": 900, "51": 70, "91": 2})
    assert told == [
        "hot-card: 70 answers were 51 in place of approvals",
        "hot-card: 2 answers were 91 in place of approvals",
    ]


@pytest.mark.parametrize(("switch_ms", "ratio"), [(15.0, None), (15.1, "1.51")])
def test_a_late_p99_is_told_and_fails_nothing(switch_ms: float, ratio: str | None) -> None:
    """The bar is 1.5 times the baseline's 10 ms; the rates are judged without it."""
    made = comparison()
    made.latency = [LatencyTurn(baseline_p99_ms=10.0, switch_p99_ms=switch_ms)]
    result = made.result()
    expected = [f"p99: {ratio} times the baseline's, the bar is 1.5 at most"] if ratio else []
    assert late(result) == expected
    assert below(result, 1.0) == []


def test_a_finding_makes_the_whole_unverified() -> None:
    """No speed makes up for a lie."""
    made = comparison()
    made.findings.append("lost: 1001/20260314/1")
    assert made.result()["verified"] is False
