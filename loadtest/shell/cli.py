"""`authsrv-loadtest`: the command line of the harness. JSON goes to stdout, progress to stderr."""

import datetime as dt
import json
import os
import resource
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from authsrv.shell.settings import NAMES
from ledger.shell.embedded import EmbeddedError
from loadtest import report
from loadtest.comparison import below, late
from loadtest.profile import Profile, ProfileError, load_profile, names, parse_profile
from loadtest.result import run_result
from loadtest.shell import compare as comparing
from loadtest.shell import grow as growing
from loadtest.shell.baseline import BaselineError
from loadtest.shell.bounds import measure_bounds
from loadtest.shell.ground import GroundError, Size, open_ground
from loadtest.shell.grow import GrowError
from loadtest.shell.growth import growth as measure_growth
from loadtest.shell.idle import measure_idle
from loadtest.shell.limit import LimitError
from loadtest.shell.run import run_profile
from loadtest.shell.sizing import sizing as measure_sizing
from loadtest.shell.switch import SwitchError, running_switch, runs_compiled
from loadtest.shell.till import SignOnError

DURATION_MAX_S: Final = 86_400
MODULES_MAX: Final = 1_000_000
OURS: Final = frozenset(("data_dir", "database", "kek", "kek_file", "listen", "metrics", "schema"))
FAULTS: Final = (
    BaselineError,
    EmbeddedError,
    GroundError,
    GrowError,
    LimitError,
    ProfileError,
    SignOnError,
    SwitchError,
)

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_show_locals=False, add_completion=False, rich_markup_mode=None
)

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="A folder that is kept for further runs; else a new one, removed in the end."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the switch, like lanes=4.")
]
Seed = Annotated[int, typer.Option(help="What the traffic is made from; the same seed asks the same.")]


@app.callback()
def _harness() -> None:
    """How fast the switch is, and whether all that it said is true."""
    if not runs_compiled() and "--help" not in sys.argv:
        _progress("this switch runs from its source, at half its speed; loadtest/README.md has the other")


@app.command()
def run(
    profile: Annotated[str, typer.Argument(help=f"One of {', '.join(names())}, or a TOML file.")],
    duration_s: Annotated[
        float | None, typer.Option(min=1, max=DURATION_MAX_S, help="Measured seconds; else the profile's.")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=1, help="Open load at this many requests a second.")] = None,
    data_dir: DataDir = None,
    html: Annotated[
        Path | None, typer.Option(dir_okay=False, writable=True, help="Write a report with plots to this file.")
    ] = None,
    setting: Settings = None,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Run one profile, verify every answer, and exit 1 where one was not true.

    Example: authsrv-loadtest run terminals --duration-s 10 --json
    """
    chosen = _profile(profile).changed(duration_s=duration_s, rate_per_s=rate)
    settings = _settings(setting)
    if html is not None and not os.access(html.absolute().parent, os.W_OK):
        raise typer.BadParameter(f"nothing can be written to the folder {html.parent}", param_hint="--html")
    with open_ground(data_dir) as ground, running_switch(ground, settings) as switch:
        _progress(f"the switch is process {switch.pid}")
        outcome = run_profile(ground, switch, chosen, seed=seed, progress=_progress)
    result = run_result(outcome, settings) | _build()
    if html is not None:
        html.write_text(report.html(result), "utf-8")
    _report(result, as_json)


@app.command()
def compare(
    turn_s: Annotated[float, typer.Option(min=1, max=DURATION_MAX_S, help="Seconds of each turn.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured.")] = 3,
    bar: Annotated[
        float, typer.Option(min=0, max=1, help="Exit 1 where a rate is below this share of its bar; 0: never.")
    ] = 0,
    data_dir: DataDir = None,
    setting: Settings = None,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Compare the switch with a stored procedure called straight from C, and with its own batch SQL.

    The switch has a worker for each core, unless --set workers=N says otherwise.

    Example: authsrv-loadtest compare --json
    """
    settings = {"workers": str(os.cpu_count() or 1)} | _settings(setting)
    with open_ground(data_dir) as ground:
        comparison = comparing.compare(ground, settings, turn_s=turn_s, rounds=rounds, seed=seed, progress=_progress)
    result = comparison.result()
    for finding in comparison.findings:
        _progress(finding)
    for missed in below(result, 1.0) + late(result):
        _progress(f"not at its bar: {missed}")
    _report(result, as_json)
    if below(result, bar):
        raise typer.Exit(1)


@app.command()
def bounds(
    turn_s: Annotated[float, typer.Option(min=1, max=DURATION_MAX_S, help="Seconds of each turn.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured.")] = 3,
    data_dir: DataDir = None,
    setting: Settings = None,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Measure the walls behind the bars of `compare`: what no switch over these statements can pass.

    `at_most` is, of a profile, the procedure's CPU over that of the batch SQL and of the way in and out alone: what it
    would be if deciding, receipts, sealing and the driver cost nothing; of hot-card the rate of the batch SQL on one
    card over the procedure's. `at_least` is the p99 of the batch SQL alone over the procedure's, at the same rate.

    Example: authsrv-loadtest bounds --json
    """
    settings = {"workers": str(os.cpu_count() or 1)} | _settings(setting)
    with open_ground(data_dir) as ground:
        result = measure_bounds(ground, settings, turn_s=turn_s, rounds=rounds, seed=seed, progress=_progress)
    _report(result | _build(), as_json)


@app.command()
def idle(
    sessions: Annotated[
        int, typer.Option(min=1, max=MODULES_MAX, help="Modules that sign on and then say nothing.")
    ] = 10_000,
    setting: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Measure the switch's memory under idle sessions, each over a connection of its own.

    Example: authsrv-loadtest idle --sessions 10000 --json
    """
    settings = _settings(setting)
    with open_ground(size=Size(modules=sessions, cards=0, fresh_cards=0)) as ground:
        result = measure_idle(ground, settings, sessions=sessions, progress=_progress)
    _report(result | _build(), as_json)


@app.command()
def grow(
    data_dir: Annotated[Path, typer.Argument(help="A new folder.")],
    cards: Annotated[int, typer.Option(min=1, help="Cards that are sold and in use.")] = 5_000_000,
    authorizations: Annotated[int, typer.Option(min=1, help="Past authorizations, the sales of cards among them.")] = (
        20_000_000
    ),
    seed: Seed = 1,
) -> None:
    """Make a folder with a past, to be used by `run --data-dir` and `growth` as often as wanted.

    Example: authsrv-loadtest grow /var/lib/grown --cards 100000 --authorizations 400000
    """
    if cards > authorizations:
        raise typer.BadParameter(f"{cards} cards need as many to be sold", param_hint="--authorizations")
    with open_ground(data_dir, Size(cards=0, fresh_cards=0)) as ground:
        growing.grow(ground, cards=cards, authorizations=authorizations, seed=seed, progress=_progress)


@app.command()
def growth(
    data_dir: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A folder that `grow` has made.")],
    turn_s: Annotated[float, typer.Option(min=1, max=DURATION_MAX_S, help="Seconds of each turn.")] = 10,
    warm_s: Annotated[
        float, typer.Option(min=0, max=DURATION_MAX_S, help="Seconds of the same load before it, not counted.")
    ] = 60,
    rounds: Annotated[int, typer.Option(min=1, help="How often both are measured.")] = 3,
    setting: Settings = None,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Measure what a past costs: the same load over a grown folder and over a new one, in turns.

    Example: authsrv-loadtest growth /var/lib/grown --json
    """
    settings = _settings(setting)
    with open_ground(data_dir) as grown, open_ground() as new:
        result = measure_growth(
            grown, new, settings, turn_s=turn_s, warm_s=warm_s, rounds=rounds, seed=seed, progress=_progress
        )
    _report(result | _build(), as_json)


@app.command()
def sizing(
    duration_s: Annotated[float, typer.Option(min=1, max=DURATION_MAX_S, help="Measured seconds.")] = 60,
    data_dir: DataDir = None,
    setting: Settings = None,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Weigh what a million authorizations cost: CPU of each party, WAL, disk, vacuum.

    Example: authsrv-loadtest sizing --duration-s 60 --json
    """
    settings = _settings(setting)
    with open_ground(data_dir) as ground:
        result = measure_sizing(ground, settings, duration_s=duration_s, seed=seed, progress=_progress)
    _report(result | _build(), as_json)


def _report(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))  # noqa: T201 - what the command is for
    else:
        for name, value in result.items():
            if not isinstance(value, list) or name == "findings":
                print(f"{name:22} {json.dumps(value)}")  # noqa: T201 - the same
    if not result["verified"]:
        raise typer.Exit(1)


def _build() -> dict[str, Any]:
    """What was measured, where and when."""
    return {
        "version": version("authsrv"),
        "compiled": runs_compiled(),
        "cores": os.cpu_count(),
        "ended_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def _profile(given: str) -> Profile:
    if not given.endswith(".toml"):
        return load_profile(given)
    try:
        return parse_profile(Path(given).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{given} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _settings(given: list[str] | None) -> dict[str, str]:
    settings: dict[str, str] = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        name = name.replace("-", "_")
        if not equals:
            raise typer.BadParameter(f"{each} is not NAME=VALUE", param_hint="--set")
        if name in OURS:
            raise typer.BadParameter(f"{name} is given by the harness itself", param_hint="--set")
        if name not in NAMES:
            raise typer.BadParameter(f"the switch has no setting {name!r}", param_hint="--set")
        if name == "workers" and not value.isdecimal():
            raise typer.BadParameter(f"workers={value} is not a number", param_hint="--set")
        settings[name] = value
    return settings


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - what progress is for


def main() -> None:
    """The command `authsrv-loadtest`. Ended by SIGTERM or SIGHUP, it leaves no process behind, as with ^C."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is not signal.SIG_IGN:  # as under nohup
            signal.signal(ending, signal.default_int_handler)
    _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))  # a socket for each line and each newcomer
    try:
        app()
    except (*FAULTS, OSError) as error:
        _progress(f"authsrv-loadtest: {error}")
        sys.exit(1)
