"""Several messages in one exchange with the server: BEGIN before a statement, COMMIT behind another.

asyncpg sends nothing before the last answer is there, so a transaction of two statements waits four times for the
server, three of them with its cards locked. Here BEGIN goes out with the first statement and COMMIT with the last, and
it waits twice. The driver sees what it always sees, only sooner or later than it travels:

  * **BEGIN** is not the driver's: it goes before the next message, and its answer is taken away.
  * **COMMIT** goes behind the next execution. What the server says to it is held until the driver sends that COMMIT
    itself, which then stays here.

So it is the driver that reads and judges each answer, and its errors, timeouts and listeners mean what they mean. What
must hold:

  * A COMMIT behind a statement that fails does nothing: the server refuses whatever follows in that transaction.
  * No answer is taken for another's: where the driver says anything but the COMMIT that was sent for it, or where BEGIN
    is not plainly confirmed, the connection ends.
  * An answer to COMMIT that the driver has not asked for when the connection is lost is as good as none: in doubt.
  * Where BEGIN alone is refused the server goes on with what came behind it, in a transaction of its own. So the first
    statement must be one that may stand alone.
  * Between two answers no message is left half read. What a server from 15 on says there unasked is that the
    connection ends.

Messages are as in PostgreSQL's manual, "Frontend/Backend Protocol": a letter, a length that counts itself, and what the
letter says. "Z" ends each answer.
"""

from __future__ import annotations

import asyncio
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import asyncpg

if TYPE_CHECKING:
    from asyncpg.prepared_stmt import PreparedStatement

_HEAD: Final = Struct(">cI")
_QUERY: Final = b"Q"
_BIND: Final = b"B"
_DONE: Final = b"C"
_READY: Final = b"Z"
_ERROR: Final = b"E"


class Exchange(asyncio.Protocol):
    """Stands between one connection's transport and its driver, both ways."""

    def __init__(self, transport: asyncio.Transport, driver: asyncio.Protocol) -> None:
        """Step in between `transport` and `driver`, who have been talking to each other until now."""
        self.prepared: dict[str, PreparedStatement[Any]] = {}  # statements of this connection, for whoever sends them
        self._transport = transport
        self._send = transport.write
        self._driver = driver
        self._before = b""
        self._behind = b""
        self._ahead = b""  # the COMMIT that was sent and that the driver has not asked for yet
        self._dropping = False  # the answer to BEGIN comes next
        self._parting = False  # the answer to the statement comes next, and that to COMMIT behind it
        self._holding = False  # the answer to COMMIT comes next
        self._kept = bytearray()  # what came and the driver is not to see yet
        transport.write = self._write  # type: ignore[method-assign]
        transport.set_protocol(self)

    # Towards the server

    def send_before(self, query: str) -> None:
        """Let `query` go before the driver's next message, and take its answer away."""
        self._before = _message(query)

    def send_behind(self, query: str) -> None:
        """Let `query` go behind the driver's next execution; whatever comes of that, it is to execute this one next."""
        self._behind = _message(query)

    def take_back(self) -> bool:
        """Let go nothing that has not gone; whether there was anything."""
        waiting = bool(self._before or self._behind)
        self._before = self._behind = b""
        return waiting

    def _write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._ahead:
            if bytes(data) == self._ahead:
                self._ahead = b""
                asyncio.get_running_loop().call_soon(self._show)
            else:
                self._transport.abort()
            return
        if self._before:
            data = b"".join((self._before, data))
            self._before = b""
            self._dropping = True
        elif self._behind and bytes(data[:1]) == _BIND:
            data = b"".join((data, self._behind))
            self._ahead, self._behind = self._behind, b""
            self._parting = True
        self._send(data)

    # Towards the driver

    def data_received(self, data: bytes) -> None:
        """Show the driver what it is to see now."""
        if self._dropping:
            self._kept += data
            self._drop()
        elif self._parting:
            self._kept += data
            self._part()
        elif self._holding:
            self._kept += data
        else:
            self._driver.data_received(data)

    def _drop(self) -> None:
        """Take the answer to BEGIN away when it is whole; what else the server had to say is shown."""
        answer = _answer(self._kept)
        if answer is None:
            return
        self._dropping = False
        if any(kind == _ERROR for kind, _, _ in answer):
            self._transport.abort()
            return
        end = answer[-1][2]
        self._kept[:end] = b"".join(
            self._kept[start:stop] for kind, start, stop in answer if kind not in (_DONE, _READY)
        )
        self._show()

    def _part(self) -> None:
        """Show the answer to the statement when it is whole, and hold what comes behind."""
        answer = _answer(self._kept)
        if answer is None:
            return
        self._parting, self._holding = False, True
        end = answer[-1][2]
        shown = bytes(self._kept[:end])
        del self._kept[:end]
        self._driver.data_received(shown)

    def _show(self) -> None:
        self._holding = False
        shown = bytes(self._kept)
        self._kept.clear()
        if shown:
            self._driver.data_received(shown)

    def eof_received(self) -> bool | None:
        """Tell the driver."""
        return self._driver.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the driver; what it has not seen is lost with the connection."""
        self._kept.clear()
        self._driver.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell the driver."""
        self._driver.pause_writing()

    def resume_writing(self) -> None:
        """Tell the driver."""
        self._driver.resume_writing()


def exchange_of(connection: asyncpg.Connection[Any]) -> Exchange:
    """What stands between a connection's transport and its driver; from now on, if nothing does.

    Raises `asyncpg.InterfaceError` when the connection is lost.
    """
    # asyncpg shows its transport in no public way.
    transport: asyncio.Transport = connection._transport  # type: ignore[attr-defined]  # noqa: SLF001
    protocol = transport.get_protocol()
    if isinstance(protocol, Exchange):
        return protocol
    if not isinstance(protocol, asyncio.Protocol):  # a transport that was lost has none any more
        raise asyncpg.InterfaceError("the connection is lost")
    return Exchange(transport, protocol)


def _message(query: str) -> bytes:
    text = query.encode() + b"\0"
    return _HEAD.pack(_QUERY, 4 + len(text)) + text


def _answer(data: bytearray) -> list[tuple[bytes, int, int]] | None:
    """The messages of the first answer, each as its kind, where it starts and where it ends; None: not whole yet."""
    found = []
    start = 0
    while start + _HEAD.size <= len(data):
        kind, length = _HEAD.unpack_from(data, start)
        end = start + 1 + length
        if end > len(data):
            return None
        found.append((kind, start, end))
        if kind == _READY:
            return found
        start = end
    return None
