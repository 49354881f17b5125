"""The root keys that a module holds beside its kit: the next generation, taken from a session, and the one before it.

What must hold: the switch gives a generation up when a session of the next one is live, so a module that signs on by a
key which it could lose locks itself out. So a key is on the disk before it is used, the one before it stays until the
next has signed on, and a module without a file takes none. Which of the two the switch holds is found out by trying
them in turn.

The file is ours alone (0600). It holds keys in plain, like the kit, and takes the kit's place: a kit with a higher
generation, given out after it, takes the file's.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import trio

from protocol.signon import ModuleIdentity
from terminal.shell.durable import write_durably

NEXT_S: Final = 5.0  # between taking a key and signing on by it: every process of the switch knows it by then
NEXT_MAX_S: Final = 3600.0


class RootsError(Exception):
    """The file cannot be used; the message says why."""


class Roots:
    """What a module signs on by; with a `path` it can take the next generation. Raises RootsError."""

    def __init__(self, kit: ModuleIdentity, path: Path | None = None) -> None:
        self._path = path
        self._known = [kit]  # the newest last, two at most
        self._turn = 0
        if path is not None and path.exists():
            stored = _read(path, kit)
            if stored[-1].generation > kit.generation:
                self._known = stored

    def __repr__(self) -> str:
        return f"<Roots of {self._known[-1].module}, generation {self._known[-1].generation}>"

    @property
    def identity(self) -> ModuleIdentity:
        """What to sign on by now."""
        return self._known[-1 - self._turn % len(self._known)]

    @property
    def rest_s(self) -> float:
        """How long to stay with a session that has given a key; the longer the more often that was refused."""
        return min(NEXT_S * float(1 << min(self._turn, 16)), NEXT_MAX_S)

    def refused(self) -> None:
        """It could not sign on by `identity`: the other one's turn, if there is one."""
        self._turn += 1

    async def proven(self, identity: ModuleIdentity) -> None:
        """A session of this identity is live; if it is of the newest generation, the one before is given up."""
        if len(self._known) > 1 and identity == self._known[-1] and await self._keep([identity]):
            self._turn = 0

    async def take(self, identity: ModuleIdentity, root_key: bytes) -> bool:
        """Keep the next generation that a session of `identity` has given; whether it can be used from now on."""
        if self._path is None or identity != self._known[0]:
            return False
        following = replace(identity, generation=identity.generation + 1, root_key=root_key)
        if not await self._keep([identity, following]):
            return False
        self._turn -= self._turn % 2  # the newest one's turn
        return True

    async def _keep(self, known: list[ModuleIdentity]) -> bool:
        """Have these on the disk and go by them; where the disk refuses, all stays as it is."""
        if self._path is not None:
            try:
                await trio.to_thread.run_sync(_write, self._path, known)
            except OSError:
                return False
        self._known = known
        return True


def _read(path: Path, kit: ModuleIdentity) -> list[ModuleIdentity]:
    try:
        stored = [ModuleIdentity.from_json(each) for each in json.loads(path.read_text("ascii"))["modules"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RootsError(f"{path} holds no root keys: {type(error).__name__} while reading it") from None
    if not 1 <= len(stored) <= 2 or any(each.module != kit.module for each in stored):
        raise RootsError(f"{path} holds no root keys of module {kit.module}")
    return stored


def _write(path: Path, known: list[ModuleIdentity]) -> None:
    write_durably(path, json.dumps({"modules": [identity.to_json() for identity in known]}).encode("ascii"))
