"""A whole process of the switch: faults of its database, its bounds, its end, and TLS."""

from __future__ import annotations

import ipaddress
import signal
import ssl
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from authority import Authority
from cryptography import x509
from running_switch import LOADED, SOLD, Switch
from shop import KEK, OTHER, TILLS, Shop
from wire_client import ConnectionEndedError, connect

from authsrv.shell import serve
from authsrv.shell.listener import Caps
from authsrv.shell.serve import Service, run_switch, service_of
from authsrv.shell.settings import load_settings
from authsrv.shell.tls import tls_context
from ledger.faults import Unfit
from protocol.frame import SESSION
from protocol.messages import Response
from protocol.module import SessionClosed
from protocol.numbers import Command, Flag, FrameType, Reason, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from relay import Relay
    from trio.testing import MockClock

    Start = Callable[..., Awaitable[Switch]]


async def activated(switch: Switch) -> None:
    """Sell a card with 81.17 on it."""
    async with switch.caller(TILLS[1]) as caller:
        assert (await caller.ask(Command.ACTIVATE, card=OTHER, amount=LOADED)).result == Result.APPROVED


async def test_expired_holds_of_idle_cards_are_ended(start: Start, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running switch ends them though nobody asks for the card."""
    monkeypatch.setattr(serve, "SWEEP_S", 0.05)
    switch = await start()
    await activated(switch)
    async with switch.caller(TILLS[1]) as caller:
        assert (await caller.ask(Command.HOLD, card=OTHER, amount=LOADED)).result == Result.APPROVED
    await shop.query("update holds set expires_at = clock_timestamp()")
    with trio.fail_after(10):
        while await shop.query("select from holds where ended is null"):
            await trio.lowlevel.checkpoint()
    await shop.check_books()


# The database


async def test_without_a_database_the_answer_is_91_and_later_it_is_served(
    start: Start, line: Relay, shop: Shop
) -> None:
    """Decided or read, 91 leaves no record; sessions stay, and a repeat is decided when the database is back."""
    switch = await start(line.dsn)
    await activated(switch)
    async with switch.caller() as caller:
        line.cut()
        sale = await caller.till.request(Command.SALE, card=OTHER, amount=SOLD)
        for request in (sale, await caller.till.request(Command.ECHO)):
            answer = Response.decode(await caller.send(request))
            assert (answer.result, answer.reason, answer.authorization) == (91, Reason.NO_DATABASE, "")
        assert await switch.recorded() == 1
        line.mend()
        repeat = sale._replace(flags=Flag.REPEAT)
        assert Response.decode(await caller.send(repeat)).approved == SOLD
        assert (await caller.ask(Command.ECHO)).last_sequence == sale.sequence
    assert await shop.balance(OTHER) == LOADED - SOLD


async def test_a_commit_in_doubt_is_answered_by_what_is_recorded(start: Start, line: Relay, shop: Shop) -> None:
    """The line breaks while COMMIT is on its way: no 91, but the answer, once, when the database can be asked again."""
    switch = await start(line.dsn)
    await activated(switch)
    async with switch.caller() as caller:
        line.hold(b"commit\0")
        counter = await caller.post(await caller.till.request(Command.SALE, card=OTHER, amount=SOLD))
        await line.held.wait()
        line.cut()
        line.mend()
        line.let_go()
        assert Response.decode(await caller.wire.answer(caller.session, counter)).approved == SOLD
    assert (await switch.recorded(), await shop.balance(OTHER)) == (2, LOADED - SOLD)


async def test_a_full_disk_is_91_and_nothing_is_lost(start: Start, shop: Shop) -> None:
    """PostgreSQL raises 53100 when it has no room: nothing is recorded, and the repeat is decided when there is."""
    switch = await start()
    await activated(switch)
    [[written]] = await shop.query(
        "select pg_get_functiondef(oid) from pg_proc where proname = 'record' and pronamespace = 'issuer'::regnamespace"
    )
    head, quote, _ = written.partition("$function$")
    async with switch.caller() as caller:
        await shop.query(f"{head}{quote} begin raise exception 'full' using errcode = '53100'; end {quote}")
        sale = await caller.till.request(Command.SALE, card=OTHER, amount=SOLD)
        answer = Response.decode(await caller.send(sale))
        assert (answer.result, answer.reason, answer.authorization) == (91, Reason.NO_DATABASE, "")
        assert (await switch.recorded(), await shop.balance(OTHER)) == (1, LOADED)
        await shop.query(written)
        assert Response.decode(await caller.send(sale._replace(flags=Flag.REPEAT))).approved == SOLD
    assert (await switch.recorded(), await shop.balance(OTHER)) == (2, LOADED - SOLD)


async def test_rules_that_cannot_be_read_stop_decisions_but_not_the_process(
    start: Start, shop: Shop, mock_clock: MockClock
) -> None:
    """A programme of a newer program: who asks gets 91, the watcher tries again, and once it is mended all go on."""
    switch = await start()
    await activated(switch)
    async with switch.caller() as caller:
        document = '{"currency": "EUR", "kind": "unheard of"}'
        await shop.query("select add_programme('strange', 1, '2025-01-01', $1::text::jsonb)", document)
        mock_clock.jump(3)
        sale = await caller.till.request(Command.SALE, card=OTHER, amount=SOLD)
        answer = Response.decode(await caller.send(sale))
        assert (answer.result, answer.authorization) == (Result.UNAVAILABLE, "")
        mock_clock.jump(1)  # the lane has rested
        await shop.query("delete from programme_versions where document ->> 'kind' = 'unheard of'")
        assert Response.decode(await caller.send(sale._replace(flags=Flag.REPEAT))).approved == SOLD


async def test_a_newer_schema_is_not_served(shop: Shop) -> None:
    """The start is refused with what to do about it."""
    await shop.query("update schema_version set version_num = '9999'")
    with pytest.raises(Unfit, match="newer program"):
        await run_switch(Service(port=0), shop.switch_dsn, shop.schema, KEK, trio.Event())


async def test_a_full_lane_is_answered_91_at_once(start: Start, line: Relay) -> None:
    """One batch with the database, two waiting: the fourth is refused and not recorded; the three are approved."""
    switch = await start(line.dsn, lanes=1, waiting_max=2)
    await activated(switch)
    async with switch.caller() as caller:
        line.hold()
        requests = [await caller.till.request(Command.SALE, card=OTHER, amount=100) for _ in range(4)]
        waiting = [await caller.post(requests[0])]
        await line.held.wait()
        waiting += [await caller.post(each) for each in requests[1:]]
        refused = Response.decode(await caller.wire.answer(caller.session, waiting[3]))
        assert (refused.result, refused.reason, refused.authorization) == (91, Reason.OVERLOADED, "")
        line.let_go()
        for counter in waiting[:3]:
            assert Response.decode(await caller.wire.answer(caller.session, counter)).approved == 100
    assert await switch.recorded() == 4


# The end of a process

PROGRAM = """
import logging, sys, trio
from authsrv.shell.serve import Service, serve_until_signalled
logging.basicConfig(level="INFO")
service = Service(port=0, drain_s=float(sys.argv[4]))
trio.run(serve_until_signalled, service, sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]))
"""


@dataclass
class Program:
    """A switch in a process of its own, and what it logs."""

    process: trio.Process
    shop: Shop
    address: tuple[str, int] = ("127.0.0.1", 0)
    logged: str = ""

    async def logs(self, text: str) -> str:
        """Wait until it logs this; what follows it in the same line."""
        assert self.process.stderr is not None
        while text not in self.logged or "\n" not in self.logged.split(text, 1)[1]:
            with trio.fail_after(20):
                data = await self.process.stderr.receive_some(4096)
            assert data, self.logged
            self.logged += data.decode()
        return self.logged.split(text, 1)[1].split("\n", 1)[0]

    async def ends(self, within_s: float) -> int:
        """Its exit status."""
        with trio.fail_after(within_s):
            return await self.process.wait()


@asynccontextmanager
async def program(shop: Shop, line: Relay, drain_s: float) -> AsyncIterator[Program]:
    """A switch in a process of its own, over the line to the database; killed if it is still there at the end."""
    command = [sys.executable, "-c", PROGRAM, line.dsn, shop.schema, KEK.hex(), str(drain_s)]
    process = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE)
    running = Program(process, shop)
    try:
        running.address = "127.0.0.1", int(await running.logs("listening on 127.0.0.1:"))
        yield running
    finally:
        process.kill()
        await process.wait()


async def test_a_drain_answers_what_was_taken_and_takes_no_more(shop: Shop, line: Relay) -> None:
    """On SIGTERM nobody can connect, new requests get 91, what was taken its answer; then CLOSE and exit 0."""
    async with program(shop, line, drain_s=15) as switch, connect(switch.address) as wire:
        caller = await wire.sign_on(shop, shop.identities[TILLS[0]])
        assert (await caller.ask(Command.ACTIVATE, card=OTHER, amount=LOADED)).result == Result.APPROVED
        line.hold()
        counter = await caller.post(await caller.till.request(Command.SALE, card=OTHER, amount=SOLD))
        await line.held.wait()
        switch.process.send_signal(signal.SIGTERM)
        await switch.logs("draining")
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream(*switch.address)
        late = await caller.ask(Command.SALE, card=OTHER, amount=SOLD)
        assert (late.result, late.reason, late.authorization) == (91, Reason.DRAINING, "")
        line.let_go()
        assert Response.decode(await wire.answer(caller.session, counter)).approved == SOLD
        assert await wire.event(SessionClosed)
        await wire.end()
        assert await switch.ends(within_s=5) == 0
    assert await shop.balance(OTHER) == LOADED - SOLD


async def test_an_idle_switch_ends_at_once(shop: Shop, line: Relay) -> None:
    """Sessions without a request in flight, and connections without a session, hold no drain up."""
    async with (
        program(shop, line, drain_s=60) as switch,
        connect(switch.address) as wire,
        connect(switch.address) as dumb,
    ):
        caller = await wire.sign_on(shop, shop.identities[TILLS[0]])
        assert (await caller.ask(Command.ECHO)).result == Result.APPROVED
        switch.process.send_signal(signal.SIGINT)
        assert await wire.event(SessionClosed)
        assert await dumb.end() == []
        assert await switch.ends(within_s=5) == 0


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_stuck_commit_does_not_hold_the_drain(shop: Shop, line: Relay, start: Start, signals: int) -> None:
    """It is broken off after `drain_s`, or by a second signal: in doubt, not lost; a repeat finds what was recorded."""
    async with program(shop, line, drain_s=1 if signals == 1 else 60) as switch, connect(switch.address) as wire:
        caller = await wire.sign_on(shop, shop.identities[TILLS[0]])
        assert (await caller.ask(Command.ACTIVATE, card=OTHER, amount=LOADED)).result == Result.APPROVED
        line.hold(b"commit\0")
        sale = await caller.till.request(Command.SALE, card=OTHER, amount=SOLD)
        counter = await caller.post(sale)
        await line.held.wait()
        for _ in range(signals):
            switch.process.send_signal(signal.SIGTERM)
            await switch.logs("draining")
        assert await switch.ends(within_s=5) == 0
        with pytest.raises(ConnectionEndedError):
            await wire.answer(caller.session, counter)
    line.let_go()
    async with (await start(line.dsn)).caller() as again:
        assert Response.decode(await again.send(sale._replace(flags=Flag.REPEAT))).approved == SOLD
    assert await shop.balance(OTHER) == LOADED - SOLD


# TLS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority for the switch's certificate and those of its clients."""
    return Authority.found(tmp_path)


def served_by(authority: Authority) -> ssl.SSLContext:
    """The switch's own side: it asks for a certificate of the authority."""
    chain, key = authority.issue("switch", x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    context = tls_context(chain, key, authority.folder / "ca.pem")
    assert context is not None
    return context


async def test_a_certificate_carries_the_modules_that_it_lists(start: Start, shop: Shop, authority: Authority) -> None:
    """Those sign on and sell; another module's HELLO gets CLOSE, as does each where the certificate lists none."""
    switch = await start(tls=served_by(authority))
    one_and_range = authority.client("authsrv:module:2001", "authsrv:modules:1000-1001")
    async with connect(switch.address, one_and_range) as wire:
        for module in (1001, 2001):
            caller = await wire.sign_on(shop, shop.identities[module])
            command = Command.ACTIVATE if module == 1001 else Command.SALE
            assert (await caller.ask(command, card=OTHER, amount=LOADED)).result == Result.APPROVED
        foreign = wire.module.hello(shop.identities[1002], trio.current_time())
        await wire.send(foreign)
        assert await wire.frame(FrameType.CLOSE, foreign[SESSION])
        assert (await caller.ask(Command.ECHO)).result == Result.APPROVED
    for modules in ((), ("authsrv:module:1001x",), ("https://authsrv:module:1001",), ("authsrv:modules:1002-1001",)):
        async with connect(switch.address, authority.client(*modules)) as wire:
            hello = wire.module.hello(shop.identities[1001], trio.current_time())
            await wire.send(hello)
            assert await wire.frame(FrameType.CLOSE, hello[SESSION]), modules


async def test_without_a_certificate_of_the_authority_there_is_no_connection(
    start: Start, shop: Shop, authority: Authority, tmp_path: Path
) -> None:
    """None, a stranger's, TLS 1.2, and no TLS at all: all end without a WELCOME, and the next client is served."""
    switch = await start(tls=served_by(authority))
    bare = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    (tmp_path / "stranger").mkdir()
    strange = Authority.found(tmp_path / "stranger").client("authsrv:module:1001")
    strange.load_verify_locations(tmp_path / "ca.pem")
    old = authority.client("authsrv:module:1001")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for context in (bare, strange, old, None):
        async with connect(switch.address, context) as wire:
            with pytest.raises((ConnectionEndedError, trio.BrokenResourceError)):
                await wire.welcome(shop.identities[1001])
    async with connect(switch.address, authority.client("authsrv:module:1001")) as wire:
        caller = await wire.sign_on(shop, shop.identities[1001])
        assert (await caller.ask(Command.ECHO)).result == Result.APPROVED


async def test_a_handshake_that_does_not_end_is_dropped_and_counts(
    start: Start, shop: Shop, authority: Authority, mock_clock: MockClock
) -> None:
    """It holds a place among the connections for 10 s and no longer."""
    switch = await start(tls=served_by(authority), caps=Caps(connections=1))
    context = authority.client("authsrv:module:1001")
    async with connect(switch.address) as dumb:
        await trio.testing.wait_all_tasks_blocked()
        async with connect(switch.address, context) as refused:
            with pytest.raises((ConnectionEndedError, trio.BrokenResourceError)):
                await refused.welcome(shop.identities[1001])
        mock_clock.jump(10.1)
        assert await dumb.end() == []
        await trio.testing.wait_all_tasks_blocked()
        async with connect(switch.address, context) as wire:
            caller = await wire.sign_on(shop, shop.identities[1001])
            assert (await caller.ask(Command.ECHO)).result == Result.APPROVED


ROOM = """
import resource, sys
from authsrv.shell.serve import service_of
from authsrv.shell.settings import load_settings
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
taken = service_of(load_settings({"connections_max": 300, "workers": sys.argv[3]})).caps.connections
print(taken, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("files", "may_be", "workers", "taken", "then"),
    [(200, 1000, 1, 300, 428), (200, 300, 1, 172, 300), (900, 900, 1, 300, 900), (200, 1000, 64, 300, 554)],
)
def test_connections_leave_files_for_the_database(files: int, may_be: int, workers: int, taken: int, then: int) -> None:
    """The limit of open files is raised as far as connections and 126 more need, and two for each of the workers;
    connections take what those leave."""
    asked = subprocess.run(  # a limit that was lowered is not raised again
        [sys.executable, "-c", ROOM, str(files), str(may_be), str(workers)], capture_output=True, text=True, check=True
    )
    assert asked.stdout.split() == [str(taken), str(then)]


@pytest.mark.parametrize(("flags", "lanes"), [({}, 2), ({"workers": "2"}, 1), ({"workers": "2", "lanes": "3"}, 3)])
def test_two_lanes_at_least_in_all(flags: dict[str, str], lanes: int) -> None:
    """One worker has two lanes, several have one each, unless the settings say how many."""
    assert service_of(load_settings({**flags, "connections_max": "1"})).lanes == lanes
