"""A line between a switch and its database that can be held, cut and mended.

It carries bytes from a TCP port to the socket that a DSN names. `hold` lets no more of what the switch says pass, from
the first piece on that has the needle in it: so a test decides how long the database takes, and a COMMIT can be stuck.
With a certificate it ends TLS as a server would that is built with it, which the embedded one is not.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import trio

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

PIECE_BYTES = 65_536
READY = b"Z\0\0\0\x05"  # ends an answer
SSL_REQUEST = bytes.fromhex("00000008 04d2162f")  # PostgreSQL's manual, "SSL Session Encryption"


@dataclass
class Relay:
    """One line; `dsn` leads over it."""

    path: str
    tls: ssl.SSLContext | None = None  # its own side of it
    dsn: str = ""
    held: trio.Event = field(default_factory=trio.Event)  # something is held
    piece_bytes: int = PIECE_BYTES  # how much of what is said passes at once
    pieces: int = 0  # that the switch has said
    answers: int = 0  # that the database has ended
    _needle: bytes | None = None
    _released: trio.Event = field(default_factory=trio.Event)
    _down: bool = False
    _lines: set[trio.CancelScope] = field(default_factory=set)

    def hold(self, needle: bytes = b"") -> None:
        """Hold what the switch says from the first piece with this in it."""
        self._needle, self.held, self._released = needle, trio.Event(), trio.Event()

    def let_go(self) -> None:
        """Let everything pass."""
        self._needle = None
        self._released.set()

    def cut(self) -> None:
        """Break all connections, and each new one at once."""
        self._down = True
        for line in self._lines:
            line.cancel()

    def mend(self) -> None:
        """Take connections again."""
        self._down = False

    async def carry(self, client: trio.SocketStream) -> None:
        """Carry one connection until either end has gone."""
        with trio.CancelScope() as line:
            self._lines.add(line)
            async with client, await trio.open_unix_socket(self.path) as server, trio.open_nursery() as nursery:
                if self._down:
                    return
                end = client if self.tls is None else await _secured(client, self.tls)
                if end is None:
                    return
                nursery.start_soon(self._pump, end, server, nursery.cancel_scope)
                await self._pump(server, end, nursery.cancel_scope, said_by_switch=False)
        self._lines.discard(line)

    async def _pump(
        self, source: trio.abc.Stream, sink: trio.abc.Stream, line: trio.CancelScope, *, said_by_switch: bool = True
    ) -> None:
        try:
            while data := await source.receive_some(self.piece_bytes):
                self.pieces += said_by_switch
                self.answers += 0 if said_by_switch else data.count(READY)
                if said_by_switch and self._needle is not None and self._needle in data:
                    self.held.set()
                    await self._released.wait()
                await sink.send_all(data)
        except trio.BrokenResourceError:
            pass
        line.cancel()


async def _secured(client: trio.SocketStream, tls: ssl.SSLContext) -> trio.abc.Stream | None:
    request = await client.receive_some(len(SSL_REQUEST))
    if not request:  # it has left again
        return None
    assert request == SSL_REQUEST
    await client.send_all(b"S")
    secured = trio.SSLStream(client, tls, server_side=True, https_compatible=True)
    await secured.do_handshake()
    return secured


@asynccontextmanager
async def relay(dsn: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    """A line to the database of `dsn`, which names a folder of sockets."""
    parts = urlsplit(dsn)
    [folder] = parse_qs(parts.query)["host"]
    line = Relay(f"{folder}/.s.PGSQL.5432", tls)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        line.dsn = parts._replace(
            netloc=parts.netloc + f"127.0.0.1:{port}", query="sslmode=require" if tls else ""
        ).geturl()
        nursery.start_soon(trio.serve_listeners, line.carry, [listener])
        yield line
        nursery.cancel_scope.cancel()
