"""An asyncio loop that runs inside of Trio: what asyncpg is awaited on.

asyncio's own loop, not one made like it: Trio waits for the descriptor of its selector, and whenever there is something
to do the loop makes **one step**: a round of what is ready, and one more for what that has woken. Nothing is handed
from task to task in between; the first step is made where work begins, so that its first statement is on its way before
anybody else runs.

A step is the middle of `BaseEventLoop._run_once`, without its heap of timers and without what `run_forever` sets up
around it each time, which took a twentieth of all that a switch did. So it names three members of that class that are
private, and that its own subclasses share: `_selector`, `_process_events`, `_ready`.

What must hold:
  * `run` is shielded: it ends when the work has ended, whatever happens to the caller.
  * A step never blocks, and ends even where works keep each other ready: between two steps all of Trio's tasks run.
  * Its timers serve the driver's deadlines only: while something runs they are looked at every `TICK_S`.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

T = TypeVar("T")

TICK_S: Final = 0.25
ROUNDS: Final = 2  # of a step: an answer has come, who waits for it goes on


class _Loop(asyncio.SelectorEventLoop):
    """asyncio's loop by Trio's clock, a step at a time."""

    _ready: deque[asyncio.Handle]
    _selector: selectors.BaseSelector
    _process_events: Callable[[Sequence[tuple[selectors.SelectorKey, int]]], None]

    def time(self) -> float:
        return trio.current_time()

    @trio.lowlevel.enable_ki_protection
    def step(self) -> bool:
        """Do what is ready and what that wakes, without waiting; whether there is more to do at once."""
        ready = self._ready
        asyncio._set_running_loop(self)  # noqa: SLF001 -- for whoever writes a loop
        try:
            self._process_events(self._selector.select(0))
            for _ in range(ROUNDS):
                for _ in range(len(ready)):
                    handle = ready.popleft()
                    if not handle.cancelled():
                        handle._run()  # noqa: SLF001
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001
        return bool(ready)

    @trio.lowlevel.enable_ki_protection
    def look_at_timers(self) -> None:
        """Make a round as asyncio makes it itself, which also readies what is due."""
        self.stop()
        self.run_forever()


class Bridge:
    """Runs asyncio work for Trio's tasks."""

    def __init__(self, loop: _Loop, descriptor: int) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._running = 0
        self._open = trio.CancelScope(shield=True)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end and return what it returns, or raise what it raises; nothing cancels it."""
        done = trio.Event()
        self._running += 1
        try:
            task = self._loop.create_task(work)
            task.add_done_callback(lambda _: done.set())
            with trio.CancelScope(shield=True):
                await self._step()
                await done.wait()
        finally:
            self._running -= 1
        return task.result()

    async def _step(self) -> None:
        while self._loop.step():
            await trio.lowlevel.checkpoint()

    async def pump(self) -> None:
        """Step whenever a socket of the loop is ready, until `close`; cancelling ends no work, so not this either."""
        with self._open:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick)
                while True:
                    await trio.lowlevel.wait_readable(self._descriptor)
                    await self._step()

    async def _tick(self) -> None:
        while True:
            await trio.sleep(TICK_S)
            if self._running:
                self._loop.look_at_timers()
                await self._step()

    def close(self) -> None:
        """End the pump; to be called when no work runs."""
        self._open.cancel()


@asynccontextmanager
async def open_bridge(handle: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]) -> AsyncIterator[Bridge]:
    """Open a loop to run work on; `handle` is told of what goes wrong beside all work, as asyncio tells it."""
    selector = selectors.DefaultSelector()
    loop = _Loop(selector)
    loop.set_exception_handler(handle)
    bridge = Bridge(loop, selector.fileno())
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.pump)
            try:
                yield bridge
            finally:
                bridge.close()
    finally:
        while loop.step():  # what was broken off is told so
            pass
        loop.close()
