"""Finance's part of the command line: the books checked, reported, and written for others."""

import datetime as dt
import sys
from pathlib import Path
from typing import Annotated

import trio
import typer

from authsrv.books import SHOWN
from authsrv.journal import Dialect
from authsrv.shell import finance
from authsrv.shell.command import app, command, group
from authsrv.shell.export import export as export_journal
from authsrv.shell.finance import Form, Paper
from authsrv.shell.report import Report
from authsrv.shell.settings import Settings, SettingsError
from authsrv.statement import DIMENSIONS

report_commands = group("Reports of what was booked.")
app.add_typer(report_commands, name="report")

Format = Annotated[Form, typer.Option("--format", help="table, csv, json, xlsx or pdf")]
Output = Annotated[
    Path | None, typer.Option("--output", help="the file to write, in place of standard output; one there is replaced")
]
Font = Annotated[
    Path | None, typer.Option("--font", help="for pdf: a TrueType file [default: DejaVu Sans, where the system has it]")
]
From = Annotated[str | None, typer.Option("--from", help="first booked day [default: the first of the month of --to]")]
To = Annotated[str | None, typer.Option("--to", help="last booked day [default: today]")]
On = Annotated[str | None, typer.Option("--on", help="the booked day at whose end [default: today]")]


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


@command(report_commands, "sales")
def report_sales(
    settings: Settings,
    by: Annotated[str, typer.Option("--by", help=f"what to group by, with commas: {', '.join(DIMENSIONS)}")] = "branch",
    first: From = None,
    last: To = None,
    form: Format = Form.TABLE,
    output: Output = None,
    font: Font = None,
) -> Report | None:
    """Sales, visits, refunds, loads, payments, cash-outs and lapses of booked days, each with what was reversed of it.

    Example:
      authsrv report sales --by day,branch --from 2026-01-01 --to 2026-01-31 --data-dir /var/lib/authsrv

    JSON (amounts in minor units):
      {"title": "Corner Shop: sales and loads", "notes": ["booked from 2026-01-01 to 2026-01-31"],
       "rows": [{"day": "2026-01-02", "branch": 1, "branch_name": "Centre", "movement": "sale", "unit": "EUR",
                 "count": 2, "amount": 1250, "reversals": 1, "reversed": 250, "net": 1000}],
       "sums": []}
    """
    dimensions = [word.strip() for word in by.split(",") if word.strip()]
    for word in dimensions:
        if word not in DIMENSIONS:
            raise SettingsError(f"--by is {by}, where {word} cannot be; give some of {', '.join(DIMENSIONS)}")
    reading = finance.read_sales(day(first, "--from"), day(last, "--to"), list(dict.fromkeys(dimensions)))
    return trio.run(finance.report, settings, Paper(form, output, font), reading)


@command(report_commands, "outstanding")
def report_outstanding(
    settings: Settings, on: On = None, form: Format = Form.TABLE, output: Output = None, font: Font = None
) -> Report | None:
    """What is left on cards, what credit cards owe, and what cards owe after an undoing, by programme.

    Example:
      authsrv report outstanding --on 2026-01-31 --data-dir /var/lib/authsrv

    JSON (amounts in minor units):
      {"title": "Corner Shop: outstanding", "notes": ["at the end of 2026-01-31, by what was booked until then"],
       "rows": [{"programme": "gift", "kind": "gift", "unit": "EUR", "cards": 1, "liability": 1250, "receivable": 0,
                 "owed": 0}],
       "sums": [{"programme": "sum", "unit": "EUR", "cards": 1, "liability": 1250, "receivable": 0, "owed": 0}]}
    """
    return trio.run(finance.report, settings, Paper(form, output, font), finance.read_outstanding(day(on, "--on")))


@command(report_commands, "ageing")
def report_ageing(
    settings: Settings,
    on: On = None,
    by_card: Annotated[bool, typer.Option("--by-card", help="a row for each card instead of each programme")] = False,
    form: Format = Form.TABLE,
    output: Output = None,
    font: Font = None,
) -> Report | None:
    """What credit cards owe, by how long it has been due: current, 1-30, 31-60, 61-90, over 90 days.

    Example:
      authsrv report ageing --on 2026-01-31 --by-card --data-dir /var/lib/authsrv

    JSON (amounts in minor units; "cards" in place of "card" without --by-card):
      {"title": "Corner Shop: receivables by age", "notes": ["at the end of 2026-01-31, by days overdue"],
       "rows": [{"programme": "credit", "card": 17, "unit": "EUR", "debt": 1200, "current": 700, "to_30": 500,
                 "to_60": 0, "to_90": 0, "beyond": 0}],
       "sums": [{"programme": "sum", "unit": "EUR", "debt": 1200, "current": 700, "to_30": 500, "to_60": 0,
                 "to_90": 0, "beyond": 0}]}
    """
    reading = finance.read_ageing(day(on, "--on"), by_card=by_card)
    return trio.run(finance.report, settings, Paper(form, output, font), reading)


@command(report_commands, "settlement")
def report_settlement(
    settings: Settings,
    first: From = None,
    last: To = None,
    form: Format = Form.TABLE,
    output: Output = None,
    font: Font = None,
) -> Report | None:
    """What each branch took for cards and gave on them, and how much of it on cards of other branches.

    Example:
      authsrv report settlement --from 2026-01-01 --to 2026-01-31 --data-dir /var/lib/authsrv

    JSON (amounts in minor units):
      {"title": "Corner Shop: settlement between branches", "notes": ["booked from 2026-01-01 to 2026-01-31"],
       "rows": [{"branch": 1, "name": "Centre", "unit": "EUR", "taken": 5000, "given": 1250, "net": 3750,
                 "given_on_others": 0, "given_elsewhere": 700, "due": -700}],
       "sums": [{"branch": "sum", "unit": "EUR", "taken": 5000, "given": 1250, "net": 3750, "given_on_others": 0,
                 "given_elsewhere": 700, "due": -700}]}
    """
    reading = finance.read_settlement(day(first, "--from"), day(last, "--to"))
    return trio.run(finance.report, settings, Paper(form, output, font), reading)


@command(report_commands, "statement")
def report_statement(
    settings: Settings,
    number: Annotated[
        str | None,
        typer.Argument(help="the card's number; - reads it from standard input, where nobody else sees it"),
    ] = None,
    card: Annotated[
        int | None, typer.Option("--card", help="the card's id in the ledger, in place of its number")
    ] = None,
    first: From = None,
    last: To = None,
    form: Format = Form.TABLE,
    output: Output = None,
    font: Font = None,
) -> Report | None:
    """A card's statement: opening, what was charged, paid and credited, closing, and what is due when.

    Example:
      authsrv report statement --card 17 --from 2026-01-01 --to 2026-01-31 --data-dir /var/lib/authsrv

    JSON (amounts in minor units):
      {"title": "Corner Shop: statement", "notes": ["card 17, credit, booked from 2026-01-01 to 2026-01-31, in EUR"],
       "rows": [{"booked_on": "2026-01-01", "authorization": null, "branch": null, "movement": "opening",
                 "debit": null, "credit": null, "balance": 0},
                {"booked_on": "2026-01-02", "authorization": "313000000015", "branch": "Centre",
                 "movement": "charge", "debit": 1200, "credit": null, "balance": -1200}],
       "sums": []}
    """
    if (number is None) == (card is None):
        raise SettingsError("say which card: its number (- reads it from standard input), or --card ID")
    digits = sys.stdin.readline().strip() if number == "-" else number
    reading = finance.read_statement(settings, digits, card, day(first, "--from"), day(last, "--to"))
    return trio.run(finance.report, settings, Paper(form, output, font), reading)


@command(app, "export")
def export(
    settings: Settings,
    form: Annotated[Dialect, typer.Option("--format", help="hledger or beancount")],
    first: Annotated[
        str | None, typer.Option("--from", help="first booked day, for what follows an earlier export [default: all]")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", help="last booked day [default: yesterday]")] = None,
    detail: Annotated[
        bool, typer.Option("--detail", help="a transaction for each authorization, not each day and branch")
    ] = False,
    output: Output = None,
    wait_s: Annotated[
        float, typer.Option("--wait-s", min=0, help="how long to wait for who may still book on the last day")
    ] = 60.0,
) -> Report | None:
    """Write the books as a journal of double entry, of booked days that are closed.

    The last day and all before it are closed first, for ever: nothing is booked on them any more, so that no later
    export finds a row that this one has not. With --from the day behind an earlier export's last, the two files one
    behind the other are the export of both. Without it, the journal ends with the balances that the ledger has.

    Example:
      authsrv export --format hledger --output books.journal --data-dir /var/lib/authsrv

    JSON (with --output; without it, the journal is printed):
      {"format": "hledger", "file": "books.journal", "from": "2000-01-01", "to": "2026-01-31", "transactions": 62,
       "postings": 310}
    """
    days = (day(first, "--from"), day(last, "--to"))
    return trio.run(lambda: export_journal(settings, form, days, detail=detail, output=output, wait_s=wait_s))


def day(text: str | None, option: str) -> dt.date | None:
    """A day as it was given; raises `SettingsError`."""
    try:
        return None if text is None else dt.date.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{option} is {text}, which is no day; write it like 2026-01-31") from None
