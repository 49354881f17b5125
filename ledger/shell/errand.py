"""Short asyncio work outside of Trio: the migration of a schema, the making of a role, one question to a server.

Commands do such things before and after the switch runs, from a thread or from no loop at all, where a door and a pool
would be for nothing. `asyncio.run` will not do: once trio-asyncio is loaded it makes loops that run on Trio. So this
asks for asyncio's own loop by name.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run_errand(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end in an asyncio loop of its own, and return what it returns; blocks."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(work)
