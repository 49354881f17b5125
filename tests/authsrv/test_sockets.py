"""How a switch listens, and what every connection gets."""

from __future__ import annotations

import errno
import socket

import pytest

from authsrv.shell.sockets import BACKLOG, USER_TIMEOUT_MS, listen, prepare


def test_an_address_belongs_to_one_process_unless_it_is_shared() -> None:
    """A second one is refused by name of the fault; workers that share it all listen."""
    [alone] = listen("127.0.0.1", 0, shared=False)
    with alone, pytest.raises(OSError, match="in use") as refused:
        listen("127.0.0.1", alone.getsockname()[1], shared=False)
    assert refused.value.errno == errno.EADDRINUSE
    [first] = listen("127.0.0.1", 0, shared=True)
    [second] = listen("127.0.0.1", first.getsockname()[1], shared=True)
    with first, second:
        assert first.getsockname() == second.getsockname()
        assert not first.getblocking()


def test_a_name_that_stands_for_nothing_is_refused() -> None:
    """As a fault of the operating system, which the command line tells as such."""
    with pytest.raises(socket.gaierror):
        listen("no-such-host.invalid", 0, shared=False)


def test_a_connection_gets_its_options() -> None:
    """Those that the head of the file promises, and none of its calls blocks."""
    [listening] = listen("127.0.0.1", 0, shared=False)
    with listening, socket.create_connection(listening.getsockname()) as theirs:
        listening.setblocking(True)
        accepted, _ = listening.accept()
        with accepted:
            prepare(accepted)
            assert not accepted.getblocking()
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            for option, value in (
                ("TCP_NODELAY", 1),
                ("TCP_KEEPIDLE", 30),
                ("TCP_KEEPINTVL", 10),
                ("TCP_KEEPCNT", 3),
                ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
                ("TCP_NOTSENT_LOWAT", 131_072),
            ):
                assert accepted.getsockopt(socket.IPPROTO_TCP, getattr(socket, option)) == value
            assert theirs.getpeername() == accepted.getsockname()
    assert BACKLOG == 4096
