"""What an operator's commands about keys do: show them without showing one, and change them while the switch works."""

from collections.abc import Callable
from typing import Final

from authsrv.keys import ISSUER_PURPOSES, Purpose
from authsrv.shell import rotation
from authsrv.shell.enrolment import Random
from authsrv.shell.owner import owner_door, transaction
from authsrv.shell.report import Report
from authsrv.shell.settings import Settings, SettingsError

_SHOWN: Final = """
    select purpose, owner, version, state, encode(check_value, 'hex') as check_value, created_at
      from keys order by array_position($1, purpose), purpose, owner, version
"""


async def show_keys(settings: Settings) -> Report:
    """All keys by purpose, owner and version, with their check values; never a key."""
    order = [purpose.value for purpose in (*ISSUER_PURPOSES, Purpose.GROUP, Purpose.MODULE)]
    async with owner_door(settings) as door:
        rows = await door.run(transaction(lambda connection: connection.fetch(_SHOWN, order)))
    keys = [dict(row) | {"created_at": row["created_at"].isoformat(timespec="seconds")} for row in rows]
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
        raise SettingsError(f"there is no key {purpose}; give {', '.join(ISSUER_PURPOSES)}")
    keks = settings.key_encryption_keys()
    async with owner_door(settings) as door:
        version = await rotation.rotate(door, keks, Purpose(purpose), random, told)
    return Report({"purpose": purpose, "version": version}, (f"the {purpose} key is at version {version}",))
