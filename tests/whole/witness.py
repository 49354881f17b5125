"""A witness of some cards: sees every answer, asks the model and the ledger, and objects when they disagree.

Requests that are in flight together may be decided in any order; the witness wants one order that explains all answers
and where the ledger stands. A test that has forced the order says which.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from shop import DESK
from whole.model import Card, Model, Outcome

from loyalty.programme import Kind
from protocol.messages import Response
from protocol.numbers import Reason, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from whole.shopfront import Shopfront
    from whole.till import Name, Slip

Standing = dict[str, tuple[int | None, ...]]

COUNT = """
select (select count(*) from authorizations), (select count(*) from postings where module > 0),
       (select count(*) from undos)
"""
STANDING = """
select coalesce(sum(a.balance) filter (
         where a.kind = 1 and not (a.unit = 32769 and coalesce(c.valid_until < i.today, false))), 0)::int,
       coalesce(sum(a.balance) filter (where a.kind = 2), 0)::int,
       coalesce(max(c.status), 0)::int, coalesce(max(c.loads_today), 0)::int, coalesce(max(t.failures), 0)::int,
       coalesce(max(c.blocked), 0)::int,
       coalesce((select sum(h.amount) from holds h
                  where h.card = max(c.id) and h.ended is null and h.expires_at > clock_timestamp()), 0)::int,
       coalesce(-max(a.floor), 0)::int, coalesce(max(p.entries_today), 0)::int,
       coalesce(max((p.frozen_until >= i.today)::int), 0),
       max(case when p.card is not null then c.valid_until - i.today end)
  from (select (clock_timestamp() at time zone zone)::date as today from issuer) i,
       unnest($1::bigint[], $2::bytea[]) with ordinality n(card, token, place)
  left join cards c on c.id = n.card
  left join accounts a on a.card = n.card
  left join tries t on t.token = n.token
  left join passes p on p.card = n.card
 group by place order by place
"""


def read(answer: bytes) -> Outcome:
    """What an answer says."""
    said = Response.decode(answer)
    result = Result(said.result)
    told = (said.approved, said.balance, said.available)
    return Outcome(result, Reason(said.reason), *told, recorded=result is not Result.DUPLICATE, totals=said.totals)


@dataclass
class Witness:
    """What has come so far; `cards` are issued ones with their codes, `unknown` numbers that are not.

    A card that `kinds` does not name is a gift card.
    """

    front: Shopfront
    cards: Mapping[str, str | None]
    unknown: Sequence[str] = ()
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    model: Model = field(init=False)
    answers: dict[Slip, bytes] = field(default_factory=dict)
    numbers: dict[Name, str] = field(default_factory=dict)  # of authorizations, as answers told them

    def __post_init__(self) -> None:
        kinds = {number: self.kinds.get(number, Kind.GIFT) for number in self.cards}
        self.model = Model({number: Card(number, code, kinds[number]) for number, code in self.cards.items()}, DESK)
        self._rows = self._count_rows()

    def send(self, *shots: tuple[Slip, int]) -> list[Outcome]:
        """Send slips at once, each to its process, and judge what comes."""
        return self.judge([slip for slip, _ in shots], self.front.volley(shots))

    def judge(
        self, slips: Sequence[Slip], answers: Sequence[bytes], orders: Iterable[Sequence[int]] | None = None
    ) -> list[Outcome]:
        """Find the order, of `orders` or of all, that explains these answers; the model moves on by it."""
        said = [read(answer) for answer in answers]
        orders = itertools.permutations(range(len(slips))) if orders is None else orders
        before, self.model = self.model, self._explained(slips, said, orders)
        self._check_rows(before)
        for slip, answer, outcome in zip(slips, answers, said, strict=True):
            if outcome.recorded:
                content = replace(slip, code=None, new_code=None, repeat=False)
                assert self.answers.setdefault(content, answer) == answer, f"{slip} was answered in two ways"
                if slip.name not in self.model.tombstones:
                    self.numbers[slip.name] = Response.decode(answer).authorization
        return said

    def _explained(self, slips: Sequence[Slip], said: list[Outcome], orders: Iterable[Sequence[int]]) -> Model:
        ledger, first = self._ledger(), None
        for order in orders:
            model = self.model.copy()
            expected = {place: model.settle(slips[place]) for place in order}
            standing = self._standing(model)
            if all(expected[place] == said[place] for place in order) and standing == ledger:
                return model
            first = first or (expected, standing)
        assert first is not None
        expected, standing = first
        raise AssertionError(
            "no order of these requests explains what came:\n"
            + "\n".join(f"  {slip}\n    said     {said[i]}\n    expected {expected[i]}" for i, slip in enumerate(slips))
            + f"\n  the ledger is   {ledger}\n  and should be   {standing}"
        )

    # Where everything stands, by card: value, owed, status, loads today, wrong codes in a row of its first number,
    # why it is blocked, what is held, its limit, visits today, whether it is frozen, a pass's end

    def _standing(self, model: Model) -> Standing:
        known = {
            number: (
                0 if card.over else card.value, card.owed, card.status, card.loads, model.tries[number], card.blocked,
                model.held(card), card.limit, card.visits, int(card.frozen), card.end,
            )
            for number, card in model.issued.items()
        }  # fmt: skip
        return known | {number: (0, 0, 0, 0, model.tries[number], 0, 0, 0, 0, 0, None) for number in self.unknown}

    def _ledger(self) -> Standing:
        numbers = [*self.cards, *self.unknown]
        ids = [self.front.card_ids.get(number) for number in numbers]
        tokens = [self.front.ring.token(number.encode().ljust(20, b"\0")) for number in numbers]
        rows = self.front.books.query(STANDING, ids, tokens)
        return {number: tuple(row) for number, row in zip(numbers, rows, strict=True)}

    def _check_rows(self, before: Model) -> None:
        """A new request leaves its record, and nothing else if it was declined."""
        new = self.model.entries.keys() - before.entries.keys()
        tombstones = self.model.tombstones - before.tombstones
        (authorizations, *moved), self._rows = self._rows, self._count_rows()
        assert self._rows[0] == authorizations + len(new) + len(tombstones)
        assert any(self.model.entries[name].good for name in new) or list(self._rows[1:]) == moved

    def _count_rows(self) -> tuple[int, ...]:
        """Authorizations, postings and undos, in the whole ledger."""
        return tuple(self.front.books.query(COUNT)[0])
