"""The pages on measuring say what the harness is."""

from __future__ import annotations

from pathlib import Path

import pytest

from authsrv.shell import sockets
from loadtest.measurement import CpuSample, Window
from loadtest.profile import Profile, load_profile, names
from loadtest.result import Outcome, run_result
from loadtest.verification import verify

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "loadtest" / "README.md").read_text("utf-8")
EXPLAIN_THEMSELVES = {"profile", "load", "connections", "modules", "duration_s", "settings"}


@pytest.mark.parametrize("name", names())
def test_each_profile_is_told_as_it_is(name: str) -> None:
    """Its load, how many ask over how many connections, and over how many cards."""
    profile = load_profile(name)
    profiles = PAGE.partition("## Profiles")[2].partition("## ")[0]
    [row] = [line for line in profiles.splitlines() if line.startswith(f"| `{name}` | ")]
    _, _, load, who, what, _ = row.split("|")
    assert load.strip().partition(",")[0] == profile.load.value
    if name != "hot-card":  # which asks as another one
        assert f"{profile.modules} modules" in who
        each = f"{profile.modules_per_connection} on each of {profile.connections} connections"
        assert ("a connection each" if profile.modules_per_connection == 1 else each) in who
    if profile.storm_modules:
        assert f"{profile.storm_modules:,} more modules" in what


def test_each_figure_is_told() -> None:
    """Whatever a result has is explained, or its name says all."""
    window = Window(1.0, [0.1], [0.2], [CpuSample(0.0, {}), CpuSample(1.0, {})], {1.0: 1}, 1.0)
    profile: Profile = load_profile("terminals")
    outcome = Outcome(profile, window, verify([], {}, []), refused=0, resolved=0, ended=0, sealed_late=0)
    for figure in run_result(outcome, {}).keys() - EXPLAIN_THEMSELVES:
        told = figure in ("p99_ms", "p90_ms", "p99_9_ms") or f"`{figure}`" in PAGE
        assert told, figure


def test_each_option_of_a_socket_is_told() -> None:
    """On the page for whoever runs a host."""
    page = (ROOT / "deploy" / "SIZING.md").read_text("utf-8")
    for option, _ in sockets._OF_A_CONNECTION:
        assert f"`{option}`" in page
    assert f"{sockets.BACKLOG:,}" in page
    assert f"{sockets.USER_TIMEOUT_MS // 1000} s" in page
