"""All connections of one process: who is let in, whose session is live, and who is written to next.

What must hold:
  * Caps are counted from when a connection is accepted or taken over, so that unfinished handshakes are bounded too.
  * A live session displaces the module's older one on another connection; a HELLO alone displaces nothing.
  * Who signs on holds up nobody who works: newcomers have a poll of their own.
  * Where several processes serve one port, whom one of them hands over is let in here like whoever is accepted.
  * What was put into outboxes in one turn of the loop leaves in the next, one write a connection.
"""

import errno
import logging
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio

from authsrv.shell.connection import Connection
from authsrv.shell.deadlines import Deadlines
from authsrv.shell.deal import TAKEN_A_TURN, Deal
from authsrv.shell.generations import Generations
from authsrv.shell.intake import Intake
from authsrv.shell.lanes import Lanes
from authsrv.shell.metrics import CONNECTIONS, SESSIONS, SIGN_ONS
from authsrv.shell.poll import Poll
from authsrv.shell.reads import Reads
from authsrv.shell.rules import Rules
from authsrv.shell.sockets import prepare
from protocol.switch import Limits, SwitchSession

logger = logging.getLogger(__name__)

NEWCOMERS_SWEEP_S: Final = 0.002
OUT_OF_ROOM: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
OUT_OF_ROOM_S: Final = 0.1
OUT_OF_ROOM_TOLD_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Caps:
    """What one process takes at most."""

    connections: int = 4096
    sessions: int = 20_000


class Listener:
    """All connections of one process; `run` serves them until it is cancelled."""

    def __init__(self, rules: Rules, lanes: Lanes, reads: Reads, limits: Limits, caps: Caps) -> None:
        """Serve by `rules`; requests go to `lanes` and `reads`."""
        self.rules = rules
        self.limits = limits
        self.newcomers = Poll(NEWCOMERS_SWEEP_S)
        self.working = Poll()
        self.deadlines = Deadlines()
        self.intake = Intake(rules, lanes.queues, reads)
        self.generations = Generations(rules)
        self._caps = caps
        self._connections: set[Connection] = set()
        self._live: dict[int, tuple[Connection, SwitchSession]] = {}
        self._to_flush: list[Connection] = []
        self._filled = trio.Event()
        self._parted = trio.Event()  # set when a connection has ended
        self._deal: Deal | None = None
        self._told_again_at = 0.0  # that there is no room

    async def run(self) -> None:
        """Serve the connections that `accept` lets in."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.working.run)
                nursery.start_soon(self.newcomers.run)
                nursery.start_soon(self.deadlines.run)
                nursery.start_soon(self._flush)
        finally:
            for connection in list(self._connections):
                connection.end()
            self.newcomers.close()
            self.working.close()

    async def accept(
        self, listening: Sequence[socket.socket], tls: ssl.SSLContext | None = None, deal: Deal | None = None
    ) -> None:
        """Let connections in until cancelled, and then close `listening`; `deal` is with the others on the port."""
        self._deal = deal
        try:
            async with trio.open_nursery() as nursery:
                for each in listening:
                    nursery.start_soon(self._accept, each, tls)
                if deal is not None:
                    deal.begin()
                    nursery.start_soon(self._take, deal, tls)
        finally:
            if deal is not None:
                deal.end()
            for each in listening:
                each.close()

    async def _accept(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        while True:
            await trio.lowlevel.wait_readable(listening)
            for _ in range(TAKEN_A_TURN):
                try:
                    accepted, _ = listening.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in OUT_OF_ROOM:
                        await self._wait_for_room(error)
                        break
                    continue  # it was gone before it was taken
                self._tell()  # there is room
                if self._deal is None or not self._deal.hand_over(accepted):
                    self._let_in(accepted, tls)

    async def _take(self, deal: Deal, tls: ssl.SSLContext | None) -> None:
        while True:
            await trio.lowlevel.wait_readable(deal.inbox)
            for _ in range(TAKEN_A_TURN):
                try:
                    taken = deal.take()
                except OSError as error:
                    await self._wait_for_room(error)
                    break
                if taken is None:
                    self._tell()
                    break
                self._let_in(taken, tls)

    async def _wait_for_room(self, error: OSError) -> None:
        if trio.current_time() >= self._told_again_at:
            logger.warning("no connection can be taken: %s", error.strerror)
            self._told_again_at = trio.current_time() + OUT_OF_ROOM_TOLD_S
        await trio.sleep(OUT_OF_ROOM_S)

    def _let_in(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        try:
            if len(self._connections) >= self._caps.connections:
                accepted.close()
                return
            prepare(accepted)
            self._connections.add(Connection(self, accepted, tls))
            CONNECTIONS.inc()
            self._tell()
        except Exception as error:  # noqa: BLE001 - one connection's fault must not end the listener
            accepted.close()
            if not isinstance(error, OSError):
                logger.error("a connection could not begin: %s", type(error).__name__)  # noqa: TRY400 - no locals

    # What a connection asks of the whole

    def drain(self) -> None:
        """Take no more requests and open no more sessions."""
        self.intake.draining = True

    def flush_soon(self, connection: Connection) -> None:
        """Have it flushed when all who run in this turn of the loop have put their answers."""
        self._to_flush.append(connection)
        if len(self._to_flush) == 1:
            self._filled.set()

    async def _flush(self) -> None:
        while True:
            await self._filled.wait()
            self._filled = trio.Event()
            connections, self._to_flush = self._to_flush, []
            for connection in connections:
                connection.flush()

    def parted(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        if connection in self._connections:
            self._connections.discard(connection)
            CONNECTIONS.dec()
            self._tell()
            self._parted.set()

    def _tell(self) -> None:
        if self._deal is not None:
            self._deal.note(len(self._connections))

    def may_open(self, module: int) -> bool:
        """Whether one more session of this module fits into this process; one that replaces another always does."""
        return (module in self._live or len(self._live) < self._caps.sessions) and not self.intake.draining

    def went_live(self, connection: Connection, session: SwitchSession) -> None:
        """Let the module's new session displace its older one, wherever that is."""
        older = self._live.get(session.module)
        self._live[session.module] = connection, session
        self.generations.went_live(session)
        SIGN_ONS.inc()
        SESSIONS.set(len(self._live))
        if older is not None and older[0] is not connection:
            older[0].close_session(older[1])

    def ended(self, session: SwitchSession) -> None:
        """Forget a session that is over."""
        current = self._live.get(session.module)
        if current is not None and current[1] is session:
            del self._live[session.module]
            SESSIONS.set(len(self._live))

    def revoke(self) -> None:
        """End the sessions of modules and keys that the rules have revoked, whatever state they are in."""
        for connection in list(self._connections):
            connection.revoke()

    async def hang_up(self) -> None:
        """Close every session, and wait until every connection has written what was left and ended."""
        for connection in list(self._connections):
            connection.hang_up()
        while self._connections:
            await self._parted.wait()
            self._parted = trio.Event()
