"""Where slips go to: files, devices and ports, and what happens when they are not taken."""

import os
import socket
import threading
from functools import partial

import pytest
import trio
import trio.testing

from terminal.shell import printer as printing
from terminal.shell.printer import Printer

SLIP = b"\x1b@\x1bt\x21" + "\u0136\u012b\u013ca\n".encode("cp775") + b"\x1dVB\x03"
LINES, CP775 = ("\u0136\u012b\u013ca",), 1


@pytest.mark.parametrize(
    ("where", "host", "port"),
    [
        ("tcp://192.0.2.20", "192.0.2.20", 9100),
        ("tcp://printer.shop:9101", "printer.shop", 9101),
        ("tcp://[2001:db8::1]:9100", "2001:db8::1", 9100),
    ],
)
def test_a_printer_of_the_network(where, host, port):
    """Its port is 9100 unless said."""
    printer = Printer.named(where)
    assert (printer.host, printer.port, printer.path) == (host, port, None)


@pytest.mark.parametrize("where", ["tcp://", "tcp://host/path", "tcp://host:port"])
def test_what_names_no_printer(where):
    """Told at the start, not at the first slip."""
    with pytest.raises(ValueError, match=r"printer|Port"):
        Printer.named(where)


async def test_slips_are_added_to_a_file(tmp_path):
    """One behind the other, as a device would take them."""
    printer = Printer.named(str(tmp_path / "paper"))
    await printer.put(LINES, CP775)
    await printer.put(LINES, CP775)
    assert (tmp_path / "paper").read_bytes() == SLIP * 2


async def test_a_slip_goes_over_the_network(nursery):
    """Whole, and the connection ends behind it."""
    taken = trio.Event()
    heard = bytearray()

    async def listen(stream):
        async for data in stream:
            heard.extend(data)
        taken.set()

    [listener] = await nursery.start(partial(trio.serve_tcp, listen, 0, host="127.0.0.1"))
    await Printer.named(f"tcp://127.0.0.1:{listener.socket.getsockname()[1]}").put(LINES, CP775)
    with trio.fail_after(5):
        await taken.wait()
    assert bytes(heard) == SLIP


async def test_a_printer_that_is_not_there_is_an_error():
    """Nobody listens on that port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(OSError, match=r".+"):
        await Printer.named(f"tcp://127.0.0.1:{port}").put(LINES, CP775)


async def test_a_printer_that_takes_nothing_is_an_error(tmp_path, monkeypatch):
    """Out of paper, it opens and never takes: each wait has an end, and one thread at most hangs on it."""
    os.mkfifo(tmp_path / "stuck")
    threads = threading.active_count()
    monkeypatch.setattr(printing, "PRINT_S", 0.2)
    for _ in range(5):
        started = trio.current_time()
        with pytest.raises(OSError, match="does not take"):
            await Printer.named(str(tmp_path / "stuck")).put(LINES, CP775)
        assert trio.current_time() - started < 2
    assert threading.active_count() <= threads + 1
    reader = os.open(tmp_path / "stuck", os.O_RDONLY | os.O_NONBLOCK)  # lets the thread go
    os.close(reader)
