"""Two switch processes and a real ledger beside a dictionary: whatever tills ask, in whatever order, both say the same.

A step writes a slip and sends it over either process, or keeps it back, or sends several at once, old and new. What
comes back must be what the model says for one order of those that were in flight together, and the ledger must stand
where the model then stands.

`AUTHSRV_EXAMPLES=5000 pytest tests/whole/test_state_machine.py` looks for as long as that takes, two or three a second.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from shop import CODE, DESK
from whole.model import ACTIVE, EUR, VISIT
from whole.shopfront import MODULES
from whole.witness import Witness

from ledger.names import authorization_number
from loyalty.programme import Kind
from protocol.numbers import Command, GivenReason, Result
from terminal.answer import Answer
from terminal.tally import Tally

if TYPE_CHECKING:
    from whole.shopfront import Shopfront
    from whole.till import Name, Slip

EXAMPLES = int(os.environ.get("AUTHSRV_EXAMPLES", "50"))
STEPS = 40
TOGETHER_MAX = 4

CARDS = ("coded", "bare", "other", "pass", "credit", "unknown")
WRONG_CODE = "9999"
TILL = st.sampled_from(MODULES)
CARD = st.sampled_from(("bare", *CARDS, "bare"))  # values that come twice come more often
CODES = st.sampled_from((CODE, CODE, CODE, None, WRONG_CODE))
LOADS = st.sampled_from((500, 1000, 1000, 5000, 50_000, 499, 50_001, 10, 0))
PRICES = st.sampled_from((1, 300, 500, 500, 1000, 6000))
PROCESS = st.sampled_from((0, 1))
VIA = st.sampled_from((0, 1, 0, 1, None))  # None: written, and kept back


class Tills(RuleBasedStateMachine):
    """What tills may do."""

    front: ClassVar[Shopfront]
    slips: Bundle[Slip] = Bundle("slips")
    sales: Bundle[Slip] = Bundle("sales")
    refunds: Bundle[Slip] = Bundle("refunds")
    holds: Bundle[Slip] = Bundle("holds")
    any_slip = sales | refunds | holds | slips

    @initialize()
    def open(self) -> None:
        """New cards; the tills, their sequences and their sessions go on from example to example."""
        front = self.front
        self.numbers = {
            "coded": front.card(CODE), "bare": front.card(), "other": front.card(), "spare": front.card(),
            "pass": front.card(programme="visits"), "credit": front.card(programme="credit"),
            "unknown": front.unknown_card(),
        }  # fmt: skip
        issued = {self.numbers[kind]: CODE if kind == "coded" else None for kind in (*CARDS[:-1], "spare")}
        kinds = {self.numbers["pass"]: Kind.VISITS, self.numbers["credit"]: Kind.CREDIT}
        self.witness = Witness(front, issued, [self.numbers["unknown"]], kinds)
        self.kept_back: list[Slip] = []
        for card in ("coded", "bare"):
            self.write(0, MODULES[0], Command.ACTIVATE, card=self.numbers[card], amount=5000)
        for card in ("pass", "credit"):
            self.write(1, MODULES[0], Command.ACTIVATE, card=self.numbers[card])

    # Slips

    def write(self, via: int | None, module: int, command: Command, **fields: Any) -> Slip:
        return self.hand_in(self.front.slip(module, command, **fields), via)

    def hand_in(self, slip: Slip, via: int | None) -> Slip:
        if via is None:
            self.kept_back.append(slip)
        else:
            self.witness.send((slip, via))
        return slip

    @rule(
        target=slips, till=TILL, card=CARD, amount=LOADS, code=st.sampled_from((None, None, CODE, WRONG_CODE)), via=VIA
    )
    def activate(self, till: int, card: str, amount: int, code: str | None, via: int | None) -> Slip:
        return self.write(via, till, Command.ACTIVATE, card=self.numbers[card], amount=amount, code=code)

    @rule(target=slips, till=TILL, card=CARD, amount=LOADS, via=VIA)
    def reload(self, till: int, card: str, amount: int, via: int | None) -> Slip:
        return self.write(via, till, Command.RELOAD, card=self.numbers[card], amount=amount)

    @rule(target=sales, till=TILL, card=CARD, amount=PRICES, code=CODES, partial=st.booleans(), via=VIA)
    def sell(self, till: int, card: str, amount: int, code: str | None, partial: bool, via: int | None) -> Slip:
        code = code if card in ("coded", "unknown") or code == WRONG_CODE else None
        return self.write(via, till, Command.SALE, card=self.numbers[card], amount=amount, code=code, partial=partial)

    @rule(target=slips, till=TILL, card=CARD, code=CODES, via=VIA)
    def ask_balance(self, till: int, card: str, code: str | None, via: int | None) -> Slip:
        return self.write(via, till, Command.BALANCE, card=self.numbers[card], code=code)

    @rule(target=slips, original=any_slip, by_desk=st.booleans(), off_by=st.sampled_from((0, 0, 0, 1)), via=VIA)
    def reverse(self, original: Slip, by_desk: bool, off_by: int, via: int | None) -> Slip:
        """By the till that asked, by name; or by the desk, by number."""
        amount = original.amount + off_by
        if by_desk:
            number = self.number_of(original.name)
            named = original.name if original.name in self.witness.numbers else None
            return self.write(via, DESK, Command.REVERSE, amount=amount, original=named, number=number)
        return self.write(via, original.name.module, Command.REVERSE, amount=amount, original=original.name)

    @rule(
        target=slips, original=any_slip, till=TILL, command=st.sampled_from((Command.REVERSE, Command.REPRINT)), via=VIA
    )
    def refer_by_number(self, original: Slip, till: int, command: Command, via: int | None) -> Slip:
        """Tills may not do that to others' requests."""
        number = self.number_of(original.name)
        named = original.name if original.name in self.witness.numbers else None
        amount = original.amount if command is Command.REVERSE else 0
        return self.write(via, till, command, amount=amount, original=named, number=number)

    @rule(target=refunds, original=sales | any_slip, amount=PRICES, card=st.sampled_from(("", "its", "other")), via=VIA)
    def refund(self, original: Slip, amount: int, card: str, via: int | None) -> Slip:
        shown = {"": "", "its": original.card, "other": self.numbers["other"]}[card]
        return self.write(via, original.name.module, Command.REFUND, card=shown, amount=amount, original=original.name)

    @rule(target=slips, original=any_slip, via=VIA)
    def reprint(self, original: Slip, via: int | None) -> Slip:
        return self.write(via, original.name.module, Command.REPRINT, original=original.name)

    @rule(target=slips, slip=any_slip, card=CARD, more=st.sampled_from((0, 1)), code=CODES, via=VIA)
    def reuse_name(self, slip: Slip, card: str, more: int, code: str | None, via: int | None) -> Slip:
        """The same name again, with another card, amount or code."""
        changed = slip
        if slip.card:
            coded = slip.command in (Command.SALE, Command.BALANCE, Command.ACTIVATE)
            changed = replace(changed, card=self.numbers[card], code=code if coded else None)
        if slip.amount:
            changed = replace(changed, amount=slip.amount + more)
        return self.hand_in(changed, via)

    @rule(target=slips, till=TILL, card=st.sampled_from(("bare", "other")), more=LOADS, via=VIA)
    def owe_and_settle(self, till: int, card: str, more: int, via: int | None) -> Slip:
        """A load that was spent and undone, one that settles it, one more; then the one that settled is undone."""
        number = self.numbers[card]
        self.write(0, till, Command.ACTIVATE, card=number, amount=1000)
        load = self.write(1, till, Command.RELOAD, card=number, amount=1000)
        self.write(0, till, Command.SALE, card=number, amount=6000, partial=True)
        self.write(1, till, Command.REVERSE, amount=1000, original=load.name)
        settling = self.write(0, till, Command.RELOAD, card=number, amount=5000)
        self.write(1, till, Command.RELOAD, card=number, amount=more)
        return self.write(via, till, Command.REVERSE, amount=5000, original=settling.name)

    @rule(
        target=refunds,
        till=TILL,
        card=CARD,
        takes_it_again=st.booleans(),
        amount=st.sampled_from((300, 500, 501, 1000)),
        via=VIA,
    )
    def bring_half_back(self, till: int, card: str, takes_it_again: bool, amount: int, via: int | None) -> Slip:
        """A sale, a refund of half of it, perhaps undone, and a further one; a reversal may follow."""
        number, code = self.numbers[card], CODE if card == "coded" else None
        sale = self.write(0, till, Command.SALE, card=number, amount=1000, code=code)
        half = self.write(1, till, Command.REFUND, card=number, amount=500, original=sale.name)
        if takes_it_again:
            self.write(0, till, Command.REVERSE, amount=500, original=half.name)
        return self.write(via, till, Command.REFUND, card=number, amount=amount, original=sale.name)

    @rule(target=sales, till=TILL, card=CARD, via=PROCESS)
    def reverse_too_early(self, till: int, card: str, via: int) -> Slip:
        """The reversal of a sale that is still on its way."""
        sale = self.write(None, till, Command.SALE, card=self.numbers[card], amount=500)
        self.write(via, till, Command.REVERSE, amount=500, original=sale.name)
        return sale

    @rule(target=holds, till=TILL, card=CARD, amount=PRICES, code=CODES, partial=st.booleans(), via=VIA)
    def hold(self, till: int, card: str, amount: int, code: str | None, partial: bool, via: int | None) -> Slip:
        code = code if card in ("coded", "unknown") or code == WRONG_CODE else None
        return self.write(via, till, Command.HOLD, card=self.numbers[card], amount=amount, code=code, partial=partial)

    @rule(target=sales, original=holds | any_slip, amount=PRICES, card=st.sampled_from(("", "its", "other")), via=VIA)
    def confirm(self, original: Slip, amount: int, card: str, via: int | None) -> Slip:
        shown = {"": "", "its": original.card, "other": self.numbers["other"]}[card]
        return self.write(via, original.name.module, Command.CONFIRM, card=shown, amount=amount, original=original.name)

    @rule(target=slips, original=holds | any_slip, via=VIA)
    def release(self, original: Slip, via: int | None) -> Slip:
        return self.write(via, original.name.module, Command.RELEASE, original=original.name)

    @rule(card=st.sampled_from(("coded", "bare", "other", "credit")))
    def let_time_pass(self, card: str) -> None:
        """The time of all open holds of a card is over, and nobody sweeps."""
        number = self.numbers[card]
        model = self.witness.model
        holder = model.card(number)
        assert holder is not None
        self.front.books.query(
            "update holds set expires_at = clock_timestamp() where card = $1 and ended is null",
            self.front.card_ids[holder.home],
        )
        model.let_time_pass(number)

    @rule(target=sales, till=TILL, card=CARD, amount=PRICES, late=st.booleans(), via=VIA)
    def hold_and_confirm(self, till: int, card: str, amount: int, late: bool, via: int | None) -> Slip:
        """As a clerk does it; or its time is over before."""
        number, code = self.numbers[card], CODE if card == "coded" else None
        hold = self.write(0, till, Command.HOLD, card=number, amount=1000, code=code)
        if late and card not in ("unknown", "pass"):
            self.let_time_pass(card)
        return self.write(via, till, Command.CONFIRM, amount=amount, original=hold.name)

    @rule(target=slips, till=TILL, card=CARD, reason=st.sampled_from((GivenReason.LOST, GivenReason.HOLDER)), via=VIA)
    def block(self, till: int, card: str, reason: GivenReason, via: int | None) -> Slip:
        return self.write(via, till, Command.BLOCK, card=self.numbers[card], reason=reason)

    @rule(target=slips, till=st.sampled_from((DESK, DESK, *MODULES)), card=CARD, via=VIA)
    def unblock(self, till: int, card: str, via: int | None) -> Slip:
        return self.write(via, till, Command.UNBLOCK, card=self.numbers[card], reason=GivenReason.FOUND)

    @rule(target=slips, till=TILL, card=CARD, code=CODES, via=VIA)
    def cash_out(self, till: int, card: str, code: str | None, via: int | None) -> Slip:
        code = code if card in ("coded", "unknown") or code == WRONG_CODE else None
        return self.write(via, till, Command.CASH_OUT, card=self.numbers[card], code=code)

    @rule(target=slips, till=TILL, card=CARD, code=CODES, via=VIA)
    def change_code(self, till: int, card: str, code: str | None, via: int | None) -> Slip:
        """To the same one again: what the other rules send stays right."""
        code = code if card in ("coded", "unknown") or code == WRONG_CODE else None
        fields = {"card": self.numbers[card], "code": code, "new_code": CODE}
        return self.write(via, till if card == "coded" else DESK, Command.CHANGE_ACCESS_CODE, **fields)

    @rule(target=slips, till=st.sampled_from((DESK, *MODULES)), card=CARD, via=VIA)
    def reset_tries(self, till: int, card: str, via: int | None) -> Slip:
        return self.write(via, till, Command.RESET_TRIES, card=self.numbers[card])

    @rule(
        target=slips,
        till=TILL,
        card=CARD,
        new=st.sampled_from(("spare", "spare", "spare", "other", "unknown")),
        code=CODES,
        via=VIA,
    )
    def replace_card(self, till: int, card: str, new: str, code: str | None, via: int | None) -> Slip:
        """The new number is asked for by the old one's name from then on, if it is approved."""
        code = code if card in ("coded", "unknown") or code == WRONG_CODE else None
        fields = {"card": self.numbers[card], "new_card": self.numbers[new], "code": code}
        slip = self.write(via, till, Command.REPLACE, **fields)
        model = self.witness.model
        if slip.name in model.entries and model.entries[slip.name].good:
            self.numbers[card], self.numbers["spare"] = self.numbers["spare"], self.numbers[card]
        return slip

    # Passes and credit

    @rule(
        target=sales,
        till=TILL,
        card=st.sampled_from(("pass", "pass", "pass", *CARDS)),
        amount=st.integers(0, 3),
        via=VIA,
    )
    def visit(self, till: int, card: str, amount: int, via: int | None) -> Slip:
        code = CODE if card in ("coded", "unknown") else None
        return self.write(via, till, Command.VISIT, card=self.numbers[card], amount=amount, code=code)

    @rule()
    def let_minutes_pass(self) -> None:
        """Who enters now is on another visit."""
        number = self.numbers["pass"]
        self.front.books.query(
            "update passes set entered_at = entered_at - interval '15 minutes' where card = $1",
            self.front.card_ids[number],
        )
        self.witness.model.let_minutes_pass(number)

    @precondition(lambda self: self.witness.model.issued[self.numbers["pass"]].status == ACTIVE)
    @rule()
    def let_days_pass(self) -> None:
        """Yesterday was the last day of the pass, and nobody sweeps."""
        card = self.front.card_ids[self.numbers["pass"]]
        yesterday = self.front.date - dt.timedelta(days=1)
        self.front.books.query("update cards set valid_until = $2 where id = $1", card, yesterday)
        self.front.books.query(
            """update passes p set lapses_on = $2::date + 1
                where card = $1
                  and exists (select from accounts a where a.card = p.card and kind = 1 and balance > 0)""",
            card,
            yesterday,
        )
        self.witness.model.let_days_pass(self.numbers["pass"])

    @rule(target=slips, till=st.sampled_from((DESK, DESK, *MODULES)), thaw=st.booleans(), via=VIA)
    def freeze(self, till: int, thaw: bool, via: int | None) -> Slip:
        return self.write(via, till, Command.FREEZE, card=self.numbers["pass"], freeze=not thaw, thaw=thaw)

    @rule(target=sales, till=TILL, amount=PRICES, via=VIA)
    def buy_on_credit(self, till: int, amount: int, via: int | None) -> Slip:
        return self.write(via, till, Command.SALE, card=self.numbers["credit"], amount=amount)

    @rule(target=slips, till=TILL, card=st.sampled_from(("credit", "credit", *CARDS)), amount=PRICES, via=VIA)
    def pay(self, till: int, card: str, amount: int, via: int | None) -> Slip:
        return self.write(via, till, Command.PAYMENT, card=self.numbers[card], amount=amount)

    @rule(
        target=slips,
        till=st.sampled_from((DESK, DESK, *MODULES)),
        card=st.sampled_from(("credit", "credit", *CARDS)),
        limit=st.sampled_from((0, 600, 20_000, 200_001)),
        via=VIA,
    )
    def set_limit(self, till: int, card: str, limit: int, via: int | None) -> Slip:
        return self.write(via, till, Command.LIMIT, card=self.numbers[card], limit=limit)

    # Totals

    @rule(
        target=slips,
        first=any_slip,
        names=st.sampled_from((0, 5, 20, 1000)),
        unit=st.sampled_from((EUR, EUR, VISIT)),
        via=VIA,
    )
    def count(self, first: Slip, names: int, unit: int, via: int | None) -> Slip:
        """What a till has moved since one of its requests."""
        interval = (first.name.sequence, first.name.sequence + names)
        return self.write(via, first.name.module, Command.TOTALS, unit=unit, interval=interval)

    # Sending

    @rule(slip=any_slip, via=PROCESS, flagged=st.booleans())
    def send(self, slip: Slip, via: int, flagged: bool) -> None:
        """For the first time, or again."""
        self.witness.send((replace(slip, repeat=flagged), via))

    @rule(shots=st.lists(st.tuples(any_slip, PROCESS), min_size=2, max_size=TOGETHER_MAX))
    def send_together(self, shots: list[tuple[Slip, int]]) -> None:
        """Several in flight at once, over both processes."""
        self.witness.send(*shots)

    @precondition(lambda self: self.kept_back)
    @rule(ways=st.lists(PROCESS, min_size=TOGETHER_MAX, max_size=TOGETHER_MAX))
    def send_what_was_kept_back(self, ways: list[int]) -> None:
        """All of it at once."""
        slips, self.kept_back = self.kept_back[:TOGETHER_MAX], self.kept_back[TOGETHER_MAX:]
        self.witness.send(*zip(slips, ways, strict=False))

    def number_of(self, name: Name) -> str:
        """The authorization number that the till was told, else one that nobody was."""
        return self.witness.numbers.get(name) or f"{authorization_number(self.front.date, 99_999_999):012d}"

    def teardown(self) -> None:
        if hasattr(self, "witness"):
            self.front.books.check()
            for module in {slip.name.module for slip in self.witness.answers}:
                self.agree_on_totals(module)

    def agree_on_totals(self, module: int) -> None:
        """What the module has counted from its own answers, as its program does, is what the switch counts."""
        tally = Tally()
        for slip, recorded in self.witness.answers.items():
            if slip.name.module == module:
                answer = Answer.read(slip.request(self.front.date, b""), recorded)
                assert answer is not None
                tally.add(answer)
        for unit in (EUR, VISIT):
            totals = tally.totals(unit)
            assert totals is not None
            interval = (totals.first.sequence, totals.last.sequence)
            slip = self.front.slip(module, Command.TOTALS, unit=unit, interval=interval, counted=totals.pairs)
            [outcome] = self.witness.send((slip, 0))
            assert outcome.result is Result.APPROVED, f"{module} counted {totals.pairs}, the switch {outcome.totals}"


@pytest.mark.timeout(0 if "AUTHSRV_EXAMPLES" in os.environ else 600)  # a failure takes minutes to be made short
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
