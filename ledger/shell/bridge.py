"""An asyncio loop that runs inside of Trio: what asyncpg is awaited on.

asyncio's own loop, not one made like it: Trio waits for the descriptor of its selector, and whenever there is something
to do the loop makes **one step**: a round of what is ready, and one more for what that has woken. Nothing is handed
from task to task in between; the first step is made where work begins, so that its first statement is on its way before
anybody else runs.

A step is the middle of `BaseEventLoop._run_once`, without its heap of timers and without what `run_forever` sets up
around it each time, which took a twentieth of all that a switch did. So it names three members of that class that are
private, and that its own subclasses share, `_selector`, `_process_events` and `_ready`, and `_run` of a handle.

What must hold:
  * `run` is shielded: it ends when the work has ended, whatever happens to the caller.
  * A step never blocks, and ends even where works keep each other ready: between two steps all of Trio's tasks run, who
    waits for a work that has ended among them.
  * Its timers serve the driver's deadlines only: they are looked at every `TICK_S`, and those that were cancelled go.
  * Nothing on it leaves an async generator half-way (`aclosing`): outside of asyncio's own rounds Trio would end it.
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
STEPS_AT_END: Final = 100


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
        self._open = trio.CancelScope(shield=True)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end and return what it returns, or raise what it raises.

        Nothing cancels it but an interrupt from the keyboard, which Trio gives to its main task whatever shields that.
        """
        done = trio.Event()
        task = self._loop.create_task(work)
        task.add_done_callback(lambda _: done.set())
        with trio.CancelScope(shield=True):
            if self._loop.step():
                self._wake_pump()
            await done.wait()
        return task.result()

    def _wake_pump(self) -> None:
        """Leave to the pump what is ready; whoever else went on with it would wait as long as others keep it busy."""
        self._loop.call_soon_threadsafe(_nothing)

    async def pump(self) -> None:
        """Step whenever a socket of the loop is ready, until `close`; cancelling ends no work, so not this either."""
        with self._open:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick)
                while True:
                    await trio.lowlevel.wait_readable(self._descriptor)
                    while self._loop.step():
                        await trio.lowlevel.checkpoint()

    async def _tick(self) -> None:
        while True:
            await trio.sleep(TICK_S)
            self._loop.look_at_timers()
            self._wake_pump()

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
        for _ in range(STEPS_AT_END):  # what was broken off is told so
            if not loop.step():
                break
        loop.close()


def _nothing() -> None:
    pass
