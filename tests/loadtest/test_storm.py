"""A storm's figures, worked by hand."""

import pytest

from loadtest.storm import Storm

BEFORE = [(at / 10, at / 10 + 0.010) for at in range(20)]  # 10 ms each, until the storm at 2 s
DURING = [(2.0 + at / 10, 2.0 + at / 10 + 0.500) for at in range(5)]
AFTER = [(3.0 + at / 10, 3.0 + at / 10 + delay) for at, delay in enumerate([0.3] * 6 + [0.012] * 14)]


def told(live_at_s: list[float]) -> dict[str, object]:
    times = BEFORE + DURING + AFTER
    storm = Storm(2.0, live_at_s, modules=4, sign_on_cpu_s=0.125)
    return storm.result([wanted for wanted, _ in times], [answered for _, answered in times])


def test_it_lasts_until_the_last_module_is_live() -> None:
    """From 2 s to 2.9 s, for sign-ons that need 4 x 0.125 s of CPU."""
    result = told([2.3, 2.9, 2.5, 2.6])
    assert (result["modules"], result["live"]) == (4, 4)
    assert (result["took_s"], result["cpu_needed_s"], result["ratio"]) == (0.9, 0.5, 1.8)


def test_who_never_got_in_is_not_live() -> None:
    """A module that was refused is missing."""
    assert told([2.3, 2.9])["live"] == 2


def test_normal_is_when_the_others_wait_no_longer_than_twice_as_before() -> None:
    """Half-second steps from 2.9 s: 300 ms until 3.8 s, then 12 ms, so the third step is the first normal one."""
    result = told([2.9] * 4)
    assert result["p99_before_ms"] == pytest.approx(10, rel=0.01)
    assert result["p99_during_ms"] == pytest.approx(500, rel=0.01)
    assert result["normal_after_s"] == 1.0
