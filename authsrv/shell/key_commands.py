"""What an operator's commands about keys do: show them without showing one, and change them while the switch works.

The key-encryption key lies outside of the database, so that two places change and neither can wait for the other. What
must hold: broken off anywhere, what lies in the two places opens.
  1. The next key is written beside the key, on the disk before anything else happens. The keys open by the old one.
  2. One transaction wraps all keys by the next one. From its commit on they open by that one. Every program looks at
     both files and asks the database which it is, so nobody need know whether the commit came through.
  3. Only when the commit is certain the next key takes the place of the old, in one rename. The old one stays beside it
     under another name: what was backed up before opens by that one alone.
Called again, it goes on where it was. Switches at work have their keys open. They hear that these were wrapped anew,
find that their key-encryption key opens them no more, and read where they found it once more.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from authsrv.keys import ISSUER_PURPOSES, KEY_BYTES, NONCE_BYTES, Purpose, wrap
from authsrv.shell import key_file, rotation
from authsrv.shell.enrolment import EnrolmentError, Random, group_key, issuer_row, opening_key, refusals
from authsrv.shell.owner import Entry, as_owner, enter, owner_door, transaction
from authsrv.shell.report import Report
from authsrv.shell.settings import Settings, SettingsError
from authsrv.shell.zone import issuer_zone
from ledger.shell.door import Connection
from protocol.crypto import check_value
from protocol.signon import GROUP_KEY_BYTES

KEY_ENCRYPTION: Final = "key-encryption"
ROTATED: Final = (*(purpose.value for purpose in (*ISSUER_PURPOSES, Purpose.GROUP, Purpose.MODULE)), KEY_ENCRYPTION)
_SHOWN: Final = """
    select purpose, owner, version, state, encode(check_value, 'hex') as check_value, created_at
      from keys order by array_position($1, purpose), purpose, owner, version
"""
_LOCK: Final = "select pg_try_advisory_lock(hashtextextended(current_schema() || '.keys', 0))"
_BY_HAND: Final = """\
this key comes from {source}, which only you can change. Make the next one (`openssl rand -hex 32`), give it to every
switch as {following} beside the old one, restart them one after the other, and give this command again with both;
then put it in the place of the old one and restart them once more"""


async def show_keys(settings: Settings) -> Report:
    """All keys by purpose, owner and version, with their check values; never a key."""
    order = list(ROTATED)

    async def work(connection: Connection) -> list[dict[str, Any]]:
        rows = await connection.fetch(_SHOWN, order)
        zone = await issuer_zone(connection)
        return [dict(row) | {"created_at": zone.told(row["created_at"])} for row in rows]

    keys = await as_owner(settings, work)
    return Report(
        {"keys": keys},
        tuple(
            f"{key['purpose']:<9}  {key['owner'] or '':>10}  version {key['version']:<3}  {key['check_value']}  "
            f"{key['created_at']}  {key['state']}"
            for key in keys
        ),
    )


async def rotate_key(settings: Settings, purpose: str, random: Random, told: Callable[[str], None]) -> Report:
    """Make a new version of an issuer's key, or finish a rotation that was broken off."""
    if purpose not in ISSUER_PURPOSES:
        raise SettingsError(f"there is no key {purpose}; give {', '.join(ROTATED)}")
    keks = settings.key_encryption_keys()
    async with _alone(settings), owner_door(settings) as door:
        await door.run(_begun(settings, purpose))
        version = await rotation.rotate(door, keks, Purpose(purpose), random, told)
    return Report({"purpose": purpose, "version": version}, (f"the {purpose} key is at version {version}",))


@asynccontextmanager
async def _alone(settings: Settings) -> AsyncIterator[None]:
    """Be the one that rotates keys of the issuer: what another has begun would else be found half done.

    The lock is a session's, on a connection of its own, so that it ends with this program however that ends. Ending a
    key and giving modules their next do not take it: they are one transaction, and a stolen key waits for nobody.
    """
    async with owner_door(settings, "authsrv keys") as door:
        if not await door.run(lambda connection: connection.fetchval(_LOCK)):
            raise EnrolmentError("another command changes keys just now; nothing was done, give it again behind that")
        yield


def _begun(settings: Settings, purpose: str) -> Callable[[Connection], Awaitable[None]]:
    """The entry of a change of keys in the audit trail, before the first of the transactions that it takes."""
    return transaction(lambda connection: enter(connection, settings, "keys rotate", {"purpose": purpose}))


async def rotate_group_key(settings: Settings, random: Random) -> Report:
    """Make another key that hides the numbers of modules; the older ones are accepted until they are ended."""
    keks = settings.key_encryption_keys()

    async def work(connection: Connection) -> tuple[int, int]:
        kek = await opening_key(connection, keks)
        group, _ = await group_key(connection, kek)
        version: int = await connection.fetchval(
            "select max(version) + 1 from keys where purpose = $1 and owner = $2", Purpose.GROUP.value, group
        )
        key = wrap(kek, Purpose.GROUP, group, version, random(GROUP_KEY_BYTES), random(NONCE_BYTES))
        async with refusals():
            await connection.execute(
                "select add_keys($1, $2, $3, $4, $5)",
                *([Purpose.GROUP.value], [group], [version], [key.sealed], [key.check_value]),
            )
        return group, version

    async with _alone(settings):
        group, version = await as_owner(settings, work, Entry("keys rotate", {"purpose": Purpose.GROUP.value}))
    return Report(
        {"purpose": Purpose.GROUP.value, "owner": group, "version": version},
        (
            f"the key of group {group} is at version {version}: kits that are made from now on have it",
            "older ones are accepted until they are ended with `authsrv keys end group VERSION`",
        ),
    )


async def rotate_module_keys(settings: Settings, modules: Sequence[int]) -> Report:
    """Have modules take their next root key from their next session; only those of suite 2 can."""
    if not modules:
        raise SettingsError("say which modules: --module NUMBER, as often as there are modules")

    async def work(connection: Connection) -> None:
        async with refusals():
            await connection.execute("select rekey_modules($1)", list(modules))

    await as_owner(settings, work, Entry("keys rotate", {"purpose": Purpose.MODULE.value, "modules": list(modules)}))
    return Report(
        {"purpose": Purpose.MODULE.value, "modules": list(modules)},
        tuple(f"module {number} takes its next key from its next session" for number in modules),
    )


async def end_key(settings: Settings, purpose: str, version: int, module: int | None) -> Report:
    """Accept a version of a group's or module's key no more, for good; sessions that signed on by it end within 5 s."""
    if (purpose == Purpose.MODULE) != (module is not None):
        raise SettingsError("a module's key is named with --module NUMBER, and only a module's")

    async def work(connection: Connection) -> int:
        owner: int = module if module is not None else (await issuer_row(connection))["group_number"]
        async with refusals():
            await connection.execute("select end_key($1, $2, $3)", purpose, owner, version)
        return owner

    entry = Entry("keys end", {"purpose": purpose, "version": version} | ({} if module is None else {"module": module}))
    owner = await as_owner(settings, work, entry)
    return Report(
        {"purpose": purpose, "owner": owner, "version": version},
        (f"the {purpose} key of {owner}, version {version}, is ended",),
    )


async def rotate_key_encryption(settings: Settings, random: Random, *, prepare: bool) -> Report:
    """Wrap all keys by another key-encryption key, which takes the place of the old one where it lies in a file.

    With `prepare` the next key is made and nothing is changed, so that it can be brought to other hosts.
    """
    async with _alone(settings):
        return await _rotate_key_encryption(settings, random, prepare=prepare)


async def _rotate_key_encryption(settings: Settings, random: Random, *, prepare: bool) -> Report:
    file = key_file.file_in_use(key_file=settings.key_file, data_dir=settings.data_dir)
    keks = settings.key_encryption_keys()
    if file is not None and len(keks) == 1:
        key_file.make_key_file(key_file.next_to(file), random(KEY_BYTES))
        keks = settings.key_encryption_keys()
    if len(keks) == 1:
        source, following = key_file.outside_names()
        raise EnrolmentError(_BY_HAND.replace("\n", " ").format(source=source, following=following))
    old, new = keks
    if old == new:
        raise EnrolmentError("the next key-encryption key is the one that is in use; make another one")
    values = {"purpose": KEY_ENCRYPTION, "check_value": check_value(new).hex(), "old_file": None}
    if prepare:
        where = "beside it" if file is None else f"in {key_file.next_to(file)}"
        return Report(values, (f"the next key-encryption key lies {where}; nothing is changed yet",))
    async with owner_door(settings) as door:
        await door.run(_begun(settings, KEY_ENCRYPTION))
        await rotation.rewrap(door, old, new, random)
    kept = None if file is None else key_file.take_place(file)
    return Report(
        values | {"old_file": None if kept is None else str(kept)},
        (
            f"all keys are wrapped by the key-encryption key {check_value(new).hex()}",
            *(
                ["now put it in the place of the old one, for every switch, and keep that one for old backups"]
                if kept is None
                else [
                    f"it is in {file}; put a copy of it into a safe",
                    f"the old one is in {kept}: backups from before open by it alone; move it there too",
                ]
            ),
        ),
    )
