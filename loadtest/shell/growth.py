"""What growth costs: the same load over a grown folder and over a new one, in turns."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median
from typing import Any

from loadtest.profile import load_profile
from loadtest.shell.ground import Ground
from loadtest.shell.grow import GrowError
from loadtest.shell.run import run_profile
from loadtest.shell.switch import running_switch

PROFILE = "concentrator"


def growth(
    grown: Ground,
    new: Ground,
    settings: Mapping[str, str],
    *,
    turn_s: float,
    warm_s: float,
    rounds: int,
    seed: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Measure both `rounds` times in turns of `turn_s` seconds, over all cards that each holds.

    Each turn comes after `warm_s` seconds of the same load that do not count: a switch that has been at work for a
    while has its pages in memory, and in the WAL since the last checkpoint.

    Raises `GrowError` for a folder without a past.
    """
    if not grown.cards:
        raise GrowError(f"{grown.folder} holds no cards: `grow` did not end there")
    rates: dict[str, list[float]] = {"grown": [], "new": []}
    findings: list[str] = []
    for _ in range(rounds):
        for which, ground in (("new", new), ("grown", grown)):
            profile = replace(load_profile(PROFILE), cards=len(ground.cards), duration_s=turn_s)
            with running_switch(ground, settings) as switch:
                if warm_s:
                    warming = replace(profile, duration_s=warm_s)
                    findings += run_profile(ground, switch, warming, seed=seed, progress=progress).verdict.findings
                outcome = run_profile(ground, switch, profile, seed=seed, progress=progress)
            rates[which].append(outcome.authorizations_per_s)
            findings += outcome.verdict.findings
            progress(f"{which}: {outcome.authorizations_per_s:.0f}/s over {len(ground.cards)} cards")
    grown_per_s, new_per_s = median(rates["grown"]), median(rates["new"])
    return {
        "profile": PROFILE,
        "cards": len(grown.cards),
        "authorizations": grown.query("select count(*) from authorizations")[0]["count"],
        "grown_per_s": round(grown_per_s, 1),
        "new_per_s": round(new_per_s, 1),
        "ratio": round(grown_per_s / new_per_s, 3),
        "findings": findings,
        "verified": not findings,
        "settings": dict(settings),
    }
