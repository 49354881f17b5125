"""The program `authsrv-terminal`: one request at a till, or a whole day of them, with the receipts on the screen.

It knows only a kit file. Exit codes: 0 approved or played as expected, 1 declined or not as expected, 2 a mistake in
what was asked for, 3 no answer.
"""

import datetime as dt
import json
import os
import ssl
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, TypeVar

import trio
import typer

from protocol.numbers import GivenReason
from receipts.catalogue import catalogue
from terminal.answer import Answer, NoAnswerError, UnsettledError
from terminal.day import DayError, read_day
from terminal.kit import Kit, KitCard, KitError, joined
from terminal.money import minor_units, written
from terminal.operations import Ground
from terminal.paper import slips
from terminal.pending import PendingError
from terminal.settings import Settings
from terminal.shell.client import Module, connect
from terminal.shell.console import console
from terminal.shell.pending_file import PendingFile
from terminal.shell.play import check, say_aloud
from terminal.shell.play import play as play_day
from terminal.shell.printer import Printer
from terminal.shell.roots import RootsError
from terminal.shell.sequence import Sequence, SequenceError
from terminal.shell.till import Manner, Till
from terminal.shell.trunk import dialling

T = TypeVar("T")
DAY: Final = "shop.toml"
DECLINED: Final = 1
MISTAKE: Final = 2
NO_ANSWER: Final = 3
READ_BYTES: Final = 4096
AUTHORIZATION_DIGITS: Final = 12

app = typer.Typer(
    name="authsrv-terminal",
    help="A payment module as a program: asks the switch and prints the receipt.\n\n"
    "Example: authsrv-terminal --kit till.json balance --card 6371120000000000017\n\n"
    "A kit of the demo has cards too: there a card may be named by its place, as in --card 1.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@dataclass(frozen=True)
class Setup:
    """What stands before the command."""

    kit: Path | None
    till: int
    wait_s: float
    sequence: Path | None
    roots: Path | None
    tls: bool
    tls_ca: Path | None
    tls_certificate: Path | None
    tls_key: Path | None
    pending: Path | None = None
    printer: Printer | None = None
    language: str | None = None
    merchant: bool = False

    def words(self, kit: Kit) -> str:
        """The language that was asked for, or else the module's; raises ValueError."""
        return catalogue(self.language or kit.language(self.till)).locale.language

    def read_kit(self, kit: Path | None = None) -> Kit:
        """The kit file that was named here or there."""
        path = kit or self.kit
        if path is None:
            raise KitError("no kit file is named; use --kit FILE or the variable AUTHSRV_KIT")
        try:
            return Kit.read(path.read_text("utf-8"))
        except OSError as error:
            raise KitError(f"the kit file {path} cannot be read: {error.strerror}") from None

    def tls_context(self) -> ssl.SSLContext | None:
        """How to speak TLS, or None for plain TCP, which the sessions' own encryption is made for."""
        if not (self.tls or self.tls_ca or self.tls_certificate):
            return None
        context = ssl.create_default_context(cafile=self.tls_ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if self.tls_certificate is not None:
            context.load_cert_chain(self.tls_certificate, self.tls_key)
        return context


_REASONS: Final = {reason.name.lower().replace("_", "-"): reason for reason in GivenReason if reason}
Card = Annotated[str, typer.Option("--card", help="the card's number, or its place in the kit, counted from 1")]
Code = Annotated[
    str | None, typer.Option("--code", help="the access code; `-` reads it from the input; the kit's own if left out")
]
Optional = Annotated[str, typer.Argument(help="the amount, such as 12.50; left out for a pass or a customer account")]
Amount = Annotated[str, typer.Argument(help="the amount, such as 12.50")]
Number = Annotated[str, typer.Argument(help="the original's authorization number, 12 digits")]
Cashier = Annotated[int, typer.Option("--cashier", min=0, max=2**32 - 1, help="the person at the till, as a number")]
Why = Annotated[str, typer.Option("--reason", help="one of: " + ", ".join(sorted(_REASONS)))]
Json = Annotated[bool, typer.Option("--json", help="print the answer as one JSON object instead of the receipt")]
Context = typer.Context


@app.callback()
def setup(
    context: Context,
    kit: Annotated[Path | None, typer.Option(envvar="AUTHSRV_KIT", help="the kit file")] = None,
    till: Annotated[int, typer.Option(help="which module of the kit, counted from 1")] = 1,
    wait_s: Annotated[float, typer.Option(help="how long to wait for the answer, in seconds")] = 30.0,
    sequence: Annotated[Path | None, typer.Option(help="a file that keeps the module's sequence number")] = None,
    roots: Annotated[
        Path | None, typer.Option(help="a file that keeps root keys which the module takes from the switch")
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="speak TLS, checked by this machine's authorities")] = False,
    tls_ca: Annotated[Path | None, typer.Option(help="speak TLS, checked by these authorities")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="the certificate to show")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="its key")] = None,
    pending: Annotated[
        Path | None, typer.Option(help="a file that keeps what is asked over a power cut; give --sequence too")
    ] = None,
    printer: Annotated[str | None, typer.Option(help="ESC/POS printer: a file, a device or tcp://HOST:9100")] = None,
    printer_page: Annotated[
        int | None, typer.Option(min=0, max=255, help="its number of the module's code page, if not Epson's")
    ] = None,
    language: Annotated[str | None, typer.Option(help="of the screens and the shop's copy; the module's own")] = None,
    merchant: Annotated[bool, typer.Option("--merchant", help="print the shop's copy of what is signed too")] = False,
) -> None:
    """Say which module to be."""
    try:
        to = None if printer is None else Printer.named(printer, printer_page)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    context.obj = Setup(
        kit, till, wait_s, sequence, roots, tls, tls_ca, tls_certificate, tls_key, pending, to, language, merchant
    )


@app.command()
def echo(context: Context, as_json: Json = False) -> None:
    """Ask whether the switch is there.

    Example: authsrv-terminal --kit kit.json echo
    """
    _run(context, as_json, lambda module, _: module.echo())


@app.command()
def balance(context: Context, card: Card, code: Code = None, cashier: Cashier = 0, as_json: Json = False) -> None:
    """Ask what is on a card.

    Example: authsrv-terminal --kit kit.json balance --card 1
    """
    _run(
        context,
        as_json,
        lambda module, kit: module.balance(
            kit.card(card).number, access_code=_code(kit.card(card), code), cashier=cashier
        ),
    )


@app.command()
def activate(context: Context, card: Card, amount: Optional = "0", cashier: Cashier = 0, as_json: Json = False) -> None:
    """Sell a card with an amount on it; a pass or a customer account without one.

    Example: authsrv-terminal --kit kit.json activate 50.00 --card 1
    """
    _run(
        context,
        as_json,
        lambda module, kit: module.activate(kit.card(card).number, _minor(amount, kit), cashier=cashier),
    )


@app.command()
def reload(context: Context, card: Card, amount: Optional = "0", cashier: Cashier = 0, as_json: Json = False) -> None:
    """Put an amount on a card, or as many visits as a pass has.

    Example: authsrv-terminal --kit kit.json reload 20.00 --card 1
    """
    _run(
        context, as_json, lambda module, kit: module.reload(kit.card(card).number, _minor(amount, kit), cashier=cashier)
    )


@app.command()
def sale(
    context: Context,
    amount: Amount,
    card: Card,
    code: Code = None,
    partial: Annotated[bool, typer.Option("--partial", help="take what is there if that is less")] = False,
    cashier: Cashier = 0,
    as_json: Json = False,
) -> None:
    """Take an amount from a card.

    Example: authsrv-terminal --kit kit.json sale 12.50 --card 1 --code 1234
    """
    _run(
        context,
        as_json,
        lambda module, kit: module.sale(
            kit.card(card).number,
            _minor(amount, kit),
            access_code=_code(kit.card(card), code),
            partial=partial,
            cashier=cashier,
        ),
    )


@app.command()
def hold(
    context: Context,
    amount: Amount,
    card: Card,
    code: Code = None,
    partial: Annotated[bool, typer.Option("--partial", help="hold what is there if that is less")] = False,
    cashier: Cashier = 0,
    as_json: Json = False,
) -> None:
    """Reserve an amount of a card, to be confirmed or released.

    Example: authsrv-terminal --kit kit.json hold 12.50 --card 1
    """
    _run(
        context,
        as_json,
        lambda module, kit: module.hold(
            kit.card(card).number,
            _minor(amount, kit),
            access_code=_code(kit.card(card), code),
            partial=partial,
            cashier=cashier,
        ),
    )


@app.command()
def confirm(context: Context, number: Number, amount: Amount, cashier: Cashier = 0, as_json: Json = False) -> None:
    """Take what was held, or less of it; the rest is free again.

    Example: authsrv-terminal --kit kit.json confirm 323000000017 12.50
    """
    _run(context, as_json, lambda module, kit: module.confirm(_number(number), _minor(amount, kit), cashier=cashier))


@app.command()
def release(context: Context, number: Number, cashier: Cashier = 0, as_json: Json = False) -> None:
    """Give a hold up.

    Example: authsrv-terminal --kit kit.json release 323000000017
    """
    _run(context, as_json, lambda module, _: module.release(_number(number), cashier=cashier))


@app.command()
def visit(
    context: Context,
    card: Card,
    persons: Annotated[int, typer.Option("--persons", min=1, help="how many enter on this pass")] = 1,
    code: Code = None,
    cashier: Cashier = 0,
    as_json: Json = False,
) -> None:
    """Let somebody in on a pass.

    Example: authsrv-terminal --kit kit.json visit --card 9
    """
    _run(
        context,
        as_json,
        lambda module, kit: module.visit(
            kit.card(card).number, persons, access_code=_code(kit.card(card), code), cashier=cashier
        ),
    )


@app.command()
def payment(context: Context, amount: Amount, card: Card, cashier: Cashier = 0, as_json: Json = False) -> None:
    """Take money for what a local credit card owes.

    Example: authsrv-terminal --kit kit.json payment 50.00 --card 11
    """
    _run(
        context,
        as_json,
        lambda module, kit: module.payment(kit.card(card).number, _minor(amount, kit), cashier=cashier),
    )


@app.command(name="cash-out")
def cash_out(context: Context, card: Card, code: Code = None, cashier: Cashier = 0, as_json: Json = False) -> None:
    """Pay the whole balance out and close the card.

    Example: authsrv-terminal --kit kit.json cash-out --card 1
    """
    _run(
        context,
        as_json,
        lambda module, kit: module.cash_out(
            kit.card(card).number, access_code=_code(kit.card(card), code), cashier=cashier
        ),
    )


@app.command()
def block(context: Context, card: Card, reason: Why, cashier: Cashier = 0, as_json: Json = False) -> None:
    """Have a card refused from now on.

    Example: authsrv-terminal --kit kit.json block --card 1 --reason lost
    """
    _run(
        context,
        as_json,
        lambda module, kit: module.block(kit.card(card).number, _reason(reason), cashier=cashier),
    )


@app.command()
def unblock(context: Context, card: Card, reason: Why, cashier: Cashier = 0, as_json: Json = False) -> None:
    """Have a blocked card served again; a lost or stolen one at a desk only.

    Example: authsrv-terminal --kit kit.json --till 5 unblock --card 1 --reason found
    """
    _run(
        context,
        as_json,
        lambda module, kit: module.unblock(kit.card(card).number, _reason(reason), cashier=cashier),
    )


@app.command()
def replace(
    context: Context,
    card: Card,
    new_card: Annotated[str, typer.Option("--new-card", help="the number of a new card, or its place in the kit")],
    code: Code = None,
    cashier: Cashier = 0,
    as_json: Json = False,
) -> None:
    """Let the number of a new card take the place of a card's, with all that is on it.

    Example: authsrv-terminal --kit kit.json replace --card 1 --new-card 8
    """
    _run(
        context,
        as_json,
        lambda module, kit: module.replace(
            kit.card(card).number,
            kit.card(new_card).number,
            access_code=_code(kit.card(card), code),
            cashier=cashier,
        ),
    )


@app.command(name="change-code")
def change_code(
    context: Context,
    card: Card,
    new_code: Annotated[str, typer.Option("--new-code", help="4 to 12 digits; `-` reads it from the input")],
    code: Code = None,
    cashier: Cashier = 0,
    as_json: Json = False,
) -> None:
    """Give a card the access code that its holder has chosen; a desk needs no old one.

    Example: authsrv-terminal --kit kit.json change-code --card 1 --new-code -
    """
    _run(
        context,
        as_json,
        lambda module, kit: module.change_access_code(
            kit.card(card).number,
            _read(new_code),
            access_code=_code(kit.card(card), code),
            cashier=cashier,
        ),
    )


@app.command(name="reset-tries")
def reset_tries(context: Context, card: Card, cashier: Cashier = 0, as_json: Json = False) -> None:
    """Forget the wrong codes of a card, for a holder who has proven to be one; at a desk only.

    Example: authsrv-terminal --kit kit.json --till 5 reset-tries --card 1
    """
    _run(context, as_json, lambda module, kit: module.reset_tries(kit.card(card).number, cashier=cashier))


@app.command()
def freeze(
    context: Context,
    card: Card,
    first: Annotated[dt.datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="the first day")],
    last: Annotated[
        dt.datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="the last; left out: it goes on again")
    ] = None,
    cashier: Cashier = 0,
    as_json: Json = False,
) -> None:
    """Let a pass stand still for some days, or go on again; at a desk only.

    Example: authsrv-terminal --kit kit.json --till 5 freeze --card 9 --from 2026-07-01 --to 2026-07-14
    """
    _run(
        context,
        as_json,
        lambda module, kit: module.freeze(
            kit.card(card).number, first.date(), last.date() if last else None, cashier=cashier
        ),
    )


@app.command()
def limit(context: Context, amount: Amount, card: Card, cashier: Cashier = 0, as_json: Json = False) -> None:
    """Set how much a local credit card may owe; at a desk only.

    Example: authsrv-terminal --kit kit.json --till 5 limit 500.00 --card 11
    """
    _run(
        context, as_json, lambda module, kit: module.limit(kit.card(card).number, _minor(amount, kit), cashier=cashier)
    )


@app.command()
def refund(context: Context, number: Number, amount: Amount, cashier: Cashier = 0, as_json: Json = False) -> None:
    """Give back an amount of an earlier sale.

    Example: authsrv-terminal --kit kit.json refund 323000000017 2.00
    """
    _run(context, as_json, lambda module, kit: module.refund(_number(number), _minor(amount, kit), cashier=cashier))


@app.command()
def reverse(
    context: Context,
    number: Number,
    amount: Annotated[str, typer.Argument(help="what the original asked for; left out where it asked for none")] = "0",
    visits: Annotated[int, typer.Option("--visits", min=0, help="the same of a pass: how many persons entered")] = 0,
    cashier: Cashier = 0,
    as_json: Json = False,
) -> None:
    """Undo an earlier request whole; the amount is the one that it asked for.

    Example: authsrv-terminal --kit kit.json reverse 323000000017 12.50
    """
    _run(
        context,
        as_json,
        lambda module, kit: module.reverse(_number(number), visits or _minor(amount, kit), cashier=cashier),
    )


@app.command()
def reprint(context: Context, number: Number, cashier: Cashier = 0, as_json: Json = False) -> None:
    """Print the receipt of an earlier request again, marked as a copy.

    Example: authsrv-terminal --kit kit.json reprint 323000000017
    """
    _run(context, as_json, lambda module, _: module.reprint(_number(number), cashier=cashier))


@app.command()
def play(
    context: Context,
    kit: Annotated[Path | None, typer.Option(help="the kit file")] = None,
    day: Annotated[Path | None, typer.Option(help="the script; a day with cards of all kinds if left out")] = None,
    end_with_input: Annotated[
        bool, typer.Option("--end-with-input", help="end when the standard input ends, with whoever holds it")
    ] = False,
) -> None:
    """Play a day at the tills and print each receipt as it comes; 0 if all went as its script says.

    Example: authsrv-terminal play --kit kit.json --day terminal/days/shop.toml
    """
    of: Setup = context.obj

    async def run() -> bool:
        try:
            text = day.read_text("utf-8") if day else files("terminal").joinpath("days", DAY).read_text("utf-8")
        except OSError as error:
            raise DayError(f"the script {day} cannot be read: {error.strerror}") from None
        script, cards = read_day(text), of.read_kit(kit)
        check(script, cards)
        played = False
        async with trio.open_nursery() as nursery:
            if end_with_input:
                nursery.start_soon(_end_with_input, nursery.cancel_scope)
            played = await play_day(script, cards, dialling(cards.host, cards.port, of.tls_context()), say_aloud)
            nursery.cancel_scope.cancel()
        return played

    raise typer.Exit(0 if _guarded(run) else DECLINED)


@app.command()
def till(
    context: Context,
    cashier: Cashier = 0,
    big: Annotated[str, typer.Option("--big", help="from this amount on the till asks once more")] = "100.00",
    partial: Annotated[bool, typer.Option(help="take what is there where that is less than the amount")] = True,
    card_prefix: Annotated[str, typer.Option(help="what the scanner sends before a card's number")] = "",
    card_suffix: Annotated[str, typer.Option(help="what it sends behind one, before the Enter")] = "",
    plain: Annotated[bool, typer.Option("--plain", help="no keys and colours: line by line")] = False,
) -> None:
    """Be a till on this screen: choose, read the card, see the receipt; nothing is lost in a power cut.

    What it must not forget it keeps beside the kit file, unless --pending and --sequence name other files.

    Example: authsrv-terminal --kit till.json till --cashier 7
    """
    of: Setup = context.obj

    async def run() -> None:
        kit = of.read_kit()
        identity = kit.till(of.till)
        beside = (of.kit or Path()).with_name(f"till-{identity.module}")
        ground = Ground(
            exponent=kit.exponent,
            big_minor=_minor(big, kit),
            cashier=cashier,
            partial=partial,
            prefix=card_prefix,
            suffix=card_suffix,
            cards=tuple(card.number for card in kit.cards),
        )
        manner = Manner(
            ground=ground,
            currency=kit.currency,
            words=catalogue(of.words(kit)),
            merchant=of.merchant,
            printer=of.printer,
        )
        async with connect(
            kit.host,
            kit.port,
            identity,
            tls=of.tls_context(),
            settings=Settings(deadline_s=of.wait_s),
            sequence=Sequence(of.sequence or beside.with_suffix(".sequence")),
            root_file=of.roots,
            pending=PendingFile(of.pending or beside.with_suffix(".pending")),
        ) as module:
            await Till(module, manner, console(plain=plain)).run()

    _guarded(run)


@app.command()
def join(
    one: Annotated[Path, typer.Argument(help="a kit with one component of a key")],
    other: Annotated[Path, typer.Argument(help="the kit with the other component")],
    out: Annotated[Path, typer.Option("--out", help="the new kit file, 0600")],
) -> None:
    """Make a module's kit of two kits with a component each.

    Example: authsrv-terminal join half-1.json half-2.json --out kit.json
    """

    async def run() -> None:
        try:
            text = joined(one.read_text("utf-8"), other.read_text("utf-8"))
            with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise KitError(f"{error.filename}: {error.strerror}") from None

    _guarded(run)


def main() -> None:
    """Run the program."""
    app()


def _run(context: Context, as_json: bool, ask: Callable[[Module, Kit], Awaitable[Answer]]) -> None:
    of: Setup = context.obj

    async def run() -> Answer:
        kit = of.read_kit()
        settings = Settings(deadline_s=of.wait_s)
        language = of.words(kit)
        async with connect(
            kit.host,
            kit.port,
            kit.till(of.till),
            tls=of.tls_context(),
            settings=settings,
            sequence=Sequence(of.sequence),
            root_file=of.roots,
            pending=PendingFile(of.pending) if of.pending else None,
        ) as module:
            for left in await module.resume():
                await _deliver(left, of, language, module)
            if module.open_names:
                raise NoAnswerError(module.open_names[0], sent=True)
            try:
                answer = await ask(module, kit)
            except NoAnswerError as error:
                if error.reversal is not None:
                    await _deliver(error.reversal, of, language, module)
                raise
            shape = json.dumps(_shape(answer, kit.exponent)) if as_json else None
            await _deliver(answer, of, language, module, shape)
            return answer

    raise typer.Exit(0 if _guarded(run).approved else DECLINED)


async def _deliver(answer: Answer, of: Setup, language: str, module: Module, shape: str | None = None) -> None:
    """Show the receipt, or the shape that stands for it; print it, and let the module forget it."""
    made = slips(answer, language if of.merchant else None)
    if shape is not None:
        say_aloud(shape)
    elif made:
        say_aloud("\n\n".join("\n".join(slip) for slip in made))
    else:
        say_aloud(f"{answer.result:02} from the switch; last sequence {answer.last_sequence}")
    try:
        if of.printer is not None:
            for slip in made:
                await of.printer.put(slip, answer.code_page)
    except OSError as error:
        typer.echo(f"authsrv-terminal: {error}; --pending FILE keeps the receipt for the next time", err=True)
        return
    await module.printed(answer)


def _guarded(run: Callable[[], Awaitable[T]]) -> T:
    """Run it; a mistake or a missing answer ends the program with one line on standard error."""

    async def alone() -> T:
        """What a nursery wraps comes out as itself."""
        try:
            return await run()
        except BaseExceptionGroup as group:
            leaf: BaseException = group
            while isinstance(leaf, BaseExceptionGroup) and len(leaf.exceptions) == 1:
                leaf = leaf.exceptions[0]
            raise leaf from None

    try:
        return trio.run(alone)
    except (KitError, DayError, RootsError, SequenceError, PendingError, ValueError, OSError) as error:
        typer.echo(f"authsrv-terminal: {error}", err=True)
        raise typer.Exit(MISTAKE) from None
    except (NoAnswerError, UnsettledError) as error:
        typer.echo(f"authsrv-terminal: {error}", err=True)
        raise typer.Exit(NO_ANSWER) from None


def _shape(answer: Answer, exponent: int) -> dict[str, object]:
    """The answer for `--json`; amounts as text in whole units."""
    return {
        "result": f"{answer.result:02}",
        "reason": answer.reason,
        "approved": answer.approved,
        "date": answer.name.date.isoformat(),
        "sequence": answer.name.sequence,
        "authorization": answer.authorization,
        "amount_approved": written(answer.approved_minor, exponent),
        "still_due": written(answer.still_due_minor, exponent),
        "balance": written(answer.balance_minor, exponent),
        "available": written(answer.available_minor, exponent),
        "visits_left": answer.visits_left,
        "receipt": list(answer.lines),
    }


def _number(text: str) -> str:
    if not (len(text) == AUTHORIZATION_DIGITS and text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not an authorization number; write its {AUTHORIZATION_DIGITS} digits")
    return text


def _reason(name: str) -> GivenReason:
    if name not in _REASONS:
        raise ValueError(f"{name!r} is no reason; give one of: {', '.join(sorted(_REASONS))}")
    return _REASONS[name]


def _minor(amount: str, kit: Kit) -> int:
    return minor_units(amount, kit.exponent)


def _code(card: KitCard, given: str | None) -> str | None:
    return _read(given) if given else card.access_code


def _read(code: str) -> str:
    return sys.stdin.readline().strip() if code == "-" else code


async def _end_with_input(scope: trio.CancelScope) -> None:
    descriptor = sys.stdin.fileno()
    while True:
        await trio.lowlevel.wait_readable(descriptor)
        if not os.read(descriptor, READ_BYTES):
            scope.cancel()
            return
