"""The rules in memory: modules, keys and programmes, loaded from the database whenever its count of changes has moved.

A lane that finds the count moved loads before it decides. A watcher loads for those who never come to a lane: a
module that was revoked must not sign on, and its sessions end, within seconds, on a process that has nothing else to
do.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from zoneinfo import ZoneInfo

import asyncpg
import trio

from authsrv.facts import Issuer, Module
from authsrv.keys import KeyFault, KeyRing, Purpose, WrappedKey, unwrap, wrap
from authsrv.registry import Registry
from authsrv.shell.enrolment import open_ring, wrapped_key
from authsrv.shell.key_file import KeyFileError
from ledger.shell import store
from ledger.shell.door import Door
from loyalty.programme import Programme
from loyalty.source import load_programme
from protocol.numbers import CodePage, Suite
from protocol.signon import RootKey
from protocol.switch import ModuleRecord

logger = logging.getLogger(__name__)

WATCH_S = 2.0


class Rules:
    """One process's copy of the rules; `load` replaces it whole."""

    registry: Registry
    ring: KeyRing

    def __init__(self, kek: bytes, source: Callable[[], Sequence[bytes]] = lambda: ()) -> None:
        """Open keys with the 32-byte key-encryption key `kek`, or, once it does not open them, with one of `source`."""
        self._kek = kek
        self._source = source
        self._changed: Callable[[], None] = lambda: None
        self._loading = trio.Lock()
        self._groups: dict[int, list[bytes]] = {}
        self._records: dict[int, ModuleRecord] = {}

    def when_changed(self, act: Callable[[], None]) -> None:
        """Have `act` called after each further load."""
        self._changed = act

    async def load(self, door: Door) -> None:
        """Load what the database holds now.

        Raises KeyFault if a key does not open, ValueError if a programme cannot be read, and the faults of the ledger.
        """
        async with self._loading:
            await self._load(door)
        self._changed()

    async def _load(self, door: Door) -> None:
        issuer, modules, keys, programmes = await door.run(store.rules)
        opened = self._opened(issuer["number"], keys)
        roots = opened.roots
        registry = Registry(
            version=issuer["registry"],
            issuer=_issuer(issuer),
            modules={row["number"]: _module(row) for row in modules},
            programmes=_programmes(programmes),
        )
        records = {
            row["number"]: ModuleRecord(
                row["number"],
                issuer["group_number"],
                {version: RootKey(Suite(row["suite"]), key) for version, key in roots.get(row["number"], {}).items()},
                row["revoked"],
                row["rekey"],
            )
            for row in modules
        }
        # Not before all of it could be read.
        self._kek, self.ring, self.registry, self._groups, self._records = (
            *(opened.kek, opened.ring, registry, opened.groups, records),
        )

    def _opened(self, issuer: int, keys: list[asyncpg.Record]) -> "_Opened":
        """The keys, opened; where the key-encryption key was changed, with the one that is found in its place now."""
        try:
            return _Opened(issuer, keys, self._kek)
        except KeyFault as fault:
            for kek in self._source():
                with suppress(KeyFault):
                    return _Opened(issuer, keys, kek)
            raise fault  # noqa: TRY201 - what the first one said, since the others may be none at all

    def wrapped(self, purpose: Purpose, owner: int, version: int, key: bytes, nonce: bytes) -> WrappedKey:
        """A key, wrapped as those are that were loaded last."""
        return wrap(self._kek, purpose, owner, version, key, nonce)

    async def renew(self, door: Door) -> bool:
        """Load where the count has moved; whether what is held now is the newest that could be had.

        A row that cannot be read must not end a process that serves.
        """
        try:
            async with self._loading:
                if await door.run(store.registry_version) == self.registry.version:
                    return True  # somebody else was asked first
                await self._load(door)
            self._changed()
        except Exception as fault:  # noqa: BLE001 - whatever is wrong with the rows: nobody decides by them
            why = f": {fault}" if isinstance(fault, KeyFault | KeyFileError) else ""  # which hold nothing secret
            logger.error("the rules could not be loaded: %s%s", type(fault).__name__, why)  # noqa: TRY400 - no locals
            return False
        return True

    async def watch(self, door: Door) -> None:
        """Renew every two seconds; a fault is tried again."""
        while True:
            await trio.sleep(WATCH_S)
            await self.renew(door)

    def group_keys(self, group: int) -> Sequence[bytes]:
        """The keys that may hide the module numbers of a group, the newest first."""
        return self._groups.get(group, ())

    def module(self, number: int) -> ModuleRecord | None:
        """What sign-on knows of a module."""
        return self._records.get(number)


class _Opened:
    """The rows of `switch_keys`, opened by one key-encryption key; raises `KeyFault` where it is not theirs."""

    def __init__(self, issuer: int, keys: list[asyncpg.Record], kek: bytes) -> None:
        self.kek = kek
        self.ring = open_ring(issuer, keys, kek)
        self.groups: dict[int, list[bytes]] = {}
        self.roots: dict[int, dict[int, bytes]] = {}
        for wrapped in sorted(map(wrapped_key, keys), key=lambda each: each.version):
            if wrapped.purpose is Purpose.GROUP:
                self.groups.setdefault(wrapped.owner, []).insert(0, unwrap(kek, wrapped))
            elif wrapped.purpose is Purpose.MODULE:
                self.roots.setdefault(wrapped.owner, {})[wrapped.version] = unwrap(kek, wrapped)

    def __repr__(self) -> str:
        return "<_Opened>"


def _issuer(row: asyncpg.Record) -> Issuer:
    return Issuer(
        row["number"], row["name"], row["currency"], row["code"], row["exponent"], row["group_number"],
        ZoneInfo(row["zone"]),
    )  # fmt: skip


def _module(row: asyncpg.Record) -> Module:
    return Module(
        number=row["number"],
        branch=row["branch"],
        branch_name=row["branch_name"],
        suite=row["suite"],
        desk=row["desk"],
        partial=row["partial"],
        columns=row["columns"],
        code_page=CodePage(row["code_page"]),
        language=row["language"],
        deadline_s=row["deadline_s"],
        bad_cards_per_day=row["bad_cards_per_day"],
        revoked=row["revoked"],
    )


def _programmes(rows: list[asyncpg.Record]) -> dict[int, list[Programme]]:
    programmes: dict[int, list[Programme]] = {}
    for row in rows:
        programmes.setdefault(row["number"], []).append(
            load_programme(store.document(row), f"programme {row['name']} version {row['version']} in the database")
        )
    return programmes
