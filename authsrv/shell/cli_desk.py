"""The desk's part of the command line: cards and authorizations found, shown and corrected, and the trail of it."""

import datetime as dt
import secrets
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import trio
import typer

from authsrv.keys import CARD_BYTES
from authsrv.shell import commands, records
from authsrv.shell.card_import import import_cards
from authsrv.shell.command import (
    ENTERED,
    LISTENING,
    audit_commands,
    auth_commands,
    card_commands,
    command,
    desk_commands,
)
from authsrv.shell.desk import Act, Operator, carry_out
from authsrv.shell.enrolment import EnrolmentError
from authsrv.shell.owner import check_words, operator_name
from authsrv.shell.report import Report
from authsrv.shell.settings import Settings, SettingsError
from ledger.cards import CardStatus
from ledger.names import read_authorization_number
from protocol.messages import Freeze
from protocol.numbers import Command, GivenReason

Named = TypeVar("Named", bound=Enum)


Number = Annotated[int, typer.Option("--number", help="its number")]
CardNumber = Annotated[
    str, typer.Argument(help="its number; - reads it from standard input, where nobody else sees it")
]
AuthorizationNumber = Annotated[str, typer.Argument(help="its twelve digits, as the receipt has them")]
Why = Annotated[str, typer.Option("--why", help="why, for the audit trail")]
DeskNumber = Annotated[int | None, typer.Option("--desk", help="the desk, where the issuer has several")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show what would happen, and do nothing")]
Ticket = Annotated[
    str, typer.Option("--ticket", help="tells an act that is meant to happen once more from a double call")
]
Most = Annotated[int, typer.Option("--most", min=1, max=records.FOUND_MOST, help="how many at most, the newest")]
KitFile = Annotated[Path, typer.Option("--kit", help="a new file, 0600, for what is shown nowhere else")]


# Cards


@command(card_commands, "issue", (*ENTERED, *LISTENING))
def card_issue(
    settings: Settings,
    programme: Annotated[str, typer.Argument(help="the name of the programme")],
    kit: KitFile,
    numbers: Annotated[
        Path | None,
        typer.Option("--numbers", help="a file (- is standard input) of: NUMBER, or NUMBER CODE, a line each"),
    ] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="how many numbers to make")] = None,
    prefix: Annotated[str | None, typer.Option("--prefix", help="digits that made numbers begin with")] = None,
    codes: Annotated[bool, typer.Option("--codes", help="make an access code for each made number")] = False,
) -> Report:
    """Issue cards of a programme, with given numbers, or with numbers of 19 digits made under a prefix.

    A card is not active before a module activates it.

    Example:
      authsrv card issue gift --prefix 637112 --count 100 --codes --kit cards.json --data-dir /var/lib/authsrv

    JSON:
      {"programme": "gift", "cards": 100, "kit": "cards.json"}
    """
    match numbers, count, prefix:
        case Path() as file, None, None if not codes:
            cards = commands.read_numbers(file)
        case None, int() as many, str() as digits:
            cards = commands.draw_cards(digits, many, coded=codes, random=secrets.token_bytes)
        case _:
            raise SettingsError(
                "say which cards: --numbers FILE, or --prefix DIGITS and --count N, perhaps with --codes"
            )
    return trio.run(commands.issue_cards, settings, programme, cards, kit)


@command(card_commands, "show")
def card_show(
    settings: Settings,
    number: Annotated[
        str, typer.Argument(help="its number; - reads it from standard input, where nobody else sees it")
    ],
) -> Report:
    """Show a card: programme, status and block, balances, and the last authorizations that moved its value.

    Example:
      authsrv card show - --data-dir /var/lib/authsrv

    JSON (amounts in minor units):
      {"number": "*0015", "live": true, "programme": "gift", "status": "active", "blocked": null, "access_code": true,
       "failures": 0, "valid_until": "2028-01-31", "unit": "EUR", "exponent": 2, "balances": {"value": 1250}, "held": 0,
       "limit": 0, "frozen": null,
       "authorizations": [{"number": "...", "decided_at": "2026-01-31T11:30:00+02:00", "module": 1001,
                           "command": "activate", "result": 0, "approved": 1250}]}
    """
    digits = sys.stdin.readline().strip() if number == "-" else number
    return trio.run(commands.show_card, settings, digits)


@command(card_commands, "import", ENTERED)
def card_import(
    settings: Settings,
    programme: Annotated[str, typer.Argument(help="the name of the programme")],
    file: Annotated[
        Path, typer.Argument(help="a line each: NUMBER, or NUMBER CODE; a comma or a semicolon will do too")
    ],
) -> Report:
    """Issue the cards of a file, of any length, a few thousand in each transaction.

    A line that cannot be issued is told by its place, FILE:LINE: TEXT on stderr, and the others are issued; the exit
    code is then 1. Cards that are there already are passed over, so that an import that was broken off is finished by
    the same command.

    Example:
      authsrv card import gift cards.csv --data-dir /var/lib/authsrv

    JSON:
      {"programme": "gift", "issued": 999998, "there": 1, "refused": [{"line": 7, "text": "not 8 to 20 digits"}]}
    """

    def progress(done: int, issued: int) -> None:
        typer.echo(f"{done} lines, {issued} cards issued", err=True)

    return trio.run(import_cards, settings, programme, file, progress)


@command(card_commands, "find")
def card_find(
    settings: Settings,
    programme: Annotated[str | None, typer.Option("--programme", help="the name of the programme")] = None,
    status: Annotated[str | None, typer.Option("--status", help="issued, active or closed")] = None,
    blocked: Annotated[bool | None, typer.Option("--blocked/--not-blocked", help="whether it is blocked")] = None,
    owing: Annotated[bool | None, typer.Option("--owing/--not-owing", help="whether it owes")] = None,
    authorization: Annotated[
        str | None, typer.Option("--authorization", help="the number of one, from a receipt of the card")
    ] = None,
    most: Most = 50,
) -> Report:
    """Find cards by what is known of them. Numbers are not known; a card is told by its id.

    Example:
      authsrv card find --authorization 311000000019 --data-dir /var/lib/authsrv

    JSON (amounts in minor units):
      {"cards": [{"id": 17, "programme": "gift", "status": "active", "blocked": "lost", "valid_until": null,
                  "unit": 978, "value": 1250, "held": 0, "owed": 0}]}
    """
    wanted = {
        "programme": programme,
        "status": None if status is None else _member(CardStatus, status, "--status").value,
        "blocked": blocked,
        "owing": owing,
        "authorization": authorization,
    }
    return trio.run(records.find_cards, settings, wanted, most)


@command(card_commands, "block")
def card_block(
    settings: Settings,
    number: CardNumber,
    why: Why,
    reason: Annotated[str, typer.Option("--reason", help="lost, stolen, damaged, holder or suspicion")] = "holder",
    desk: DeskNumber = None,
    dry_run: DryRun = False,
) -> Report:
    """Refuse a card from now on.

    Example:
      authsrv card block - --reason lost --why "the holder called" --data-dir /var/lib/authsrv

    JSON ("done_before" says when and by whom, where the same act was approved before):
      {"act": "card block", "dry_run": false, "done_before": null, "authorization": "311000000019", "result": 0,
       "reason": 0, "approved": 0, "receipt": "..."}
    """
    given = _member(GivenReason, reason, "--reason")
    [card] = _numbers(number)
    return _act(settings, (desk, why), "card block", Command.BLOCK, {"card": card, "reason": given}, dry_run=dry_run)


@command(card_commands, "unblock")
def card_unblock(
    settings: Settings,
    number: CardNumber,
    why: Why,
    reason: Annotated[str, typer.Option("--reason", help="found, holder, mistake or none")] = "none",
    desk: DeskNumber = None,
    dry_run: DryRun = False,
) -> Report:
    """Serve a card again, one that was lost or stolen too.

    Example:
      authsrv card unblock - --why "found under the seat" --reason found --data-dir /var/lib/authsrv

    JSON:
      {"act": "card unblock", "dry_run": false, "done_before": null, "authorization": "311000000019", "result": 0,
       "reason": 0, "approved": 0, "receipt": "..."}
    """
    given = _member(GivenReason, reason, "--reason")
    [card] = _numbers(number)
    return _act(
        settings, (desk, why), "card unblock", Command.UNBLOCK, {"card": card, "reason": given}, dry_run=dry_run
    )


@command(card_commands, "replace")
def card_replace(
    settings: Settings,
    number: CardNumber,
    new: Annotated[str, typer.Argument(help="the number of an issued card of the same programme; - as before")],
    why: Why,
    desk: DeskNumber = None,
    dry_run: DryRun = False,
) -> Report:
    """Let the number of a new card take the place of this one's; what the card holds stays where it is.

    Example:
      authsrv card replace - - --why "worn out" --data-dir /var/lib/authsrv

    JSON:
      {"act": "card replace", "dry_run": false, "done_before": null, "authorization": "311000000019", "result": 0,
       "reason": 0, "approved": 0, "receipt": "..."}
    """
    card, new_card = _numbers(number, new)
    fields = {"card": card, "new_card": new_card}
    return _act(settings, (desk, why), "card replace", Command.REPLACE, fields, once=True, dry_run=dry_run)


@command(card_commands, "reset-tries")
def card_reset_tries(
    settings: Settings, number: CardNumber, why: Why, desk: DeskNumber = None, dry_run: DryRun = False
) -> Report:
    """Forget the wrong access codes of a card that is locked for them.

    Example:
      authsrv card reset-tries - --why "the holder showed a passport" --data-dir /var/lib/authsrv

    JSON:
      {"act": "card reset-tries", "dry_run": false, "done_before": null, "authorization": "311000000019", "result": 0,
       "reason": 0, "approved": 0, "receipt": "..."}
    """
    [card] = _numbers(number)
    return _act(settings, (desk, why), "card reset-tries", Command.RESET_TRIES, {"card": card}, dry_run=dry_run)


@command(card_commands, "limit")
def card_limit(
    settings: Settings,
    number: CardNumber,
    limit: Annotated[str, typer.Argument(help="up to which the card may owe, like 200.00")],
    why: Why,
    desk: DeskNumber = None,
    dry_run: DryRun = False,
) -> Report:
    """Set the limit of a local credit card; 0 means none.

    Example:
      authsrv card limit - 200.00 --why "a regular client" --data-dir /var/lib/authsrv

    JSON:
      {"act": "card limit", "dry_run": false, "done_before": null, "authorization": "311000000019", "result": 0,
       "reason": 0, "approved": 0, "receipt": "..."}
    """
    [card] = _numbers(number)
    fields = {"card": card, "limit": trio.run(records.minor_units, settings, limit)}
    return _act(settings, (desk, why), "card limit", Command.LIMIT, fields, about={"limit": limit}, dry_run=dry_run)


@command(card_commands, "freeze")
def card_freeze(
    settings: Settings,
    number: CardNumber,
    first: Annotated[dt.datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="the first day, YYYY-MM-DD")],
    why: Why,
    last: Annotated[
        dt.datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="the last day; without it the pass goes on")
    ] = None,
    desk: DeskNumber = None,
    dry_run: DryRun = False,
) -> Report:
    """Let a pass stand still for some days and end so much later, or go on again from a day.

    Example:
      authsrv card freeze - --from 2026-02-01 --to 2026-02-14 --why "a broken leg" --data-dir /var/lib/authsrv

    JSON:
      {"act": "card freeze", "dry_run": false, "done_before": null, "authorization": "311000000019", "result": 0,
       "reason": 0, "approved": 0, "receipt": "..."}
    """
    [card] = _numbers(number)
    if last is not None and last < first:
        raise SettingsError(f"--to is {last:%Y-%m-%d}, before --from; a freeze ends on its first day or later")
    days = Freeze(first.date(), None if last is None else last.date())
    about = {"from": f"{first:%Y-%m-%d}", "to": "" if last is None else f"{last:%Y-%m-%d}"}
    fields = {"card": card, "freeze": days}
    return _act(settings, (desk, why), "card freeze", Command.FREEZE, fields, about=about, dry_run=dry_run)


def _numbers(*given: str) -> list[str]:
    """Card numbers as they were given; each - is the next line of standard input."""
    numbers = [sys.stdin.readline().strip() if number == "-" else number for number in given]
    for number in numbers:
        if not (number.isascii() and number.isdigit() and len(number) <= CARD_BYTES):
            raise EnrolmentError(f"a card number is digits, {CARD_BYTES} at most; nothing was done")
    return numbers


def _member(members: type[Named], word: str, option: str) -> Named:
    found = {each.name.lower(): each for each in members}
    if word not in found:
        raise SettingsError(f"{option} is {word}, which cannot be; give {', '.join(found)}")
    return found[word]


def _act(
    settings: Settings,
    by: tuple[int | None, str],
    words: str,
    asked: Command,
    fields: dict[str, Any],
    *,
    about: dict[str, Any] | None = None,
    once: bool = False,
    ticket: str = "",
    dry_run: bool,
) -> Report:
    desk, why = by
    if not why.strip():
        raise SettingsError("--why is empty; say why, for those who will ask")
    for option, text in (("--why", why), ("--ticket", ticket)):
        check_words(option, text, fields.get("card"))
    card = {"card": f"*{fields['card'][-4:]}"} if "card" in fields else {}
    reason = {"reason": fields["reason"].name.lower()} if "reason" in fields else {}
    act = Act(words=words, command=asked, fields=fields, about=card | reason | (about or {}), once=once, ticket=ticket)
    operator = Operator(operator_name(settings), why, desk)
    return trio.run(lambda: carry_out(settings, operator, act, dry_run=dry_run))


# Authorizations


@command(auth_commands, "find")
def auth_find(
    settings: Settings,
    card: Annotated[str | None, typer.Option("--card", help="on the card of this number; - reads it")] = None,
    module: Annotated[int | None, typer.Option("--module", help="of this module")] = None,
    cashier: Annotated[int | None, typer.Option("--cashier", help="by this cashier")] = None,
    asked: Annotated[str | None, typer.Option("--command", help="sale, reload, refund ...")] = None,
    result: Annotated[int | None, typer.Option("--result", min=0, max=99, help="its two digits")] = None,
    amount: Annotated[str | None, typer.Option("--amount", help="what was approved, like 12.50")] = None,
    first: Annotated[
        dt.datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="booked on this day or later; else the last week"),
    ] = None,
    last: Annotated[
        dt.datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="booked on this day or before")
    ] = None,
    most: Most = 50,
) -> Report:
    """Find authorizations, the newest first.

    Example:
      authsrv auth find --module 1001 --command sale --amount 12.50 --data-dir /var/lib/authsrv

    JSON (amounts in minor units):
      {"authorizations": [{"number": "311000000019", "module": 1001, "date": "2026-01-31", "sequence": 7,
                           "decided_at": "2026-01-31T11:30:00+02:00", "booked_on": "2026-01-31", "command": "sale",
                           "result": 0, "reason": 0, "branch": 1, "unit": 978, "card": 17, "requested": 1250,
                           "approved": 1250, "cashier": 7}]}
    """
    wanted = {
        "module": module,
        "cashier": cashier,
        "command": None if asked is None else _member(Command, asked.replace(" ", "_"), "--command").value,
        "result": result,
        "approved": None if amount is None else trio.run(records.minor_units, settings, amount),
        "first": None if first is None else first.date(),
        "last": None if last is None else last.date(),
    }
    number = None if card is None else _numbers(card)[0]
    return trio.run(records.find_authorizations, settings, wanted, number, most)


@command(auth_commands, "show")
def auth_show(settings: Settings, number: AuthorizationNumber) -> Report:
    """Show an authorization: its outcome, what undid it, who ordered it, and the receipt as it was printed.

    Example:
      authsrv auth show 311000000019 --data-dir /var/lib/authsrv

    JSON (amounts in minor units):
      {"number": "311000000019", "module": 1001, "date": "2026-01-31", "sequence": 7,
       "decided_at": "2026-01-31T11:30:00+02:00", "booked_on": "2026-01-31", "command": "sale", "result": 0,
       "reason": 0, "branch": 1, "unit": 978, "card": 17, "requested": 1250, "approved": 1250, "cashier": 7,
       "original": null, "undone_by": [{"number": "311000000025", "reversal": true, "amount": 1250}], "hold": null,
       "ordered": null, "receipt": "..."}
    """
    return trio.run(records.show_authorization, settings, number)


@command(auth_commands, "reverse")
def auth_reverse(
    settings: Settings,
    number: AuthorizationNumber,
    why: Why,
    reason: Annotated[str, typer.Option("--reason", help="mistake, holder, correction or none")] = "mistake",
    desk: DeskNumber = None,
    dry_run: DryRun = False,
) -> Report:
    """Undo an authorization whole, whoever asked for it.

    Example:
      authsrv auth reverse 311000000019 --why "rung up twice" --dry-run --data-dir /var/lib/authsrv

    JSON:
      {"act": "auth reverse", "dry_run": true, "done_before": null, "authorization": "311000000025", "result": 0,
       "reason": 0, "approved": 1250, "receipt": "..."}
    """
    given = _member(GivenReason, reason, "--reason")
    fields = {"original": _original(number), "reason": given}
    about = {"original": number}
    return _act(settings, (desk, why), "auth reverse", Command.REVERSE, fields, about=about, once=True, dry_run=dry_run)


@command(auth_commands, "refund")
def auth_refund(
    settings: Settings,
    number: AuthorizationNumber,
    amount: Annotated[str, typer.Argument(help="what is given back, like 12.50")],
    why: Why,
    ticket: Ticket = "",
    desk: DeskNumber = None,
    dry_run: DryRun = False,
) -> Report:
    """Give back a part of a purchase, or all of it.

    The same refund once more is taken for a double call, and answered with the first one's receipt; one that is meant
    gets a --ticket that the first had not.

    Example:
      authsrv auth refund 311000000019 12.50 --why "goods brought back" --ticket R-17 --data-dir /var/lib/authsrv

    JSON:
      {"act": "auth refund", "dry_run": false, "done_before": null, "authorization": "311000000025", "result": 0,
       "reason": 0, "approved": 1250, "receipt": "..."}
    """
    fields = {"original": _original(number), "amount": trio.run(records.minor_units, settings, amount)}
    about = {"original": number, "amount": amount}
    return _act(
        *(settings, (desk, why), "auth refund", Command.REFUND, fields),
        about=about,
        once=True,
        ticket=ticket,
        dry_run=dry_run,
    )


@command(auth_commands, "release")
def auth_release(
    settings: Settings, number: AuthorizationNumber, why: Why, desk: DeskNumber = None, dry_run: DryRun = False
) -> Report:
    """Give up a hold that nobody will confirm.

    Example:
      authsrv auth release 311000000019 --why "the till is broken" --data-dir /var/lib/authsrv

    JSON:
      {"act": "auth release", "dry_run": false, "done_before": null, "authorization": "311000000025", "result": 0,
       "reason": 0, "approved": 1250, "receipt": "..."}
    """
    fields = {"original": _original(number)}
    about = {"original": number}
    return _act(settings, (desk, why), "auth release", Command.RELEASE, fields, about=about, once=True, dry_run=dry_run)


def _original(number: str) -> str:
    if read_authorization_number(number) is None:
        raise EnrolmentError("this is no authorization number: twelve digits, the last of which checks the others")
    return number


# Desks and the trail


@command(desk_commands, "add", ENTERED)
def desk_add(
    settings: Settings,
    number: Number,
    branch: Annotated[int, typer.Option("--branch", help="the number of its branch")],
    name: Annotated[str, typer.Option("--name", help="what people call it")],
    columns: Annotated[int, typer.Option("--columns", help="width of its receipts: 32, 42, 44 or 48")] = 42,
    language: Annotated[str, typer.Option("--language", help="of its receipts")] = "en",
) -> Report:
    """Add a desk that operators act at from this command line. It has no key, and nobody signs on as it.

    Example:
      authsrv desk add --number 9900 --branch 1 --name "Back office" --data-dir /var/lib/authsrv

    JSON:
      {"desk": 9900, "branch": 1, "name": "Back office"}
    """
    return trio.run(lambda: commands.add_desk(settings, number, branch, name, columns=columns, language=language))


@command(audit_commands, "list")
def audit_list(
    settings: Settings,
    since: Annotated[
        dt.datetime | None, typer.Option("--since", formats=["%Y-%m-%d"], help="on this day or later")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="of this operator")] = None,
    most: Most = 50,
) -> Report:
    """List what operators did, the newest first: who, what, why, and what came of it.

    Example:
      authsrv audit list --since 2026-01-31 --data-dir /var/lib/authsrv

    JSON:
      {"entries": [{"id": 3, "at": "2026-01-31T11:30:00+02:00", "who": "anna", "why": "rung up twice",
                    "act": "auth reverse", "about": {"original": "311000000019"}, "authorization": "311000000025",
                    "result": 0, "reason": 0}]}
    """
    day = None if since is None else since.date()
    return trio.run(lambda: records.show_trail(settings, since=day, who=by, most=most))
