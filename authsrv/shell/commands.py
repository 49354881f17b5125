"""What an operator's commands do: open the database, do one thing in one transaction, and report it.

They work as the issuer's owner, beside a running switch, which notices what they change at its next batch. What they
refuse, they refuse with an exception whose text is for the operator; none of them holds a number, a code or a key.
"""

import datetime as dt
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, nullcontext
from decimal import Decimal
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import asyncpg
import trio

from authsrv.card_number import card_number, serials
from authsrv.keys import CARD_BYTES, KEY_BYTES, Purpose
from authsrv.meaning import meaning
from authsrv.shell import enrolment, key_file
from authsrv.shell import seed as seeding
from authsrv.shell.enrolment import EnrolmentError, ModuleTraits, Random
from authsrv.shell.handout import Keys, Ways
from authsrv.shell.kit import KitCard, new_kit
from authsrv.shell.owner import Entry, as_owner
from authsrv.shell.report import Report
from authsrv.shell.secret_file import new_secret_file
from authsrv.shell.settings import Settings, SettingsError
from authsrv.shell.zone import issuer_zone
from ledger.cards import CardStatus
from ledger.shell import store
from ledger.shell.database import open_database
from ledger.shell.door import Connection, open_door
from ledger.shell.migrate import migrate, status
from ledger.shell.revisions import HEAD
from loyalty import source
from loyalty.programme import version_on
from loyalty.source import ProgrammeError, parse_programme
from protocol.components import COMPONENTS, split
from protocol.numbers import VERSION, Command, GivenReason
from protocol.signon import ROOT_KEY_BYTES

MOVEMENTS_SHOWN: Final = 10


# The database


async def init_database(
    settings: Settings, *, name: str | None, zone: str, currency: str, number: int, group: int, dsns: Path | None
) -> Report:
    """Make database, roles and schema, migrate, and say whose they are if `name` is given; what is there stays.

    `dsns` is where the DSNs of the two roles are written, which no data folder keeps for a server of one's own.
    """
    if settings.database is not None and dsns is None:
        raise SettingsError(
            "--dsns is not given; name a new file for the DSNs of the two roles, whose passwords are shown nowhere else"
        )
    async with AsyncExitStack() as stack:
        with nullcontext() if dsns is None else new_secret_file(dsns) as out:
            database = await stack.enter_async_context(open_database(**settings.place, create=True))
            if out is not None:
                out.write(json.dumps({"owner": database.owner_dsn, "switch": database.switch_dsn}, indent=1) + "\n")
                out.finish()
        await trio.to_thread.run_sync(migrate, database.owner_dsn, database.schema)
        if name is not None:
            async with open_door(database.owner_dsn, schema=database.schema, connections=1) as door:
                await door.run(
                    lambda connection: enrolment.create_issuer(
                        connection, number, name, zone=zone, code=currency, group=group
                    )
                )
    return Report(
        {"schema": database.schema, "revision": HEAD, "issuer": name},
        (
            f"schema {database.schema} is at revision {HEAD}",
            f"issuer {number}, {name}" if name else "no issuer was named; run this again with --issuer NAME",
        ),
    )


async def migrate_database(settings: Settings) -> Report:
    """Bring the schema up to the newest revision."""
    async with open_database(**settings.place) as database:
        before, _ = await trio.to_thread.run_sync(status, database.owner_dsn, database.schema)
        await trio.to_thread.run_sync(migrate, database.owner_dsn, database.schema)
    return Report(
        {"schema": database.schema, "before": before, "revision": HEAD},
        (f"schema {database.schema}: revision {before or 'none'} before, {HEAD} now",),
    )


async def database_status(settings: Settings) -> Report:
    """Tell revisions, server, issuer, and how much is set up; as the owner or as the switch."""
    async with open_database(**settings.place) as database:
        dsn = database.owner or database.switch_dsn
        revision, newest = await trio.to_thread.run_sync(status, dsn, database.schema)
        known: dict[str, str | int | None] = dict.fromkeys(("issuer", "modules", "keys", "programmes"))
        if revision == newest:
            async with open_door(dsn, schema=database.schema, connections=1) as door:
                row = await door.run(
                    lambda connection: connection.fetchrow(
                        """select current_setting('server_version') as server,
                                  (select name from switch_issuer) as issuer,
                                  (select count(*) from switch_modules) as modules,
                                  (select count(*) from switch_keys) as keys,
                                  (select count(distinct number) from switch_programmes) as programmes"""
                    )
                )
            known |= dict(row or {})
    schema = {"schema": database.schema, "revision": revision, "newest": newest}
    shown = schema | known if revision == newest else schema  # of another revision's nothing can be said
    return Report(
        schema | known, tuple(f"{key:<11}{'none' if value is None else value}" for key, value in shown.items())
    )


# Keys, programmes, branches


async def init_keys(settings: Settings, random: Random) -> Report:
    """Make the issuer's keys, and the key-encryption key if it is to lie in a file that is not there yet."""
    file = key_file.file_in_use(key_file=settings.key_file, data_dir=settings.data_dir)
    made = None if file is None or file.exists() else file

    async def work(connection: Connection) -> None:
        if made is not None:
            if await connection.fetchval("select exists (select from keys)"):
                raise EnrolmentError(f"the issuer's keys are made already, and {made} is not there; bring it back")
            key_file.make_key_file(made, random(KEY_BYTES))
        await enrolment.init_keys(connection, settings.key_encryption_key(), random)

    await as_owner(settings, work, Entry("keys init"))
    return Report(
        {"key_file": None if made is None else str(made)},
        (
            "the issuer's keys are made",
            *([] if made is None else [f"the key that wraps them is in {made}; put a copy of it into a safe"]),
        ),
    )


async def load_programme(settings: Settings, file: Path) -> Report:
    """Load a programme, or a further version of one, from TOML."""
    programme = parse_programme(_text(file), str(file))
    number = await as_owner(
        settings,
        lambda connection: enrolment.add_programme(connection, programme),
        Entry("programme load", {"programme": programme.name, "version": programme.version}),
    )
    return Report(
        {
            "number": number,
            "name": programme.name,
            "version": programme.version,
            "effective_from": programme.effective_from.isoformat(),
        },
        (f"programme {programme.name}, version {programme.version}, from {programme.effective_from} on",),
    )


async def list_programmes(settings: Settings) -> Report:
    """All programmes with their versions, and what the one means that is in force today."""

    async def work(connection: Connection) -> tuple[list[asyncpg.Record], dt.date]:
        rows = await connection.fetch(
            """select p.number, p.name, v.version, v.effective_from, v.document
                 from programmes p join programme_versions v on v.programme = p.number
                order by p.number, v.version"""
        )
        today: dt.date = await connection.fetchval("select (clock_timestamp() at time zone zone)::date from issuer")
        return rows, today

    rows, today = await as_owner(settings, work)
    listed: list[dict[str, Any]] = []
    for number, several in groupby(rows, lambda row: row["number"]):
        versions = [source.load_programme(store.document(row), f"{row['name']} in the database") for row in several]
        current = version_on(versions, today)
        listed.append(
            {
                "number": number,
                "name": versions[0].name,
                "kind": versions[0].kind.value,
                "versions": [
                    {"version": each.version, "effective_from": each.effective_from.isoformat()} for each in versions
                ],
                "in_force": None if current is None else current.version,
                "meaning": [] if current is None else list(meaning(current)),
            }
        )
    return Report(
        {"programmes": listed},
        tuple(
            line
            for each in listed
            for line in (
                f"{each['number']}  {each['name']}, {each['kind']}, version {each['in_force'] or 'none'} in force, of "
                + ", ".join(f"{known['version']} from {known['effective_from']}" for known in each["versions"]),
                *(f"     {told}" for told in each["meaning"]),
            )
        )
        or ("no programme is loaded",),
    )


def check_programmes(files: Sequence[Path]) -> Report:
    """Read programmes from TOML, and say what each means or what is wrong with it."""
    checked: list[dict[str, Any]] = []
    lines: list[str] = []
    complaints: list[str] = []
    for file in files:
        entry: dict[str, Any] = {"file": str(file), "programme": None, "mistakes": []}
        checked.append(entry)
        try:
            programme = parse_programme(_text(file), str(file))
        except EnrolmentError as error:
            entry["mistakes"] = [{"line": 0, "text": str(error)}]
            complaints.append(str(error))
        except ProgrammeError as error:
            entry["mistakes"] = [{"line": each.line, "text": each.text} for each in error.mistakes]
            complaints += [f"{file}:{each.line}: {each.text}" for each in error.mistakes]
        else:
            told = meaning(programme)
            entry["programme"] = {
                "name": programme.name,
                "version": programme.version,
                "kind": programme.kind.value,
                "effective_from": programme.effective_from.isoformat(),
                "meaning": list(told),
            }
            lines += [
                f"{file} is good: {programme.name}, version {programme.version}, from {programme.effective_from} on",
                *(f"  {line}" for line in told),
            ]
    return Report({"files": checked}, tuple(lines), tuple(complaints))


async def add_branch(settings: Settings, number: int, name: str) -> Report:
    """Add a place of sale."""
    entry = Entry("branch add", {"branch": number})
    await as_owner(settings, lambda connection: enrolment.add_branch(connection, number, name), entry)
    return Report({"number": number, "name": name}, (f"branch {number}, {name}",))


# Modules


async def enroll_module(
    settings: Settings,
    module: tuple[int, int, str],
    *,
    traits: ModuleTraits,
    ways: Ways,
    random: Random,
    components: int = 1,
) -> Report:
    """Enrol a module, given as number, branch and name, and hand out its keys, or the first of their two components."""
    if components not in (1, COMPONENTS):
        raise SettingsError(f"--components is {components}, which cannot be; give {COMPONENTS}, or leave it out")
    number, branch, name = module

    async def work(connection: Connection, kek: bytes) -> tuple[Keys, int]:
        identity = await enrolment.enroll_module(connection, kek, module, traits=traits, random=random)
        if components == 1:
            return identity, branch
        first, second = split(identity, random(ROOT_KEY_BYTES))
        await enrolment.keep_component(connection, kek, second, random=random)
        return first, branch

    entry = Entry("module enroll", {"module": number, "branch": branch})
    keys = await _hand_out(settings, ways, work, entry, traits.language)
    half = [f"this is component 1; the other is for somebody else: `authsrv module component {number}`"]
    return Report(
        {"module": number, "branch": branch, "name": name, **ways.values(keys)},
        (f"module {number}, {name}, at branch {branch}", *(half if components > 1 else []), *ways.lines(keys)),
    )


async def show_component(settings: Settings, number: int, *, ways: Ways) -> Report:
    """Hand out the second component of a module's keys, once."""

    async def work(connection: Connection, kek: bytes) -> tuple[Keys, int]:
        return await enrolment.hand_out_component(connection, kek, number)

    keys = await _hand_out(settings, ways, work, Entry("module component", {"module": number}))
    return Report({"module": number, **ways.values(keys)}, (f"component 2 of module {number}", *ways.lines(keys)))


async def rekey_module(settings: Settings, number: int, *, ways: Ways, random: Random) -> Report:
    """Give a module its next generation of keys, in a new kit file, on the screen or as a QR code."""

    async def work(connection: Connection, kek: bytes) -> tuple[Keys, int]:
        return await enrolment.rekey_module(connection, kek, number, random=random)

    keys = await _hand_out(settings, ways, work, Entry("module rekey", {"module": number}))
    return Report(
        {"module": number, "generation": keys.generation, **ways.values(keys)},
        (
            f"module {number} has generation {keys.generation}; the one before ends when it has signed on by it",
            *ways.lines(keys),
        ),
    )


async def _hand_out(
    settings: Settings,
    ways: Ways,
    work: Callable[[Connection, bytes], Awaitable[tuple[Keys, int]]],
    entry: Entry,
    language: str | None = None,
) -> Keys:
    """Do `work` with the key-encryption key; what it makes is in the kit, if one was named, before its commit."""
    keks = settings.key_encryption_keys()
    with nullcontext() if ways.kit is None else new_kit(ways.kit) as out:

        async def whole(connection: Connection) -> Keys:
            keys, branch = await work(connection, await enrolment.opening_key(connection, keks))
            if out is not None:
                spoken = language or await connection.fetchval(
                    "select language from modules where number = $1", keys.module
                )
                out.begin(settings.listen, *await _currency(connection), [(keys, branch)], spoken)
                out.end()
            return keys

        return await as_owner(settings, whole, entry)


async def revoke_modules(settings: Settings, numbers: Sequence[int], *, revoked: bool) -> Report:
    """Revoke modules, or restore them; all of them or none."""

    async def work(connection: Connection) -> None:
        for number in numbers:
            await enrolment.revoke_module(connection, number, revoked=revoked)

    await as_owner(settings, work, Entry("module revoke" if revoked else "module restore", {"modules": list(numbers)}))
    what = "is revoked: its sessions end within 5 s" if revoked else "may sign on again"
    return Report(
        {"modules": list(numbers), "revoked": revoked}, tuple(f"module {number} {what}" for number in numbers)
    )


async def add_desk(settings: Settings, number: int, branch: int, name: str, *, columns: int, language: str) -> Report:
    """Add a desk of operators."""
    await as_owner(
        settings,
        lambda connection: enrolment.add_desk(connection, number, branch, name, columns=columns, language=language),
        Entry("desk add", {"desk": number, "branch": branch}),
    )
    return Report({"desk": number, "branch": branch, "name": name}, (f"desk {number}, {name}, at branch {branch}",))


async def list_modules(settings: Settings) -> Report:
    """All modules of the issuer."""
    rows = await as_owner(
        settings,
        lambda connection: connection.fetch(
            """select number, name, branch, branch_name, suite, desk, revoked,
                      (select max(version) from keys where purpose = 'module' and owner = number) as generation
                 from switch_modules order by number"""
        ),
    )
    return Report(
        {"modules": [dict(row) for row in rows]},
        tuple(
            f"{row['number']:>10}  {row['name']:<20}  branch {row['branch']}, {row['branch_name']}"
            f"{', desk' if row['desk'] else ''}{', revoked' if row['revoked'] else ''}"
            for row in rows
        ),
    )


async def _currency(connection: Connection) -> tuple[int, int]:
    issuer = await enrolment.issuer_row(connection)
    return issuer["currency"], issuer["exponent"]


# Cards


def read_numbers(file: Path) -> list[tuple[str, str | None]]:
    """Card numbers from a file (`-`: standard input), one a line, each with its access code behind it if it has one."""
    cards: list[tuple[str, str | None]] = []
    for place, line in enumerate(_text(file).splitlines(), start=1):
        match line.split():
            case []:
                pass
            case [number]:
                cards.append((number, None))
            case [number, code]:
                cards.append((number, code))
            case _:
                raise EnrolmentError(f"line {place} of {file} is not a number, or a number and an access code")
    return cards


def draw_cards(prefix: str, count: int, *, coded: bool, random: Random) -> list[tuple[str, str | None]]:
    """So many new numbers under a prefix, none of which tells another, with access codes of four digits if `coded`."""
    space = serials(prefix)
    if count > space // 1000:
        raise EnrolmentError(f"{count} numbers under {prefix} would be easy to guess; give a shorter prefix")
    drawn: set[int] = set()
    while len(drawn) < count:
        drawn.add(int.from_bytes(random(16)) % space)
    return [
        (card_number(prefix, serial), f"{int.from_bytes(random(16)) % 10_000:04d}" if coded else None)
        for serial in drawn
    ]


async def issue_cards(settings: Settings, programme: str, cards: Sequence[tuple[str, str | None]], kit: Path) -> Report:
    """Issue cards of a programme; what their holders must get goes into a new kit file."""
    keks = settings.key_encryption_keys()
    with new_kit(kit) as out:

        async def work(connection: Connection) -> None:
            kek = await enrolment.opening_key(connection, keks)
            ring = await enrolment.load_ring(connection, kek)
            await enrolment.issue_cards(connection, ring, programme, cards)
            out.begin(settings.listen, *await _currency(connection))
            out.cards(KitCard(number, code, programme) for number, code in cards)
            out.end()

        await as_owner(settings, work, Entry("card issue", {"programme": programme, "cards": len(cards)}))
    return Report(
        {"programme": programme, "cards": len(cards), "kit": str(kit)},
        (f"{len(cards)} cards of {programme} are issued; their numbers and codes are in {kit}",),
    )


async def show_card(settings: Settings, number: str) -> Report:
    """What the ledger knows of a card: programme, status, balances, and what moved its value last."""
    keks = settings.key_encryption_keys()

    async def work(connection: Connection) -> dict[str, Any]:
        ring = await enrolment.load_ring(connection, await enrolment.opening_key(connection, keks))
        wire = number.encode("ascii", "replace").ljust(CARD_BYTES, b"\0")
        tokens = [ring.token(wire, version) for version in range(1, ring.current(Purpose.TOKEN) + 1)]
        card = await connection.fetchrow(_CARD, tokens)
        if card is None:
            raise EnrolmentError("there is no such card")
        accounts = await connection.fetch(_ACCOUNTS, card["id"])
        movements = await connection.fetch(_MOVEMENTS, card["id"], MOVEMENTS_SHOWN)
        frozen = await connection.fetchrow(_FROZEN, card["id"])
        zone = await issuer_zone(connection)
        return {
            "number": f"*{number[-4:]}",
            "live": card["live"],
            "programme": card["programme"],
            "status": CardStatus(card["status"]).name.lower(),
            "blocked": None if card["blocked"] is None else GivenReason(card["blocked"]).name.lower(),
            "access_code": card["coded"],
            "failures": card["failures"],
            "valid_until": None if card["valid_until"] is None else card["valid_until"].isoformat(),
            "unit": "visit" if card["visits"] else card["currency"],
            "exponent": 0 if card["visits"] else card["exponent"],
            "balances": {account["name"]: account["balance"] for account in accounts},
            "held": sum(account["held"] for account in accounts),
            "limit": -min([account["floor"] or 0 for account in accounts], default=0),
            "frozen": None
            if frozen is None
            else [frozen["frozen_from"].isoformat(), frozen["frozen_until"].isoformat()],
            "authorizations": [
                {
                    "number": f"{row['number']:012d}",
                    "decided_at": zone.told(row["decided_at"]),
                    "module": row["module"],
                    "command": Command(row["command"]).name.lower(),
                    "result": row["result"],
                    "approved": row["approved"],
                }
                for row in movements
            ],
        }

    shown = await as_owner(settings, work)

    def money(minor: int) -> str:
        return f"{Decimal(minor).scaleb(-shown['exponent']):.{shown['exponent']}f} {shown['unit']}"

    state = shown["status"] if shown["blocked"] is None else f"{shown['status']}, blocked ({shown['blocked']})"
    frozen = shown["frozen"]

    return Report(
        shown,
        (
            f"card {shown['number']}{'' if shown['live'] else ', replaced'}, {shown['programme']}, {state}",
            f"access code: {'yes' if shown['access_code'] else 'no'}, wrong in a row: {shown['failures']}",
            f"valid until: {shown['valid_until'] or 'no end'}",
            *([f"frozen: from {frozen[0]} to {frozen[1]}"] if frozen else []),
            *(f"{name}: {money(balance)}" for name, balance in shown["balances"].items()),
            *([f"held: {money(shown['held'])}"] if shown["held"] else []),
            *([f"limit: {money(shown['limit'])}"] if shown["limit"] else []),
            *(
                f"{row['number']}  {row['decided_at']}  {row['module']}  {row['command']:<10}  {row['result']:02d}  "
                f"{money(row['approved'])}"
                for row in shown["authorizations"]
            ),
        ),
    )


_CARD: Final = """
    select c.id, n.live, p.name as programme, c.status, c.blocked, c.verifier is not null as coded, c.valid_until,
           exists (select from programme_versions v
                    where v.programme = c.programme and v.document ->> 'kind' = 'visits') as visits,
           coalesce(t.failures, 0) as failures, i.code as currency, i.exponent
      from card_numbers n join cards c on c.id = n.card join programmes p on p.number = c.programme
      left join tries t on t.token = n.token, issuer i
     where n.token = any ($1) order by n.token_key desc limit 1
"""
_ACCOUNTS: Final = """
    select k.name, a.balance, a.held, a.floor from accounts a join account_kinds k using (kind)
     where a.card = $1 order by kind, unit
"""
_FROZEN: Final = """
    select frozen_from, frozen_until from passes, issuer
     where card = $1 and frozen_until >= (clock_timestamp() at time zone zone)::date
"""
# Those that moved something: only they stand in the index by card.
_MOVEMENTS: Final = """
    select number, decided_at, module, command, result, approved
      from authorizations where card = $1 and postings is not null order by decided_at desc limit $2
"""


async def seed(
    settings: Settings, *, cards: int, modules: int, kit: Path, random: Random, progress: Callable[[int], None]
) -> Report:
    """Fill a new issuer with modules and cards, all in one transaction."""
    keks = settings.key_encryption_keys()
    with new_kit(kit) as out:

        async def work(connection: Connection) -> None:
            kek = await enrolment.opening_key(connection, keks)
            ring = await enrolment.load_ring(connection, kek)
            await seeding.seed(
                connection,
                kek,
                ring,
                out,
                address=settings.listen,
                cards=cards,
                modules=modules,
                random=random,
                progress=progress,
            )

        await as_owner(settings, work)
    return Report(
        {"cards": cards, "modules": modules, "kit": str(kit)},
        (f"{modules} modules and {cards} cards are made; keys, numbers and codes are in {kit}",),
    )


# The program


def tell_version() -> Report:
    """What this program is, and what it works with."""
    try:
        program = installed_version("authsrv")
    except PackageNotFoundError:
        program = "not installed"
    return Report(
        {"version": program, "wire": VERSION, "schema": HEAD},
        (f"authsrv {program}, wire version {VERSION}, schema revision {HEAD}",),
    )


def _text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except OSError as error:
        raise EnrolmentError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise EnrolmentError(f"{file} is not UTF-8 text") from None
