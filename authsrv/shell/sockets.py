"""The sockets of a switch: how they listen, and the one set of options that every connection gets.

    SO_REUSEADDR      a switch that was killed may start again at once
    SO_REUSEPORT      with several workers: each listens on the port, and connections are dealt evenly (`deal.py`)
    backlog 4,096     a chain whose power comes back connects all at once (the kernel cuts it to net.core.somaxconn)
    TCP_NODELAY       an answer is one write; waiting to fill a segment would only add to its time
    TCP_NOTSENT_LOWAT 128 KiB: what a peer does not take waits in our bounded outbox, not in megabytes of the kernel's
    SO_KEEPALIVE      after 30 s of silence, every 10 s, 3 times: a module that lost its power is found within a minute
    TCP_USER_TIMEOUT  20 s: so is one that takes no answer, since bytes that nobody acknowledges end the connection

What a system does not have is left out.
"""

import socket
from collections.abc import Iterator
from typing import Final

BACKLOG: Final = 4096
USER_TIMEOUT_MS: Final = 20_000
_OF_A_CONNECTION: Final = (
    ("TCP_NODELAY", 1),
    ("TCP_NOTSENT_LOWAT", 128 * 1024),
    ("TCP_KEEPIDLE", 30),
    ("TCP_KEEPINTVL", 10),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
)


def listen(host: str, port: int, *, shared: bool) -> list[socket.socket]:
    """Listen on every address that `host` stands for, without blocking; `shared` lets other processes do the same.

    Raises OSError where an address cannot be listened on.
    """
    listening: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            listening.append(socket.socket(family, socket.SOCK_STREAM))
            listening[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listening[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                listening[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening[-1].bind(address)
            listening[-1].listen(BACKLOG)
            listening[-1].setblocking(False)
    except BaseException:
        for each in listening:
            each.close()
        raise
    return listening


def _addresses(host: str, port: int) -> Iterator[tuple[socket.AddressFamily, tuple[object, ...]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    seen: set[tuple[object, ...]] = set()
    for family, _, _, _, address in found:
        if family in (socket.AF_INET, socket.AF_INET6) and address not in seen:
            seen.add(address)
            yield family, address


def prepare(connection: socket.socket) -> None:
    """Give an accepted connection its options. Raises OSError for one that is gone already."""
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _OF_A_CONNECTION:
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
