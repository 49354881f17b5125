"""Several messages in one exchange with the server: BEGIN before a statement, COMMIT behind another.

asyncpg sends nothing before the last answer is there, so a transaction of two statements would wait four times for the
server, three of them with its cards locked. Here BEGIN goes out with the first statement and COMMIT with the last, in
one piece each, and as only the end of a piece asks for an answer (Sync), it waits twice.

The driver reads and judges all that is answered to a piece as the answer to its own statement, and its errors, timeouts
and listeners mean what they mean. What must hold:

  * What is behind something that fails is not executed: the server skips all up to the end of the piece. So where
    BEGIN failed nothing was done outside of a transaction, and where the statement failed no COMMIT was done.
  * Nothing else than the statement gives rows, or they would be taken for its own.
  * Of the ends of statements that the server tells, the driver keeps the last: behind COMMIT that is its own.

Messages are as in PostgreSQL's manual, "Frontend/Backend Protocol": a letter, a length that counts itself, and what the
letter says. What is executed here has been made ready by the driver, and has its name.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import asyncpg

if TYPE_CHECKING:
    import asyncio

    from asyncpg.prepared_stmt import PreparedStatement

_HEAD: Final = Struct(">cI")
_BIND: Final = b"B"
_EXECUTE: Final = b"E"
_SYNC: Final = b"S\0\0\0\4"
_NAMELESS: Final = b"\0"


class Exchange:
    """Stands between one connection's driver and its transport, on the way to the server."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        """Step in before `transport`."""
        self.prepared: dict[str, PreparedStatement[Any]] = {}  # statements of this connection, for whoever sends them
        self._transport = transport
        self._send = transport.write
        self._before = b""
        self._behind = b""
        transport.write = self._write  # type: ignore[method-assign]

    def send_before(self, *statements: PreparedStatement[Any]) -> None:
        """Let these be executed before the driver's next statement, which is not executed where one of them fails."""
        self._before = b"".join([_execution(statement.get_name()) for statement in statements])

    def send_behind(self, *statements: PreparedStatement[Any]) -> None:
        """Let these be executed behind the driver's next statement, unless that fails."""
        self._behind = b"".join([_execution(statement.get_name()) for statement in statements])

    def take_back(self) -> bool:
        """Let go nothing that has not gone; whether there was anything."""
        waiting = bool(self._before or self._behind)
        self._before = self._behind = b""
        return waiting

    def _write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if (self._before or self._behind) and bytes(data[:1]) == _BIND:
            if bytes(data[-len(_SYNC) :]) != _SYNC:  # in pieces, as this driver sends none
                self._transport.abort()
                return
            data = b"".join((self._before, data[: -len(_SYNC)], self._behind, _SYNC))
            self._before = self._behind = b""
        self._send(data)


def exchange_of(connection: asyncpg.Connection[Any]) -> Exchange:
    """What stands before a connection's transport; from now on, if nothing does.

    Raises `asyncpg.InterfaceError` when the connection is lost.
    """
    if connection.is_closed():
        raise asyncpg.InterfaceError("the connection is lost")
    # asyncpg shows its transport in no public way.
    transport: asyncio.WriteTransport = connection._transport  # type: ignore[attr-defined]  # noqa: SLF001
    there = getattr(transport.write, "__self__", None)
    return there if isinstance(there, Exchange) else Exchange(transport)


@lru_cache
def _execution(name: str) -> bytes:
    """A statement without arguments, by its name: bound to the portal that has none, and executed there to its end."""
    bound = _NAMELESS + name.encode() + b"\0" + bytes(6)  # no formats, no arguments, no formats of results
    return _said(_BIND, bound) + _said(_EXECUTE, _NAMELESS + bytes(4))


def _said(letter: bytes, content: bytes) -> bytes:
    return _HEAD.pack(letter, 4 + len(content)) + content
