"""One wait for many sockets."""

from __future__ import annotations

import socket
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio

from authsrv.shell.poll import READABLE, WRITABLE, Poll

if TYPE_CHECKING:
    from collections.abc import Iterator

PAIRS = 8


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    pairs = [socket.socketpair() for _ in range(PAIRS)]
    yield pairs
    for pair in pairs:
        for end in pair:
            end.close()


@pytest.fixture
async def poll(nursery: trio.Nursery) -> Poll:
    poll = Poll()
    nursery.start_soon(poll.run)
    return poll


async def test_all_that_is_ready_has_one_turn_in_one_sweep(
    poll: Poll, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    """Who has much to read waits for its next turn until the others had theirs."""
    turns: list[int] = []

    def reader(place: int) -> None:
        ours = pairs[place][0]

        def ready(events: int) -> None:
            assert events == READABLE
            ours.recv(1)
            turns.append(place)

        poll.watch(ours, READABLE, ready)

    for place, (_, theirs) in enumerate(pairs):
        reader(place)
        theirs.send(b"aa")
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert sorted(turns[:PAIRS]) == sorted(turns[PAIRS:]) == list(range(PAIRS))


async def test_what_is_watched_for_can_change_and_end(
    poll: Poll, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    """Only what is watched for is told: writing at once, reading when something came, nothing afterwards."""
    ours, theirs = pairs[0]
    told: list[int] = []

    def ready(events: int) -> None:
        told.append(events)
        if events & WRITABLE:
            poll.change(ours, READABLE, ready)
        else:
            poll.forget(ours)

    theirs.send(b"a")
    poll.watch(ours, WRITABLE, ready)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert told == [WRITABLE, READABLE]


async def test_a_sweep_that_takes_too_long_lets_others_run(
    nursery: trio.Nursery, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    """With no time at all for a sweep, another task has its turn after each socket; none is left out.

    Trio runs the tasks of one turn in any order, so that it may see two sockets between two turns of its own.
    """
    poll, turns = Poll(sweep_s=0.0), list[int]()

    def watch(place: int) -> None:
        def ready(_: int) -> None:
            turns.append(place)
            poll.forget(pairs[place][0])

        poll.watch(pairs[place][0], READABLE, ready)

    for place, (_, theirs) in enumerate(pairs):
        watch(place)
        theirs.send(b"a")
    seen = [0]
    nursery.start_soon(poll.run)
    with trio.fail_after(5):
        while seen[-1] < PAIRS:
            await trio.lowlevel.checkpoint()
            seen.append(len(turns))
    assert all(after - before <= 2 for before, after in pairwise(seen))
