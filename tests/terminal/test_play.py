"""A day at the tills against the scripted switch."""
# ruff: noqa: ARG001 - the runner takes the virtual clock from a test's own arguments

import datetime as dt

import pytest
from scripted_switch import CARD, CODE, NOON, Deed, identity

from protocol.messages import Freeze
from protocol.numbers import Command
from terminal.day import read_day
from terminal.kit import Kit, KitCard, KitError
from terminal.shell.play import check, play

KIT = Kit("127.0.0.1", 0, 978, 2, (identity(1), identity(2)), (KitCard(CARD, CODE), KitCard("6280000000000025", None)))


def day(*steps):
    return read_day('title = "A day"\n' + "".join(f"[[step]]\n{step}\n" for step in steps))


def sale(*more, till=1):
    return "\n".join(('say = "a sale"', f"till = {till}", 'do = "sale"', "card = 1", 'amount = "12.50"', *more))


async def test_receipts_are_printed_as_they_come(switch, dial, autojump_clock):
    """A caption a step, the receipt behind a bar, and a last line that says that all went well."""
    said = []
    assert await play(day(sale("code = true"), sale(till=2)), KIT, dial, said.append)
    assert said == [
        "A day\n=====",
        "\n[1/2] Till 1: a sale\n    | APPROVED",
        "\n[2/2] Till 2: a sale\n    | APPROVED",
        "\n2 steps at 2 tills, each as expected.",
    ]
    assert [(each.request.module, each.access_code) for each in switch.of(Command.SALE)] == [(1, CODE), (2, None)]


async def test_the_first_step_that_differs_ends_the_day(switch, dial, autojump_clock):
    """It is named, with what was expected and what came."""
    said = []
    assert not await play(day(sale('expect = "51"'), sale()), KIT, dial, said.append)
    assert said[-1] == "\nStep 1 differs: 51 was expected, 00 came."
    assert len(switch.of(Command.SALE)) == 1


async def test_a_pulled_cable_loses_the_answer_and_nothing_else(switch, dial, autojump_clock):
    """The request leaves, the answer cannot come: reversed where the guest does not wait, repeated where he does."""
    steps = sale("cut = true", "deadline_s = 0.3", 'expect = "reversed"'), sale("cut = true", 'as = "x"')
    assert await play(day(*steps), KIT, dial, lambda _: None)
    names = [each.request.sequence for each in switch.of(Command.SALE)]
    assert names[0] == 1
    assert set(names[1:]) == {3}
    (reversal,) = {each.request.original.sequence for each in switch.of(Command.REVERSE)}
    assert reversal == 1
    assert len(switch.dialled) == 3


async def test_a_pass_is_frozen_from_the_day_that_it_is_where_the_switch_is(switch, dial, autojump_clock):
    """After midnight there it is still yesterday at a till that stands further west, and nobody freezes that."""
    freeze = 'say = "f"\ntill = 1\ndo = "freeze"\ncard = 1\ndays = 7'
    assert await play(day(sale(), freeze, 'say = "t"\ntill = 1\ndo = "thaw"\ncard = 1'), KIT, dial, lambda _: None)
    asked = [each.request.freeze for each in switch.of(Command.FREEZE)]
    today = NOON.date()
    assert asked == [Freeze(today, today + dt.timedelta(6)), Freeze(today, None)]


async def test_what_is_held_back_is_overtaken(switch, dial, autojump_clock):
    """The reversal of a held back sale arrives before it, and names it."""
    steps = (
        sale("hold_back = true", "code = true", 'as = "stuck"'),
        'say = "r"\ntill = 1\ndo = "reverse"\nof = "stuck"\namount = "12.50"',
        'say = "s"\ntill = 1\ndo = "send"\nof = "stuck"',
    )
    assert await play(day(*steps), KIT, dial, lambda _: None)
    reversal, late = switch.of(Command.REVERSE, Command.SALE)
    assert reversal.request.original.sequence == late.request.sequence
    assert late.access_code == CODE


async def test_a_repeat_must_give_the_same_bytes(switch, dial, autojump_clock):
    """A switch that answers a repeat anew is found out."""
    steps = sale('as = "first"'), 'say = "again"\ntill = 1\ndo = "repeat"\nof = "first"'
    assert await play(day(*steps), KIT, dial, lambda _: None)
    switch.forgetful = True
    said = []
    assert not await play(day(*steps), KIT, dial, said.append)
    assert said[-1] == "\nStep 2 differs: 00 was expected, another answer came."


async def test_steps_together_are_in_flight_together(switch, dial, autojump_clock):
    """No step of a group waits for another one's answer."""
    switch.deeds += [Deed.SILENCE, Deed.SILENCE]
    steps = sale('together = "lunch"'), sale('together = "lunch"', till=2)
    assert await play(day(*steps), KIT, dial, lambda _: None)
    first, second = switch.of(Command.SALE)[:2]
    assert {first.request.module, second.request.module} == {1, 2}
    assert second.at == first.at


async def test_no_answer_at_all_differs(switch, dial, autojump_clock):
    """A till that cannot reach the switch says so, and the day ends."""
    switch.reachable = False
    said = []
    assert not await play(day(sale("deadline_s = 2")), KIT, dial, said.append)
    assert said[-1] == "\nStep 1 differs: 00 was expected, no answer came."


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (sale(till=3), "step 1: the kit has 2 modules"),
        (sale().replace("card = 1", "card = 9"), "step 1: the kit has 2 cards"),
        (sale("code = true").replace("card = 1", "card = 2"), "step 1: the card at place 2 of the kit has no"),
        (sale().replace("12.50", "12.505"), "step 1: this is not an amount"),
    ],
)
def test_what_the_kit_lacks_is_said_beforehand(step, why):
    """Nothing is played of a day that the kit cannot serve."""
    with pytest.raises(KitError, match=why):
        check(day(step), KIT)
