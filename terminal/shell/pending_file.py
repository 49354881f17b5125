"""The file in which a module keeps what `terminal.pending` says it must not forget.

One program holds it at a time: two that play the same module would each undo what the other is asking.
"""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import trio

from protocol.messages import Request, RequestName
from protocol.signon import ModuleIdentity
from terminal.pending import NONCE_BYTES, Pending, PendingError, Stage, can_be_kept, seal, unseal
from terminal.shell.durable import OWNER_ONLY, write_durably


class PendingFile:
    """Where a module's pending requests survive it; one object belongs to one module.

    `random` gives that many random bytes, for nonces.
    """

    def __init__(self, path: Path, *, random: Callable[[int], bytes] = secrets.token_bytes):
        self._path = path
        self._random = random
        self._identity: ModuleIdentity | None = None
        self._entries: dict[RequestName, Pending] = {}
        self._lock = trio.Lock()
        self._held: int | None = None

    @property
    def entries(self) -> tuple[Pending, ...]:
        """What is pending, oldest first."""
        return tuple(self._entries.values())

    def open(self, identity: ModuleIdentity) -> None:
        """Take the file for this module and read it; raises PendingError, OSError."""
        import fcntl  # noqa: PLC0415 - a module without such a file may run where there is no fcntl

        held = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT, OWNER_ONLY)
        try:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PendingError(f"another program holds {self._path}: one plays a module at a time") from None
            entries = self._read(identity)
        except BaseException:
            os.close(held)
            raise
        self._held, self._identity = held, identity
        self._entries = {each.request.name: each for each in entries}

    def _read(self, identity: ModuleIdentity) -> tuple[Pending, ...]:
        """What an earlier start left; what cannot be read stays as it is."""
        try:
            return unseal(self._path.read_bytes(), identity) if self._path.exists() else ()
        except PendingError as error:
            raise PendingError(f"{self._path}: {error}") from None

    def close(self) -> None:
        """Leave the file to others."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    async def asked(self, request: Request) -> None:
        """The request is about to leave; it may leave when this has returned. Raises OSError, and it is not kept."""
        if request.name in self._entries or not can_be_kept(request):
            return
        self._entries[request.name] = Pending(request=request)
        try:
            await self._write()
        except OSError:
            del self._entries[request.name]
            raise

    async def left(self, request: Request) -> None:
        """Its caller has gone without an answer. What cannot be written is undone all the same: value before paper."""
        entry = self._entries.get(request.name)
        if entry is not None and entry.stage is Stage.ASKED:
            self._entries[request.name] = replace(entry, stage=Stage.LEFT)
            with suppress(OSError):
                await self._write()

    async def answered(self, request: Request, answered: Request, recorded: bytes) -> None:
        """A recorded answer has come, to the request or its reversal. What cannot be written is asked for again."""
        if request.name in self._entries:
            self._entries[request.name] = Pending(
                request=request, stage=Stage.ANSWERED, answered=answered, recorded=recorded
            )
            with suppress(OSError):
                await self._write()

    async def forget(self, name: RequestName) -> None:
        """What has this name is over: printed, or never sent. Raises OSError."""
        found = [key for key, entry in self._entries.items() if name in entry.names]
        for key in found:
            del self._entries[key]
        if found:
            await self._write()

    async def _write(self) -> None:
        """Have the entries on the disk, whatever becomes of the caller meanwhile."""
        with trio.CancelScope(shield=True):
            async with self._lock:
                if self._identity is None:
                    raise PendingError("the file of pending requests is not open")
                sealed = seal(self.entries, self._identity, self._random(NONCE_BYTES))
                await trio.to_thread.run_sync(write_durably, self._path, sealed)
