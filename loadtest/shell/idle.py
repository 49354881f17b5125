"""What idle modules cost: the memory of a switch that thousands are signed on to, each over a connection of its own."""

import datetime as dt
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, Final

from loadtest.shell import cpu
from loadtest.shell.generator import Generator
from loadtest.shell.ground import Ground
from loadtest.shell.newcomer import Newcomer, Step
from loadtest.shell.switch import running_switch
from loadtest.shell.till import PATIENCE_S

WAVE: Final = 250
SPARE_CONNECTIONS: Final = 16
MIB: Final = 2**20


def measure_idle(
    ground: Ground, settings: Mapping[str, str], *, sessions: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Sign on `sessions` modules, wave after wave, and weigh the switch before and after."""
    today = dt.datetime.now(dt.UTC).date()
    roomy = {"connections_max": str(sessions + SPARE_CONNECTIONS), "sessions_max": str(sessions + SPARE_CONNECTIONS)}
    with running_switch(ground, roomy | dict(settings)) as switch:
        before = cpu.resident_bytes(switch.pid)
        with closing(Generator()) as generator:
            for start in range(0, sessions, WAVE):
                wave = ground.modules[start : min(start + WAVE, sessions)]
                generator.let_in(Newcomer(switch.address, identity, today) for identity in wave)
                generator.await_newcomers(PATIENCE_S)
                progress(f"{start + len(wave)} sessions")
            after = cpu.resident_bytes(switch.pid)
            live = sum(1 for newcomer in generator.newcomers if newcomer.step is Step.LIVE)
    return {
        "sessions": sessions,
        "live": live,
        "before_mib": round(before / MIB, 1),
        "after_mib": round(after / MIB, 1),
        "kib_a_session": round((after - before) / 1024 / max(1, live), 2),
        "verified": live == sessions,
        "settings": dict(settings),
    }
