"""Lanes under faults: what a request is told, and that it never is more than is true.

The faults are those that a real door raises, from a door that wraps the real one (`faulty_door.py`).
"""

from __future__ import annotations

import itertools
import secrets
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import trio
import trio.testing
from back_office import active_card, recorded, snapshot
from faulty_door import LOST_AFTER, LOST_BEFORE, FaultyDoor, through
from prometheus_client import REGISTRY
from shop import CODE, CODED, Waiting

from authsrv.shell import lanes
from authsrv.shell.lanes import Lanes
from ledger.faults import BadRow, Conflict, InDoubt, LedgerFault, NameTaken, TooMuch, Unavailable
from ledger.shell import store
from ledger.shell.door import open_door
from protocol.messages import Response
from protocol.numbers import Command, Reason, Result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from shop import Shop
    from trio.testing import MockClock

    from authsrv.ask import Ask
    from authsrv.fold import Fold
    from ledger.shell.door import Connection

T = TypeVar("T")
CARDS_OF = "select card from card_numbers where token = any($1)"
RACED = {"authsrv_put_off_total": {}, "authsrv_faults_total": {"fault": "NameTaken"}}


async def sales(shop: Shop, count: int = 1) -> list[Ask]:
    """Asks for sales of 1.00 each on a card of 50.00."""
    till, card = shop.till(), await active_card(shop, 5000)
    return [till.opened(await till.request(Command.SALE, card=card, amount=100)) for _ in range(count)]


def results(answers: list[bytes | None]) -> list[int | None]:
    return [None if answer is None else Response.decode(answer).result for answer in answers]


class TestSettle:
    async def test_no_database(self, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
        """Unavailable: each request is told 91, no database, and nothing is recorded; a copy later is decided.

        The log has what the ledger says of it, so that an operator can tell a full disk from a stopped server."""
        asks, count = await sales(shop, 3), await recorded(shop)
        answers = await through(shop, FaultyDoor(shop, Unavailable("DiskFullError 53100"))).settle(asks)
        assert "a batch of 3 did not settle: Unavailable: DiskFullError 53100" in caplog.text
        told = [Response.decode(answer) for answer in answers if answer is not None]
        assert [(answer.result, answer.reason) for answer in told] == [(91, Reason.NO_DATABASE)] * 3
        assert await recorded(shop) == count
        assert results(await shop.settle(asks)) == [0, 0, 0]

    async def test_a_commit_that_happened_unseen(self, shop: Shop) -> None:
        """In doubt, then found: the recorded answer, once, and the money moved once."""
        asks, count = await sales(shop, 3), await recorded(shop)
        door = FaultyDoor(shop, LOST_AFTER)
        answers = await through(shop, door).settle(asks)
        assert results(answers) == [0, 0, 0]
        assert door.calls == 2
        assert await recorded(shop) == count + 3
        assert answers == await shop.settle(asks)
        await shop.check_books()

    async def test_a_commit_that_did_not_happen(self, shop: Shop) -> None:
        """In doubt, then not found: it is run again and its recorded answer leaves."""
        asks, count = await sales(shop, 3), await recorded(shop)
        assert results(await through(shop, FaultyDoor(shop, LOST_BEFORE)).settle(asks)) == [0, 0, 0]
        assert await recorded(shop) == count + 3

    @pytest.mark.parametrize("later", [Unavailable(), NameTaken(), InDoubt(), BadRow()])
    async def test_in_doubt_until_the_deadline_is_silence(self, shop: Shop, later: LedgerFault) -> None:
        """Once in doubt, no 91 and no 96 leaves, whatever breaks afterwards, until the deadline has passed."""
        asks = await sales(shop, 2)
        through(shop, FaultyDoor(shop, LOST_AFTER, then=later))
        assert await shop.settle(asks, deadline_s=0.4) == [None, None]

    @pytest.mark.parametrize(("fault", "calls"), [(NameTaken(), 5), (Conflict(), 6)])
    async def test_what_was_in_the_way_is_run_again(
        self, shop: Shop, fault: LedgerFault, calls: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A name taken meanwhile and a conflict: the batch runs again; for ever in the way, it is 91. Each is counted.

        Two requests have four names at most, their own and their originals': taken more often there is more in the way.
        """
        asks, further = await sales(shop, 2), await sales(shop, 2)
        assert results(await through(shop, FaultyDoor(shop, fault, fault)).settle(asks)) == [0, 0]
        count, door = await recorded(shop), FaultyDoor(shop, then=fault)
        label = {"fault": type(fault).__name__}
        counted = REGISTRY.get_sample_value("authsrv_faults_total", label) or 0
        assert results(await through(shop, door).settle(further)) == [91, 91]
        assert REGISTRY.get_sample_value("authsrv_faults_total", label) == counted + calls
        assert "a batch of 2 is given up" in caplog.text
        assert await recorded(shop) == count
        assert door.calls == calls

    async def test_names_that_are_recorded_one_by_one_in_front_of_a_batch(self, shop: Shop) -> None:
        """Each time one more of its names is there when its cards are free: it is the database's answer, not 91."""
        asks = await sales(shop, 10)
        door = FaultyDoor(shop, *[NameTaken()] * 10)
        assert results(await through(shop, door).settle(asks)) == [0] * 10
        assert door.calls == 11

    async def test_one_bad_row_among_sixteen(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        """A request that makes the fold raise gets 96 alone and leaves nothing; the other fifteen are approved."""
        asks, count = await sales(shop, 16), await recorded(shop)
        bad = asks[11]
        make_it_fail(monkeypatch, bad)
        answers = results(await shop.settle(asks))
        assert answers == [0] * 11 + [96] + [0] * 4
        assert await recorded(shop) == count + 15
        monkeypatch.undo()
        assert results(await shop.settle([bad])) == [0]  # 96 was not final

    async def test_one_that_the_ledger_refuses_among_sixteen(self, shop: Shop) -> None:
        """A row that the database refuses is found by halving too: 96 for it, and its neighbours are decided."""
        asks, count = await sales(shop, 16), await recorded(shop)
        sequence = asks[5].name.sequence
        await shop.query(f"alter table tries add check (failures < 1), add check (failures <> {sequence})")
        till = shop.till()
        card = await active_card(shop, code=CODE)
        asks[5] = till.opened(await till.request(Command.SALE, card=card, amount=1, code="9999"))
        assert results(await shop.settle(asks)) == [0] * 5 + [96] + [0] * 10
        assert await recorded(shop) == count + 16  # fifteen, and the activation of the other card

    async def test_too_late_is_not_decided(self, shop: Shop) -> None:
        """A request whose deadline has passed when its turn comes is told 91, too late, and is not recorded."""
        asks, before = await sales(shop, 2), await snapshot(shop)
        answers = await shop.settle(asks, deadline_s=0)
        told = [Response.decode(answer) for answer in answers if answer is not None]
        assert [(answer.result, answer.reason) for answer in told] == [(91, Reason.TOO_LATE)] * 2
        assert await snapshot(shop) == before

    async def test_late_behind_a_lock_is_not_decided(self, shop: Shop, mock_clock: MockClock) -> None:
        """One whose deadline passes after its batch has begun is told 91; its neighbour is decided without it."""
        late, timely = await sales(shop, 2)
        count, told = await recorded(shop), {}

        class Slow(FaultyDoor):
            async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
                mock_clock.jump(10)
                return await super().run(work)

        def pending(ask: Ask, deadline_s: float) -> Waiting:
            deadline = trio.current_time() + deadline_s
            return Waiting(ask, deadline, lambda answer: told.__setitem__(ask.name, answer))

        door = Slow(shop)
        await through(shop, door).lanes.settle([pending(late, 5), pending(timely, 60)])
        assert door.calls == 2
        assert [Response.decode(told[ask.name]).reason for ask in (late, timely)] == [Reason.TOO_LATE, Reason.NONE]
        assert await recorded(shop) == count + 1

    async def test_stale_rules_are_loaded_first(self, shop: Shop) -> None:
        """A change in the database holds for the next batch of a process that has not heard of it."""
        [ask] = await sales(shop)
        await shop.query("update modules set revoked = true where number = 1001")
        assert not shop.rules.registry.modules[1001].revoked
        [answer] = await shop.settle([ask])
        assert answer is not None
        assert Response.decode(answer).reason == Reason.COMMAND
        assert shop.rules.registry.modules[1001].revoked

    async def test_rules_that_cannot_be_loaded(self, shop: Shop) -> None:
        """A database that goes away between finding the rules stale and loading them is 91, and the lane goes on."""
        asks = await sales(shop, 2)
        await shop.query("update branches set name = 'Brivibas 2' where number = 1")
        through(shop, FaultyDoor(shop, None, Unavailable()))
        assert results(await shop.settle(asks)) == [91, 91]
        assert results(await shop.settle(asks)) == [0, 0]

    async def test_rules_that_cannot_be_read(self, shop: Shop) -> None:
        """Rules that this program cannot read decide nothing: 91, not recorded, and the lane goes on once mended."""
        asks, count = await sales(shop, 2), await recorded(shop)
        await shop.query(
            'update programme_versions set document = document || \'{"kind": "lottery"}\' where programme = 1'
        )
        assert results(await shop.settle(asks)) == [91, 91]
        assert await recorded(shop) == count
        await shop.query(
            'update programme_versions set document = document || \'{"kind": "gift"}\' where programme = 1'
        )
        assert results(await shop.settle(asks)) == [0, 0]


def make_it_fail(monkeypatch: pytest.MonkeyPatch, bad: Ask) -> None:
    """Have the switch stumble over one request, as a mistake in a rule would."""
    answer_all = lanes.answer_all

    def stumble(asks: Sequence[Ask], fold: Fold) -> list[bytes]:
        if any(ask.request is bad.request for ask in asks):
            raise ZeroDivisionError("a mistake of ours")
        return answer_all(asks, fold)

    monkeypatch.setattr(lanes, "answer_all", stumble)


class TestLanes:
    async def test_offered_requests_are_settled_and_close_ends_it(self, shop: Shop) -> None:
        """What is offered is settled, also what still waits when the lanes are closed; then `run` returns."""
        lanes = through(shop, shop.door, lanes=3).lanes
        answers: list[int] = []
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lanes.run)
                for ask in await sales(shop, 20):
                    assert lanes.queues.offer(pending(ask, answers))
                lanes.close()
        assert answers == [Result.APPROVED] * 20
        await shop.check_books()

    async def test_a_full_lane_takes_no_more(self, shop: Shop) -> None:
        """With two waiting in a lane of two the third is not taken, and after `close` none is."""
        lanes = through(shop, shop.door, waiting_max=2).lanes
        asks, answers = await sales(shop, 3), list[int]()
        assert [lanes.queues.offer(pending(ask, answers)) for ask in asks] == [True, True, False]
        lanes.close()
        assert not lanes.queues.offer(pending(asks[2], answers))
        await lanes.run()
        assert answers == [Result.APPROVED] * 2

    async def test_batches_that_wait_are_settled_in_one_crossing(self, shop: Shop) -> None:
        """Nine waiting requests with four a batch are three transactions over one connection."""
        asks = await sales(shop, 9)
        door, answers = FaultyDoor(shop), list[int]()
        lanes = through(shop, door, batch_max=4).lanes
        assert all(lanes.queues.offer(pending(ask, answers)) for ask in asks)
        lanes.close()
        await lanes.run()
        assert answers == [Result.APPROVED] * 9
        assert door.calls == 1
        sequences = [ask.name.sequence for ask in asks]
        rows = await shop.query(
            """select count(*) as rows from authorizations where module = $1 and sequence = any($2)
                group by decided_at order by min(sequence)""",
            asks[0].name.module,
            sequences,
        )
        assert [row["rows"] for row in rows] == [4, 4, 1]

    async def test_a_crossing_has_an_end(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing cancels a crossing: with two batches a crossing at most, three batches are two crossings."""
        monkeypatch.setattr(lanes, "BATCHES_A_CROSSING", 2)
        asks = await sales(shop, 9)
        door, answers = FaultyDoor(shop), list[int]()
        shop_lanes = through(shop, door, batch_max=4).lanes
        assert all(shop_lanes.queues.offer(pending(ask, answers)) for ask in asks)
        shop_lanes.close()
        await shop_lanes.run()
        assert answers == [Result.APPROVED] * 9
        assert door.calls == 2

    async def test_a_card_that_is_held_elsewhere_holds_up_nobody_else_at_first(self, shop: Shop) -> None:
        """Who asks for another card is answered, and so is who repeats what is recorded; who asks for that one is put
        off once, and then the lane waits for it."""
        [repeated, put_off], [free, late] = await sales(shop, 2), await sales(shop, 2)
        [known] = await shop.settle([repeated])
        [[card]] = await shop.query("select card from card_numbers where token = $1", put_off.token)
        through(shop, shop.door)
        answers, held = list[bytes](), trio.Event()
        before = REGISTRY.get_sample_value("authsrv_put_off_total") or 0

        def note(answer: bytes) -> None:
            answers.append(answer)
            if len(answers) == 2:  # it comes into the batch that waits
                offer(late)

        def offer(ask: Ask) -> None:
            assert shop.lanes.queues.offer(Waiting(ask, trio.current_time() + 15, note))

        async def hold(connection: Connection) -> None:
            await connection.execute(f"begin; select from cards where id = {int(card)} for no key update")
            held.set()
            while not await connection.fetchval("select exists (select from pg_locks where not granted)"):
                pass  # each question is a round trip
            await connection.execute("rollback")

        async with open_door(shop.owner_dsn, schema=shop.schema) as door, trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + 20
            nursery.start_soon(door.run, hold)
            await held.wait()
            for ask in (put_off, repeated, free):
                offer(ask)
            nursery.start_soon(shop.lanes.run)
            while len(answers) < 4:
                await trio.lowlevel.checkpoint()
            shop.lanes.close()
        assert answers[0] == known
        told = [Response.decode(answer) for answer in answers]
        assert [(answer.sequence, answer.result) for answer in told] == [
            (ask.name.sequence, Result.APPROVED) for ask in (repeated, free, put_off, late)
        ]
        assert REGISTRY.get_sample_value("authsrv_put_off_total") == before + 1

    async def test_who_is_put_off_has_no_part_in_what_becomes_of_the_others(self, shop: Shop) -> None:
        """Before anything is written the batch is those who have an answer, and the others go first in the next one;
        where nobody has one the batch is to be run again as it is."""
        batch = [pending(ask, []) for ask in await sales(shop, 4)]
        queue = through(shop, shop.door).lanes.queues.each[0]
        course = lanes._Course(queue, batch)
        assert course.keep([b"1", b"2", b"3", b"4"]) == [b"1", b"2", b"3", b"4"]
        assert (course.batch, course.put_off) == (batch, False)
        assert queue.put(batch[3])
        assert course.keep([b"", b"2", b"", b"4"]) == [b"2", b"4"]
        assert (course.batch, course.put_off) == ([batch[1], batch[3]], True)
        with pytest.raises(Conflict):
            course.keep([b"", b""])
        assert course.batch == [batch[1], batch[3]]
        assert queue.take(9) == [batch[0], batch[2], batch[3]]

    @pytest.mark.parametrize("back", [8, 3])
    async def test_who_crowds_around_a_card_is_given_a_moment(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch, back: int
    ) -> None:
        """Eight on one card that were answered and ask again one after the other are one transaction; where only three
        do, the moment passes and they are answered. Eight on eight cards are waited for by nobody."""
        monkeypatch.setattr(lanes, "MOMENT_S", 30.0 if back == 8 else 0.2)
        asks, answers = await sales(shop, 8 + back), list[int]()
        first, again = asks[:8], asks[8:]
        shop_lanes = through(shop, shop.door).lanes
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                assert all(shop_lanes.queues.offer(pending(ask, answers)) for ask in first)
                nursery.start_soon(shop_lanes.run)
                while len(answers) < 8:
                    await trio.lowlevel.checkpoint()
                for ask in again:
                    await trio.testing.wait_all_tasks_blocked()
                    assert shop_lanes.queues.offer(pending(ask, answers))
                while len(answers) < 8 + back:
                    await trio.lowlevel.checkpoint()
                shop_lanes.close()
        assert answers == [Result.APPROVED] * (8 + back)
        sequences = [ask.name.sequence for ask in asks]
        rows = await shop.query(
            """select count(*) as rows from authorizations where module = $1 and sequence = any($2)
                group by decided_at order by min(sequence)""",
            asks[0].name.module,
            sequences,
        )
        assert [row["rows"] for row in rows] == [8, back]

    async def test_who_names_no_card_crowds_around_none(self, shop: Shop) -> None:
        """Eight sales on one card are a crowd, eight requests without a card are not: nobody waits for them."""
        till, answers = shop.till(), list[int]()
        cardless = [till.opened(await till.request(Command.ECHO)) for _ in range(8)]
        assert {ask.token for ask in cardless} == {None}
        assert lanes._crowd([pending(ask, answers) for ask in cardless]) == 0
        assert lanes._crowd([pending(ask, answers) for ask in await sales(shop, 8)]) == 8

    async def test_as_many_as_are_wanted_wait_already(self, shop: Shop) -> None:
        """A queue that waited for more in vain says at once that those who wait by now are as many as are wanted."""
        queue = through(shop, shop.door).lanes.queues.each[0]
        asks, answers = await sales(shop, 4), list[int]()
        queue.want(4)
        assert all(queue.put(pending(ask, answers)) for ask in asks[:3])
        assert not queue.filled.is_set()
        queue.want(2)
        assert queue.filled.is_set()

    async def test_no_crowd_is_waited_for_in_vain(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        """Behind eight on eight cards the next request is taken at once; behind eight on one, a close is."""
        monkeypatch.setattr(lanes, "MOMENT_S", inf)
        spread = [ask for _ in range(8) for ask in await sales(shop)]
        further, answers = await sales(shop, 9), list[int]()
        shop_lanes = through(shop, shop.door).lanes
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                assert all(shop_lanes.queues.offer(pending(ask, answers)) for ask in spread)
                nursery.start_soon(shop_lanes.run)
                for many, coming in ((8, further[:8]), (16, further[8:])):
                    while len(answers) < many:
                        await trio.lowlevel.checkpoint()
                    assert all(shop_lanes.queues.offer(pending(ask, answers)) for ask in coming)
                shop_lanes.close()
        assert answers == [Result.APPROVED] * 17

    async def test_a_fault_stops_nobody_behind_it(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        """A bad request in the second of three batches gets 96 alone; the first was answered, the third still is."""
        asks, count = await sales(shop, 12), await recorded(shop)
        make_it_fail(monkeypatch, asks[5])
        lanes, answers = through(shop, shop.door, batch_max=4).lanes, list[int]()
        assert all(lanes.queues.offer(pending(ask, answers)) for ask in asks)
        lanes.close()
        await lanes.run()
        assert answers[:4] == answers[-4:] == [Result.APPROVED] * 4
        assert sorted(answers[4:-4]) == [Result.APPROVED] * 3 + [Result.MALFUNCTION]
        assert await recorded(shop) == count + 11
        await shop.check_books()

    async def test_who_waited_too_long_in_a_lane_is_not_decided(self, shop: Shop) -> None:
        """Of two batches that wait, the late requests get 91 and no record, the others are decided."""
        asks, count = await sales(shop, 8), await recorded(shop)
        lanes, answers = through(shop, shop.door, batch_max=4).lanes, list[int]()
        for place, ask in enumerate(asks):
            offered = pending(ask, answers)
            if place in (1, 4, 5, 6, 7):
                offered.deadline = trio.current_time()
            assert lanes.queues.offer(offered)
        lanes.close()
        await lanes.run()
        assert sorted(answers) == [Result.APPROVED] * 3 + [Result.UNAVAILABLE] * 5
        assert await recorded(shop) == count + 3

    async def test_who_waits_behind_a_lane_that_stands_still_is_told(self, shop: Shop, mock_clock: MockClock) -> None:
        """While the batch in front is on its way for ever, a request gets 91 at its deadline and no record; one with
        time left goes on waiting and is decided, and so is the one in front."""
        [front], [late], [timely] = await sales(shop), await sales(shop), await sales(shop)
        count, told = await recorded(shop), dict[int, Response]()
        begun, free = trio.Event(), trio.Event()

        class Still(FaultyDoor):
            async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
                begun.set()
                await free.wait()
                return await super().run(work)

        def offer(ask: Ask, deadline_s: float) -> None:
            def note(answer: bytes) -> None:
                told[ask.name.sequence] = Response.decode(answer)

            assert shop_lanes.queues.offer(Waiting(ask, trio.current_time() + deadline_s, note))

        shop_lanes = through(shop, Still(shop)).lanes
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shop_lanes.run)
            offer(front, 60)
            await begun.wait()
            offer(late, 15)
            offer(timely, 60)
            started = trio.current_time()
            for at, so_far in ((14, []), (16, [late.name.sequence])):
                mock_clock.jump(at - trio.current_time() + started)
                await trio.testing.wait_all_tasks_blocked()
                assert list(told) == so_far
            free.set()
            shop_lanes.close()
        reasons = [told[ask.name.sequence].reason for ask in (front, late, timely)]
        assert reasons == [Reason.NONE, Reason.TOO_LATE, Reason.NONE]
        assert await recorded(shop) == count + 2

    async def test_who_waits_for_the_other_half_of_a_batch_is_told(self, shop: Shop, mock_clock: MockClock) -> None:
        """A batch that was too much is halved; while its first half is on its way for ever, the second one gets 91 at
        its deadline and no record."""
        asks, told = await sales(shop, 4), dict[int, int]()
        count, begun, free = await recorded(shop), trio.Event(), trio.Event()

        class Still(FaultyDoor):
            async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
                if self.calls == 1:  # the first half
                    begun.set()
                    await free.wait()
                return await super().run(work)

        shop_lanes = through(shop, Still(shop, TooMuch())).lanes
        async with trio.open_nursery() as nursery:
            for ask, deadline_s in zip(asks, (60, 60, 15, 15), strict=True):

                def note(answer: bytes, ask: Ask = ask) -> None:
                    told[ask.name.sequence] = Response.decode(answer).reason

                assert shop_lanes.queues.offer(Waiting(ask, trio.current_time() + deadline_s, note))
            nursery.start_soon(shop_lanes.run)
            await begun.wait()
            mock_clock.jump(20)
            await trio.testing.wait_all_tasks_blocked()
            assert told == {ask.name.sequence: Reason.TOO_LATE for ask in asks[2:]}
            free.set()
            shop_lanes.close()
        assert await recorded(shop) == count + 2

    @pytest.mark.parametrize("happened", [True, False])
    async def test_doubt_in_a_later_batch_is_that_batchs(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch, happened: bool
    ) -> None:
        """The second of three COMMITs is not confirmed: all are approved, each once, whether it happened or not."""
        asks, count = await sales(shop, 12), await recorded(shop)
        commit, calls = store.commit, itertools.count(1)

        async def commit_unseen(connection: Connection, *sent: Any) -> None:
            lost = next(calls) == 2
            if not lost or happened:
                await commit(connection, *sent)
            if lost:
                connection.terminate()
                raise InDoubt

        monkeypatch.setattr(store, "commit", commit_unseen)
        lanes, answers = through(shop, shop.door, batch_max=4).lanes, list[int]()
        assert all(lanes.queues.offer(pending(ask, answers)) for ask in asks)
        lanes.close()
        await lanes.run()
        assert answers == [Result.APPROVED] * 12
        assert await recorded(shop) == count + 12
        await shop.check_books()

    async def test_laws_hold_over_lanes_at_random(self, shop: Shop) -> None:
        """Sixty sales of 1.00 on a card of 50.00, spread over lanes at random: fifty approved, ten declined."""
        asks, chosen = await sales(shop, 60), secrets.SystemRandom()
        several = [Lanes(shop.door, shop.rules, lanes=1, batch_max=5, waiting_max=64) for _ in range(3)]
        answers: list[int] = []
        for ask in asks:
            assert chosen.choice(several).queues.offer(pending(ask, answers))
        async with trio.open_nursery() as nursery:
            for lanes in several:
                lanes.close()
                nursery.start_soon(lanes.run)
        assert sorted(answers) == [Result.APPROVED] * 50 + [Result.FUNDS] * 10
        await shop.check_books()

    async def test_laws_hold_while_cards_are_busy_and_copies_race(self, shop: Shop) -> None:
        """Sixty sales of 1.00 on each of six cards of 50.00, each sent to two processes that share nothing but the
        database, while a third takes and lets go of the cards. Of each card fifty are approved; both copies of a
        request get the same bytes; some were put off and some batches ran again."""
        asks = [ask for _ in range(6) for ask in await sales(shop, 60)]
        cards = [row["card"] for row in await shop.query(CARDS_OF, list({ask.token for ask in asks}))]
        random, until = secrets.SystemRandom(), trio.current_time() + 60
        order = random.sample(asks, len(asks))  # of both, so that copies meet
        answers: dict[int, list[bytes]] = {ask.name.sequence: [] for ask in asks}
        counted = {name: REGISTRY.get_sample_value(name, label) or 0 for name, label in RACED.items()}

        async def meddle(connection: Connection) -> None:
            while min(map(len, answers.values())) < 2 and trio.current_time() < until:
                card = random.choice(cards)
                await connection.execute(f"begin; select from cards where id = {int(card)} for no key update")
                await connection.execute("rollback")

        async with (
            open_door(shop.switch_dsn, schema=shop.schema) as one,
            open_door(shop.switch_dsn, schema=shop.schema) as other,
            open_door(shop.owner_dsn, schema=shop.schema) as third,
            trio.open_nursery() as nursery,
        ):
            for door in (one, other):
                several = Lanes(door, shop.rules, lanes=1, batch_max=5, waiting_max=len(asks))
                for ask in order:
                    note = answers[ask.name.sequence].append
                    assert several.queues.offer(Waiting(ask, trio.current_time() + 60, note))
                several.close()
                nursery.start_soon(several.run)
            await third.run(meddle)
        assert {len(both) for both in answers.values()} == {2}
        for sequence, (first, second) in answers.items():
            assert first == second, sequence
        told = [Response.decode(first).result for first, _ in answers.values()]
        for card in range(6):
            assert sorted(told[60 * card :][:60]) == [Result.APPROVED] * 50 + [Result.FUNDS] * 10
        for name, label in RACED.items():
            assert (REGISTRY.get_sample_value(name, label) or 0) > counted[name], name
        await shop.check_books()

    async def test_nothing_secret_shows(self, shop: Shop) -> None:
        """The repr of what is asked, which that of a waiting request holds, tells its name, no card, code or amount."""
        till = shop.till()
        ask = till.opened(await till.request(Command.SALE, card=CODED, amount=987_654, code=CODE))
        shown = repr(ask)
        assert str(ask.name.sequence) in shown
        for secret in (CODED, repr(CODED.encode()), CODE, "987654", repr(ask.token)):
            assert secret not in shown


def pending(ask: Ask, answers: list[int]) -> Waiting:
    return Waiting(ask, trio.current_time() + 15, lambda answer: answers.append(Response.decode(answer).result))
