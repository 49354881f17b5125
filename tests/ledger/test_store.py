"""The store: a batch's transaction in the ledger's types, and what the database refuses in the ledger's words."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
import trio
from books import CARDS, EUR, MODULE, OWED, REDEEMED, TENDER, VALUE, connected, contents, open_books, today

from ledger.accounts import Balances
from ledger.authorizations import Authorization, Undo
from ledger.batch import Gathered, Lookup, Writes
from ledger.cards import CardStatus, Number
from ledger.faults import BadRow, NameTaken
from ledger.names import Name, authorization_number
from ledger.postings import Posting, bring, spend
from ledger.shell import store
from ledger.shell.store import transact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ledger.shell.door import Connection, Door

FIRST, SECOND = CARDS


@pytest.fixture
def day(issuer: Any) -> dt.date:
    """Books are open; the issuer's day."""

    async def begin() -> dt.date:
        async with connected(issuer.owner_dsn) as owner:
            await open_books(owner)
            return await today(owner)

    return asyncio.run(begin())


def asked(name: Name, token: bytes | None = None, original: Name | int | None = None) -> Lookup:
    """What a request of this name makes the database look up."""
    by_name = original if isinstance(original, Name) else None
    by_number = original if isinstance(original, int) else None
    return Lookup(name, token, with_code=False, original=by_name, original_number=by_number)


def written(name: Name, **fields: Any) -> Authorization:
    """An approved sale under this name; its number is put in when it is recorded."""
    given = {
        "number": 0, "tombstone": False, "command": 19, "result": 0, "reason": 0, "branch": 1, "unit": EUR,
        "token_key": 1, "digest_key": 1, "digest": b"digest", "answers": (b"answer",),
    } | fields  # fmt: skip
    return Authorization(name=name, **given)


def writing(*rows: Authorization) -> Callable[[Gathered], tuple[Gathered, Writes]]:
    """A decision to record these rows, whatever has a record, under the numbers that were reserved for the others.

    It answers what was gathered.
    """

    def decide(gathered: Gathered) -> tuple[Gathered, Writes]:
        pairs = zip(rows, gathered.serials, strict=True)
        return gathered, Writes(authorizations=[row._replace(number=serial or row.number) for row, serial in pairs])

    return decide


async def write(door: Door, *rows: Authorization) -> Gathered:
    """Record these rows as one batch."""
    return await door.run(transact([asked(row.name) for row in rows], writing(*rows)))


async def look(door: Door, *lookups: Lookup) -> Gathered:
    """What a batch finds that records nothing."""
    return await door.run(transact(lookups, lambda gathered: (gathered, Writes())))


async def as_owner(issuer: Any, work: Callable[[Connection], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with connected(issuer.owner_dsn) as owner:
            return await work(owner)

    return await trio.to_thread.run_sync(asyncio.run, run())


class TestGather:
    async def test_an_empty_ledger(self, door: Door, day: dt.date) -> None:
        """A known token gives its card, an unknown one none; the name has no record, a number is reserved."""
        found = await look(door, asked(Name(MODULE, day, 1), b"first"), asked(Name(MODULE, day, 2), b"nobody"))
        assert found.numbers == {b"first": Number(FIRST, True, 0), b"nobody": Number(None, True, 0)}
        assert found.cards[FIRST].status is CardStatus.ACTIVE
        assert found.cards[FIRST].balances == Balances(0, 0, 0)
        assert (found.recorded, found.originals, found.bad_cards) == ({}, {}, {})
        assert list(found.serials) == [authorization_number(day, serial) for serial in (1, 2)]
        assert found.booked_on == day == found.local_at.date()

    async def test_a_recorded_authorization_is_read_back(self, door: Door, day: dt.date) -> None:
        """What was recorded is found as record and, by name and by number, as original, with all that hangs on it."""
        name, refund = Name(MODULE, day, 1), Name(MODULE, day, 2)
        load = bring(Balances(), TENDER, 1000)
        row = written(
            name, card=FIRST, requested=1500, approved=1000, postings=load, answers=(b"page 1", b"page 2"), digest=b"d"
        )
        first = await write(door, row)
        await write(door, written(refund, card=FIRST, original=name, undos=(Undo(name, reversal=False, amount=300),)))
        number = first.serials[0]
        found = await look(
            door, asked(name), asked(Name(MODULE, day, 3), original=name), asked(refund, original=number)
        )
        recorded, original = found.recorded[0], found.originals[1]
        assert (recorded.tombstone, recorded.number, recorded.answer, recorded.digest) == (
            False,
            number,
            b"page 1",
            b"d",
        )
        assert recorded.decided_at == first.decided_at
        assert recorded.local_at == first.local_at
        assert (original.name, original.number, original.card, original.booked_on) == (name, number, FIRST, day)
        assert (original.requested, original.approved, original.refunded) == (1500, 1000, 300)
        assert (original.reversed, original.tombstone) == (False, False)
        assert original.postings == load
        assert original.answers == (b"page 1", b"page 2")
        assert found.originals[2] == original
        assert found.recorded.keys() == {0, 2}
        assert found.cards[FIRST].balances == Balances(1000, 0, 0)  # locked and read through its original alone

    async def test_what_is_recorded_takes_no_number(self, door: Door, day: dt.date) -> None:
        """A number is reserved for each new name, and for a tombstone where the original is not there."""
        known, new = Name(MODULE, day, 1), [Name(MODULE, day, sequence) for sequence in (2, 3, 4)]
        await write(door, written(known))
        missing = Name(MODULE, day, 9)
        found = await look(
            door, asked(known), asked(new[0]), asked(new[1], original=known), asked(new[2], original=missing)
        )
        assert list(found.serials) == [None, *(authorization_number(day, serial) for serial in (2, 3, 4))]
        assert list(found.tombstone_serials) == [None, None, None, authorization_number(day, 5)]
        again = await look(door, *[asked(known)] * 3, asked(new[0]))
        assert list(again.serials) == [None, None, None, authorization_number(day, 6)]

    async def test_a_batch_of_several_days_finds_each_record(self, door: Door, day: dt.date) -> None:
        """Names of two days in one batch: what has a record is found at its place, the others get numbers in order."""
        eve = day - dt.timedelta(days=1)
        await write(door, written(Name(MODULE, day, 1)), written(Name(MODULE, eve, 2), digest=b"eve"))
        found = await look(door, *(asked(Name(MODULE, *name)) for name in ((eve, 2), (day, 2), (eve, 1), (day, 1))))
        assert {place: recorded.digest for place, recorded in found.recorded.items()} == {0: b"eve", 3: b"digest"}
        assert [serial is None for serial in found.serials] == [True, False, False, True]

    async def test_what_an_undoing_undid_is_read_back(self, door: Door, day: dt.date) -> None:
        """An original that was itself an undoing names what it undid, and a reversal shows on what it reversed."""
        sale, back = Name(MODULE, day, 1), Name(MODULE, day, 2)
        await write(door, written(sale, card=FIRST, approved=5))
        await write(door, written(back, card=FIRST, original=sale, undos=(Undo(sale, reversal=True, amount=5),)))
        found = await look(door, asked(Name(MODULE, day, 3), original=back), asked(Name(MODULE, day, 4), original=sale))
        assert found.originals[0].original == sale
        assert found.originals[1].original is None
        assert found.originals[1].reversed

    @pytest.mark.usefixtures("day")
    async def test_a_day_beyond_the_months_has_no_number(self, door: Door) -> None:
        """Names of year 1 and of year 9999 are looked up like others, and no number is reserved."""
        found = await look(
            door, asked(Name(MODULE, dt.date(1, 1, 1), 1)), asked(Name(MODULE, dt.date(9999, 12, 31), 1))
        )
        assert list(found.serials) == [None, None]

    async def test_a_number_of_any_month_finds_nothing(self, door: Door, day: dt.date) -> None:
        """Authorization numbers of the first and the last month that twelve digits can say are looked up in peace."""
        numbers = [authorization_number(dt.date(2000, 1, 1), 1), 999_99999999_0]
        found = await look(
            door, *(asked(Name(MODULE, day, place), original=number) for place, number in enumerate(numbers))
        )
        assert found.originals == {}


class TestTransact:
    async def test_a_batch_is_written_whole(self, door: Door, day: dt.date) -> None:
        """Postings move balances, cards, tries and budgets are as they end, and each page stands under its name."""
        name = Name(MODULE, day, 1)

        def decide(gathered: Gathered) -> tuple[None, Writes]:
            number = gathered.serials[0] or 0
            row = written(name, number=number, card=FIRST, postings=bring(Balances(), TENDER, 70), answers=(b"1", b"2"))
            card = gathered.cards[FIRST]._replace(
                status=CardStatus.CLOSED,
                valid_until=day,
                loads_on=day,
                loads_today=3,
                blocked=2,
                verifier_key=1,
                verifier=b"new",
            )
            return None, Writes([row], {FIRST: card}, {b"first": 2, b"nobody": 1}, {MODULE: 4})

        for expected in (4, 8):  # budgets add up, the others are as they end
            await door.run(transact([asked(name, b"first")], decide))
            found = await look(door, asked(Name(MODULE, day, 9), b"first"), asked(Name(MODULE, day, 10), b"nobody"))
            assert found.bad_cards == {MODULE: expected}
            assert found.numbers == {b"first": Number(FIRST, True, 2), b"nobody": Number(None, True, 1)}
            card = found.cards[FIRST]
            assert card.kept == (CardStatus.CLOSED, day, day, 3, 2, 1, b"new")
            assert card.balances.value == 70 * expected // 4
            name = Name(MODULE, day, 2)
        pages = [await door.run(lambda c, page=page: store.recorded_page(c, name, None, page)) for page in (1, 2, 3)]
        assert pages == [(name, b"1"), (name, b"2"), None]

    async def test_what_decide_raises_passes_and_nothing_stays(self, door: Door, issuer: Any, day: dt.date) -> None:
        """A mistake in deciding rolls the transaction back and comes out as it is."""
        before = await as_owner(issuer, contents)

        def stumble(_: Gathered) -> tuple[None, Writes]:
            raise KeyError("a mistake of ours")

        with pytest.raises(KeyError):
            await door.run(transact([asked(Name(MODULE, day, 1), b"first")], stumble))
        assert await as_owner(issuer, contents) == before

    @pytest.mark.parametrize("tombstone", [False, True])
    async def test_a_name_that_was_recorded_meanwhile_is_taken(
        self, door: Door, issuer: Any, day: dt.date, tombstone: bool
    ) -> None:
        """Another card's movement, a tombstone or pages under the same name: `NameTaken`, and the first one stands."""
        name = Name(MODULE, day, 1)
        move = bring(Balances(), TENDER, 5)
        taken = (
            written(name, tombstone=True, digest=None, answers=())
            if tombstone
            else written(name, card=FIRST, postings=move, answers=(b"1", b"2"))
        )
        await write(door, taken)
        before = await as_owner(issuer, contents)
        for row in (
            written(name, card=SECOND, postings=move, answers=(b"1", b"2")),
            written(name, tombstone=True, digest=None, answers=()),
            written(name),
        ):
            with pytest.raises(NameTaken):
                await write(door, row)
            with pytest.raises(NameTaken):
                await write(door, written(Name(MODULE, day, 2)), row)
        assert await as_owner(issuer, contents) == before

    @pytest.mark.parametrize(
        ("posting", "sqlstate"),
        [(spend(1), "AU001"), ((Posting(OWED, VALUE, 1),), "23514"), ((Posting(REDEEMED, OWED, 1),), "23514")],
    )
    async def test_a_bad_row_says_what_and_no_value(
        self, door: Door, issuer: Any, day: dt.date, posting: Any, sqlstate: str
    ) -> None:
        """What breaks a rule of the ledger is `BadRow` with its SQLSTATE and no value, and nothing stays."""
        before = await as_owner(issuer, contents)
        with pytest.raises(BadRow, match=sqlstate) as caught:
            await write(door, written(Name(MODULE, day, 1), card=FIRST, postings=posting, requested=987_654))
        assert "987654" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert await as_owner(issuer, contents) == before


class TestReads:
    async def test_last_name(self, door: Door, day: dt.date) -> None:
        """The name with the highest sequence, whatever its date; other modules' do not count.

        A module whose clock was two days ahead and then set back has its highest number on an earlier day; one whose
        clock was then 36 days behind, 38 days earlier. That is as far as dates that are recorded together lie apart.
        """
        assert await door.run(lambda connection: store.last_name(connection, MODULE)) is None
        ahead, behind = day + dt.timedelta(days=2), day - dt.timedelta(days=36)
        await write(door, *(written(Name(*name)) for name in ((MODULE, ahead, 9), (MODULE, day, 10), (MODULE, day, 7))))
        await write(door, written(Name(MODULE + 1, day, 500)))
        assert await door.run(lambda connection: store.last_name(connection, MODULE)) == Name(MODULE, day, 10)
        await write(door, written(Name(MODULE, behind, 11)))
        assert await door.run(lambda connection: store.last_name(connection, MODULE)) == Name(MODULE, behind, 11)

    async def test_recorded_page(self, door: Door, day: dt.date) -> None:
        """A page is found by name and by number; a tombstone has none, an unknown name neither."""
        name, dead = Name(MODULE, day, 1), Name(MODULE, day, 2)
        found = await write(door, written(name), written(dead, tombstone=True, digest=None, answers=()))
        first, second = found.serials

        async def page(by_name: Name | None, by_number: int | None) -> object:
            return await door.run(lambda connection: store.recorded_page(connection, by_name, by_number, 1))

        assert await page(name, None) == await page(None, first) == (name, b"answer")
        assert await page(dead, None) is await page(None, second) is await page(Name(MODULE, day, 3), None) is None

    async def test_what_is_told_from_records_waits_for_its_commit(self, door: Door, day: dt.date) -> None:
        """A repeat's batch and a page take a transaction id, without which COMMIT waits for no standby."""
        name = Name(MODULE, day, 1)
        await write(door, written(name))

        async def ids_taken() -> int:
            return await door.run(lambda c: c.fetchval("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint"))

        before = await ids_taken()
        assert await ids_taken() == before
        await door.run(lambda connection: store.recorded_page(connection, name, None, 1))
        paged = await ids_taken()
        assert paged > before
        await door.run(transact([asked(name)], lambda gathered: (gathered, Writes())))
        assert await ids_taken() > paged

    @pytest.mark.usefixtures("day")
    async def test_make_months(self, door: Door) -> None:
        """Once they are made, none is missing."""
        assert await door.run(store.make_months) == 0

    async def test_each_change_of_the_rules_is_counted(self, door: Door, issuer: Any, day: dt.date) -> None:
        """A branch, a module's revocation, a programme's version: the count moves with each, and with nothing else."""

        async def count() -> int:
            return await door.run(store.registry_version)

        before = await count()
        for change in (
            "select add_branch(2, 'Valnu 2')",
            "insert into modules (number, branch, name, suite) values (1001, 1, 'till', 1)",
            "update modules set revoked = true",
            "update issuer set name = 'Kafejnica SIA'",
            "insert into programme_versions values (1, 1, '2026-01-01', '{}')",
        ):
            await as_owner(issuer, lambda owner, change=change: owner.execute(change))
            assert await count() == before + 1
            before += 1
        await write(door, written(Name(MODULE, day, 1), card=FIRST, postings=bring(Balances(), TENDER, 5)))
        assert await count() == before
