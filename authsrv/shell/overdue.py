"""Who waits for a lane or a reader longer than its deadline is told so, whatever the one it waits for is doing.

A COMMIT is never timed out (law 7), so a lane is busy for as long as its database stands still; nobody behind it is.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from authsrv.shell.intake import Pending, Queue

LOOKED_AFTER_S: Final = 1.0


@asynccontextmanager
async def overdue_refused(queues: Sequence[Queue], refuse: Callable[[list[Pending]], object]) -> AsyncIterator[None]:
    """Meanwhile `refuse` is called with those whose deadline passes in these queues, a second later at most.

    Queues may come to `queues` and go while they are looked at.
    """

    async def look() -> None:
        while True:
            await trio.sleep(LOOKED_AFTER_S)
            for queue in [*queues]:
                if late := queue.take_late(trio.current_time()):
                    refuse(late)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        yield
        nursery.cancel_scope.cancel()
