"""What a million authorizations cost: CPU of each party, WAL, disk by table, and the vacuum that follows."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from loadtest.profile import load_profile
from loadtest.shell import cpu
from loadtest.shell.ground import Ground
from loadtest.shell.run import run_profile
from loadtest.shell.switch import running_switch

PROFILE: Final = "concentrator"
MILLION: Final = 1_000_000
MIB: Final = 2**20
WAL: Final = "select pg_current_wal_lsn() - '0/0' as bytes"
RECORDED: Final = "select count(*) as number from authorizations"
SIZES: Final = """
    select coalesce(p.relname, c.relname) as name,
           sum(pg_table_size(c.oid))::bigint as rows, sum(pg_indexes_size(c.oid))::bigint as indexes
      from pg_class c
      left join pg_inherits i on i.inhrelid = c.oid
      left join pg_class p on p.oid = i.inhparent
     where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r'
     group by 1
"""


def sizing(
    ground: Ground, settings: Mapping[str, str], *, duration_s: float, seed: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Run the concentrator for `duration_s` and weigh what it left."""
    profile = replace(load_profile(PROFILE), duration_s=duration_s)
    with running_switch(ground, settings) as switch:
        run_profile(ground, switch, replace(profile, duration_s=1.0), seed=seed, progress=progress)  # sells the cards
    before, wal, recorded = _sizes(ground), _number(ground, WAL), _number(ground, RECORDED)
    with running_switch(ground, settings) as switch:
        outcome = run_profile(ground, switch, profile, seed=seed + 1, progress=progress)
    after, wal, recorded = _sizes(ground), _number(ground, WAL) - wal, _number(ground, RECORDED) - recorded
    progress("vacuum")
    used_s = cpu.tree_s(ground.postmaster)
    ground.query("vacuum analyze")
    vacuum_s = cpu.tree_s(ground.postmaster) - used_s
    share = MILLION / recorded
    return {
        "profile": PROFILE,
        "authorizations": recorded,
        "authorizations_per_s": round(outcome.authorizations_per_s, 1),
        "cpu_us": outcome.window.cpu_us(),
        "per_million": {
            "wal_mib": round(wal * share / MIB),
            "rows_mib": _per_million(before, after, "rows", share),
            "indexes_mib": _per_million(before, after, "indexes", share),
            "vacuum_cpu_s": round(vacuum_s * share, 1),
        },
        "findings": list(outcome.verdict.findings),
        "verified": outcome.verdict.holds,
        "settings": dict(settings),
    }


def _number(ground: Ground, sql: str) -> int:
    [[number]] = ground.query(sql)
    return int(number)


def _sizes(ground: Ground) -> dict[str, dict[str, int]]:
    return {row["name"]: {"rows": row["rows"], "indexes": row["indexes"]} for row in ground.query(SIZES)}


def _per_million(
    before: Mapping[str, Mapping[str, int]], after: Mapping[str, Mapping[str, int]], which: str, share: float
) -> dict[str, int]:
    grown = {
        name: round((sizes[which] - before.get(name, sizes)[which]) * share / MIB) for name, sizes in after.items()
    }
    return {name: mib for name, mib in sorted(grown.items(), key=lambda each: -each[1]) if mib}
