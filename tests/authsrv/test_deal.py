"""Connections dealt to the workers of one port: who gets the next one, and what becomes of it on its way."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from authsrv.shell.deal import ABSENT, FULL, TAKEN_A_TURN, Deal, Table

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def table() -> Iterator[Table]:
    """Three workers, of whom nobody is there."""
    made = Table(3)
    yield made
    for pair in made.ends:
        for end in pair:
            end.close()


@contextmanager
def accepted() -> Iterator[tuple[socket.socket, socket.socket]]:
    """What a worker has accepted, and the other end of it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        other = socket.create_connection(listening.getsockname())
        taken, _ = listening.accept()
    with taken, other:
        yield taken, other


def present(table: Table, *connections: int) -> list[Deal]:
    """The workers, with so many connections each."""
    deals = [Deal(table, place) for place in table.workers]
    for deal, many in zip(deals, connections, strict=True):
        deal.begin()
        deal.note(many)
    return deals


def test_whoever_has_the_fewest_gets_it(table: Table) -> None:
    """The very connection: what is said on one end is heard on the other. The giver has it no more."""
    first, second, third = present(table, 5, 4, 3)
    with accepted() as (taken, other):
        assert first.hand_over(taken)
        assert taken.fileno() == -1
        assert second.take() is None
        arrived = third.take()
        assert arrived is not None
        with arrived:
            other.sendall(b"hello")
            assert arrived.recv(5) == b"hello"
        assert third.take() is None


@pytest.mark.parametrize("connections", [(3, 3, 3), (2, 3, 4)])
def test_who_has_no_more_than_others_keeps_it(table: Table, connections: tuple[int, int, int]) -> None:
    """An even deal and one's own turn."""
    first, *others = present(table, *connections)
    with accepted() as (taken, _):
        assert not first.hand_over(taken)
        assert taken.fileno() >= 0
        assert [each.take() for each in others] == [None, None]


def test_what_is_on_its_way_counts(table: Table) -> None:
    """Of six that one worker accepts at once each gets two, though nobody has taken any yet; and so when they have."""
    first, *others = present(table, 0, 0, 0)
    with ExitStack() as ends:
        kept = 0
        for _ in range(6):
            taken, _ = ends.enter_context(accepted())
            if not first.hand_over(taken):
                kept += 1
                first.note(kept)
        assert kept == 2
        assert [table.load(place) for place in table.workers] == [2, 2, 2]
        for each in others:
            arrived = [each.take(), each.take(), each.take()]
            assert arrived.pop() is None
            for place, connection in enumerate(arrived, start=1):
                assert connection is not None
                ends.enter_context(connection)
                each.note(place)
        assert [table.load(place) for place in table.workers] == [2, 2, 2]


def test_nobody_is_handed_to_who_is_not_there(table: Table) -> None:
    """Not before a worker begins and not after it ends, whatever it notes of those that it still serves."""
    first, second, third = (Deal(table, place) for place in table.workers)
    first.begin()
    first.note(9)
    second.begin()
    second.end()
    second.note(1)
    third.note(1)
    with accepted() as (taken, _):
        assert not first.hand_over(taken)
        third.begin()
        assert first.hand_over(taken)


def test_who_comes_in_a_dead_ones_place_takes_what_was_on_its_way(table: Table) -> None:
    """And has no connection but those."""
    first, _, _ = present(table, 4, 9, 0)
    with accepted() as (taken, _):
        assert first.hand_over(taken)
        table.set_open(2, ABSENT)
        again = Deal(table, 2)
        again.begin()
        assert table.load(2) == 1
        arrived = again.take()
        assert arrived is not None
        arrived.close()
        assert table.load(2) == 0


def test_who_stands_still_gets_no_more_than_a_turn_takes(table: Table) -> None:
    """As many as it would take at once, then others serve what they accept, until it has taken one."""
    first, second, third = present(table, 1000, 1001, 0)
    for _ in range(TAKEN_A_TURN):
        table.count_given(0, 2)
    with accepted() as (taken, _):
        assert not first.hand_over(taken)
        assert not second.take()
        table.count_taken(2)
        assert first.hand_over(taken)
        arrived = third.take()
        assert arrived is not None
        arrived.close()


def test_who_has_no_room_for_it_is_not_there_and_loses_nothing(table: Table) -> None:
    """Where no further file may be opened a connection waits, nobody hands over more, and with room it is taken."""
    first, _, third = present(table, 5, 5, 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with accepted() as (taken, other), accepted() as (further, _):
        assert first.hand_over(taken)
        with Path(os.devnull).open() as highest:
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno(), hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                third.take()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert not first.hand_over(further)
        assert table.is_there(2)
        table.set_open(0, FULL)
        table.set_open(1, ABSENT)
        assert not first.hand_over(further)  # not to who is not there, however full all others are
        first.note(5)
        third.note(3)
        assert table.load(2) == 4
        arrived = third.take()
        assert arrived is not None
        with arrived:
            other.sendall(b"hello")
            assert arrived.recv(5) == b"hello"


def test_who_takes_none_is_left_alone(table: Table) -> None:
    """A worker that stands still: when its inbox is full, others serve what they accept."""
    first, *_ = present(table, 100_000, 100_001, 0)
    with ExitStack() as ends:
        with suppress(BlockingIOError):
            while table.ends[2][0].send(bytes(1024)):
                pass
        taken, _ = ends.enter_context(accepted())
        assert not first.hand_over(taken)
        assert taken.fileno() >= 0
