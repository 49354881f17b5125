"""A scripted switch, a link to it over streams in memory, and modules on that link."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from scripted_switch import NOON, Switch, identity

from terminal import Link, Module, Settings, open_link_over

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from terminal.shell.trunk import Dial


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
def dial(switch: Switch, nursery: trio.Nursery) -> Dial:
    """How to reach the switch over streams in memory."""

    async def dialled() -> trio.abc.Stream:
        switch.dialled.append(trio.current_time())
        if not switch.reachable:
            raise OSError("nobody listens")
        here, there = trio.testing.memory_stream_pair()
        nursery.start_soon(switch.serve, there)
        return here

    return dialled


@pytest.fixture
async def link(dial: Dial) -> AsyncIterator[Link]:
    """A link to the switch."""
    async with open_link_over(dial) as opened:
        yield opened


@pytest.fixture
def module(link: Link) -> Callable[..., AbstractAsyncContextManager[Module]]:
    """Open a module on the link: patient as by default, its clock at noon, its back-offs the longest."""

    @asynccontextmanager
    async def opened(number: int = 1001, jitter: float = 1.0, **settings: float) -> AsyncIterator[Module]:
        async with link.module(
            identity(number), settings=Settings(**settings), clock=lambda: NOON, jitter=lambda: jitter
        ) as one:
            yield one

    return opened
