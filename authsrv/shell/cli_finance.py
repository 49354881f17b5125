"""Finance's part of the command line: the books checked, reported, and written for others."""

import datetime as dt
from typing import Annotated

import trio
import typer

from authsrv.books import SHOWN
from authsrv.shell import finance
from authsrv.shell.cli import app, command
from authsrv.shell.report import Report
from authsrv.shell.settings import Settings, SettingsError


@command(app, "reconcile")
def reconcile(
    settings: Settings,
    since: Annotated[
        str | None, typer.Option("--since", help="count totals again from this date on (YYYY-MM-DD) [default: 40 days]")
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, max=100_000, help="how many rows of each sort to show")] = SHOWN,
) -> Report:
    """Compute every balance anew from the postings and check all that the ledger promises, beside a switch that serves.

    It reads one moment of the ledger and changes nothing. What there is to know is told first; differences, which must
    never be, come last, and the exit code is then 1.

    Example:
      authsrv reconcile --data-dir /var/lib/authsrv

    JSON (amounts in minor units):
      {"totals_since": "2026-01-01",
       "units": {"EUR": {"liability": 1250, "tender": -1250}},
       "information": {"open holds": {"count": 1, "sums": {"EUR": 300}, "rows": [{"card": 17, "amount": 300}]}},
       "differences": [{"sort": "balance", "count": 1,
                        "rows": [{"card": 17, "kind": 1, "unit": 978, "found": 1350, "expected": 1250}]}]}
    """
    return trio.run(finance.reconcile, settings, day(since, "--since"), most)


def day(text: str | None, option: str) -> dt.date | None:
    """A day as it was given; raises `SettingsError`."""
    try:
        return None if text is None else dt.date.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{option} is {text}, which is no day; write it like 2026-01-31") from None
