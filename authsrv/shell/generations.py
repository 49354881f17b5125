"""The next generation of modules' root keys: kept when a live session has given it; the older is given up behind it.

What must hold:
  * Only a live session gives or retires anything: its module has proven that it holds the key of now.
  * Both ends keep what the last live session of the old generation gave. Whichever of them missed it, the old one stays
    valid until a session of the new one is live, and the next sign-on gives another.
  * Each change of keys has every process load its rules anew, so that what a whole chain of shops brings within a
    second is written at once. Nobody waits for it: what is lost with this process comes again.
"""

import logging
import secrets
from collections.abc import Callable
from typing import Final

import trio

from authsrv.keys import NONCE_BYTES, Purpose
from authsrv.shell.rules import Rules
from ledger.faults import BadRow, LedgerFault
from ledger.shell import store
from ledger.shell.door import Connection, Door
from protocol.numbers import TermFlag
from protocol.switch import SwitchSession

logger = logging.getLogger(__name__)

GATHER_S: Final = 1.0
_NEXT_ROOT: Final = TermFlag.NEXT_ROOT.value


class Generations:
    """What the sessions of one process have given and retired; `run` writes it."""

    def __init__(self, rules: Rules, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        """Wrap keys as `rules` have them."""
        self._rules = rules
        self._random = random
        self._given: dict[int, tuple[int, bytes]] = {}
        self._retiring: dict[int, int] = {}
        self._filled = trio.Event()

    def __repr__(self) -> str:
        return f"<Generations {len(self._given)} given, {len(self._retiring)} retiring>"

    def went_live(self, session: SwitchSession) -> None:
        """Note what a session gives or retires, now that it has proven itself."""
        record = self._rules.module(session.module)
        if record is None:
            return
        if session.terms.flags & _NEXT_ROOT and session.next_root is not None:
            self._given[session.module] = session.generation + 1, session.next_root
            self._filled.set()
        elif any(generation < session.generation for generation in record.keys):
            self._retiring[session.module] = session.generation
            self._filled.set()
        session.next_root = None

    async def run(self, door: Door) -> None:
        """Write what there is, once a second at most; what fails is tried again."""
        while True:
            await self._filled.wait()
            await trio.sleep(GATHER_S)
            self._filled = trio.Event()
            given, self._given = self._given, {}
            retiring, self._retiring = self._retiring, {}
            try:
                await self._write(door, given, retiring)
            except BadRow as fault:  # a check value that is in use: those modules give others
                logger.warning("next root keys could not be kept: %s", fault)
            except LedgerFault as fault:
                logger.warning("next root keys could not be kept yet: %s", type(fault).__name__)
                self._given = given | self._given
                self._retiring = retiring | self._retiring
                self._filled.set()

    async def _write(self, door: Door, given: dict[int, tuple[int, bytes]], retiring: dict[int, int]) -> None:
        if retiring:

            async def retire(connection: Connection) -> None:
                await store.retire_generations(connection, retiring)

            await door.run(retire)
        if given:
            registry = self._rules.registry.version
            keys = [
                self._rules.wrapped(Purpose.MODULE, module, generation, root, self._random(NONCE_BYTES))
                for module, (generation, root) in given.items()
            ]

            async def take(connection: Connection) -> bool:
                rows = [(key.owner, key.version, key.sealed, key.check_value) for key in keys]
                return await store.take_generations(connection, registry, rows)

            if not await door.run(take):
                self._given = given | self._given
                self._filled.set()
        await self._rules.renew(door)
