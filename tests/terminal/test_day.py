"""Scripts of a day at the tills."""

from importlib.resources import files

import pytest

from terminal.day import HELD_BACK, Code, Day, DayError, Deed, differences, groups, read_day

SALE = 'say = "s"\ntill = 1\ndo = "sale"\ncard = 1\namount = "1.00"\n'


def script(*steps: str) -> Day:
    return read_day('title = "t"\n' + "".join(f"[[step]]\n{step}\n" for step in steps))


def test_the_day_that_comes_along_can_be_read():
    """And it shows what it must: each deed but echo, partial approval, a locked card, a lost answer, a tombstone."""
    day = read_day(files("terminal").joinpath("days", "shop.toml").read_text("utf-8"))
    assert {step.deed for step in day.steps} == set(Deed) - {Deed.ECHO}
    assert {step.expect for step in day.steps} >= {"00", "10", "51", "55", "75", "12", "reversed", HELD_BACK}
    assert any(step.cut for step in day.steps)
    assert {step.till for step in day.steps} == {1, 2, 3, 5}


def test_a_step_is_read():
    """Every word finds its field."""
    (step,) = script(SALE + 'code = "wrong"\npartial = true\nexpect = "55"\nbalance = "0.00"\nas = "x"\n').steps
    assert (step.place, step.till, step.deed, step.card, step.amount) == (1, 1, Deed.SALE, 1, "1.00")
    assert (step.code, step.partial, step.expect, step.balance, step.name) == (Code.WRONG, True, "55", "0.00", "x")


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ('say = "s"\ntill = 1\n', "do is missing"),
        (SALE + 'colour = "red"\n', "colour is not known"),
        (SALE.replace("sale", "steal"), "steal"),
        (SALE.replace("till = 1", 'till = "1"'), "till has the wrong type"),
        (SALE.replace("card = 1", "card = true"), "card has the wrong type"),
        (SALE.replace("card = 1\n", ""), "sale needs a card"),
        (SALE.replace('amount = "1.00"\n', ""), "sale needs an amount"),
        ('say = "s"\ntill = 1\ndo = "echo"\ncard = 1\n', "echo has no card"),
        ('say = "s"\ntill = 1\ndo = "repeat"\nof = "later"\n', "needs `of`"),
        (SALE + "hold_back = true\n", "a name to send it by"),
        (SALE + 'code = "right"\n', "right"),
    ],
)
def test_a_step_that_cannot_be_played_is_named(step, why):
    """The error says which step and why."""
    with pytest.raises(DayError, match="step 2: ") as error:
        script(SALE, step)
    assert why in str(error.value)


@pytest.mark.parametrize("text", ["=", "title = 1", 'step = "x"', "[[step]]\n[other]\n"])
def test_what_is_no_script_is_refused(text):
    """Whatever else a file is."""
    with pytest.raises(DayError):
        read_day(text)


def test_steps_that_follow_each_other_together_are_one_group():
    """The same word further down is another group."""
    one, two = SALE + 'together = "lunch"\n', SALE
    assert [[step.place for step in group] for group in groups(script(two, one, one, two, one))] == [
        *([1], [2, 3], [4], [5])
    ]


def test_differences_are_told():
    """Result and balance are held against the script; a balance that it does not name may be anything."""
    (free,) = script(SALE).steps
    (bound,) = script(SALE + 'balance = "2.00"\n').steps
    assert differences(free, "00", "7.00") == ()
    assert differences(bound, "00", "2.00") == ()
    assert differences(free, "51", None) == ("00 was expected, 51 came",)
    assert differences(bound, "00", "1.00") == ("a balance of 2.00 was expected, 1.00 came",)
    assert len(differences(bound, "51", None)) == 2
