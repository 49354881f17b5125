"""What an issuer is set up by: its keys, programmes, branches and modules."""

import secrets
from pathlib import Path
from typing import Annotated

import trio
import typer

from authsrv.keys import Purpose
from authsrv.shell import commands
from authsrv.shell.command import (
    ENTERED,
    LISTENING,
    branch_commands,
    command,
    key_commands,
    module_commands,
    programme_commands,
)
from authsrv.shell.enrolment import ModuleTraits
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
from authsrv.shell.report import Report
from authsrv.shell.settings import Settings, SettingsError
from protocol.numbers import CodePage, Suite

Number = Annotated[int, typer.Option("--number", help="its number")]
KeysFile = Annotated[Path | None, typer.Option("--kit", help="a new file, 0600, for its keys")]
ShowKey = Annotated[bool, typer.Option("--show-key", help="show its keys on the screen")]
Qr = Annotated[bool, typer.Option("--qr", help="show its keys as a QR code")]


# Keys, programmes, branches


@command(key_commands, "init", ENTERED)
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
                 "created_at": "2026-01-31T11:30:00+02:00"}]}
    """
    return trio.run(show_keys, settings)


@command(key_commands, "rotate", ENTERED)
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


@command(key_commands, "end", ENTERED)
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


@command(programme_commands, "load", ENTERED)
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


@command(branch_commands, "add", ENTERED)
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


@command(module_commands, "enroll", (*ENTERED, *LISTENING))
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


@command(module_commands, "rekey", (*ENTERED, *LISTENING))
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


@command(module_commands, "component", (*ENTERED, *LISTENING))
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


@command(module_commands, "revoke", ENTERED)
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


@command(module_commands, "restore", ENTERED)
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
