"""One timer for all connections."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

import pytest
import trio

from authsrv.shell.deadlines import Alarm, Deadlines

if TYPE_CHECKING:
    from trio.testing import MockClock


class Called:
    """Notes when it is called, and asks for the next time that it was told of."""

    def __init__(self, deadlines: Deadlines, *then: float) -> None:
        self.alarm = Alarm(self.due)
        self.calls: list[float] = []
        self._deadlines = deadlines
        self._then = list(then)

    def due(self, now: float) -> None:
        self.calls.append(now)
        if self._then:
            self._deadlines.set(self.alarm, self._then.pop(0))


@pytest.fixture
async def deadlines(nursery: trio.Nursery) -> Deadlines:
    deadlines = Deadlines()
    nursery.start_soon(deadlines.run)
    return deadlines


async def test_each_is_called_at_its_time_and_again_at_the_next(
    deadlines: Deadlines, autojump_clock: MockClock
) -> None:
    """Whoever is due first is called first, whatever the order in which they were set."""
    start = autojump_clock.current_time()
    late, early = Called(deadlines), Called(deadlines, start + 7)
    deadlines.set(late.alarm, start + 5)
    deadlines.set(early.alarm, start + 2)
    await trio.sleep_until(start + 10)
    assert early.calls == pytest.approx([start + 2, start + 7])
    assert late.calls == pytest.approx([start + 5])


async def test_the_earliest_of_several_counts_and_a_later_one_costs_nothing(
    deadlines: Deadlines, autojump_clock: MockClock
) -> None:
    """Setting a later time changes nothing; an earlier one is kept, and the first is not called twice."""
    start = autojump_clock.current_time()
    called = Called(deadlines)
    for when in (5, 9, 3, 4):
        deadlines.set(called.alarm, start + when)
    await trio.sleep_until(start + 10)
    assert called.calls == pytest.approx([start + 3])


async def test_who_has_gone_is_not_held(deadlines: Deadlines, autojump_clock: MockClock) -> None:
    """What has ended is forgotten before its time has come, and its entry harms nobody."""
    start = autojump_clock.current_time()
    stays, goes = Called(deadlines), Called(deadlines)
    deadlines.set(goes.alarm, start + 1)
    deadlines.set(stays.alarm, start + 2)
    goes.alarm.let_go()
    gone, calls = ref(goes), goes.calls
    del goes
    assert gone() is None
    await trio.sleep_until(start + 3)
    assert calls == []
    assert stays.calls == pytest.approx([start + 2])
