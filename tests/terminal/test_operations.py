"""What a cashier can choose: questions in order, answers taken or refused, the way back, what is sent."""

import pytest

from protocol.numbers import Command, Flag, GivenReason
from receipts.catalogue import catalogue
from terminal.operations import (
    CHOICES,
    OPERATIONS,
    REASONS,
    Ask,
    Form,
    Ground,
    Last,
    Refusal,
    RefusedError,
    Unit,
    chosen,
)

CARD = "6371120000000000017"
OTHER = "6371120000000000025"
NUMBER = "323000000017"
GROUND = Ground(exponent=2, big_minor=10_000, cashier=7)
SOLD = Last(command=Command.SALE, authorization=NUMBER, amount=1250)


def the(command, *, last=False):
    """The operation of a command."""
    return next(each for each in CHOICES if each.command is command and each.last is last)


def filled(command, *answers, ground=GROUND, last=False):
    """A form with these answers; all questions must have been answered by then."""
    form = Form.begin(the(command, last=last), ground)
    for answer in answers:
        form = form.answered(answer)
    assert form.question is None
    return form


def test_a_sale_asks_for_card_amount_and_code():
    """And sends them; the code beside the fields, never in them."""
    form = filled(Command.SALE, CARD, "12.50", "4321")
    assert form.fields() == {
        "cashier": 7,
        "card": CARD,
        "amount": 1250,
        "flags": Flag.PARTIAL | Flag.KEYED,
    }
    assert (form.access_code, form.new_code) == ("4321", None)


@pytest.mark.parametrize(
    ("command", "answers", "fields"),
    [
        (Command.VISIT, [CARD, "", ""], {"amount": 1}),
        (Command.VISIT, [CARD, "5", ""], {"amount": 5}),
        (Command.BALANCE, [f";{CARD}=3012?", ""], {"amount": 0, "flags": Flag(0)}),
        (Command.ACTIVATE, [CARD, ""], {"amount": 0}),
        (Command.RELOAD, [CARD, "20"], {"amount": 2000}),
        (Command.PAYMENT, [CARD, "50"], {"amount": 5000}),
        (Command.HOLD, [CARD, "5", ""], {"amount": 500, "flags": Flag.PARTIAL | Flag.KEYED}),
        (Command.CONFIRM, [NUMBER, "5"], {"original": NUMBER, "amount": 500}),
        (Command.RELEASE, [NUMBER, "1"], {"original": NUMBER, "amount": 0}),
        (Command.REFUND, [NUMBER, "5"], {"original": NUMBER, "amount": 500}),
        (Command.REVERSE, [NUMBER, "5"], {"original": NUMBER, "amount": 500, "reason": GivenReason.MISTAKE}),
        (Command.REPRINT, [NUMBER], {"original": NUMBER}),
        (Command.BLOCK, [CARD, "1", "1"], {"reason": GivenReason.LOST}),
        (Command.UNBLOCK, [CARD, "4"], {"reason": GivenReason.HOLDER}),
        (Command.REPLACE, [CARD, OTHER, "", "1"], {"card": CARD, "new_card": OTHER}),
        (Command.CASH_OUT, [CARD, "", "1"], {"card": CARD}),
    ],
)
def test_each_operation_sends_what_was_answered(command, answers, fields):
    """Enter alone where nothing need be said."""
    sent = filled(command, *answers).fields()
    assert {name: sent[name] for name in fields} == fields


def test_a_new_code_is_asked_for_twice():
    """And refused where the two differ."""
    form = filled(Command.CHANGE_ACCESS_CODE, CARD, "4321", "135790", "135790")
    assert (form.access_code, form.new_code) == ("4321", "135790")
    asked_again = form.back()
    with pytest.raises(RefusedError) as refused:
        asked_again.answered("135791")
    assert refused.value.why is Refusal.CODES_DIFFER


@pytest.mark.parametrize("command", [Command.CASH_OUT, Command.REPLACE, Command.BLOCK, Command.RELEASE])
def test_what_cannot_be_undone_is_asked_once_more(command):
    """By the last question, which only yes answers."""
    operation = the(command)
    assert operation.final
    form = Form(operation, GROUND, dict.fromkeys(operation.asks) | {})
    assert form.question is Ask.SURE
    for text in ("2", "y", "0"):
        with pytest.raises(RefusedError):
            form.answered(text)
    assert form.answered("1").question is None


@pytest.mark.parametrize(("amount", "asked"), [("99.99", None), ("100", Ask.SURE), ("5000.00", Ask.SURE)])
def test_a_large_amount_is_asked_once_more(amount, asked):
    """From the amount on that the till was told."""
    form = Form.begin(the(Command.PAYMENT), GROUND).answered(CARD).answered(amount)
    assert form.question is asked


def test_many_persons_are_no_large_amount():
    """They are visits."""
    ground = Ground(exponent=2, big_minor=3)
    assert filled(Command.VISIT, CARD, "5", "", ground=ground).amount == 5


def test_the_last_one_is_undone_by_its_own_choice_or_by_a_star():
    """Whole, with its amount, after a yes; refused where there is none."""
    ground = Ground(exponent=2, big_minor=10_000, last=SOLD)
    sent = filled(Command.REVERSE, "1", ground=ground, last=True).fields()
    assert (sent["original"], sent["amount"], sent["reason"]) == (NUMBER, 1250, GivenReason.MISTAKE)
    assert filled(Command.REPRINT, "*", ground=ground).fields()["original"] == NUMBER
    assert (
        filled(Command.REVERSE, "*", "", ground=ground).amount
        == filled(Command.REVERSE, NUMBER, "", ground=ground).amount
        == 1250
    )
    assert filled(Command.REVERSE, "*", "3", ground=ground).amount == 300
    assert filled(Command.REVERSE, "323000000025", "", ground=ground).amount == 0
    with pytest.raises(RefusedError):
        Form.begin(the(Command.REVERSE, last=True), GROUND)
    with pytest.raises(RefusedError):
        Form.begin(the(Command.REPRINT), GROUND).answered("*")


@pytest.mark.parametrize(
    ("command", "before", "text", "why"),
    [
        (Command.SALE, [], "12", Refusal.CARD),
        (Command.SALE, [], "", Refusal.EMPTY),
        (Command.SALE, [CARD], "1,2,3", Refusal.AMOUNT),
        (Command.SALE, [CARD], "-1", Refusal.AMOUNT),
        (Command.SALE, [CARD], "0", Refusal.ZERO),
        (Command.SALE, [CARD], "0.001", Refusal.AMOUNT),
        (Command.SALE, [CARD], "92233720368547758.08", Refusal.AMOUNT),
        (Command.SALE, [CARD], f";{CARD}=3012?", Refusal.STRIPE),
        (Command.SALE, [CARD, "1"], f"%B{CARD}^^?", Refusal.STRIPE),
        (Command.SALE, [CARD, "1"], "123", Refusal.CODE),
        (Command.VISIT, [CARD], "0", Refusal.PERSONS),
        (Command.VISIT, [CARD], "100", Refusal.PERSONS),
        (Command.VISIT, [CARD], "0000000001", Refusal.PERSONS),
        (Command.REFUND, [], "12345", Refusal.NUMBER),
        (Command.BLOCK, [CARD], "10", Refusal.CHOICE),
        (Command.TOTALS, [], "3", Refusal.CHOICE),
        (Command.TOTALS, ["1"], "2", Refusal.CHOICE),
    ],
)
def test_what_is_no_answer_is_refused_by_name(command, before, text, why):
    """The second track of a reader too, wherever it arrives."""
    form = Form.begin(the(command), GROUND)
    for answer in before:
        form = form.answered(answer)
    with pytest.raises(RefusedError) as refused:
        form.answered(text)
    assert refused.value.why is why


def test_a_card_of_a_demo_may_be_named_by_its_place():
    """With a sign before it, counted from 1: digits alone are a number that was cut short, and nobody's card is taken
    for it. Where a kit has no cards, a place is no card."""
    ground = Ground(exponent=2, big_minor=10_000, cards=(CARD, OTHER))
    assert filled(Command.BALANCE, "#2", "", ground=ground).fields()["card"] == OTHER
    for text, known, why in (
        *((text, ground, Refusal.PLACE) for text in ("#0", "#3", "#", "#x", "1", "2", "17")),
        *((text, GROUND, Refusal.CARD) for text in ("1", "#1")),
    ):
        with pytest.raises(RefusedError) as refused:
            Form.begin(the(Command.BALANCE), known).answered(text)
        assert refused.value.why is why


def test_a_comma_is_a_point():
    """As it is written in the shops."""
    assert filled(Command.PAYMENT, CARD, "12,50").amount == 1250


def test_back_is_one_question():
    """And from the first to the choice."""
    form = Form.begin(the(Command.SALE), GROUND).answered(CARD).answered("5")
    assert form.back().question is Ask.AMOUNT
    assert form.back().back().question is Ask.CARD
    assert form.back().back().back() is None


def test_totals_are_of_money_or_visits():
    """And begin anew if so wished."""
    form = filled(Command.TOTALS, "2", "1")
    assert (form.given[Ask.UNIT], form.given[Ask.CLOSE]) == (Unit.VISITS, True)
    assert filled(Command.TOTALS, "1", "").given[Ask.CLOSE] is False


def test_the_screen_shows_no_card_and_no_code():
    """Four digits of the one, nothing of the other, not even how long it is; nor does a repr."""
    form = filled(Command.CHANGE_ACCESS_CODE, CARD, "4321", "135790", "135790")
    shown = [form.shown(ask) for ask in form.given]
    assert shown == ["*" * 15 + "0017", "****", "****", "****"]
    assert CARD not in repr(form)
    assert "4321" not in repr(form)


def test_a_till_that_takes_no_parts_says_so():
    """The flag is left out."""
    ground = Ground(exponent=2, big_minor=10_000, partial=False)
    assert Flag.PARTIAL not in filled(Command.SALE, CARD, "5", "", ground=ground).fields()["flags"]


@pytest.mark.parametrize("text", ["0", str(len(CHOICES) + 1), "x", "-1", "1.0", "00000000001"])
def test_a_choice_that_is_none(text):
    """Only the numbers on the screen."""
    with pytest.raises(RefusedError):
        chosen(text)


def test_choices_are_counted_over_all_groups():
    """As the screen shows them."""
    assert chosen("1").command is Command.SALE
    assert chosen(str(len(CHOICES))).command is Command.ECHO


def test_every_text_of_a_till_is_there_and_no_other():
    """What the questions, refusals and groups are called, and what the screen says besides; reasons too."""
    english = catalogue("en")
    named = {name for context, name in english.texts if context == "till"}
    said = {*Ask, *Refusal, *(group for group, _ in OPERATIONS), *(unit.value for unit in Unit)}
    said |= {
        *("head", "there", "not there", "the last", "choose", "keys choose", "keys", "keys optional", "keys sure"),
        *(
            "keys last",
            "big",
            "final",
            "asking",
            "unsent",
            "refused",
            "not served",
            "undone",
            "unknown",
            "from before",
            "still open",
        ),
        *("no printer", "no disk", "nothing counted", "not countable", "too busy", "end"),
    }
    assert named == said
    assert {name for context, name in english.texts if context == "given"} == {each.name.lower() for each in REASONS}
