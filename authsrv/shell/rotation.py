"""A new version of an issuer's key, while any number of switches work.

What must hold (`ledger/sql/0008_keys.sql` says how the database holds it):
  * At every moment each card is found and each code fits, on every process; a repeat gets the answer that it got;
    no try is lost and none is counted twice.
  * A till waits for nothing longer than a standstill: for the batches in hand, and for what is written in it. The rest
    is done in transactions of a few rows.
  * Broken off anywhere, all goes on as it is, and the same command takes it up where it was: each step looks at what
    there is, and nothing is kept elsewhere.

Digest and record keys have nothing to bring forward: what was made under an older one says which. Verifiers say so too
and follow behind their key, under the locks of their cards. Tokens must be there before their key is in use.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import asyncpg
import trio

from authsrv.keys import KEY_BYTES, NONCE_BYTES, VERSION_MAX, KeyRing, Purpose, unwrap, wrap
from authsrv.shell.enrolment import EnrolmentError, Random, load_ring, opening_key, refusals, wrapped_key
from authsrv.shell.owner import transaction
from ledger.shell.door import Connection, Door
from protocol.crypto import check_value

T = TypeVar("T")
Told = Callable[[str], None]

ROWS: Final = 1000  # in one transaction that holds up nobody
CARDS: Final = 200  # in one transaction that holds up who wants one of them
HOLD_MS: Final = 1000  # for who issues cards; who loads the rules waits behind us
STAND_STILL_MS: Final = 300  # for batches in hand; all other batches wait behind us
ATTEMPTS: Final = 120
REST_S: Final = 0.5


class _BusyError(Exception):
    """Somebody works with what should stand still, for longer than others may be kept waiting."""


async def rotate(door: Door, keks: Sequence[bytes], purpose: Purpose, random: Random, told: Told) -> int:
    """Make a new version of the issuer's token, verifier, digest or record key; or finish what was broken off.

    Args:
        door: the owner's.
        keks: key-encryption keys, of which one opens the others.
        purpose: which key.
        random: gives n unpredictable bytes.
        told: is told what has been done.

    Returns:
        The version that is in use now.

    """
    match purpose:
        case Purpose.TOKEN:
            return await _rotate_tokens(door, keks, random, told)
        case Purpose.VERIFIER:
            return await _rotate_verifiers(door, keks, random, told)
        case _:
            return await _patiently(door, partial(_add_standing_still, keks, purpose, "used", random))


async def rewrap(door: Door, old: bytes, new: bytes, random: Random) -> None:
    """Wrap all keys by another key-encryption key, in one transaction; does nothing where it is done.

    Raises `KeyFault` where neither opens them, `EnrolmentError` where the new one is in use for something else.
    """
    await _patiently(door, partial(_rewrap, old, new, random))


async def _rewrap(old: bytes, new: bytes, random: Random, connection: Connection) -> None:
    # Who adds a key opens another one in the same transaction: it ends before us, or finds that its key opens nothing.
    await _hold(connection, "select hold_keys()")
    if await opening_key(connection, (old, new)) == new:
        return
    if await connection.fetchval("select exists (select from keys where check_value = $1)", check_value(new)):
        raise EnrolmentError("the new key-encryption key is in use already, for something else; make another one")
    rows = await connection.fetch("select * from keys where state <> 'ended'")
    opened = [(wrapped_key(row), unwrap(old, wrapped_key(row))) for row in rows]
    wrapped = [wrap(new, key.purpose, key.owner, key.version, plain, random(NONCE_BYTES)) for key, plain in opened]
    await connection.execute(
        "select rewrap_keys($1, $2, $3, $4)",
        [key.purpose.value for key in wrapped],
        [key.owner for key in wrapped],
        [key.version for key in wrapped],
        [key.sealed for key in wrapped],
    )


# Tokens


async def _rotate_tokens(door: Door, keks: Sequence[bytes], random: Random, told: Told) -> int:
    version, state = await _patiently(door, partial(_find_or_add_token_key, keks, random))
    if state == "coming":
        while True:
            told(f"token key {version} is made; every card number gets its token under it")
            await _give_heirs(door, keks, version)
            if await _patiently(door, partial(_begin_token_key, keks, version)):
                break
    told(f"token key {version} is in use; the older tokens are taken away")
    behind: bytes | None = b""
    while behind is not None:
        behind = await door.run(transaction(partial(_forget_tokens, version, behind)))
    await door.run(transaction(partial(_settle, Purpose.TOKEN, version)))
    return version


async def _find_or_add_token_key(keks: Sequence[bytes], random: Random, connection: Connection) -> tuple[int, str]:
    found = await _unfinished(connection, Purpose.TOKEN)
    if found is not None:
        return found
    # Who issues cards and does not know of the coming key has ended before it is there.
    await _hold(connection, "select hold_keys()")
    return await _add(keks, Purpose.TOKEN, "coming", random, connection), "coming"


async def _give_heirs(door: Door, keks: Sequence[bytes], version: int) -> None:
    """Give an heir to every number that has none; what somebody has locked just now is left for the next round."""

    async def work(connection: Connection) -> bytes | None:
        ring = await load_ring(connection, await opening_key(connection, keks))
        rows = await connection.fetch(
            "select token, heir from card_numbers where token > $1 and token_key < $2 order by token limit $3",
            *(behind, version, ROWS),
        )
        tokens = [row["token"] for row in rows if row["heir"] is None]
        heirs = [ring.heir(token) for token in tokens]
        await connection.execute("select give_heirs($1, $2, $3)", version, tokens, heirs)
        return rows[-1]["token"] if rows else None

    behind: bytes | None = b""
    while behind is not None:
        behind = await door.run(transaction(work))


async def _begin_token_key(keks: Sequence[bytes], version: int, connection: Connection) -> bool:
    """Begin to look tokens up by the coming key; False where a number has no heir yet."""
    await _hold(connection, "select hold_keys()")
    if await connection.fetchval(
        "select exists (select from card_numbers where token_key < $1 and heir is null)", version
    ):
        return False
    ring = await load_ring(connection, await opening_key(connection, keks))
    wanted = "select token, failures from tries where failures > 0 and token_key < $1"
    heirs = {row["token"]: ring.heir(row["token"]) for row in await connection.fetch(wanted, version)}
    await _hold(connection, f"select stand_still({STAND_STILL_MS})")
    rows = await connection.fetch(wanted, version)  # as the last batches have left them
    tokens = [heirs.get(row["token"]) or ring.heir(row["token"]) for row in rows]
    await connection.execute("select begin_token_key($1, $2, $3)", version, tokens, [row["failures"] for row in rows])
    return True


async def _forget_tokens(version: int, behind: bytes, connection: Connection) -> bytes | None:
    last: bytes | None = await connection.fetchval("select forget_tokens($1, $2, $3)", version, behind, ROWS)
    if last is None:
        await connection.execute("select forget_tries($1)", version)
    return last


# Verifiers


async def _rotate_verifiers(door: Door, keks: Sequence[bytes], random: Random, told: Told) -> int:
    found = await door.run(transaction(partial(_unfinished, purpose=Purpose.VERIFIER)))
    if found is None:
        version = await _patiently(door, partial(_add_standing_still, keks, Purpose.VERIFIER, "settling", random))
    else:
        version, _ = found
    told(f"verifier key {version} is in use; the verifiers of cards are brought forward")

    async def work(connection: Connection) -> int | None:
        ring = await load_ring(connection, await opening_key(connection, keks))
        row = await connection.fetchrow("select * from lock_verifiers($1, $2, $3)", version, behind, CARDS)
        if row is None:
            raise ValueError("lock_verifiers returned no row")
        brought = [
            ring.brought_forward(verifier, made_by)
            for verifier, made_by in zip(row["verifiers"] or (), row["versions"] or (), strict=True)
        ]
        if brought:
            await connection.execute("select bring_verifiers($1, $2, $3)", version, row["ids"], brought)
        last: int | None = row["last"]
        return last

    behind: int | None = 0
    while behind is not None:
        behind = await door.run(transaction(work))
    await door.run(transaction(partial(_settle, Purpose.VERIFIER, version)))
    return version


# Steps


async def _unfinished(connection: Connection, purpose: Purpose) -> tuple[int, str] | None:
    """The version of a rotation that was broken off, and how far it came."""
    row = await connection.fetchrow(
        "select version, state from keys where purpose = $1 and owner = 0 and state in ('coming', 'settling')",
        purpose.value,
    )
    return (row["version"], row["state"]) if row is not None else None


async def _add_standing_still(
    keks: Sequence[bytes], purpose: Purpose, state: str, random: Random, connection: Connection
) -> int:
    await _hold(connection, f"select stand_still({STAND_STILL_MS})")
    return await _add(keks, purpose, state, random, connection)


async def _add(keks: Sequence[bytes], purpose: Purpose, state: str, random: Random, connection: Connection) -> int:
    kek = await opening_key(connection, keks)
    ring: KeyRing = await load_ring(connection, kek)
    version = ring.current(purpose) + 1
    if version > VERSION_MAX:
        raise EnrolmentError(f"there are {VERSION_MAX} {purpose} keys, and no more are possible")
    key = wrap(kek, purpose, 0, version, random(KEY_BYTES), random(NONCE_BYTES))
    async with refusals():
        await connection.execute(
            "select add_keys($1, $2, $3, $4, $5, $6)",
            *([purpose.value], [key.owner], [version], [key.sealed], [key.check_value], state),
        )
    return version


async def _settle(purpose: Purpose, version: int, connection: Connection) -> None:
    async with refusals():
        await connection.execute("select set_key_state($1, 0, $2, 'used')", purpose.value, version)


async def _hold(connection: Connection, sql: str) -> None:
    await connection.execute(f"set local lock_timeout = {HOLD_MS}")
    try:
        await connection.execute(sql)
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        busy = _BusyError()
    else:
        return
    raise busy


async def _patiently(door: Door, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Run a transaction that needs a standstill, as often as it takes to find a moment for it."""
    for _ in range(ATTEMPTS):
        try:
            return await door.run(transaction(work))
        except _BusyError:
            await trio.sleep(REST_S)
    raise EnrolmentError(
        "there was no moment in which nothing was under way: batches wait long for their COMMIT, or cards are being "
        "issued; nothing is broken, give the command again"
    )
