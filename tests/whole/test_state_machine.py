"""Two switch processes and a real ledger beside a dictionary: whatever tills ask, in whatever order, both say the same.

A step writes a slip and sends it over either process, or keeps it back, or sends several at once, old and new. What
comes back must be what the model says for one order of those that were in flight together, and the ledger must stand
where the model then stands.

`AUTHSRV_EXAMPLES=5000 pytest tests/whole/test_state_machine.py --timeout 0` looks longer.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from shop import CODE, DESK
from whole.model import Card, Model, Outcome
from whole.shopfront import MODULES

from ledger.names import authorization_number
from protocol.messages import Response
from protocol.numbers import Command, Reason, Result

if TYPE_CHECKING:
    from whole.shopfront import Shopfront
    from whole.till import Name, Slip

EXAMPLES = int(os.environ.get("AUTHSRV_EXAMPLES", "60"))
STEPS = 40
TOGETHER_MAX = 4

CARDS = ("coded", "bare", "other", "unknown")
WRONG_CODE = "9999"
TILL = st.sampled_from(MODULES)
CARD = st.sampled_from(CARDS)
CODES = st.sampled_from((CODE, CODE, CODE, None, WRONG_CODE))
LOADS = st.sampled_from((500, 1000, 5000, 50_000, 499, 50_001))
PRICES = st.sampled_from((1, 300, 500, 1000, 6000))
PROCESS = st.sampled_from((0, 1))
VIA = st.sampled_from((0, 1, 0, 1, None))  # None: written, and not sent yet


class Tills(RuleBasedStateMachine):
    """What tills may do."""

    front: ClassVar[Shopfront]
    slips: Bundle[Slip] = Bundle("slips")

    @initialize()
    def open(self) -> None:
        """New cards; the tills, their sequences and their sessions go on from example to example."""
        front = self.front
        self.numbers = {
            "coded": front.card(CODE), "bare": front.card(), "other": front.card(), "unknown": front.unknown_card()
        }  # fmt: skip
        issued = {self.numbers[kind]: CODE if kind == "coded" else None for kind in CARDS[:-1]}
        self.model = Model({number: Card(code) for number, code in issued.items()}, DESK)
        self.answers: dict[Slip, bytes] = {}
        self.known: dict[Name, str] = {}  # authorization numbers, as answers told them
        self.rows = self.count_rows()

    # Slips

    def write(self, via: int | None, module: int, command: Command, **fields: Any) -> Slip:
        slip = self.front.slip(module, command, **fields)
        if via is not None:
            self.send_all([(slip, via)])
        return slip

    @rule(
        target=slips, till=TILL, card=CARD, amount=LOADS, code=st.sampled_from((None, None, CODE, WRONG_CODE)), via=VIA
    )
    def activate(self, till: int, card: str, amount: int, code: str | None, via: int | None) -> Slip:
        return self.write(via, till, Command.ACTIVATE, card=self.numbers[card], amount=amount, code=code)

    @rule(target=slips, till=TILL, card=CARD, amount=LOADS, via=VIA)
    def reload(self, till: int, card: str, amount: int, via: int | None) -> Slip:
        return self.write(via, till, Command.RELOAD, card=self.numbers[card], amount=amount)

    @rule(target=slips, till=TILL, card=CARD, amount=PRICES, code=CODES, partial=st.booleans(), via=VIA)
    def sell(self, till: int, card: str, amount: int, code: str | None, partial: bool, via: int | None) -> Slip:
        code = code if card != "bare" or code == WRONG_CODE else None
        return self.write(via, till, Command.SALE, card=self.numbers[card], amount=amount, code=code, partial=partial)

    @rule(target=slips, till=TILL, card=CARD, code=CODES, via=VIA)
    def ask_balance(self, till: int, card: str, code: str | None, via: int | None) -> Slip:
        return self.write(via, till, Command.BALANCE, card=self.numbers[card], code=code)

    @rule(target=slips, original=slips, by_desk=st.booleans(), off_by=st.sampled_from((0, 0, 0, 1)), via=VIA)
    def reverse(self, original: Slip, by_desk: bool, off_by: int, via: int | None) -> Slip:
        """By the till that asked, by name; or by the desk, by number."""
        amount = original.amount + off_by
        if by_desk:
            number = self.number_of(original.name)
            named = original.name if original.name in self.known else None
            return self.write(via, DESK, Command.REVERSE, amount=amount, original=named, number=number)
        return self.write(via, original.name.module, Command.REVERSE, amount=amount, original=original.name)

    @rule(target=slips, original=slips, till=TILL, command=st.sampled_from((Command.REVERSE, Command.REPRINT)), via=VIA)
    def refer_by_number(self, original: Slip, till: int, command: Command, via: int | None) -> Slip:
        """Tills may not do that to others' requests."""
        number = self.number_of(original.name)
        named = original.name if original.name in self.known else None
        amount = original.amount if command is Command.REVERSE else 0
        return self.write(via, till, command, amount=amount, original=named, number=number)

    @rule(target=slips, original=slips, amount=PRICES, card=st.sampled_from(("", "its", "other")), via=VIA)
    def refund(self, original: Slip, amount: int, card: str, via: int | None) -> Slip:
        shown = {"": "", "its": original.card, "other": self.numbers["other"]}[card]
        return self.write(via, original.name.module, Command.REFUND, card=shown, amount=amount, original=original.name)

    @rule(target=slips, original=slips, via=VIA)
    def reprint(self, original: Slip, via: int | None) -> Slip:
        return self.write(via, original.name.module, Command.REPRINT, original=original.name)

    @rule(target=slips, slip=slips, card=CARD, more=st.sampled_from((0, 1)), code=CODES, via=VIA)
    def reuse_name(self, slip: Slip, card: str, more: int, code: str | None, via: int | None) -> Slip:
        """The same name again, with another card, amount or code."""
        changed = slip
        if slip.card:
            coded = slip.command in (Command.SALE, Command.BALANCE, Command.ACTIVATE)
            changed = replace(changed, card=self.numbers[card], code=code if coded else None)
        if slip.amount:
            changed = replace(changed, amount=slip.amount + more)
        if via is not None:
            self.send_all([(changed, via)])
        return changed

    # Sending

    @rule(slip=slips, via=PROCESS, flagged=st.booleans())
    def send(self, slip: Slip, via: int, flagged: bool) -> None:
        """For the first time, or again."""
        self.send_all([(replace(slip, repeat=flagged), via)])

    @rule(shots=st.lists(st.tuples(slips, PROCESS), min_size=2, max_size=TOGETHER_MAX))
    def send_together(self, shots: list[tuple[Slip, int]]) -> None:
        """Several in flight at once, over both processes."""
        self.send_all(shots)

    def send_all(self, shots: list[tuple[Slip, int]]) -> None:
        slips = [slip for slip, _ in shots]
        answers = self.front.volley(shots)
        read = [Response.decode(answer) for answer in answers]
        said = [
            Outcome(Result(a.result), Reason(a.reason), a.approved, a.balance, a.result != Result.DUPLICATE)
            for a in read
        ]
        before, self.model = self.model, self.explain(slips, said)
        self.check_rows(before)
        for slip, answer, response, outcome in zip(slips, answers, read, said, strict=True):
            if outcome.recorded:
                content = replace(slip, code=None, repeat=False)
                assert self.answers.setdefault(content, answer) == answer, f"{slip} was answered in two ways"
                if slip.name not in self.model.tombstones:
                    self.known[slip.name] = response.authorization

    def explain(self, slips: list[Slip], said: list[Outcome]) -> Model:
        """The model after the first order of these requests that accounts for all answers and for the ledger."""
        ledger = self.ledger()
        tried = []
        for order in itertools.permutations(range(len(slips))):
            model = self.model.copy()
            expected = {place: model.settle(slips[place]) for place in order}
            if all(expected[place] == said[place] for place in order) and self.standing(model) == ledger:
                return model
            tried.append((expected, self.standing(model)))
        expected, standing = tried[0]
        raise AssertionError(
            "no order of these requests explains what came:\n"
            + "\n".join(f"  {slip}\n    said     {said[i]}\n    expected {expected[i]}" for i, slip in enumerate(slips))
            + f"\n  the ledger is   {ledger}\n  and should be   {standing}"
        )

    # The ledger

    def standing(self, model: Model) -> dict[str, tuple[int, ...]]:
        """By card: value, owed, whether active, loads today, wrong codes in a row."""
        standing = {
            number: (card.value, min(card.net, 0), int(card.active), card.loads, model.tries[number])
            for number, card in model.cards.items()
        }
        unknown = self.numbers["unknown"]
        return standing | {unknown: (0, 0, 0, 0, model.tries[unknown])}

    def ledger(self) -> dict[str, tuple[int, ...]]:
        front = self.front
        numbers = [self.numbers[kind] for kind in CARDS]
        rows = front.books.query(
            """select coalesce(sum(a.balance) filter (where a.kind = 1), 0)::int,
                      coalesce(sum(a.balance) filter (where a.kind = 2), 0)::int,
                      coalesce(max(c.status), 0)::int, coalesce(max(c.loads_today), 0)::int,
                      coalesce(max(t.failures), 0)::int
                 from unnest($1::bigint[], $2::bytea[]) with ordinality n(card, token, place)
                 left join cards c on c.id = n.card
                 left join accounts a on a.card = n.card
                 left join tries t on t.token = n.token
                group by place order by place""",
            [front.card_ids.get(number) for number in numbers],
            [front.ring.token(number.encode().ljust(20, b"\0")) for number in numbers],
        )
        return {number: tuple(row) for number, row in zip(numbers, rows, strict=True)}

    def check_rows(self, before: Model) -> None:
        """A new request leaves its record, and nothing else if it was declined."""
        new = self.model.entries.keys() - before.entries.keys()
        tombstones = self.model.tombstones - before.tombstones
        (authorizations, *moved), self.rows = self.rows, self.count_rows()
        assert self.rows[0] == authorizations + len(new) + len(tombstones)
        assert any(self.model.entries[name].good for name in new) or list(self.rows[1:]) == moved

    def count_rows(self) -> tuple[int, ...]:
        """Authorizations, postings and undos, in the whole ledger."""
        sql = """select (select count(*) from authorizations), (select count(*) from postings),
                        (select count(*) from undos)"""
        return tuple(self.front.books.query(sql)[0])

    def number_of(self, name: Name) -> str:
        """The authorization number that the till was told, else one that nobody was."""
        return self.known.get(name) or f"{authorization_number(self.front.date, 99_999_999):012d}"

    def teardown(self) -> None:
        if hasattr(self, "model"):
            self.front.books.check()


def test_two_processes_do_what_one_dictionary_does(two_switches: Shopfront) -> None:
    """Commands, repeats, reversals in any order, wrong codes, several cards, several at once: always as the model."""

    class OurTills(Tills):
        front = two_switches

    run_state_machine_as_test(
        OurTills,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
