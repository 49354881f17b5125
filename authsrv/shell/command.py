"""The frame of the command line: each command reads its own options, calls one function, and shows what that reports.

All commands share the options that say where the database and its key are, and `--json`. They are not repeated at each
command but put into its signature by `command`, and every option that is a setting comes from `Settings`, with its name
and its words. Their values go there as they were typed, so that all of them are checked in one place.

Exit codes: 0 done, 1 refused or failed, with one line on stderr that says why, 2 called or set in a wrong way.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from authsrv.card_number import NumberSpaceError
from authsrv.keys import KeyFault
from authsrv.shell.enrolment import EnrolmentError
from authsrv.shell.key_file import KeyFileError
from authsrv.shell.logs import configure_logs
from authsrv.shell.owner import check_words
from authsrv.shell.report import Report
from authsrv.shell.secret_file import SecretFileError
from authsrv.shell.settings import DEFAULTS, NAMES, SettingsError, load_settings
from ledger.faults import InDoubt, LedgerFault
from ledger.shell.database import DatabaseError
from ledger.shell.embedded import EmbeddedError
from loyalty.source import ProgrammeError

REFUSED: Final = 1
MISUSED: Final = 2
EXPECTED: Final = (
    DatabaseError,
    EmbeddedError,
    EnrolmentError,
    KeyFault,
    KeyFileError,
    LedgerFault,
    NumberSpaceError,
    OSError,
    ProgrammeError,
    SecretFileError,
)
COMMON: Final = ("data_dir", "database", "schema", "key_file", "operator", "log_format", "log_level")
ENTERED: Final = (*COMMON, "why")  # of what changes the set-up, and stands in the trail
LISTENING: Final = ("listen",)
SERVING: Final = tuple(name for name in NAMES if name not in ENTERED)


def group(text: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


app = typer.Typer(
    name="authsrv",
    help="An authorization switch for closed-loop cards.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
database_commands = group("The database: make, migrate, look.")
key_commands = group("The keys.")
programme_commands = group("The programmes that cards follow.")
branch_commands = group("The branches.")
module_commands = group("The modules.")
card_commands = group("The cards.")
desk_commands = group("The desks that operators act at.")
auth_commands = group("The authorizations: find, show, reverse, refund, release.")
audit_commands = group("The trail of what operators did.")
app.add_typer(database_commands, name="db")
app.add_typer(key_commands, name="keys")
app.add_typer(programme_commands, name="programme")
app.add_typer(branch_commands, name="branch")
app.add_typer(module_commands, name="module")
app.add_typer(card_commands, name="card")
app.add_typer(desk_commands, name="desk")
app.add_typer(auth_commands, name="auth")
app.add_typer(audit_commands, name="audit")


def command(
    group: typer.Typer, name: str, settings: tuple[str, ...] = COMMON
) -> Callable[[Callable[..., Report | None]], Callable[..., Report | None]]:
    """Make a command of a function that takes `Settings` and its own options and returns what to show."""

    def decorate(work: Callable[..., Report | None]) -> Callable[..., Report | None]:
        def run(*, config: Path | None, as_json: bool, **given: Any) -> None:
            with _refusing():
                read = load_settings({name: given.pop(name) for name in settings}, config)
                configure_logs(read.log_format, read.log_level)
                check_words("--why", read.why)
                report = work(read, **given)
            if report is not None:
                _show(report, as_json=as_json)

        own = [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for each in list(inspect.signature(work, eval_str=True).parameters.values())[1:]
        ]
        parameters = [*own, *map(_setting, settings), _CONFIG, _AS_JSON]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # Typer reads it there
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        # \b keeps the lines of a paragraph as they are.
        run.__doc__ = re.sub(r"\n\n(?=Example:|JSON)", "\n\n\b\n", inspect.cleandoc(work.__doc__ or ""))
        group.command(name)(run)
        return work

    return decorate


def _show(report: Report, *, as_json: bool) -> None:
    """Print what a command has to say; complaints, which are in its JSON too, end the program as a refusal does."""
    if as_json:
        typer.echo(json.dumps(report.values))
    elif report.lines:
        typer.echo("\n".join(report.lines))
    if report.complaints:
        if not as_json:
            typer.echo("\n".join(report.complaints), err=True)
        raise typer.Exit(REFUSED)


def _setting(name: str) -> inspect.Parameter:
    option = typer.Option(f"--{name.replace('_', '-')}", help=NAMES[name], show_default=DEFAULTS.get(name, False))
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )


_CONFIG: Final = inspect.Parameter(
    "config",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        Path | None, typer.Option("--config", envvar="AUTHSRV_CONFIG", help="a TOML file with further settings")
    ],
)
_AS_JSON: Final = inspect.Parameter(
    "as_json",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--json", help="print one JSON object instead of text")],
)


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what was to be expected into a line on stderr and an exit code; everything else is a fault and passes."""
    try:
        yield
    except SettingsError as error:
        _fail(MISUSED, [error])
    except EXPECTED as error:
        _fail(REFUSED, [error])
    except BaseExceptionGroup as group:  # from the tasks of a serving switch
        errors = list(_leaves(group))
        if all(isinstance(error, KeyboardInterrupt) for error in errors):
            raise KeyboardInterrupt from None
        if not all(isinstance(error, EXPECTED) for error in errors):
            raise
        _fail(REFUSED, errors)


def _fail(code: int, errors: list[BaseException]) -> NoReturn:
    for error in errors:
        text = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.filename else str(error)
        doubt = "whether it was done is not known, look before you do it again: " if isinstance(error, InDoubt) else ""
        typer.echo(f"authsrv: {doubt}{text}", err=True)
    raise typer.Exit(code) from None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
