"""Requests that are not decided and leave no record: `echo` and `page`.

They have a line of their own, so that a flood of them holds up no lane, and no lane holds up a module that only wants
to know whether the switch is there.
"""

import logging

import trio

from authsrv.answer import echo, page, unrecorded
from authsrv.keys import KeyFault
from authsrv.shell.intake import Pending, Queue
from authsrv.shell.overdue import overdue_refused
from authsrv.shell.rules import Rules
from ledger.faults import LedgerFault
from ledger.names import Name, read_authorization_number
from ledger.shell import store
from ledger.shell.door import Connection, Door
from protocol.messages import FormatError, OriginalName, Request
from protocol.numbers import Command, Reason

logger = logging.getLogger(__name__)

READERS = 2


class Reads:
    """The line of one process; `offer` puts a request in, `run` answers until `close`."""

    def __init__(self, door: Door, rules: Rules, *, waiting_max: int) -> None:
        """Answer through `door`, with at most `waiting_max` waiting."""
        self._door = door
        self._rules = rules
        self._queue = Queue(waiting_max)

    def offer(self, pending: Pending) -> bool:
        """Put a request in; False where the line is full or closed."""
        return self._queue.put(pending)

    def close(self) -> None:
        """Take nothing more; `run` returns when all that was taken is answered."""
        self._queue.close()

    async def run(self) -> None:
        """Answer what is offered."""
        async with overdue_refused([self._queue], self._turn_away), trio.open_nursery() as nursery:
            for _ in range(READERS):
                nursery.start_soon(self._serve)

    async def _serve(self) -> None:
        while True:
            await self._queue.filled.wait()
            if taken := self._queue.take(1):
                taken[0].reply(await self._answer_or_refusal(taken[0]), trio.current_time())
            elif self._queue.closed:
                return

    async def _answer_or_refusal(self, pending: Pending) -> bytes:
        try:
            return await self._answer(pending)
        except LedgerFault:
            return self._refused(pending, Reason.NO_DATABASE)
        except Exception as fault:  # noqa: BLE001 - one request must not end the line of all
            logger.error("a read failed: %s", type(fault).__name__)  # noqa: TRY400 - no locals in a trace
            return self._refused(pending, Reason.BAD_REQUEST)

    async def _answer(self, pending: Pending) -> bytes:
        ask = pending.ask
        if isinstance(ask.request, FormatError):
            return self._refused(pending, ask.request.reason)
        if pending.deadline <= trio.current_time():
            return self._refused(pending, Reason.TOO_LATE)
        module = self._rules.registry.modules[ask.name.module]
        if ask.request.command is Command.ECHO:
            return echo(
                ask.envelope,
                module,
                await self._door.run(lambda connection: store.last_name(connection, module.number)),
            )
        return await self._page(pending, ask.request)

    async def _page(self, pending: Pending, request: Request) -> bytes:
        module = self._rules.registry.modules[request.module]
        name = number = None
        match request.original:
            case OriginalName(date, sequence):
                name = Name(request.module, date, sequence)
            case str(digits):
                number = read_authorization_number(digits)
            case None:
                pass

        async def read(connection: Connection) -> tuple[Name, bytes] | None:
            return await store.recorded_page(connection, name, number, request.page)

        found = await self._door.run(read) if name is not None or number is not None else None
        if found is None:
            return self._refused(pending, Reason.ORIGINAL_UNKNOWN)
        owner, sealed = found
        if owner.module != module.number and not module.desk:
            return self._refused(pending, Reason.FOREIGN_ORIGINAL)
        return page(pending.ask.envelope, await self._opened(owner, request.page, sealed))

    async def _opened(self, owner: Name, number: int, sealed: bytes) -> bytes:
        """A recorded page. No batch loads the rules for us: a key that seals it may be known elsewhere first."""
        try:
            return self._rules.ring.open(owner, number, sealed)
        except KeyFault:
            await self._rules.renew(self._door)
            return self._rules.ring.open(owner, number, sealed)

    def _turn_away(self, late: list[Pending]) -> None:
        for pending in late:
            pending.reply(self._refused(pending, Reason.TOO_LATE), trio.current_time())

    def _refused(self, pending: Pending, reason: Reason) -> bytes:
        registry = self._rules.registry
        return unrecorded(pending.ask.envelope, registry.issuer, registry.modules[pending.ask.name.module], reason)
