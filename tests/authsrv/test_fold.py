"""A batch is the same as its requests one by one in the same order: the fold's whole promise.

A play is a list of steps over a few cards. It is given twice, by two tills over two sets of cards that are alike: in
batches by the one, one by one by the other. The answers and the rows must be the same, but for names, numbers, times
and nonces.
"""
# ruff: noqa: S608 - statements are put together from our own columns

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import trio
from back_office import active_card, credit_card, new_card, new_pass
from books import connected
from faulty_door import at_once
from hypothesis import given, note, settings
from hypothesis import strategies as st
from shop import CODE, KEK, Shop, furnish, name_of

from authsrv.shell.lanes import Lanes
from authsrv.shell.rules import Rules
from ledger.shell import store
from ledger.shell.door import open_door
from protocol import access_code
from protocol.messages import Freeze, OriginalName, Request, Response, Totals
from protocol.numbers import VISIT, Command, Flag, GivenReason, Reason, Result

if TYPE_CHECKING:
    from collections.abc import Iterator


PLACES = st.integers(0, 5)  # see `same`; the last card is unknown
AMOUNTS = st.sampled_from([0, 1, 500, 700, 1200, 3000])
CODES = st.sampled_from([None, CODE, "9999"])
EARLIER = st.integers(0, 11)
AHEAD = st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.just("load"), st.sampled_from([Command.ACTIVATE, Command.RELOAD]), PLACES, AMOUNTS),
    st.tuples(st.just("sale"), PLACES, AMOUNTS, CODES, st.booleans()),
    st.tuples(st.just("balance"), PLACES, CODES),
    st.tuples(st.just("repeat"), EARLIER),
    st.tuples(st.just("other content"), EARLIER),
    st.tuples(st.just("reverse"), EARLIER, st.booleans()),
    st.tuples(st.just("refund"), EARLIER, AMOUNTS),
    st.tuples(st.just("reprint"), EARLIER),
    st.tuples(st.just("reverse ahead"), AHEAD),
    st.tuples(st.just("late original"), AHEAD, PLACES),
    st.tuples(st.just("hold"), PLACES, AMOUNTS, CODES, st.booleans()),
    st.tuples(st.just("confirm"), EARLIER, AMOUNTS),
    st.tuples(st.just("release"), EARLIER),
    st.tuples(st.just("block"), PLACES, st.sampled_from([GivenReason.LOST, GivenReason.SUSPICION])),
    st.tuples(st.just("unblock"), PLACES),
    st.tuples(st.just("cash out"), PLACES, CODES),
    st.tuples(st.just("change code"), PLACES, CODES),
    st.tuples(st.just("replace"), PLACES, PLACES, CODES),
    st.tuples(st.just("visit"), PLACES, st.integers(0, 3)),
    st.tuples(st.just("pay"), PLACES, AMOUNTS),
    st.tuples(st.just("limit"), PLACES, AMOUNTS),
    st.tuples(st.just("freeze"), PLACES, st.integers(0, 2), st.integers(-1, 2)),
    st.tuples(st.just("totals"), st.sampled_from([978, VISIT])),
)
SERIALS = itertools.count(1)
SEQUENCES = itertools.count(1, 2000)  # a play has a thousand, what it needs before it another
LATER = 500  # sequences that a reversal may name before they come


@dataclass
class World:
    """A till, its cards, and what it has asked so far."""

    shop: Shop
    module: int
    cards: list[str]
    date: dt.date
    first: int
    asked: list[Request] = field(default_factory=list)

    def request(self, step: tuple[Any, ...]) -> Request:  # noqa: PLR0912 - a branch for each kind of step
        """The next request, as the step says."""
        place = self.first + len(self.asked)
        earlier = self.asked[step[1] % len(self.asked)] if self.asked and step[0] in REFERRING else None
        match step:
            case "load", command, card, amount:
                made = self.new(place, command, card=self.cards[card], amount=amount)
            case "sale", card, amount, code, partial:
                flags = Flag.PARTIAL if partial else Flag(0)
                made = self.new(place, Command.SALE, code, card=self.cards[card], amount=amount, flags=flags)
            case "hold", card, amount, code, partial:
                flags = Flag.PARTIAL if partial else Flag(0)
                made = self.new(place, Command.HOLD, code, card=self.cards[card], amount=amount, flags=flags)
            case "block", card, reason:
                made = self.new(place, Command.BLOCK, card=self.cards[card], reason=reason)
            case "unblock", card:
                made = self.new(place, Command.UNBLOCK, card=self.cards[card], reason=GivenReason.FOUND)
            case "cash out", card, code:
                made = self.new(place, Command.CASH_OUT, code, card=self.cards[card])
            case "change code", card, code:
                made = self.new(place, Command.CHANGE_ACCESS_CODE, code, card=self.cards[card], new_code="2468")
            case "replace", card, new, code:
                made = self.new(place, Command.REPLACE, code, card=self.cards[card], new_card=self.cards[new])
            case "visit", card, visits:
                made = self.new(place, Command.VISIT, card=self.cards[card], amount=visits)
            case "pay", card, amount:
                made = self.new(place, Command.PAYMENT, card=self.cards[card], amount=amount)
            case "limit", card, amount:
                made = self.new(place, Command.LIMIT, card=self.cards[card], limit=amount)
            case "freeze", card, days, more:
                first = self.date + dt.timedelta(days=days)
                last = first + dt.timedelta(days=more) if more >= 0 else None
                made = self.new(place, Command.FREEZE, card=self.cards[card], freeze=Freeze(first, last))
            case "totals", unit:
                ends = [OriginalName(self.date, self.first + ahead) for ahead in (0, LATER)]
                made = self.new(place, Command.TOTALS, unit=unit, totals=Totals(*ends, ((0, 0),) * 10))
            case "balance", card, code:
                made = self.new(place, Command.BALANCE, code, card=self.cards[card])
            case "late original", ahead, card:
                made = self.new(self.first + LATER + ahead, Command.SALE, card=self.cards[card], amount=100)
            case "reverse ahead", ahead:
                original = OriginalName(self.date, self.first + LATER + ahead)
                made = self.new(place, Command.REVERSE, original=original, amount=100)
            case _ if earlier is None:
                made = self.new(place, Command.BALANCE, card=self.cards[0])
            case "repeat", _:
                made = earlier._replace(flags=earlier.flags | Flag.REPEAT)
            case "other content", _:
                made = earlier._replace(cashier=77)
            case "reverse", _, right:
                amount = earlier.amount if right else earlier.amount + 1
                made = self.new(place, Command.REVERSE, original=self.name(earlier), amount=amount)
            case "confirm", _, amount:
                made = self.new(place, Command.CONFIRM, original=self.name(earlier), amount=amount)
            case "release", _:
                made = self.new(place, Command.RELEASE, original=self.name(earlier))
            case "refund", _, amount:
                made = self.new(place, Command.REFUND, original=self.name(earlier), amount=amount)
            case _:
                made = self.new(place, Command.REPRINT, original=self.name(earlier))
        self.asked.append(made)
        return made

    def name(self, request: Request) -> OriginalName:
        return OriginalName(request.date, request.sequence)

    def new(self, sequence: int, command: Command, code: str | None = None, **fields: Any) -> Request:
        key, new_code = self.shop.till(self.module).access_code_key, fields.pop("new_code", None)
        if new_code is not None:
            fields["new_access_code_block"] = access_code.encode(new_code, fields["card"], key, secrets.token_bytes(8))
        if code is not None:
            block = access_code.encode(code, fields["card"], key, secrets.token_bytes(8))
            fields |= {"access_code_block": block, "flags": fields.get("flags", Flag(0)) | Flag.ACCESS_CODE}
        return Request(command=command, module=self.module, date=self.date, sequence=sequence, **fields)

    async def ask(self, requests: list[Request]) -> list[bytes]:
        till = self.shop.till(self.module)
        answers = await at_once(self.shop, [till.opened(request) for request in requests])
        return [answer for answer in answers if answer is not None]

    async def essence(self) -> dict[str, Any]:
        """All rows of this world, in words that the other world shares."""
        cards = {self.shop.card_ids.get(number): place for place, number in enumerate(self.cards)}
        span = "module = $1 and sequence between $2 and $2 + 999"

        async def rows(sql: str) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await self.shop.query(sql, self.module, self.first)]

        async def of_cards(sql: str) -> list[tuple[Any, ...]]:
            found = await self.shop.query(sql, [card for card in cards if card is not None])
            return sorted((cards[row[0]], *row[1:]) for row in found)

        tokens = [self.shop.rules.ring.token(number.encode().ljust(20, b"\0")) for number in self.cards]
        tries = {row["token"]: row["failures"] for row in await self.shop.query("select * from tries")}
        return {
            "authorizations": [
                (*row[:-1], cards.get(row[-1]))
                for row in await rows(
                    f"""select sequence - $2, tombstone, command, result, reason, programme, unit, requested, approved,
                               cashier, original_sequence - $2, card from authorizations where {span} order by 1"""
                )
            ],
            "postings": await rows(
                f"select sequence - $2, ordinal, debit, credit, unit, amount from postings where {span} order by 1, 2"
            ),
            "undos": sorted(
                await rows(f"select sequence - $2, reversal, amount, by_sequence - $2 from undos where {span}")
            ),
            "cards": await of_cards(
                "select id, status, valid_until, loads_on, loads_today, blocked, verifier is null from cards "
                "where id = any($1)"
            ),
            "accounts": await of_cards(
                "select card, kind, unit, balance, floor, held from accounts where card = any($1)"
            ),
            "passes": await of_cards(
                "select card, entered_at is null, entered_by, entries_on, entries_today, frozen_from, frozen_until, "
                "lapses_on from passes where card = any($1)"
            ),
            "charges": await of_cards(
                "select card, row_number() over (partition by card order by id), due_on, amount from charges "
                "where card = any($1)"
            ),
            "totals": await rows(
                f"select sequence - $2, unit, first - $2, last - $2, counted from totals where {span} order by 1"
            ),
            "holds": await rows(f"select sequence - $2, amount, ended from holds where {span} order by 1"),
            "numbers": await of_cards(
                "select card, live, (select count(*) from card_numbers n where n.card = c.card) from card_numbers c "
                "where card = any($1)"
            ),
            "tries": [tries.get(token, 0) for token in tokens],
        }


REFERRING = {"repeat", "other content", "reverse", "refund", "reprint", "confirm", "release"}


def told(answers: list[bytes]) -> list[tuple[Any, ...]]:
    """What matters of each answer, and which earlier one it is a copy of, where it is recorded.

    What is not recorded carries the second in which it was answered, and two of them may be alike or not.
    """
    shown = []
    for answer in answers:
        said = Response.decode(answer)
        fields = (said.result, said.reason, said.approved, said.still_due, said.balance, said.available, said.unit)
        copy_of = answers.index(answer) if said.authorization else None
        shown.append((*fields, said.visits_left, said.totals, said.valid_until, said.pages, len(said.text), copy_of))
    return shown


def batches(requests: list[Request], sizes: list[int]) -> Iterator[list[Request]]:
    """The requests in batches of these sizes, and the rest in one."""
    waiting = iter(requests)
    for size in sizes:
        yield list(itertools.islice(waiting, size))
    yield list(waiting)


async def same(shop: Shop, steps: list[tuple[Any, ...]], sizes: list[int], *, desks: bool) -> None:
    """Play the steps in both worlds and compare: at tills, or at desks."""
    await shop.query("update modules set desk = $1 where number in (1001, 1002)", desks)
    first, date = next(SEQUENCES), await shop.today()
    shop.till().sequence = first + 1000
    worlds = []
    for module in (1001, 1002):
        cards = [
            *(await active_card(shop, 1000, code=CODE), await active_card(shop, 1000), await new_card(shop)),
            *(await new_pass(shop), await credit_card(shop)),
        ]
        unknown = str(637199_0000000000000 + next(SERIALS))
        worlds.append(World(shop, module, [*cards, unknown], date, first))
    batched, single = worlds
    in_batches: list[bytes] = []
    for batch in batches([batched.request(step) for step in steps], sizes):
        in_batches += await batched.ask(batch) if batch else []
    one_by_one: list[bytes] = []
    for step in steps:
        one_by_one += await single.ask([single.request(step)])
    note(f"{told(in_batches)}")
    assert told(in_batches) == told(one_by_one)
    assert await batched.essence() == await single.essence()
    await shop.check_books()


@pytest.mark.timeout(600)  # many small transactions, on a machine that may be busy
def test_a_batch_is_its_requests_one_by_one(issuer: Any) -> None:
    """Every command on cards of all kinds, codes right and wrong, repeats, other content, tombstones, in any order."""

    async def furnished() -> Any:
        async with connected(issuer.owner_dsn) as owner:
            made = await furnish(owner)
            await owner.execute("update modules set bad_cards_per_day = 1000000")
            return made

    identities, cards, _ = asyncio.run(furnished())

    @settings(max_examples=20, deadline=None, print_blob=True)
    @given(st.lists(STEPS, min_size=1, max_size=12), st.lists(st.integers(1, 6), max_size=3), st.booleans())
    def check(steps: list[tuple[Any, ...]], sizes: list[int], desks: bool) -> None:
        async def play() -> None:
            async with open_door(issuer.switch_dsn, schema=issuer.schema) as door:
                shop = Shop(issuer.owner_dsn, issuer.switch_dsn, issuer.schema, identities, cards)
                shop.door, shop.rules = door, Rules(KEK)
                await door.run(store.make_months)
                await shop.rules.load(door)
                shop.lanes = Lanes(door, shop.rules, lanes=1, batch_max=256, waiting_max=1024)
                await same(shop, steps, sizes, desks=desks)

        trio.run(play)

    check()


async def test_many_on_one_card_in_one_batch(shop: Shop) -> None:
    """Sixty sales of 1.00 on 50.00 in one batch: fifty are approved, each seeing what those before it took."""
    till, card = shop.till(), await active_card(shop, 5000)
    asks = [till.opened(await till.request(Command.SALE, card=card, amount=100)) for _ in range(60)]
    answers = [Response.decode(answer) for answer in await at_once(shop, asks) if answer is not None]
    assert [answer.result for answer in answers] == [Result.APPROVED] * 50 + [Result.FUNDS] * 10
    assert [answer.balance for answer in answers] == [*range(4900, -100, -100), *[0] * 10]
    assert await shop.balance(card) == 0
    await shop.check_books()


async def test_a_request_its_repeat_its_double_and_its_reversal_in_one_batch(shop: Shop) -> None:
    """Approved, the same bytes, 94, reversed, the same bytes again; the card is whole and two names are recorded."""
    till, card = shop.till(), await active_card(shop, 5000)
    sale = await till.request(Command.SALE, card=card, amount=1250)
    back = await till.request(Command.REVERSE, original=OriginalName(sale.date, sale.sequence), amount=1250)
    again = sale._replace(flags=Flag.REPEAT)
    requests = [sale, again, sale._replace(amount=1), back, again]
    answers = await at_once(shop, [till.opened(request) for request in requests])
    first, repeat, other, reversal, late_repeat = (answer or b"" for answer in answers)
    assert first == repeat == late_repeat
    assert Response.decode(first).balance == 3750
    assert Response.decode(other).result == Result.DUPLICATE
    assert Response.decode(reversal).balance == 5000
    assert await shop.balance(card) == 5000
    rows = await shop.query("select count(*) from authorizations where sequence >= $1", sale.sequence)
    assert rows[0]["count"] == 2


async def test_a_tombstone_and_its_late_original_in_one_batch(shop: Shop) -> None:
    """The reversal first, then the original and its copy, and the reversal once more: declined alike, and 00 again."""
    till, card = shop.till(), await active_card(shop, 5000)
    late = await till.request(Command.SALE, card=card, amount=1250)
    original = OriginalName(late.date, late.sequence)
    backs = [await till.request(Command.REVERSE, original=original, amount=1250) for _ in range(2)]
    answers = await at_once(shop, [till.opened(request) for request in (backs[0], late, late, backs[1])])
    said = [Response.decode(answer or b"") for answer in answers]
    before = Reason.REVERSED_BEFORE_ARRIVAL
    assert [answer.reason for answer in said] == [Reason.TOMBSTONE, before, before, Reason.TOMBSTONE]
    assert answers[1] == answers[2] == await till.send(late)
    assert await shop.balance(card) == 5000


async def test_wrong_codes_in_one_batch(shop: Shop) -> None:
    """Three wrong codes and the right one in one batch: the third locks, and the right one comes too late."""
    till, card = shop.till(), await active_card(shop, 5000, code=CODE)
    codes = ("9999", "8888", "7777", CODE)
    requests = [await till.request(Command.SALE, card=card, amount=1, code=code) for code in codes]
    answers = await at_once(shop, [till.opened(request) for request in requests])
    assert [Response.decode(answer or b"").result for answer in answers] == [55, 55, 75, 75]


async def test_refunds_in_one_batch_share_what_is_left(shop: Shop) -> None:
    """Three refunds of 6.00 of a sale of 12.50 in one batch: two are given, the third is above what is left."""
    till, card = shop.till(), await active_card(shop, 5000)
    sold = name_of(await till.sale(card, 1250))
    requests = [await till.request(Command.REFUND, original=sold, amount=600) for _ in range(3)]
    answers = await at_once(shop, [till.opened(request) for request in requests])
    reasons = [Response.decode(answer or b"").reason for answer in answers]
    assert reasons == [Reason.NONE, Reason.NONE, Reason.REFUND_ABOVE_ORIGINAL]
    assert await shop.balance(card) == 4950


async def test_bad_cards_in_one_batch_share_the_budget(shop: Shop) -> None:
    """With a budget of two, the third unknown card of one batch is 58, and so is a good one after it."""
    card = await active_card(shop, 5000)
    await shop.query("update modules set bad_cards_per_day = 2 where number = 1002")
    await shop.rules.load(shop.door)
    till = shop.till(1002)
    cards = [*(str(637199_0000000000000 + next(SERIALS)) for _ in range(3)), card]
    requests = [await till.request(Command.SALE, card=each, amount=1) for each in cards]
    answers = await at_once(shop, [till.opened(request) for request in requests])
    assert [Response.decode(answer or b"").result for answer in answers] == [14, 14, 58, 58]
