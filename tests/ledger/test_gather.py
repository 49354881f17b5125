"""`gather` alone: what a batch is told and what it locks, while others do the same."""

from __future__ import annotations

import asyncio
import datetime as dt
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from books import (
    CARDS,
    GATHER,
    MODULE,
    connected,
    gather,
    load,
    names,
    play,
    record,
    refused,
    today,
    until_blocked,
)

from ledger.faults import NameTaken
from ledger.names import RECORDED_DAYS_AHEAD, RECORDED_DAYS_BACK, authorization_number, recordable
from ledger.shell.door import translated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from ledger.shell.door import Connection

FIRST, SECOND = CARDS
TAKEN = "select case when is_called then last_value else 0 end from numbers_{:%Y%m}"


async def refused_as_taken(work: Awaitable[Any]) -> None:
    """`work` must fail as a name does that has its record: so a batch is allowed as many of these as it has names."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        await work
    assert isinstance(translated(caught.value), NameTaken), caught.value


async def behind(
    owner: Connection, ahead: Connection, other: Connection, dates: list[dt.date], **more: Any
) -> asyncio.Task[asyncpg.Record]:
    """Have `ahead` begin a batch on the first card, and `other` one that waits for that."""
    await ahead.execute("begin")
    await gather(ahead, dates, b"first")
    waiting = asyncio.create_task(gather(other, dates, b"first", **more))
    await until_blocked(owner, other)
    return waiting


def of_second(day: dt.date, *more: Any) -> tuple[Any, ...]:
    """A request for the second card, which may name an original."""
    return (MODULE, day, 2000, b"second", False, *(more or (None,) * 3), None, None)


@asynccontextmanager
async def beside_who_holds_the_first(
    issuer: Any, owner: Connection, switch: Connection, day: dt.date
) -> AsyncIterator[tuple[Connection, int]]:
    """A further connection, while `switch` holds the first card and has taken so many numbers of the month."""
    async with connected(issuer.switch_dsn) as other:
        await switch.execute("begin")
        await gather(switch, [day], b"first")
        yield other, await owner.fetchval(TAKEN.format(day))


class TestBusyCards:
    def test_a_batch_goes_on_without_a_card_that_another_one_holds(self, issuer: Any) -> None:
        """It locks what is free and says what is not; who asks for that gets no number. Later all is free."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            async with beside_who_holds_the_first(issuer, owner, switch, day) as (other, taken):
                found = await gather(other, [day, day], b"first", wait=False, further=[of_second(day)])
                assert [card["id"] for card in found["cards"]] == [SECOND]
                assert found["busy"] == [1, 2]
                assert found["serials"] == [None, None, authorization_number(day, taken + 1)]
                assert [number["card"] for number in found["numbers"]] == [SECOND]
                await switch.execute("rollback")
                found = await gather(other, [day, day], b"first", wait=False, further=[of_second(day)])
                assert ([card["id"] for card in found["cards"]], found["busy"]) == ([FIRST, SECOND], None)
                assert None not in found["serials"]

        play(issuer, scene)

    @pytest.mark.parametrize("why", ["told to", "none is free", "reaches through"])
    def test_a_batch_that_waits(self, issuer: Any, why: str) -> None:
        """One that is told to, one that could do nothing else, and one that undoes what may be of another card."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            await record(switch, **names(day, 3, card=SECOND))
            further = {
                "told to": [of_second(day)],
                "none is free": [],
                "reaches through": [of_second(day, MODULE, day, 3)],
            }[why]
            async with connected(issuer.switch_dsn) as other:
                waiting = await behind(owner, switch, other, [day], wait=why == "told to", further=further)
                await load(switch, 1000, FIRST, 70)
                await switch.execute("commit")
                found = await waiting
                assert found["busy"] is None
                values = [(card["id"], card["value"]) for card in found["cards"]]
                assert values == [(FIRST, 70), (SECOND, 0)][: 1 + len(further)]

        play(issuer, scene)

    def test_a_name_that_is_recorded_meanwhile_under_a_busy_card_is_no_matter(self, issuer: Any) -> None:
        """It is not decided now: its batch goes on, and the next one finds the record."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            guess = (MODULE, day, 3000, b"unknown", True, *(None,) * 3, None, None)
            async with connected(issuer.owner_dsn) as holder, connected(issuer.switch_dsn) as other:
                await owner.execute("insert into tries (token, failures) values ('unknown', 1)")
                await holder.execute("begin; select from issuer.tries where token = 'unknown' for update")
                await switch.execute("begin")
                await gather(switch, [day], b"first")
                waiting = asyncio.create_task(
                    gather(other, [day], b"first", wait=False, further=[of_second(day), guess])
                )
                await until_blocked(owner, other)
                await record(switch, **names(day, 1000, card=FIRST))
                await switch.execute("commit")
                await holder.execute("commit")
                assert (await waiting)["busy"] == [1]
                found = await gather(other, [day], b"first", wait=False, further=[of_second(day), guess])
                assert (found["recorded"][0]["ordinal"], found["busy"]) == (1, None)

        play(issuer, scene)

    def test_it_does_not_wait_for_the_tries_of_a_card_that_another_one_holds(self, issuer: Any) -> None:
        """Guesses at a card that does not exist lock its tries; those of a card that is not locked are left alone."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            guess = (MODULE, day, 3000, b"unknown", True, *(None,) * 3, None, None)
            async with connected(issuer.switch_dsn) as other:
                await owner.execute("insert into tries (token, failures) values ('first', 1)")
                await switch.execute("begin")
                await gather(switch, [day], b"first")
                await owner.execute("begin; select from tries where token = 'first' for update")
                await other.execute("set lock_timeout = '500 ms'")
                found = await gather(other, [day], b"first", wait=False, further=[of_second(day), guess])
                assert found["busy"] == [1]
                await owner.execute("rollback")

        play(issuer, scene)

    def test_a_number_that_moves_to_a_free_card_meanwhile(self, issuer: Any) -> None:
        """By the first look it leads to a card that is held, by the second to one that is locked here: it is not busy.

        Between the two a policy holds the batch up where it reads the cards.
        """

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            async with connected(issuer.owner_dsn) as holder, connected(issuer.switch_dsn) as other:
                await owner.execute(
                    """create function hold_up() returns boolean language plpgsql as $$ begin
                           if current_setting('application_name') = 'held up' then
                               perform pg_advisory_xact_lock(1);
                           end if;
                           return true;
                       end $$;
                       create policy held_up on cards using (hold_up());
                       alter table cards enable row level security, force row level security;
                       select pg_advisory_lock(1)"""
                )
                await other.execute("set application_name = 'held up'")
                waiting = asyncio.create_task(gather(other, [day], b"first", wait=False, further=[of_second(day)]))
                await until_blocked(owner, other)
                await record(switch, **names(day, 1), numbers=[(b"second", FIRST, True)])
                await holder.execute(f"begin; select from cards where id = {SECOND} for no key update")
                await owner.execute("select pg_advisory_unlock(1)")
                found = await waiting
                assert [card["id"] for card in found["cards"]] == [FIRST]
                assert {number["card"] for number in found["numbers"]} == {FIRST}
                assert not found["busy"]
                assert None not in found["serials"]
                await holder.execute("rollback")

        play(issuer, scene)


class TestPlans:
    def test_the_hot_path_is_planned_once_a_connection(self, issuer: Any) -> None:
        """The plan of a batch of one is that of any batch, whatever the server thinks that it would save."""

        async def scene(owner: Connection, _switch: Connection) -> None:
            rows = await owner.fetch("select proname, proconfig from pg_proc where proname in ('gather', 'record')")
            assert {row["proname"] for row in rows} == {"gather", "record"}
            for row in rows:
                assert "plan_cache_mode=force_generic_plan" in row["proconfig"]

        play(issuer, scene)


class TestGather:
    def test_an_original_that_arrives_under_the_locks_begins_anew(self, issuer: Any) -> None:
        """An original committed after the first look is of a card that is not locked: the batch is to run again."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            async with connected(issuer.switch_dsn) as other:
                await owner.execute("begin; select from cards where id = 2 for no key update")
                asking = asyncio.create_task(gather(switch, [day], b"second", original=1))
                await until_blocked(owner, switch)
                await record(other, **names(day, 1, card=FIRST))
                await owner.execute("commit")
                await refused(asking, "40001")
                found = await gather(switch, [day], b"second", original=1)
            assert [card["id"] for card in sorted(found["cards"], key=lambda card: card["id"])] == [FIRST, SECOND]

        play(issuer, scene)

    def test_guesses_at_an_unknown_card_wait_for_each_other(self, issuer: Any) -> None:
        """Two tries of a code on a card that does not exist are counted one after the other."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            async with connected(issuer.switch_dsn) as other:
                for failures in (0, 1):  # the first try makes a row to lock, the second finds it
                    await switch.execute("begin")
                    found = await gather(switch, [day], b"nobody", coded=True)
                    assert found["numbers"] == [(b"nobody", None, None)]
                    assert found["tries"] == ([(b"nobody", failures)] if failures else None)
                    waiting = asyncio.create_task(gather(other, [day], b"nobody", coded=True))
                    await until_blocked(owner, other)
                    await record(switch, **names(day, failures + 1), tries=[(b"nobody", failures + 1)])
                    await switch.execute("commit")
                    assert (await waiting)["tries"] == [(b"nobody", failures + 1)]

        play(issuer, scene)

    @pytest.mark.parametrize("live", [True, False])
    def test_a_number_that_is_given_away_while_its_card_is_waited_for(self, issuer: Any, live: bool) -> None:
        """Whom it leads to is read again: to a card that is not locked, or, dead, to the same one."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            async with connected(issuer.switch_dsn) as other:
                await switch.execute("begin")
                await gather(switch, [day], b"first")
                await gather(switch, [day], b"second")
                waiting = asyncio.create_task(gather(other, [day], b"first"))
                await until_blocked(owner, other)
                card = SECOND if live else FIRST
                await record(switch, **names(day, 1), numbers=[(b"first", card, live)])
                await switch.execute("commit")
                found = await waiting
                assert found["numbers"] == [(b"first", card, live)]
                assert [row["id"] for row in found["cards"]] == [FIRST]

        play(issuer, scene)

    def test_a_batch_sees_what_was_committed_while_it_waited(self, issuer: Any) -> None:
        """Balances are read after the lock; a name that was recorded meanwhile is refused, and all begins again."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            async with connected(issuer.switch_dsn) as other:
                waiting = await behind(owner, switch, other, [day])
                await load(switch, 1000, FIRST, 70)
                await switch.execute("commit")
                found = await waiting
                assert [(card["id"], card["value"]) for card in found["cards"]] == [(FIRST, 70)]
                assert found["recorded"] is None
                await refused(load(other, 1000, FIRST, 70), "23505")
                await other.execute("rollback")
                assert (await gather(other, [day], b"first"))["recorded"][0]["ordinal"] == 1

        play(issuer, scene)

    @pytest.mark.parametrize("alone", [True, False])
    def test_a_name_that_none_may_record_any_more_is_looked_for_again(self, issuer: Any, alone: bool) -> None:
        """At midnight a first try is decided on one day and its repeat on the next, where its name may be too old."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            before = day - dt.timedelta(days=1)
            dates = [before] if alone else [before, day]
            async with connected(issuer.switch_dsn) as other:
                waiting = await behind(owner, switch, other, dates, days=(0, 0))
                await record(switch, **names(before, 1000))
                await switch.execute("commit")
                await refused_as_taken(waiting)
                assert (await gather(other, dates, b"first", days=(0, 0)))["recorded"][0]["ordinal"] == 1
                # What has its record, or none, is no reason to begin again.
                assert (await gather(other, [before, before], b"first", days=(0, 0)))["recorded"][0]["ordinal"] == 1

        play(issuer, scene)

    def test_a_name_without_a_number_is_looked_for_again(self, issuer: Any) -> None:
        """A month that had no numbers when the batch asked for one; another host may have seen it made and recorded."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            numbers = f"numbers_{day:%Y%m}"
            async with connected(issuer.owner_dsn) as holder, connected(issuer.switch_dsn) as other:
                await holder.execute("begin; select from issuer.cards where id = 1 for no key update")
                await owner.execute(f"alter sequence {numbers} rename to not_made")
                waiting = asyncio.create_task(gather(other, [day], b"first"))
                await until_blocked(owner, other)
                await record(switch, **names(day, 1000))
                await holder.execute("commit")
                await refused_as_taken(waiting)
                await owner.execute(f"alter sequence not_made rename to {numbers}")
                assert (await gather(other, [day], b"first"))["recorded"][0]["ordinal"] == 1

        play(issuer, scene)

    def test_numbers_are_in_the_order_of_the_locks(self, issuer: Any) -> None:
        """Who came first and waited for its card has a later number than who went on meanwhile."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            async with connected(issuer.switch_dsn) as other:
                waiting = await behind(owner, switch, other, [day])
                [meanwhile] = (await gather(switch, [day], b"second"))["serials"]
                await switch.execute("commit")
                assert (await waiting)["serials"] > [meanwhile]

        play(issuer, scene)

    def test_who_gets_no_lock_takes_no_number(self, issuer: Any) -> None:
        """A busy card does not use a month's numbers up."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            async with beside_who_holds_the_first(issuer, owner, switch, day) as (other, taken):
                await other.execute("set lock_timeout = 1")
                await refused(gather(other, [day, day], b"first"), "55P03")
                assert await owner.fetchval(TAKEN.format(day)) == taken == 1

        play(issuer, scene)

    @pytest.mark.parametrize(
        "away", [-RECORDED_DAYS_BACK - 1, -RECORDED_DAYS_BACK, RECORDED_DAYS_AHEAD, RECORDED_DAYS_AHEAD + 1]
    )
    @pytest.mark.parametrize("alone", [True, False])
    def test_only_a_name_that_can_be_recorded_takes_a_number(self, issuer: Any, away: int, alone: bool) -> None:
        """The switch refuses by the same days, and what it refuses may come again without end."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            date = day + dt.timedelta(days=away)
            await owner.execute("select make_month($1)", date.replace(day=1))
            before = await owner.fetchval(TAKEN.format(date))
            found = await gather(switch, [date, date] if alone else [date, day, date])
            given = [serial is not None for serial in found["serials"]]
            fits = recordable(date, day)
            assert given == ([fits, fits] if alone else [fits, True, fits])
            ours = sum(given) if alone or (date.year, date.month) == (day.year, day.month) else 2 * fits
            assert await owner.fetchval(TAKEN.format(date)) == before + ours

        play(issuer, scene)

    @pytest.mark.parametrize("away", [-RECORDED_DAYS_BACK - 1, 0, RECORDED_DAYS_AHEAD + 1])
    def test_only_a_tombstone_that_can_be_made_takes_a_number(self, issuer: Any, away: int) -> None:
        """A reversal that is recorded already makes none, nor one that names what cannot be recorded."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            date = day + dt.timedelta(days=away)
            await owner.execute("select make_month($1)", date.replace(day=1))
            await record(switch, **names(day, 1000))
            asked = [(MODULE, day, sequence, None, False, MODULE, date, 1, None, None) for sequence in (1000, 1001)]
            found = await switch.fetchrow(GATHER, asked, RECORDED_DAYS_BACK, RECORDED_DAYS_AHEAD, True)
            given = [serial is not None for serial in found["tombstone_serials"]]
            assert given == [False, recordable(date, day)]

        play(issuer, scene)

    def test_a_switch_that_says_nothing_of_the_days(self, issuer: Any) -> None:
        """What was started before they were asked for keeps to the days that it always had."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            dates = [day - dt.timedelta(days=36), day + dt.timedelta(days=2), day + dt.timedelta(days=3)]
            for date in dates:
                await owner.execute("select make_month($1)", date.replace(day=1))
            asked = [(MODULE, date, 1000, None, False, *(None,) * 5) for date in dates]
            serials = await switch.fetchval("select serials from gather($1)", asked)
            assert [serial is not None for serial in serials] == [True, True, False]

        play(issuer, scene)
