"""The bridge: asyncio work that Trio runs, to its end, whatever happens to the one who waits for it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ledger.shell.bridge import TICK_S, Bridge, open_bridge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock


@pytest.fixture
async def complaints() -> list[BaseException | None]:
    return []


@pytest.fixture
async def bridge(complaints: list[BaseException | None]) -> AsyncIterator[Bridge]:
    def note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        complaints.append(context.get("exception"))

    async with open_bridge(note) as opened:
        yield opened


async def test_what_work_returns_and_raises(bridge: Bridge) -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        if number < 0:
            raise ValueError(number)
        return 2 * number

    assert await bridge.run(double(21)) == 42
    with pytest.raises(ValueError, match="-1"):
        await bridge.run(double(-1))


async def test_two_works_run_side_by_side(bridge: Bridge) -> None:
    """Each waits for the other, so that one after the other would never end."""
    here, there = asyncio.Event(), asyncio.Event()

    async def meet(mine: asyncio.Event, other: asyncio.Event) -> None:
        mine.set()
        await other.wait()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.run, meet(here, there))
            nursery.start_soon(bridge.run, meet(there, here))


async def test_the_first_part_runs_at_once(bridge: Bridge) -> None:
    """Before any other task of Trio's: the first statement of a batch waits for nobody."""
    order: list[str] = []

    async def work() -> None:
        order.append("work")

    async def other() -> None:
        order.append("other")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await bridge.run(work())
    assert order == ["work", "other"]


async def test_a_socket_wakes_it(bridge: Bridge) -> None:
    """Both ends of a connection talk over the loop, in more than one step."""

    async def talk() -> bytes:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        heard = b""
        for line in (b"one\n", b"two\n"):
            writer.write(line)
            heard += await reader.readline()
        writer.close()
        await writer.wait_closed()
        server.close()
        return heard

    with trio.fail_after(20):
        assert await bridge.run(talk()) == b"ONE\nTWO\n"


async def test_a_thread_wakes_it(bridge: Bridge) -> None:
    """As when the name of a host is looked up."""

    async def ask() -> int:
        return await asyncio.get_running_loop().run_in_executor(None, lambda: 42)

    with trio.fail_after(20):
        assert await bridge.run(ask()) == 42


async def test_its_timers_follow_trios_clock(bridge: Bridge, autojump_clock: MockClock) -> None:
    async def wait() -> None:
        async with asyncio.timeout(8):
            await asyncio.Event().wait()

    began = autojump_clock.current_time()
    with pytest.raises(TimeoutError):
        await bridge.run(wait())
    assert 8 <= autojump_clock.current_time() - began <= 8 + 2 * TICK_S


async def test_works_that_keep_each_other_ready_hold_up_neither_callers_nor_timers(bridge: Bridge) -> None:
    """A work that ends beside one that is always ready returns, and a deadline rings; only then the other one ends."""
    over = False

    async def busy() -> None:
        while not over:  # noqa: ASYNC110 -- it is to be ready always
            await asyncio.sleep(0)

    async def quick() -> int:
        await asyncio.sleep(0)
        return 42

    async def timed() -> None:
        async with asyncio.timeout(TICK_S / 2):
            await asyncio.Event().wait()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.run, busy())
            await trio.lowlevel.checkpoint()
            assert await bridge.run(quick()) == 42
            with pytest.raises(TimeoutError):
                await bridge.run(timed())
            over = True


async def test_timers_that_were_cancelled_go(bridge: Bridge) -> None:
    """Every statement sets one and takes it back: they must not gather, however short the works are."""
    timers: list[weakref.ref[asyncio.TimerHandle]] = []

    async def work() -> None:
        timer = asyncio.get_running_loop().call_later(60, int)
        timers.append(weakref.ref(timer))
        timer.cancel()

    for _ in range(200):
        await bridge.run(work())
    assert len(timers) == 200
    with trio.fail_after(5):  # far from the time that they were set for
        while any(timer() is not None for timer in timers):
            gc.collect()
            await trio.lowlevel.checkpoint()


async def test_cancelling_ends_no_work(bridge: Bridge) -> None:
    """Neither the caller's own scope nor one around the bridge."""
    ended = False

    async def work() -> None:
        nonlocal ended
        for _ in range(3):
            await asyncio.get_running_loop().run_in_executor(None, int)
        ended = True

    with trio.CancelScope() as scope:
        scope.cancel()
        await bridge.run(work())
    assert ended


async def test_cancelling_around_an_open_bridge_ends_no_work() -> None:
    ended = False

    async def work(scope: trio.CancelScope) -> None:
        nonlocal ended
        scope.cancel()
        await asyncio.get_running_loop().run_in_executor(None, int)
        ended = True

    with trio.CancelScope() as scope:
        async with open_bridge(lambda _loop, _context: None) as bridge:
            await bridge.run(work(scope))
    assert ended


async def test_what_goes_wrong_beside_is_told(bridge: Bridge, complaints: list[BaseException | None]) -> None:
    """It ends neither the loop nor what else runs on it."""

    def fail() -> None:
        raise ValueError

    async def work() -> str:
        asyncio.get_running_loop().call_soon(fail)
        await asyncio.sleep(0)
        return "went on"

    assert await bridge.run(work()) == "went on"
    assert [type(each) for each in complaints] == [ValueError]


async def test_works_that_keep_each_other_ready_stop_nobody(bridge: Bridge) -> None:
    """Two works that wake each other for ever, by sockets or not: a task of Trio's has its turn all the same."""
    here, there = asyncio.Event(), asyncio.Event()
    over = False

    async def volley(mine: asyncio.Event, other: asyncio.Event) -> None:
        while not over:
            await mine.wait()
            mine.clear()
            other.set()

    async def served() -> None:
        here.set()
        await volley(here, there)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.run, volley(there, here))
            nursery.start_soon(bridge.run, served())
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            over = True
