"""Setting an issuer up: what people enter, written by the owner's role through the functions of `0001_enrolment.sql`.

What must hold:
  * Each function writes with one statement, so that it is all or nothing by itself, and a part of the caller's
    transaction where there is one.
  * A key goes into the database only wrapped. Its plain form goes back to the caller once, for the module.
  * What is refused is refused in words for the operator (`EnrolmentError`), without a card number, a code or a key. A
    card that is wrong is named by its place in the list.

Randomness is an argument: `random(n)` gives n unpredictable bytes.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import asyncpg

from authsrv.currency import CURRENCIES
from authsrv.keys import (
    CARD_BYTES,
    ISSUER_PURPOSES,
    KEY_BYTES,
    NONCE_BYTES,
    KeyFault,
    KeyRing,
    Purpose,
    WrappedKey,
    unwrap,
    wrap,
)
from ledger.shell.door import Connection
from loyalty.programme import AccessCode, Programme
from loyalty.source import programme_document
from protocol.access_code import DIGITS_MAX, DIGITS_MIN
from protocol.components import COMPONENTS, Component
from protocol.numbers import CodePage, Suite
from protocol.signon import GROUP_KEY_BYTES, ROOT_KEY_BYTES, ModuleIdentity
from protocol.switch import GENERATION_MAX
from receipts.catalogue import languages
from receipts.receipt import WIDTHS

Random = Callable[[int], bytes]

REFUSED: Final = "AU010"  # what the SQL functions raise for the operator to read
NUMBER_DIGITS_MIN: Final = 8  # ISO/IEC 7812-1
NUMBER_MAX: Final = 2**32 - 1
DEADLINE_S_MAX: Final = 120
BRANCH_NAME_MAX: Final = 64
FIRST: Final = 1  # version of a key, generation of a module


class EnrolmentError(Exception):
    """Something cannot be set up as asked; the message says what and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleTraits:
    """What a module's record says beside its number, branch and name. Raises `EnrolmentError` for what cannot be."""

    suite: Suite = Suite.SHARED_KEY_X25519
    desk: bool = False
    partial: bool = True
    columns: int = 42
    code_page: CodePage = CodePage.ASCII
    language: str = "en"
    deadline_s: int = 15
    bad_cards_per_day: int = 200

    def __post_init__(self) -> None:
        if self.columns not in WIDTHS:
            raise EnrolmentError(f"no receipt is {self.columns} columns wide; give {', '.join(map(str, WIDTHS))}")
        if self.language not in languages():
            raise EnrolmentError(f"no receipt is in {self.language}; give {', '.join(languages())}")
        if not 1 <= self.deadline_s <= DEADLINE_S_MAX:
            raise EnrolmentError(f"a deadline of {self.deadline_s} s cannot be; give 1 to {DEADLINE_S_MAX}")
        if not 1 <= self.bad_cards_per_day < 2**31:
            raise EnrolmentError(f"{self.bad_cards_per_day} bad cards a day cannot be; give 1 or more")


@asynccontextmanager
async def refusals() -> AsyncIterator[None]:
    """Turn what the SQL functions refuse into `EnrolmentError`; everything else is the door's to translate."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if error.sqlstate != REFUSED:
            raise
        refused = EnrolmentError(str(error.args[0]))
    else:
        return
    raise refused


# Issuer, branches, programmes


async def create_issuer(connection: Connection, number: int, name: str, *, zone: str, code: str, group: int) -> None:
    """Say whose schema this is.

    Args:
        connection: of the owner's role, in the issuer's schema, as for all functions here.
        number: 1 to 4294967295; part of every card token.
        name: printed on receipts.
        zone: an IANA zone; decides the day that finance books on.
        code: the currency's three letters (ISO 4217).
        group: the number of its modules' group, which no other issuer may have.

    Raises:
        EnrolmentError: for a value that cannot be, or where there is an issuer.

    """
    _check_number("issuer", number)
    _check_number("group", group)
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise EnrolmentError(f"there is no zone {zone}; give one of IANA's, like Europe/Riga") from None
    currency = CURRENCIES.get(code)
    if currency is None:
        raise EnrolmentError(f"there is no currency {code}; give three letters of ISO 4217, like EUR")
    async with refusals():
        await connection.execute(
            "select set_issuer($1, $2, $3, $4, $5, $6, $7)",
            *(number, name, zone, currency.number, currency.code, currency.exponent, group),
        )


async def issuer_row(connection: Connection) -> asyncpg.Record:
    """Whose schema this is; raises `EnrolmentError` where nobody has said it."""
    row = await connection.fetchrow("select * from issuer")
    if row is None:
        raise EnrolmentError("this database has no issuer; make one with `authsrv db init --issuer NAME`")
    return row


async def add_branch(connection: Connection, number: int, name: str) -> None:
    """Add a place of sale. Raises `EnrolmentError` where the number is taken."""
    if not 1 <= number < 2**31:
        raise EnrolmentError(f"a branch cannot have the number {number}; give one from 1 to {2**31 - 1}")
    if not 1 <= len(name) <= BRANCH_NAME_MAX:
        raise EnrolmentError(f"a branch has a name of 1 to {BRANCH_NAME_MAX} letters, which its receipts show")
    async with refusals():
        await connection.execute("select add_branch($1, $2)", number, name)


async def add_programme(connection: Connection, programme: Programme) -> int:
    """Add a programme or a further version of one, and return the programme's number.

    Raises `EnrolmentError` for a version or first day that is not later than the last, for another kind of card than
    the last, or for another currency than the issuer's.
    """
    async with refusals():
        number: int = await connection.fetchval(
            "select add_programme($1, $2, $3, $4)",
            *(programme.name, programme.version, programme.effective_from, json.dumps(programme_document(programme))),
        )
    return number


# Keys


async def init_keys(connection: Connection, kek: bytes, random: Random) -> None:
    """Make the issuer's first keys and its group's, wrapped by the key-encryption key.

    Raises `EnrolmentError` where they exist: what is stored under them would be lost under others.
    """
    group = (await issuer_row(connection))["group_number"]
    owners = [(purpose, 0, KEY_BYTES) for purpose in ISSUER_PURPOSES]
    owners.append((Purpose.GROUP, group, GROUP_KEY_BYTES))
    if await connection.fetchval("select exists (select from keys)"):
        raise EnrolmentError("the issuer's keys are made already; nothing was changed")
    wrapped = [wrap(kek, purpose, owner, FIRST, random(size), random(NONCE_BYTES)) for purpose, owner, size in owners]
    async with refusals():
        await connection.execute(
            "select add_keys($1, $2, $3, $4, $5)",
            [key.purpose.value for key in wrapped],
            [key.owner for key in wrapped],
            [key.version for key in wrapped],
            [key.sealed for key in wrapped],
            [key.check_value for key in wrapped],
        )


async def load_ring(connection: Connection, kek: bytes) -> KeyRing:
    """The issuer's keys from the database, opened, with the token key that is coming where one is.

    They stay what they are to the end of the caller's transaction: who changes them waits for it. Raises `KeyFault` for
    another key-encryption key, or where none are made.
    """
    issuer = await issuer_row(connection)
    rows = await connection.fetch("select * from keys where state in ('settling', 'used')")
    coming = await connection.fetchrow("select * from keys where purpose = 'token' and state = 'coming'")
    return open_ring(issuer["number"], rows, kek, coming)


def open_ring(issuer: int, rows: Iterable[asyncpg.Record], kek: bytes, coming: asyncpg.Record | None = None) -> KeyRing:
    """The key ring of an issuer's rows of `keys` (or `switch_keys`); modules' and groups' rows are passed over."""
    issuers = frozenset(purpose.value for purpose in ISSUER_PURPOSES)
    wrapped = [wrapped_key(row) for row in rows if row["purpose"] in issuers]
    return KeyRing(
        issuer,
        {(key.purpose, key.version): unwrap(kek, key) for key in wrapped},
        unwrap(kek, wrapped_key(coming)) if coming is not None else None,
    )


async def opening_key(connection: Connection, keks: Sequence[bytes]) -> bytes:
    """Which of these key-encryption keys opens the database's keys, to the end of the caller's transaction.

    While that key is being changed there are two of them. Raises `KeyFault` where none opens them.
    """
    row = await connection.fetchrow(
        "select * from keys where state <> 'ended' order by purpose, owner, version limit 1"
    )
    if row is None:
        return keks[0]
    fault = KeyFault("there is no key-encryption key")
    for kek in keks:
        try:
            unwrap(kek, wrapped_key(row))
        except KeyFault as error:
            fault = error
        else:
            return kek
    raise fault


def wrapped_key(row: asyncpg.Record) -> WrappedKey:
    """A row of `keys` as a value."""
    return WrappedKey(Purpose(row["purpose"]), row["owner"], row["version"], row["sealed"], row["check_value"])


async def group_key(connection: Connection, kek: bytes) -> tuple[int, bytes]:
    """The issuer's group number and the group's newest key, 16 bytes."""
    group: int = (await issuer_row(connection))["group_number"]
    row = await connection.fetchrow(
        "select * from switch_keys where purpose = $1 and owner = $2 order by version desc limit 1",
        *(Purpose.GROUP.value, group),
    )
    if row is None:
        raise KeyFault(f"the database holds no key of group {group}: make the issuer's keys with `authsrv keys init`")
    return group, unwrap(kek, wrapped_key(row))


# Modules


async def enroll_module(
    connection: Connection,
    kek: bytes,
    module: tuple[int, int, str],
    *,
    traits: ModuleTraits = ModuleTraits(),
    random: Random,
) -> ModuleIdentity:
    """Enrol one module, given as number, branch and name, as `enroll_modules` does."""
    return (await enroll_modules(connection, kek, [module], traits=traits, random=random))[0]


async def enroll_modules(
    connection: Connection,
    kek: bytes,
    modules: Sequence[tuple[int, int, str]],
    *,
    traits: ModuleTraits = ModuleTraits(),
    random: Random,
) -> list[ModuleIdentity]:
    """Enrol modules, given as number, branch and name, and return what each of them must be given: its keys in plain.

    Raises `EnrolmentError` for a number that is enrolled or a branch that is not there, `KeyFault` where there are no
    keys.
    """
    for number, _, _ in modules:
        _check_number("module", number)
    group, shared = await group_key(connection, kek)
    identities = [
        ModuleIdentity(number, FIRST, traits.suite, random(ROOT_KEY_BYTES), group, shared) for number, _, _ in modules
    ]
    wrapped = [
        wrap(kek, Purpose.MODULE, identity.module, identity.generation, identity.root_key, random(NONCE_BYTES))
        for identity in identities
    ]
    alike = (
        *(traits.suite.value, traits.desk, traits.partial, traits.columns, traits.code_page.value),
        *(traits.language, traits.deadline_s, traits.bad_cards_per_day),
    )
    async with refusals():
        await connection.execute(
            f"select enroll_modules({', '.join(f'${place}' for place in range(1, 14))})",
            [number for number, _, _ in modules],
            [branch for _, branch, _ in modules],
            [name for _, _, name in modules],
            *([trait] * len(modules) for trait in alike),
            [key.sealed for key in wrapped],
            [key.check_value for key in wrapped],
        )
    return identities


async def keep_component(connection: Connection, kek: bytes, component: Component, *, random: Random) -> None:
    """Keep the second component of a module's root key until the second person asks for it."""
    key = wrap(kek, Purpose.COMPONENT, component.module, component.generation, component.share, random(NONCE_BYTES))
    async with refusals():
        await connection.execute(
            "select add_keys($1, $2, $3, $4, $5)",
            *([key.purpose.value], [key.owner], [key.version], [key.sealed], [key.check_value]),
        )


async def hand_out_component(connection: Connection, kek: bytes, number: int) -> tuple[Component, int]:
    """The second component of a module's root key, and the number of its branch; it is forgotten with this.

    Raises `EnrolmentError` where none is kept.
    """
    row = await connection.fetchrow(
        """select c.*, m.suite, m.branch, r.check_value as check
             from keys c join modules m on m.number = c.owner
             join keys r on r.purpose = 'module' and r.owner = c.owner and r.version = c.version
            where c.purpose = 'component' and c.owner = $1 and c.state = 'used' order by c.version desc limit 1""",
        number,
    )
    if row is None:
        raise EnrolmentError(f"there is no component of a key of module {number}, or it was handed out already")
    share = unwrap(kek, wrapped_key(row))
    group, shared = await group_key(connection, kek)
    async with refusals():
        await connection.execute("select set_key_state('component', $1, $2, 'ended')", number, row["version"])
    component = Component(number, row["version"], Suite(row["suite"]), group, shared, COMPONENTS, share, row["check"])
    return component, row["branch"]


async def rekey_module(
    connection: Connection, kek: bytes, number: int, *, random: Random
) -> tuple[ModuleIdentity, int]:
    """A module's next generation, and the number of its branch; the one before stays until a session of this is live.

    Raises `EnrolmentError` where there is no such module, or no generation is left.
    """
    row = await connection.fetchrow(
        """select suite, branch, (select max(version) from keys where purpose = 'module' and owner = number) as newest
             from modules where number = $1""",
        number,
    )
    if row is None:
        raise EnrolmentError(f"there is no module {number}")
    generation = row["newest"] + 1
    if generation > GENERATION_MAX:
        raise EnrolmentError(f"module {number} has had {GENERATION_MAX} generations of keys; enrol it anew")
    group, shared = await group_key(connection, kek)
    identity = ModuleIdentity(number, generation, Suite(row["suite"]), random(ROOT_KEY_BYTES), group, shared)
    key = wrap(kek, Purpose.MODULE, number, generation, identity.root_key, random(NONCE_BYTES))
    async with refusals():
        await connection.execute(
            "select add_generation($1, $2, $3, $4)", number, generation, key.sealed, key.check_value
        )
    return identity, row["branch"]


async def revoke_module(connection: Connection, number: int, *, revoked: bool) -> None:
    """Let a module sign on no more, or let it again; every process knows of it within seconds, and ends its sessions.

    Raises `EnrolmentError` where there is no such module.
    """
    async with refusals():
        await connection.execute("select revoke_module($1, $2)", number, revoked)


async def add_desk(connection: Connection, number: int, branch: int, name: str, *, columns: int, language: str) -> None:
    """Add a desk that operators act at; it has no key, and nobody signs on as it.

    Raises `EnrolmentError` for a number that is taken, a branch that is not there, or a receipt that cannot be.
    """
    _check_number("desk", number)
    ModuleTraits(columns=columns, language=language)  # which refuses what cannot be
    async with refusals():
        await connection.execute("select add_desk($1, $2, $3, $4, $5)", number, branch, name, columns, language)


# Cards


async def issue_cards(
    connection: Connection, ring: KeyRing, programme: str, cards: Sequence[tuple[str, str | None]]
) -> list[int]:
    """Issue cards of a programme, given as number and access code (None: without), and return their ids in this order.

    They are not active before a module activates them. Raises `EnrolmentError`, and issues none, for a number that is
    issued or malformed, and for a code that the programme's latest rules do not allow or miss.
    """
    number, access_code = await programme_for_cards(connection, programme)
    _check_cards(cards, access_code, programme)
    ids: list[int] = await connection.fetchval("select reserve_card_ids($1)", len(cards))
    await write_cards(connection, ring, number, list(zip(ids, cards, strict=True)))
    return ids


async def write_cards(
    connection: Connection, ring: KeyRing, programme: int, cards: Sequence[tuple[int, tuple[str, str | None]]]
) -> None:
    """Write cards, given as reserved id, (number, code); under the coming token key too, where one is coming."""
    tokens, verifiers = tokens_and_verifiers(ring, cards)
    heirs = [ring.heir(token) for token in tokens] if ring.has_coming else None
    async with refusals():
        await connection.execute(
            "select issue_cards($1, $2, $3, $4, $5, $6, $7)",
            *([card_id for card_id, _ in cards], programme, ring.current(Purpose.VERIFIER), verifiers),
            *(ring.current(Purpose.TOKEN), tokens, heirs),
        )


async def programme_for_cards(connection: Connection, programme: str) -> tuple[int, AccessCode]:
    """The number of a programme, and what its latest rules say of access codes; raises `EnrolmentError`."""
    row = await connection.fetchrow(
        """select p.number, v.document ->> 'access_code' as access_code
             from programmes p join programme_versions v on v.programme = p.number
            where p.name = $1 order by v.version desc limit 1""",
        programme,
    )
    if row is None:
        raise EnrolmentError(f"there is no programme {programme}; load it with `authsrv programme load FILE`")
    return row["number"], AccessCode(row["access_code"])


def tokens_and_verifiers(
    ring: KeyRing, cards: Iterable[tuple[int, tuple[str, str | None]]]
) -> tuple[list[bytes], list[bytes | None]]:
    """What the ledger keeps of numbers and access codes, for cards given as id, (number, code)."""
    tokens: list[bytes] = []
    verifiers: list[bytes | None] = []
    for card_id, (number, code) in cards:
        tokens.append(ring.token(number.encode().ljust(CARD_BYTES, b"\0")))
        verifiers.append(None if code is None else ring.verifier(card_id, code))
    return tokens, verifiers


def _check_cards(cards: Sequence[tuple[str, str | None]], access_code: AccessCode, programme: str) -> None:
    if not cards:
        raise EnrolmentError("no card was given")
    if len({number for number, _ in cards}) < len(cards):
        raise EnrolmentError("a card number was given twice; none was issued")
    for place, (number, code) in enumerate(cards, start=1):
        wrong = check_card(number, code, access_code, programme)
        if wrong is not None:
            raise EnrolmentError(f"card {place}: {wrong}")


def check_card(number: str, code: str | None, access_code: AccessCode, programme: str) -> str | None:
    """What is wrong with a card that is to be issued, in words that hold neither its number nor its code."""
    if not (_is_digits(number) and NUMBER_DIGITS_MIN <= len(number) <= CARD_BYTES):
        return f"the number is not {NUMBER_DIGITS_MIN} to {CARD_BYTES} digits"
    if code is not None and not (_is_digits(code) and DIGITS_MIN <= len(code) <= DIGITS_MAX):
        return f"the access code is not {DIGITS_MIN} to {DIGITS_MAX} digits"
    match access_code:
        case AccessCode.REQUIRED if code is None:
            return f"it has no access code and the programme {programme} requires one"
        case AccessCode.NONE if code is not None:
            return f"it has an access code and the programme {programme} has none"
        case _:
            return None


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _check_number(what: str, number: int) -> None:
    if not 1 <= number <= NUMBER_MAX:
        raise EnrolmentError(f"{what} number {number} cannot be; give one from 1 to {NUMBER_MAX}")
