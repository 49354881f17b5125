"""The SQL alone, without the switch: what somebody who has its role can do, and what not even the owner can."""
# ruff: noqa: S608 - statements are put together from the names of our own tables

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from books import (
    CARDS,
    EUR,
    MODULE,
    OWED,
    REDEEMED,
    TENDER,
    VALUE,
    connected,
    contents,
    gather,
    load,
    names,
    play,
    postings,
    record,
    refused,
    today,
    undos,
    until_blocked,
)

from ledger.names import RECORDED_DAYS_AHEAD, RECORDED_DAYS_BACK, authorization_number

if TYPE_CHECKING:
    from ledger.shell.door import Connection

FIRST, SECOND = CARDS
DENIED = "42501"
VISIT = 32769
SWITCH_FUNCTIONS = {
    "gather",
    "record",
    "confirm_read",
    "recorded_page",
    "last_name",
    "make_months",
    "end_expired_holds",
    "lapse_passes",
    "count_totals",
    "spent_on_day",
    "take_generations",
    "retire_generations",
}
SWITCH_VIEWS = {"switch_issuer", "switch_keys", "switch_modules", "switch_programmes", "schema_version"}
CREDIT = """
insert into programmes (name) values ('credit');
insert into programme_versions (programme, version, effective_from, document)
    values (2, 1, '2026-01-01', '{"kind": "credit", "limit_maximum_minor": 500}');
update cards set programme = 2 where id = 2;
"""  # the second card is one


class TestRights:
    def test_no_table_can_be_touched(self, issuer: Any) -> None:
        """The switch's role can neither read nor change a table, a partition or a sequence, but for its four views."""

        async def scene(owner: Connection, switch: Connection) -> None:
            rows = await owner.fetch(
                """select c.relname::text as name, c.relkind::text as kind, min(a.attname::text) as attribute
                     from pg_class c left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
                    where c.relnamespace = 'issuer'::regnamespace and c.relkind in ('r', 'p', 'v', 'S') group by 1, 2"""
            )
            assert {"authorizations", "postings", "accounts", "movements"} <= {row["name"] for row in rows}
            for row in rows:
                name, attribute = row["name"], row["attribute"]
                if row["kind"] == "S":
                    await refused(switch.execute(f"select nextval('{name}')"), DENIED)
                    await refused(switch.execute(f"select setval('{name}', 1)"), DENIED)
                    continue
                if name not in SWITCH_VIEWS:
                    await refused(switch.execute(f"select from {name}"), DENIED)
                if row["kind"] != "v":
                    await refused(switch.execute(f"truncate {name} cascade"), DENIED)
                    await refused(switch.execute(f"delete from {name}"), DENIED)
                    await refused(switch.execute(f"update {name} set {attribute} = null"), DENIED)
                    await refused(switch.execute(f"insert into {name} ({attribute}) values (null)"), DENIED)

        play(issuer, scene)

    def test_its_views_show_what_they_must(self, issuer: Any) -> None:
        """The four views can be read by the switch's role."""

        async def scene(_owner: Connection, switch: Connection) -> None:
            for view in SWITCH_VIEWS:
                await switch.fetch(f"select * from {view}")

        play(issuer, scene)

    def test_nothing_can_be_made_or_changed(self, issuer: Any) -> None:
        """The switch's role makes no table, temporary or not, no function, no schema, and changes no definition."""
        statements = (
            "create temp table accounts (card bigint)",
            "create table issuer.mine (card bigint)",
            "create table public.mine (card bigint)",
            "create function issuer.clock_timestamp() returns timestamptz language sql as 'select now()'",
            "create schema mine",
            "alter table authorizations disable trigger all",
            "drop trigger append_only on authorizations",
            "create or replace function refuse_change() returns trigger language plpgsql as 'begin return new; end'",
            "set role issuer_owner",
            "set session authorization issuer_owner",
            "set session_replication_role = replica",
            "grant select on accounts to issuer_switch",
        )

        async def scene(_owner: Connection, switch: Connection) -> None:
            for statement in statements:
                await refused(switch.execute(statement), DENIED)

        play(issuer, scene)

    def test_only_its_own_functions_can_be_called(self, issuer: Any) -> None:
        """Of all functions of the schema the switch's role may execute its own, and a call of another is refused."""

        async def scene(owner: Connection, switch: Connection) -> None:
            rows = await owner.fetch(
                """select proname::text as name, has_function_privilege('issuer_switch', oid, 'execute') as allowed
                     from pg_proc where pronamespace = 'issuer'::regnamespace"""
            )
            assert {row["name"] for row in rows if row["allowed"]} == SWITCH_FUNCTIONS
            assert {row["name"] for row in rows} > SWITCH_FUNCTIONS
            for call in (
                "mark_day('2026-01-01')",
                "close_day('2026-01-01')",
                "make_month('2026-01-01')",
                "reserve_numbers('{2026-01-01}')",
                "reserve_card_ids(1)",
                "add_branch(9, 'mine')",
                "balance_at(1, 1::smallint, 978, now())",
            ):
                await refused(switch.execute(f"select {call}"), DENIED)

        play(issuer, scene)


class TestRecord:
    def test_an_overdraft_is_refused_whole(self, issuer: Any) -> None:
        """A posting that takes more than there is raises AU001, and nothing of the call stays."""

        async def scene(owner: Connection, switch: Connection) -> None:
            await load(switch, 1, FIRST, 1000)
            await load(switch, 2, SECOND, 1000)
            day, before = await today(owner), await contents(owner)
            rows = names(day, 3, 4)
            take = postings((1, SECOND, VALUE, REDEEMED, 1000), (2, FIRST, VALUE, REDEEMED, 1001))
            tries = {"tries": [(b"first", 2)], "bad_cards": [(MODULE, 1)]}
            await refused(record(switch, **rows, **take, **tries), "AU001")
            assert await contents(owner) == before
            await record(switch, **names(day, 3), **postings((1, FIRST, VALUE, REDEEMED, 1000)))
            assert await owner.fetchval("select balance from accounts where card = $1 and kind = 1", FIRST) == 0

        play(issuer, scene)

    def test_what_is_held_is_neither_moved_nor_held_again(self, issuer: Any) -> None:
        """A posting or a hold that takes more than is free raises AU001; once the hold ends, all is free."""

        async def scene(owner: Connection, switch: Connection) -> None:
            await load(switch, 1, FIRST, 1000)
            day, soon = await today(owner), dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
            await record(switch, **names(day, 2, card=FIRST, approved=700), holds=[(1, FIRST, 700, soon, None)])
            before = await contents(owner)
            take = postings((1, FIRST, VALUE, REDEEMED, 301))
            await refused(record(switch, **names(day, 3, card=FIRST), **take), "AU001")
            again = {"holds": [(1, FIRST, 301, soon, None)]}
            await refused(record(switch, **names(day, 3, card=FIRST, approved=301), **again), "AU001")
            assert await contents(owner) == before
            whole = postings((1, FIRST, VALUE, REDEEMED, 1000))
            ended = [(MODULE, day, 2, 1)]
            await record(switch, **names(day, 3, card=FIRST), **whole, ended=ended)
            assert not await owner.fetch("select from unbalanced_holds")
            await refused(record(switch, **names(day, 4), ended=ended), "AU008")

        play(issuer, scene)

    @pytest.mark.parametrize("wrong", ["held = -1", "value = 1", "owed = -1", "floor = -1", "held = 1"])
    def test_a_cards_row_checks_what_it_may_hold(self, issuer: Any, wrong: str) -> None:
        """Nothing held below zero; on a card on which nothing has moved, nothing at all: it stands in no books."""

        async def scene(owner: Connection, switch: Connection) -> None:
            await load(switch, 1, FIRST, 1000)
            card = FIRST if wrong == "held = -1" else SECOND
            await refused(owner.execute(f"update cards set {wrong} where id = $1", card), "23514")

        play(issuer, scene)

    @pytest.mark.parametrize("columns", [{"approved": 701}, {"card": SECOND}, {"unit": 840}])
    def test_a_hold_is_its_authorizations(self, issuer: Any, columns: dict[str, Any]) -> None:
        """Of the same card, unit and amount, or it is refused whole."""

        async def scene(owner: Connection, switch: Connection) -> None:
            await load(switch, 1, FIRST, 1000)
            before, soon = await contents(owner), dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
            rows = names(await today(owner), 2, **{"card": FIRST, "approved": 700} | columns)
            await refused(record(switch, **rows, holds=[(1, FIRST, 700, soon, None)]), "AU003")
            assert await contents(owner) == before

        play(issuer, scene)

    def test_only_credit_goes_below_zero(self, issuer: Any) -> None:
        """A floor below that of the rules is refused, on a gift card any; on a credit card it counts from then on."""

        async def scene(owner: Connection, switch: Connection) -> None:
            await owner.execute(CREDIT)
            day, before = await today(owner), await contents(owner)
            for card, floor in ((FIRST, -1), (SECOND, -501), (FIRST, None), (SECOND, None)):
                for row in ((card, EUR, floor, 0), (card, EUR, 0, floor)):
                    await refused(record(switch, **names(day, 1, card=card, command=82), floors=[row]), "AU009")
            for columns, unit in (({"command": 19}, EUR), ({"card": FIRST}, EUR), ({}, 840)):
                rows = names(day, 1, **{"card": SECOND, "command": 82} | columns)
                await refused(record(switch, **rows, floors=[(SECOND, unit, 0, -1)]), "AU009")
            assert await contents(owner) == before
            bought = postings((1, SECOND, VALUE, REDEEMED, 500))
            await record(switch, **names(day, 1, card=SECOND, command=82), **bought, floors=[(SECOND, EUR, 0, -500)])
            row = await owner.fetchrow("select balance, floor from accounts where card = $1", SECOND)
            assert tuple(row or ()) == (-500, 0)
            more = postings((1, SECOND, VALUE, REDEEMED, 1))
            await refused(record(switch, **names(day, 2, card=SECOND), **more), "AU001")

        play(issuer, scene)

    def test_what_was_held_is_taken_below_a_floor_that_was_raised(self, issuer: Any) -> None:
        """Since it takes nothing of what is available; a cent more is refused."""

        async def scene(owner: Connection, switch: Connection) -> None:
            await owner.execute(CREDIT)
            day, soon = await today(owner), dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
            opened = {"floors": [(SECOND, EUR, -500, -500)], "holds": [(1, SECOND, 300, soon, None)]}
            await record(switch, **names(day, 1, card=SECOND, approved=300, command=82), **opened)
            await record(switch, **names(day, 2, card=SECOND, command=82), floors=[(SECOND, EUR, 0, 0)])
            ended = [(MODULE, day, 1, 1)]
            more = postings((1, SECOND, VALUE, REDEEMED, 301))
            await refused(record(switch, **names(day, 3, card=SECOND), **more, ended=ended), "AU001")
            all_of_it = postings((1, SECOND, VALUE, REDEEMED, 300))
            await record(switch, **names(day, 3, card=SECOND), **all_of_it, ended=ended)

        play(issuer, scene)

    @pytest.mark.parametrize("columns", [{"approved": 99}, {"card": FIRST}, {"command": 25}])
    def test_a_charge_is_its_authorizations(self, issuer: Any, columns: dict[str, Any]) -> None:
        """Of the same card and amount, or it is refused whole."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day, before = await today(owner), await contents(owner)
            rows = names(day, 1, **{"card": SECOND, "approved": 100} | columns)
            await refused(record(switch, **rows, charges=[(SECOND, MODULE, day, 1, day, 100)]), "AU003")
            assert await contents(owner) == before

        play(issuer, scene)

    def test_only_what_has_ended_lapses(self, issuer: Any) -> None:
        """A pass of today, one without an end, another amount than is there: refused whole. Of yesterday: once."""

        async def scene(owner: Connection, switch: Connection) -> None:
            await load(switch, 1, FIRST, 10)
            await owner.execute("update cards set unit = 32769 where unit is not null")
            await owner.execute("alter table authorizations disable trigger append_only")
            await owner.execute("update authorizations set postings = array[(100, 1, 32769, 10)::posted::posting]")
            day = await today(owner)
            yesterday = day - dt.timedelta(days=1)

            async def lapse(ended_on: dt.date, amount: int) -> None:
                await record(switch, **names(day, 2), lapses=[(FIRST, VISIT, amount, ended_on)])

            await refused(lapse(yesterday, 10), "AU001")
            for last_day, ended_on, amount in ((day, day, 10), (yesterday, yesterday, 11), (day, yesterday, 10)):
                await owner.execute("update cards set valid_until = $2 where id = $1", FIRST, last_day)
                await refused(lapse(ended_on, amount), "AU001")
            await owner.execute("update cards set valid_until = $2 where id = $1", FIRST, yesterday)
            await lapse(yesterday, 10)
            assert await owner.fetchval("select balance from accounts where card = $1", FIRST) == 0
            assert not await owner.fetch("select from unbalanced_accounts")
            await refused(owner.execute("update lapses set amount = 9"), "AU002")

        play(issuer, scene)

    def test_an_overdraft_in_small_steps_is_refused(self, issuer: Any) -> None:
        """Many small postings on one card count together."""

        async def scene(owner: Connection, switch: Connection) -> None:
            await load(switch, 1, FIRST, 1000)
            before = await contents(owner)
            take = postings((1, FIRST, VALUE, REDEEMED, 600), (2, FIRST, VALUE, REDEEMED, 600))
            await refused(record(switch, **names(await today(owner), 2, 3), **take), "AU001")
            assert await contents(owner) == before

        play(issuer, scene)

    def test_two_overdrafts_at_once_cannot_both_pass(self, issuer: Any) -> None:
        """Two connections that each take the whole without looking: the second finds nothing left."""

        async def scene(owner: Connection, switch: Connection) -> None:
            await load(switch, 1, FIRST, 1000)
            day = await today(owner)
            async with connected(issuer.switch_dsn) as other:
                await switch.execute("begin")
                await record(switch, **names(day, 2), **postings((1, FIRST, VALUE, REDEEMED, 1000)))
                second = asyncio.create_task(
                    record(other, **names(day, 3), **postings((1, FIRST, VALUE, REDEEMED, 1000)))
                )
                await until_blocked(owner, other)
                await switch.execute("commit")
                await refused(second, "AU001")

        play(issuer, scene)

    def test_a_card_has_one_unit(self, issuer: Any) -> None:
        """That of its first movement: a posting in another is refused, and so is a floor."""

        async def scene(owner: Connection, switch: Connection) -> None:
            await load(switch, 1, FIRST, 1000)
            await owner.execute(CREDIT)
            await owner.execute("update cards set unit = 840")
            day, before = await today(owner), await contents(owner)
            load_again = postings((1, FIRST, TENDER, VALUE, 5))
            await refused(record(switch, **names(day, 2), **load_again), "AU006")
            limit = names(day, 2, card=SECOND, command=82)
            await refused(record(switch, **limit, floors=[(SECOND, EUR, -500, -500)]), "AU009")
            assert await contents(owner) == before

        play(issuer, scene)

    @pytest.mark.parametrize(
        ("rows", "sqlstate"),
        [
            ([(1, FIRST, OWED, VALUE, 1)], "23514"),  # both sides are a card's
            ([(1, FIRST, TENDER, TENDER, 1)], "23514"),  # one account
            ([(1, FIRST, TENDER, VALUE, 0)], "23514"),  # nothing
            ([(1, FIRST, TENDER, VALUE, -5)], "23514"),  # backwards
            ([(1, None, TENDER, VALUE, 5)], "AU006"),  # no card
            ([(1, 99, TENDER, VALUE, 5)], "AU006"),  # no such card
            ([(1, FIRST, TENDER, 3, 5)], "AU006"),  # no such account of a card
            ([(1, FIRST, 999, VALUE, 5)], "AU006"),  # no such account of the issuer
            ([(1, FIRST, TENDER, OWED, 5)], "23514"),  # owed above zero
            ([(1, FIRST, None, VALUE, 5)], "23514"),  # from nowhere
            ([(1, FIRST, TENDER, VALUE, None)], "23514"),
            ([(1, FIRST, TENDER, VALUE, 2**63 - 1), (1, FIRST, TENDER, VALUE, 1)], "22003"),  # past what a column holds
        ],
    )
    def test_a_posting_that_cannot_be_is_refused(self, issuer: Any, rows: list[Any], sqlstate: str) -> None:
        """A posting joins an account of a card and one of the issuer, moves something, hangs on an authorization."""

        async def scene(owner: Connection, switch: Connection) -> None:
            await load(switch, 9, FIRST, 1000)
            before = await contents(owner)
            await refused(record(switch, **names(await today(owner), 1), **postings(*rows)), sqlstate)
            assert await contents(owner) == before

        play(issuer, scene)

    def test_more_than_the_original_cannot_be_undone(self, issuer: Any) -> None:
        """Refunds above the original, a refund beside a reversal, and undoing what is not there raise AU005."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            await record(switch, **names(day, 1, card=FIRST, requested=500, approved=500))
            await record(switch, **names(day, 2), **undos((1, day, 1, False, 300)))
            before = await contents(owner)
            for row in (
                (1, day, 1, False, 201),  # 300 and 201 are more than 500
                (1, day, 1, False, -301),  # less than nothing is refunded
                (1, day, 1, True, 500),  # reversed while a refund stands
                (1, day, 77, True, 500),  # of nothing
                (1, day, 77, False, 1),
            ):
                await refused(record(switch, **names(day, 3), **undos(row)), "AU005")
            assert await contents(owner) == before
            await record(switch, **names(day, 3), **undos((1, day, 1, False, 200)))

        play(issuer, scene)

    def test_a_second_reversal_is_refused(self, issuer: Any) -> None:
        """An original hangs on one reversal at most; and an undoing on an authorization that does it."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            await record(switch, **names(day, 1, card=FIRST, approved=500))
            await record(switch, **names(day, 2), **undos((1, day, 1, True, 500)))
            before = await contents(owner)
            await refused(record(switch, **names(day, 3), **undos((1, day, 1, True, 500))), "23505")
            await refused(record(switch, **names(day, 3), **undos((9, day, 1, False, 0))), "23502")
            assert await contents(owner) == before

        play(issuer, scene)

    @pytest.mark.parametrize("tombstone", [False, True])
    def test_a_name_is_recorded_once(self, issuer: Any, tombstone: bool) -> None:
        """A second record of a name, and an original over its tombstone or the other way, break on the name itself."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            move = postings((1, FIRST, TENDER, VALUE, 5))
            await record(switch, **names(day, 1, tombstone=tombstone), **({} if tombstone else move))
            before = await contents(owner)
            for again in (names(day, 1), names(day, 1, tombstone=True), names(day, 2, 1), names(day, 3, 3)):
                with pytest.raises(asyncpg.UniqueViolationError) as caught:
                    await record(switch, **again, **move)
                assert caught.value.constraint_name == f"authorizations_{day:%Y%m}_pkey"
            assert await contents(owner) == before

        play(issuer, scene)

    def test_names_in_opposite_order_make_no_circle(self, issuer: Any) -> None:
        """Two connections record overlapping names, one forwards, one backwards: one waits and finds them taken.

        A third holds the middle name until both have begun, so that neither can be done before the other begins.
        """

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)

            def moving(card: int, *sequences: int) -> dict[str, Any]:
                rows = [(place, card, TENDER, VALUE, 5) for place in range(1, len(sequences) + 1)]
                return names(day, *sequences, card=card) | postings(*rows)

            async with connected(issuer.switch_dsn) as forwards, connected(issuer.switch_dsn) as backwards:
                await switch.execute("begin")
                await record(switch, **names(day, 2))
                await forwards.execute("begin")
                first = asyncio.create_task(record(forwards, **moving(FIRST, 1, 2, 3)))
                await until_blocked(owner, forwards)
                second = asyncio.create_task(record(backwards, **moving(SECOND, 3, 2, 1)))
                await until_blocked(owner, backwards)
                await switch.execute("rollback")
                await first
                await forwards.execute("commit")
                await refused(second, "23505")
            assert await owner.fetchval("select count(*) from authorizations where card = $1", FIRST) == 3

        play(issuer, scene)


class TestHistory:
    def test_not_even_the_owner_changes_it(self, issuer: Any) -> None:
        """Authorizations with their postings, pages and undos refuse every update, delete and truncate with AU002."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            pages = {"pages": [(1, 2, b"second page")]}
            await record(
                switch,
                **names(day, 1, approved=5),
                **postings((1, FIRST, TENDER, VALUE, 5)),
                **undos((1, day, 1, False, 5)),
                **pages,
            )
            before = await contents(owner)
            for table in ("authorizations", "pages", "undos"):
                for name in (table, f"{table}_{day:%Y%m}"):
                    await refused(owner.execute(f"truncate {name}"), "AU002")
                    await refused(owner.execute(f"delete from {name}"), "AU002")
                    await refused(owner.execute(f"update {name} set sequence = sequence"), "AU002")
            assert await contents(owner) == before
            await owner.execute("insert into modules (number, branch, name, suite) values (77, 1, 'till', 2)")
            await refused(owner.execute("delete from modules where number = 77"), "AU002")  # history names it

        play(issuer, scene)

    def test_a_balance_at_any_moment_is_the_running_sum(self, issuer: Any) -> None:
        """At the moment of each movement, between them, before and after: what was posted until then."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            start = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
            steps = [(TENDER, VALUE, 1000), (VALUE, REDEEMED, 300), (VALUE, REDEEMED, 200), (TENDER, VALUE, 50)]
            for sequence, (debit, credit, amount) in enumerate(steps, start=1):
                move = postings((1, FIRST, debit, credit, amount)) | {
                    "decided_at": start + dt.timedelta(hours=sequence)
                }
                await record(switch, **names(day, sequence), **move)

            async def at(hours: float) -> int:
                moment = start + dt.timedelta(hours=hours)
                return await owner.fetchval("select balance_at($1, 1::smallint, $2, $3)", FIRST, EUR, moment)

            moments = [0, 0.99, 1, 1.5, 2, 2.5, 3, 3.5, 4, 1000]
            assert [await at(hours) for hours in moments] == [0, 0, 1000, 1000, 700, 700, 500, 500, 550, 550]
            assert await owner.fetchval("select balance_at($1, 1::smallint, $2, now())", SECOND, EUR) == 0

        play(issuer, scene)

    def test_the_books_would_show_a_wrong_balance(self, issuer: Any) -> None:
        """A balance written past the functions stands in `unbalanced_accounts`, and the trial balance is not zero."""

        async def scene(owner: Connection, switch: Connection) -> None:
            await load(switch, 1, FIRST, 1000)
            trial = "select sum(balance)::bigint from trial_balance group by unit"
            assert await owner.fetchval(trial) == 0
            assert await owner.fetchval("select count(*) from unbalanced_accounts") == 0
            await owner.execute("update cards set value = value + 1 where unit is not null")
            assert await owner.fetchval(trial) == 1
            assert await owner.fetchval("select posted - balance from unbalanced_accounts") == -1

        play(issuer, scene)


class TestMonths:
    def test_they_are_made_ahead_once_and_block_nobody(self, issuer: Any) -> None:
        """The months of names and of 40 days ahead are there; a second call and another month wait for no writer."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            for date in (day - dt.timedelta(40), day, day + dt.timedelta(40)):
                assert await owner.fetchval("select to_regclass($1) is not null", f"undos_{date:%Y%m}")
            await switch.execute("begin")
            await load(switch, 1, FIRST, 5)
            async with connected(issuer.switch_dsn) as other:
                await other.execute("set lock_timeout = '2s'")
                assert await other.fetchval("select make_months()") == 0
            await owner.execute("set lock_timeout = '2s'")
            assert await owner.fetchval("select make_month('2099-05-17')") is True
            assert await owner.fetchval("select make_month('2099-05-01')") is False
            await switch.execute("commit")
            await record(switch, **names(dt.date(2099, 5, 31), 1))
            assert await owner.fetchval("select count(*) from authorizations_209905") == 1

        play(issuer, scene)

    def test_who_waited_while_another_made_a_month_finds_it_made(self, issuer: Any) -> None:
        """Two processes that start at once: the second looked before the first had committed, and makes nothing."""

        async def scene(owner: Connection, _: Connection) -> None:
            async with connected(issuer.owner_dsn) as second:
                await owner.execute("begin")
                assert await owner.fetchval("select make_month('2098-03-01')") is True
                waiting = asyncio.create_task(second.fetchval("select make_month('2098-03-01')"))
                pid = second.get_server_pid()
                async with asyncio.timeout(5), connected(issuer.owner_dsn) as watcher:
                    while not await watcher.fetchval("select cardinality(pg_blocking_pids($1)) > 0", pid):
                        pass
                await owner.execute("commit")
                assert await waiting is False

        play(issuer, scene)

    def test_each_counts_its_own_numbers(self, issuer: Any) -> None:
        """Numbers count from serial 1 in each month of the names; a month that is not made has none."""

        async def scene(owner: Connection, switch: Connection) -> None:
            dates = [dt.date(2099, 5, 1), dt.date(2099, 6, 30), dt.date(2099, 5, 31), dt.date(2099, 7, 1)]
            for date in dates[:2]:
                await owner.execute("select make_month($1)", date)
            row = await gather(switch, dates, days=(0, 40_000))
            expected = [authorization_number(date, serial) for date, serial in zip(dates, (1, 1, 2), strict=False)]
            assert row["serials"] == [*expected, None]

        play(issuer, scene)


async def issuer_balances(owner: Connection) -> dict[int, int]:
    """The issuer's own accounts."""
    return {row["kind"]: row["balance"] for row in await owner.fetch("select * from issuer_balances")}


class TestDays:
    def test_closing_changes_no_balance(self, issuer: Any) -> None:
        """The issuer's balances are the same before a day is marked, between, after it is closed, and with the next."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            days = [day - dt.timedelta(days=back) for back in (3, 2, 1)]
            for sequence, (date, amount) in enumerate(zip(days, (100, 20, 3), strict=True), start=1):
                await load(switch, sequence, FIRST, amount, booked_on=date)
            now = {TENDER: -123}
            assert await issuer_balances(owner) == now
            for date, closing in zip(days, (-100, -120, -123), strict=True):
                await owner.execute("select mark_day($1)", date)
                assert await issuer_balances(owner) == now
                assert await owner.fetchval("select close_day($1)", date) is True
                assert await issuer_balances(owner) == now
                assert await owner.fetchval("select balance from closing_balances where day = $1", date) == closing
                assert await owner.fetchval("select close_day($1)", date) is True
            await load(switch, 9, FIRST, 1000)
            assert await issuer_balances(owner) == {TENDER: -1123}

        play(issuer, scene)

    def test_who_began_before_the_mark_is_waited_for(self, issuer: Any) -> None:
        """A batch that looked at the open day before the mark and commits after it is in the closing balance."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            yesterday = day - dt.timedelta(days=1)
            await switch.execute("begin")
            await gather(switch, [day])
            await owner.execute("select mark_day($1)", yesterday)
            assert await owner.fetchval("select close_day($1)", yesterday) is False
            await load(switch, 1, FIRST, 100, booked_on=yesterday)
            assert await owner.fetchval("select close_day($1)", yesterday) is False
            await switch.execute("commit")
            assert await owner.fetchval("select close_day($1)", yesterday) is True
            assert await issuer_balances(owner) == {TENDER: -100}

        play(issuer, scene)

    def test_who_began_while_the_mark_was_not_committed_is_waited_for(self, issuer: Any) -> None:
        """A batch that could not see the mark yet, since that was not committed, is in the closing balance too."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            yesterday = day - dt.timedelta(days=1)
            await owner.execute("begin")
            await owner.execute("select mark_day($1)", yesterday)
            assert await owner.fetchval("select close_day($1)", yesterday) is False
            await switch.execute("begin")
            await gather(switch, [day])
            await owner.execute("commit")
            assert await owner.fetchval("select close_day($1)", yesterday) is False
            await load(switch, 1, FIRST, 100, booked_on=yesterday)
            await switch.execute("commit")
            assert await owner.fetchval("select close_day($1)", yesterday) is True
            assert await issuer_balances(owner) == {TENDER: -100}

        play(issuer, scene)

    def test_after_the_mark_the_next_open_day_is_booked(self, issuer: Any) -> None:
        """With today marked, by a clock that was ahead, a batch is booked on tomorrow; without, on today."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            assert (await gather(switch, [day]))["booked_on"] == day
            await owner.execute("insert into closed_days (day) values ($1)", day)
            assert (await gather(switch, [day]))["booked_on"] == day + dt.timedelta(days=1)

        play(issuer, scene)

    def test_a_day_that_has_not_ended_is_not_marked(self, issuer: Any) -> None:
        """Today cannot be marked, and a day that is not marked cannot be closed: AU004."""

        async def scene(owner: Connection, _switch: Connection) -> None:
            day = await today(owner)
            await refused(owner.execute("select mark_day($1)", day), "AU004")
            await refused(owner.execute("select close_day($1)", day - dt.timedelta(days=1)), "AU004")

        play(issuer, scene)

    def test_a_closed_day_takes_no_posting(self, issuer: Any) -> None:
        """Nobody books on a closed day or one before it, where no balance would count it: AU007; on the next, yes."""

        async def scene(owner: Connection, switch: Connection) -> None:
            day = await today(owner)
            yesterday = day - dt.timedelta(days=1)
            await owner.execute("select mark_day($1)", yesterday)
            await load(switch, 1, FIRST, 100, booked_on=yesterday)  # marked and not closed: who began before the mark
            assert await owner.fetchval("select close_day($1)", yesterday) is True
            before = await contents(owner)
            for closed in (yesterday, yesterday - dt.timedelta(days=1)):
                await refused(load(switch, 2, FIRST, 20, booked_on=closed), "AU007")
            assert await contents(owner) == before
            await load(switch, 2, FIRST, 3, booked_on=day)
            assert await issuer_balances(owner) == {TENDER: -103}

        play(issuer, scene)

    def test_what_may_be_recorded_is_what_reconciling_takes_for_good(self, issuer: Any) -> None:
        """The window of names stands in the program; the view that looks at rows again has the same one."""

        async def scene(owner: Connection, _switch: Connection) -> None:
            definition = await owner.fetchval("select pg_get_viewdef('wrong_authorizations')")
            assert f"day - {RECORDED_DAYS_BACK})" in definition
            assert f"day + {RECORDED_DAYS_AHEAD})" in definition

        play(issuer, scene)

    def test_no_amount_is_too_large_to_close(self, issuer: Any) -> None:
        """Two cards hold the most that a card can: the sum passes 2^63, and is told and closed all the same."""

        async def scene(owner: Connection, switch: Connection) -> None:
            yesterday = await today(owner) - dt.timedelta(days=1)
            for sequence, card in enumerate((FIRST, SECOND), start=1):
                await load(switch, sequence, card, 2**63 - 1, booked_on=yesterday)
            await owner.execute("select mark_day($1)", yesterday)
            assert await owner.fetchval("select close_day($1)", yesterday) is True
            assert await issuer_balances(owner) == {TENDER: 2 - 2**64}
            assert await owner.fetchval("select sum(balance) from trial_balance") == 0

        play(issuer, scene)
