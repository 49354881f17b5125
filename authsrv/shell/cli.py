"""The command line: each command reads its own options, calls one function, and shows what that reports.

All commands share the options that say where the database and its key are, and `--json`. They are not repeated at each
command but put into its signature by `command`, and every option that is a setting comes from `Settings`, with its name
and its words. Their values go there as they were typed, so that all of them are checked in one place.

Exit codes: 0 done, 1 refused or failed, with one line on stderr that says why, 2 called or set in a wrong way.
"""

import datetime as dt
import inspect
import json
import re
import resource
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import trio
import typer

from authsrv.card_number import NumberSpaceError
from authsrv.keys import CARD_BYTES, KeyFault, Purpose
from authsrv.shell import backups, commands, records
from authsrv.shell.card_import import import_cards
from authsrv.shell.desk import Act, Operator, carry_out
from authsrv.shell.enrolment import EnrolmentError, ModuleTraits
from authsrv.shell.handout import Ways
from authsrv.shell.key_commands import (
    KEY_ENCRYPTION,
    end_key,
    rotate_group_key,
    rotate_key,
    rotate_key_encryption,
    rotate_module_keys,
    show_keys,
)
from authsrv.shell.key_file import KeyFileError
from authsrv.shell.logs import configure_logs
from authsrv.shell.owner import operator_name
from authsrv.shell.report import Report
from authsrv.shell.secret_file import SecretFileError
from authsrv.shell.settings import DEFAULTS, NAMES, Settings, SettingsError, load_settings
from ledger.cards import CardStatus
from ledger.faults import InDoubt, LedgerFault
from ledger.names import read_authorization_number
from ledger.shell.database import DatabaseError
from ledger.shell.embedded import EmbeddedError
from loyalty.source import ProgrammeError
from protocol.messages import Freeze
from protocol.numbers import CodePage, Command, GivenReason, Suite

Named = TypeVar("Named", bound=Enum)

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
LISTENING: Final = ("listen",)
SERVING: Final = tuple(name for name in NAMES if name not in COMMON)

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
KeysFile = Annotated[Path | None, typer.Option("--kit", help="a new file, 0600, for its keys")]
ShowKey = Annotated[bool, typer.Option("--show-key", help="show its keys on the screen")]
Qr = Annotated[bool, typer.Option("--qr", help="show its keys as a QR code")]
KitFile = Annotated[Path, typer.Option("--kit", help="a new file, 0600, for what is shown nowhere else")]


def _group(text: str) -> typer.Typer:
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


app = typer.Typer(
    name="authsrv",
    help="An authorization switch for closed-loop cards.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
database_commands = _group("The database: make, migrate, look.")
key_commands = _group("The keys.")
programme_commands = _group("The programmes that cards follow.")
branch_commands = _group("The branches.")
module_commands = _group("The modules.")
card_commands = _group("The cards.")
desk_commands = _group("The desks that operators act at.")
auth_commands = _group("The authorizations: find, show, reverse, refund, release.")
audit_commands = _group("The trail of what operators did.")
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


# The database


@command(database_commands, "init")
def db_init(
    settings: Settings,
    issuer: Annotated[str | None, typer.Option("--issuer", help="the issuer's name, printed on receipts")] = None,
    zone: Annotated[str, typer.Option("--zone", help="its time zone (IANA)")] = "UTC",
    currency: Annotated[str, typer.Option("--currency", help="its currency (ISO 4217)")] = "EUR",
    number: Annotated[int, typer.Option("--number", help="its number, part of every card token")] = 1,
    group: Annotated[int, typer.Option("--group", help="the group of its modules, no other issuer's")] = 1,
    dsns: Annotated[Path | None, typer.Option("--dsns", help="with --database: a new file, 0600, for the DSNs")] = None,
) -> Report:
    """Make the database, its two roles and the schema, migrate it, and say whose it is.

    With --data-dir the embedded server is made there too. With --database DSN of a role that may make databases and
    roles, the DSNs to work with afterwards go into the file of --dsns.

    Example:
      authsrv db init --data-dir /var/lib/authsrv --issuer "Corner Shop" --zone Europe/Riga --currency EUR

    JSON:
      {"schema": "issuer", "revision": "0001", "issuer": "Corner Shop"}
    """
    return trio.run(
        lambda: commands.init_database(
            settings, name=issuer, zone=zone, currency=currency, number=number, group=group, dsns=dsns
        )
    )


@command(database_commands, "migrate")
def db_migrate(settings: Settings) -> Report:
    """Bring the schema up to the revision that this program works with.

    Example:
      authsrv db migrate --data-dir /var/lib/authsrv

    JSON:
      {"schema": "issuer", "before": null, "revision": "0001"}
    """
    return trio.run(commands.migrate_database, settings)


@command(database_commands, "status")
def db_status(settings: Settings) -> Report:
    """Show the schema's revision, the server, and what is set up.

    Example:
      authsrv db status --data-dir /var/lib/authsrv

    JSON:
      {"schema": "issuer", "revision": "0001", "newest": "0001", "server": "18.0", "issuer": "Corner Shop",
       "modules": 2, "keys": 7, "programmes": 1}
    """
    return trio.run(commands.database_status, settings)


@command(database_commands, "backup")
def db_backup(
    settings: Settings, copy: Annotated[Path, typer.Argument(help="a new data folder, for the copy")]
) -> Report:
    """Copy the embedded database into a data folder of its own, while it serves.

    The key-encryption key is not in the copy: keep that elsewhere. With --database, use the server's own tools; see
    deploy/BACKUP.md.

    Example:
      authsrv db backup /backup/monday --data-dir /var/lib/authsrv

    JSON:
      {"copy": "/backup/monday"}
    """
    return trio.run(backups.back_up, settings, copy)


@command(database_commands, "archive")
def db_archive(
    settings: Settings, archive: Annotated[Path, typer.Argument(help="a folder, on another disk")]
) -> Report:
    """Keep the embedded server's log of every change in a folder, from its next start on.

    With a copy and the log since, the database can be brought to any moment, the last one too.

    Example:
      authsrv db archive /archive/authsrv --data-dir /var/lib/authsrv

    JSON:
      {"archive": "/archive/authsrv"}
    """
    return trio.run(backups.archive, settings, archive)


@command(database_commands, "recover")
def db_recover(
    settings: Settings,
    archive: Annotated[Path, typer.Option("--archive", help="the folder of `authsrv db archive`")],
    until: Annotated[
        dt.datetime | None,
        typer.Option(
            "--until", formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"], help="a moment, UTC; else all there is"
        ),
    ] = None,
) -> Report:
    """Have the next start of a copy replay the log that was kept since; --data-dir is the copy.

    Example:
      authsrv db recover --archive /archive/authsrv --until 2026-01-31T09:30:00 --data-dir /backup/monday

    JSON:
      {"copy": "/backup/monday", "until": "2026-01-31T09:30:00+00:00"}
    """
    return backups.recover(settings, archive, until)


@command(database_commands, "recovered")
def db_recovered(
    settings: Settings,
    skip: Annotated[
        int, typer.Option("--skip", min=1, max=50_000_000, help="how many numbers to leave out")
    ] = 1_000_000,
) -> Report:
    """Say that the database was brought back without its last moments, before it serves again.

    Authorization numbers that were given out in those moments stand on receipts; none of them is given out again.

    Example:
      authsrv db recovered --data-dir /var/lib/authsrv

    JSON:
      {"skipped": 1000000, "months": 3}
    """
    return trio.run(backups.recovered, settings, skip)


# Keys, programmes, branches


@command(key_commands, "init")
def keys_init(settings: Settings) -> Report:
    """Make the issuer's keys, and the key that wraps them.

    The wrapping key is the systemd credential authsrv.kek, else the file of --key-file, else $AUTHSRV_KEK (64
    hexadecimal digits), else the file kek in the data folder. A file that is not there is made, 0400. Put a copy of it
    into a safe: without it, what the database holds cannot be opened by anybody.

    Example:
      authsrv keys init --data-dir /var/lib/authsrv

    JSON:
      {"key_file": "/var/lib/authsrv/kek"}
    """
    return trio.run(commands.init_keys, settings, secrets.token_bytes)


@command(key_commands, "show")
def keys_show(settings: Settings) -> Report:
    """Show which keys there are: purpose, owner, version, check value, when it was made, and its state; never a key.

    Coming: made, and not in use yet. Settling: in use, while what stands under the version before is brought forward.
    Ended: not taken any more.

    Example:
      authsrv keys show --data-dir /var/lib/authsrv

    JSON ("owner" is the number of a group or module, or 0):
      {"keys": [{"purpose": "token", "owner": 0, "version": 1, "state": "used", "check_value": "1f3a5c7e90",
                 "created_at": "2026-01-31T09:30:00+00:00"}]}
    """
    return trio.run(show_keys, settings)


@command(key_commands, "rotate")
def keys_rotate(
    settings: Settings,
    purpose: Annotated[str, typer.Argument(help="token, verifier, digest, record, group, module or key-encryption")],
    modules: Annotated[
        list[int] | None, typer.Option("--module", help="with module: its number; as often as there are modules")
    ] = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="with key-encryption: only make the next key, to bring it to other hosts")
    ] = False,
) -> Report:
    """Make a new version of a key while the switch works; deploy/KEYS.md says what each is for.

    What was made under the older versions is brought forward, or stays readable. Broken off, the same command takes it
    up where it was. With key-encryption the key that wraps the others is changed: the next one lies beside it as
    FILE.next until all are wrapped anew, and every host that has a copy of the file needs that one too.

    With group the older keys are accepted until they are ended; new kits have the new one. With module each one takes
    its next key from a session, if it has suite 2 and can keep one; its old key ends when it has signed on by the next.

    Example:
      authsrv keys rotate token --data-dir /var/lib/authsrv

    JSON (key-encryption: "check_value" and "old_file", group: "owner" too, module: "modules" in place of "version"):
      {"purpose": "token", "version": 2}
    """

    def told(line: str) -> None:
        typer.echo(line, err=True)

    if purpose == KEY_ENCRYPTION:
        return trio.run(lambda: rotate_key_encryption(settings, secrets.token_bytes, prepare=prepare))
    if prepare:
        raise SettingsError("--prepare goes with key-encryption")
    if purpose == Purpose.MODULE:
        return trio.run(rotate_module_keys, settings, modules or [])
    if modules:
        raise SettingsError("--module goes with module")
    if purpose == Purpose.GROUP:
        return trio.run(rotate_group_key, settings, secrets.token_bytes)
    return trio.run(rotate_key, settings, purpose, secrets.token_bytes, told)


@command(key_commands, "end")
def keys_end(
    settings: Settings,
    purpose: Annotated[str, typer.Argument(help="group or module")],
    version: Annotated[int, typer.Argument(help="the version that is accepted no more")],
    module: Annotated[int | None, typer.Option("--module", help="with module: its number")] = None,
) -> Report:
    """Accept a version of the group's key, or of a module's, no more: for good, on every process within 5 s.

    The newest version stays. A module that has no other one can sign on no more until it gets a new kit.

    Example:
      authsrv keys end group 1 --data-dir /var/lib/authsrv

    JSON:
      {"purpose": "group", "owner": 1, "version": 1}
    """
    return trio.run(end_key, settings, purpose, version, module)


@command(programme_commands, "load")
def programme_load(
    settings: Settings, file: Annotated[Path, typer.Argument(help="a programme in TOML; - is standard input")]
) -> Report:
    """Load a programme, or a further version of one, which has to begin on a later day.

    Example:
      authsrv programme load gift.toml --data-dir /var/lib/authsrv

    JSON:
      {"number": 1, "name": "gift", "version": 1, "effective_from": "2025-01-01"}
    """
    return trio.run(commands.load_programme, settings, file)


@command(programme_commands, "list")
def programme_list(settings: Settings) -> Report:
    """List the programmes with their versions, and what the rules mean that are in force today.

    Example:
      authsrv programme list --data-dir /var/lib/authsrv

    JSON:
      {"programmes": [{"number": 1, "name": "gift", "kind": "gift",
                       "versions": [{"version": 1, "effective_from": "2025-01-01"}], "in_force": 1,
                       "meaning": ["valid at every branch"]}]}
    """
    return trio.run(commands.list_programmes, settings)


@command(programme_commands, "check", ())
def programme_check(
    settings: Settings,  # noqa: ARG001 - each command has them
    files: Annotated[list[Path], typer.Argument(help="programmes in TOML; - is standard input")],
) -> Report:
    """Say what programmes mean, or every mistake in them by its line; no database is needed.

    Mistakes go to stderr in the form FILE:LINE: TEXT, and the exit code is then 1. What only the database knows, such
    as the versions that are loaded already, is checked by `authsrv programme load`.

    Example:
      authsrv programme check gift.toml visits.toml

    JSON ("programme" is null where there are mistakes):
      {"files": [{"file": "gift.toml",
                  "programme": {"name": "gift", "version": 1, "kind": "gift", "effective_from": "2025-01-01",
                                "meaning": ["valid at every branch"]},
                  "mistakes": []},
                 {"file": "visits.toml", "programme": null,
                  "mistakes": [{"line": 9, "text": "visits cannot be 0; write 1 or more"}]}]}
    """
    return commands.check_programmes(files)


@command(branch_commands, "add")
def branch_add(
    settings: Settings, number: Number, name: Annotated[str, typer.Option("--name", help="printed on receipts")]
) -> Report:
    """Add a place of sale.

    Example:
      authsrv branch add --number 1 --name Centre --data-dir /var/lib/authsrv

    JSON:
      {"number": 1, "name": "Centre"}
    """
    return trio.run(commands.add_branch, settings, number, name)


# Modules


@command(module_commands, "enroll", (*COMMON, *LISTENING))
def module_enroll(
    settings: Settings,
    number: Number,
    branch: Annotated[int, typer.Option("--branch", help="the number of its branch")],
    name: Annotated[str, typer.Option("--name", help="what people call it")],
    kit: KeysFile = None,
    show_key: ShowKey = False,
    qr: Qr = False,
    components: Annotated[
        int,
        typer.Option("--components", help="2: half of its key; `module component` has the other for another person"),
    ] = 1,
    suite: Annotated[int, typer.Option("--suite", min=1, max=2, help="1 shared key, 2 shared key and X25519")] = 2,
    desk: Annotated[bool, typer.Option("--desk", help="may reverse any authorization, by its number")] = False,
    partial: Annotated[bool, typer.Option(help="may be given less than it asked for")] = True,
    columns: Annotated[int, typer.Option("--columns", help="width of its receipts: 32, 42, 44 or 48")] = 42,
    code_page: Annotated[str, typer.Option("--code-page", help="of its printer: ascii, cp775, cp1257 ...")] = "ascii",
    language: Annotated[str, typer.Option("--language", help="of its receipts")] = "en",
    deadline_s: Annotated[int, typer.Option("--deadline-s", help="how long a request may wait in the switch")] = 15,
    bad_cards: Annotated[int, typer.Option("--bad-cards-per-day", help="unknown cards and wrong codes a day")] = 200,
) -> Report:
    """Enrol a terminal, till or desk and make its keys.

    Example:
      authsrv module enroll --number 1001 --branch 1 --name "Till 1" --kit till-1.json --data-dir /var/lib/authsrv

    JSON ("keys" is null without --show-key, "qr" without --qr):
      {"module": 1001, "branch": 1, "name": "Till 1", "kit": "till-1.json", "keys": null, "qr": null}
    """
    with_traits = ModuleTraits(
        suite=Suite(suite),
        desk=desk,
        partial=partial,
        columns=columns,
        code_page=_code_page(code_page),
        language=language,
        deadline_s=deadline_s,
        bad_cards_per_day=bad_cards,
    )
    return trio.run(
        lambda: commands.enroll_module(
            settings,
            (number, branch, name),
            traits=with_traits,
            ways=Ways(kit, show_key, qr),
            random=secrets.token_bytes,
            components=components,
        )
    )


def _code_page(name: str) -> CodePage:
    known = {page.name.lower(): page for page in CodePage}
    if name not in known:
        raise SettingsError(f"--code-page is {name}, which cannot be; give {', '.join(known)}")
    return known[name]


@command(module_commands, "rekey", (*COMMON, *LISTENING))
def module_rekey(
    settings: Settings,
    number: Annotated[int, typer.Argument(help="its number")],
    kit: KeysFile = None,
    show_key: ShowKey = False,
    qr: Qr = False,
) -> Report:
    """Make a module's next key, in a new kit. The one before ends when the module has signed on by it.

    Where somebody else may have the key before: revoke the module, make the new one, end the old with `authsrv keys end
    module VERSION --module NUMBER`, and restore it when the kit is there.

    Example:
      authsrv module rekey 1001 --kit till-1.json --data-dir /var/lib/authsrv

    JSON ("keys" is null without --show-key, "qr" without --qr):
      {"module": 1001, "generation": 2, "kit": "till-1.json", "keys": null, "qr": null}
    """
    ways = Ways(kit, show_key, qr)
    return trio.run(lambda: commands.rekey_module(settings, number, ways=ways, random=secrets.token_bytes))


@command(module_commands, "component", (*COMMON, *LISTENING))
def module_component(
    settings: Settings,
    number: Annotated[int, typer.Argument(help="the number of the module")],
    kit: KeysFile = None,
    show_key: ShowKey = False,
    qr: Qr = False,
) -> Report:
    """Hand out the second component of a key that `module enroll --components 2` has made: once, to another person.

    The two make a kit at the module, with `authsrv-terminal join`.

    Example:
      authsrv module component 1001 --kit half-2.json --data-dir /var/lib/authsrv

    JSON ("keys" is null without --show-key, "qr" without --qr):
      {"module": 1001, "kit": "half-2.json", "keys": null, "qr": null}
    """
    return trio.run(lambda: commands.show_component(settings, number, ways=Ways(kit, show_key, qr)))


@command(module_commands, "revoke")
def module_revoke(
    settings: Settings, numbers: Annotated[list[int], typer.Argument(help="the numbers of modules")]
) -> Report:
    """Let modules sign on no more: each process ends their sessions within 5 s. What they asked stays as it is.

    Example:
      authsrv module revoke 1001 --data-dir /var/lib/authsrv

    JSON:
      {"modules": [1001], "revoked": true}
    """
    return trio.run(lambda: commands.revoke_modules(settings, numbers, revoked=True))


@command(module_commands, "restore")
def module_restore(
    settings: Settings, numbers: Annotated[list[int], typer.Argument(help="the numbers of modules")]
) -> Report:
    """Let revoked modules sign on again, with the keys that they had; not for one whose key somebody else has.

    Example:
      authsrv module restore 1001 --data-dir /var/lib/authsrv

    JSON:
      {"modules": [1001], "revoked": false}
    """
    return trio.run(lambda: commands.revoke_modules(settings, numbers, revoked=False))


@command(module_commands, "list")
def module_list(settings: Settings) -> Report:
    """List the modules.

    Example:
      authsrv module list --data-dir /var/lib/authsrv

    JSON:
      {"modules": [{"number": 1001, "name": "Till 1", "branch": 1, "branch_name": "Centre", "suite": 2,
                    "desk": false, "revoked": false, "generation": 1}]}
    """
    return trio.run(commands.list_modules, settings)


# Cards


@command(card_commands, "issue", (*COMMON, *LISTENING))
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
       "authorizations": [{"number": "...", "decided_at": "2026-01-31T09:30:00+00:00", "module": 1001,
                           "command": "activate", "result": 0, "approved": 1250}]}
    """
    digits = sys.stdin.readline().strip() if number == "-" else number
    return trio.run(commands.show_card, settings, digits)


@command(card_commands, "import")
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
                           "decided_at": "2026-01-31T09:30:00+00:00", "booked_on": "2026-01-31", "command": "sale",
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
       "decided_at": "2026-01-31T09:30:00+00:00", "booked_on": "2026-01-31", "command": "sale", "result": 0,
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


@command(desk_commands, "add")
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
      {"entries": [{"id": 3, "at": "2026-01-31T09:30:00+00:00", "who": "anna", "why": "rung up twice",
                    "act": "auth reverse", "about": {"original": "311000000019"}, "authorization": "311000000025",
                    "result": 0, "reason": 0}]}
    """
    day = None if since is None else since.date()
    return trio.run(lambda: records.show_trail(settings, since=day, who=by, most=most))


@command(app, "seed", (*COMMON, *LISTENING))
def seed(
    settings: Settings,
    cards: Annotated[int, typer.Option("--cards", min=0, max=10_000_000, help="how many cards")],
    modules: Annotated[int, typer.Option("--modules", min=0, max=100_000, help="how many modules")],
    kit: KitFile,
) -> Report:
    """Fill a new issuer for tests: two branches, the gift programme, modules from 1001 on, and cards.

    Every second card has an access code. The numbers are serials and easy to guess: not for cards that are sold. An
    issuer that has anything already is refused and left alone.

    Example:
      authsrv seed --cards 1000000 --modules 200 --kit kit.json --data-dir /var/lib/authsrv

    JSON:
      {"cards": 1000000, "modules": 200, "kit": "kit.json"}
    """

    def progress(done: int) -> None:
        typer.echo(f"{done} of {cards} cards", err=True)

    return trio.run(
        lambda: commands.seed(
            settings, cards=cards, modules=modules, kit=kit, random=secrets.token_bytes, progress=progress
        )
    )


# The switch


@command(app, "serve", (*COMMON, *SERVING))
def serve(settings: Settings) -> None:
    """Serve modules until SIGTERM or SIGINT; then take no more, finish, answer and end.

    Example:
      authsrv serve --data-dir /var/lib/authsrv --listen 0.0.0.0:7411 --metrics 127.0.0.1:9411

    JSON:
      nothing; --log-format json gives events as JSON lines on stderr
    """
    from authsrv.shell.serve import serve as serve_switch  # noqa: PLC0415 - only this command needs all of it

    serve_switch(settings)


@command(app, "demo", (*COMMON, *LISTENING))
def demo(
    settings: Settings,
    once: Annotated[bool, typer.Option("--once", help="end after the day instead of staying up")] = False,
) -> None:
    """Play a day at the tills: database, switch, modules, receipts; then stay up to be tried by hand.

    Example:
      authsrv demo --once

    JSON:
      nothing; what is played is printed as it happens
    """
    from authsrv.shell.demo import demo as play  # noqa: PLC0415 - only this command needs it

    raise typer.Exit(trio.run(lambda: play(settings, once=once)))


@command(app, "version", ())
def version(settings: Settings) -> Report:  # noqa: ARG001 - each command has them
    """Show the versions of the program, of the wire and of the schema.

    Example:
      authsrv version

    JSON:
      {"version": "0.1.0", "wire": 1, "schema": "0001"}
    """
    return commands.tell_version()


# What finance asks for; at the end, since its commands are made by `command` above.
from authsrv.shell import cli_finance  # noqa: E402, F401


def main() -> None:
    """Run the command that the process was started with."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold keys
    app()
