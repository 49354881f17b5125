"""The life of a request, without sockets or clocks."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.messages import OriginalName, Request, RequestName
from protocol.numbers import Command, Flag, GivenReason, Result
from terminal.dialogue import (
    BACK_OFF_MAX_S,
    BACK_OFF_MIN_S,
    FATES,
    NOT_FINAL,
    TRANSITIONS,
    Dialogue,
    Fate,
    Happening,
    Phase,
    back_off_s,
)

DAY = dt.date(2026, 3, 14)
MOVES_VALUE = {
    *(Command.ACTIVATE, Command.RELOAD, Command.SALE, Command.HOLD, Command.CONFIRM, Command.REFUND),
    *(Command.PAYMENT, Command.VISIT, Command.PURCHASE, Command.VOUCHER_ACTIVATE, Command.VOUCHER_REDEEM),
}


def asked(command: Command = Command.SALE, amount: int = 1250) -> Request:
    return Request(
        command=command, module=1001, date=DAY, sequence=5, time=dt.time(12), amount=amount, card="6280000000000017"
    )


def gone(command: Command = Command.SALE) -> Dialogue:
    """A dialogue that was sent once and whose caller has left."""
    dialogue = Dialogue(asked(command))
    dialogue.happened(Happening.SENT)
    dialogue.happened(Happening.GONE)
    return dialogue


def test_every_command_has_a_fate():
    """What moves value is reversed, echo and page are forgotten, all the rest is repeated."""
    assert set(FATES) == set(Command)
    assert {command for command, fate in FATES.items() if fate is Fate.REVERSE} == MOVES_VALUE
    assert {command for command, fate in FATES.items() if fate is Fate.FORGET} == {Command.ECHO, Command.PAGE}


def test_a_repeat_is_the_same_request_with_the_flag():
    """A further copy differs in the repeat flag alone: same name, same time, same amount."""
    dialogue = Dialogue(asked())
    first = dialogue.outgoing()
    dialogue.happened(Happening.SENT)
    dialogue.happened(Happening.SILENCE)
    second = dialogue.outgoing()
    assert first == asked()
    assert second.flags == Flag.REPEAT
    assert second.name == first.name
    assert second.encode()[4:] == first.encode()[4:]  # bytes 0 to 3 are command and flags


@pytest.mark.parametrize("command", [Command.ECHO, Command.PAGE])
def test_what_leaves_no_record_is_never_a_repeat(command):
    """Echo and page have no repeat flag: every copy of them is as good as the first."""
    dialogue = Dialogue(asked(command))
    dialogue.happened(Happening.SENT)
    assert dialogue.outgoing().flags == Flag(0)


def test_what_was_never_sent_is_dropped():
    """When the caller leaves before the first copy, there is nothing to undo."""
    dialogue = Dialogue(asked())
    dialogue.happened(Happening.GONE)
    assert dialogue.phase is Phase.CLOSED
    assert not dialogue.sent


def test_the_reversal_names_its_original_and_its_amount():
    """The automatic reversal has a name of its own, the original's amount, no card, and says why."""
    dialogue = gone()
    assert dialogue.unnamed
    dialogue.name_reversal(RequestName(1001, DAY, 6), dt.time(12, 1))
    reversal = dialogue.outgoing()
    assert reversal.command is Command.REVERSE
    assert reversal.name == RequestName(1001, DAY, 6)
    assert reversal.original == OriginalName(DAY, 5)
    assert (reversal.amount, reversal.reason, reversal.card, reversal.flags) == (
        1250,
        GivenReason.NO_ANSWER,
        "",
        Flag(0),
    )


def test_94_to_a_reversal_takes_another_name():
    """A reversal whose name belongs to something else has undone nothing: it goes out anew."""
    dialogue = gone()
    dialogue.name_reversal(RequestName(1001, DAY, 6), dt.time(12, 1))
    dialogue.happened(Happening.SENT)
    dialogue.answered(Result.DUPLICATE)
    assert dialogue.open
    assert dialogue.unnamed
    dialogue.name_reversal(RequestName(1001, DAY, 7), dt.time(12, 2))
    assert dialogue.outgoing().flags == Flag(0)
    dialogue.answered(Result.APPROVED)
    assert dialogue.phase is Phase.CLOSED


def test_94_to_the_request_itself_is_final():
    """The name is another request's: this one has done nothing and never will."""
    dialogue = Dialogue(asked())
    dialogue.happened(Happening.SENT)
    dialogue.answered(Result.DUPLICATE)
    assert dialogue.phase is Phase.CLOSED


def test_what_cannot_be_reversed_is_repeated():
    """A reversal that a clerk asked for goes on as itself."""
    dialogue = gone(Command.REVERSE)
    assert dialogue.phase is Phase.REPEATING
    assert dialogue.outgoing().name == asked().name
    assert dialogue.outgoing().flags == Flag.REPEAT


def test_asking_again_undoes_nothing():
    """A deliberate repeat of an answered sale is marked as one, and no reversal ever follows."""
    dialogue = Dialogue(asked(), again=True)
    assert dialogue.outgoing().flags == Flag.REPEAT
    dialogue.happened(Happening.SENT)
    dialogue.happened(Happening.GONE)
    assert dialogue.phase is Phase.CLOSED


@pytest.mark.parametrize(("failures", "least", "most"), [(1, 1, 2), (2, 1, 4), (5, 1, 32), (6, 1, 60), (500, 1, 60)])
def test_back_off_grows_to_a_minute(failures, least, most):
    """After n failures a rest is between one second and 2^n of them, a minute at most."""
    assert back_off_s(failures, 0.0) == least
    assert back_off_s(failures, 1.0) == most


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_back_off_is_always_within_its_bounds(failures, jitter):
    """Whatever the chance, a module rests 1 to 60 s."""
    assert BACK_OFF_MIN_S <= back_off_s(failures, jitter) <= BACK_OFF_MAX_S


def test_rest_only_after_a_refusal():
    """Silence is repeated at once, 91 after a back-off, a second 91 after a longer one."""
    dialogue = Dialogue(asked())
    dialogue.happened(Happening.SENT)
    dialogue.happened(Happening.SILENCE)
    assert dialogue.rest_s(1.0) == 0
    dialogue.answered(Result.UNAVAILABLE)
    assert dialogue.rest_s(1.0) == 2
    dialogue.answered(Result.MALFUNCTION)
    assert dialogue.rest_s(1.0) == 4


def test_the_table_closes_only_by_what_is_final():
    """Only a final answer closes what was sent; a request that was never sent closes when its caller leaves."""
    assert {key for key, phase in TRANSITIONS.items() if phase is Phase.CLOSED} == {
        (Phase.UNSENT, Happening.GONE),
        (Phase.ASKING, Happening.FINAL),
        (Phase.REVERSING, Happening.FINAL),
        (Phase.REPEATING, Happening.FINAL),
    }


results = st.sampled_from([None, *Result])  # None: silence


@given(st.sampled_from(Command), st.lists(results), st.lists(results))
def test_a_sent_name_stays_open_until_it_is_recorded(command, waiting, alone):
    """However a dialogue goes, what was sent is open until its last answer is final."""
    dialogue = Dialogue(asked(command))
    closed = False

    def step(result: Result | None) -> None:
        nonlocal closed
        if dialogue.unnamed:
            dialogue.name_reversal(RequestName(1001, DAY, 6), dt.time(12))
        dialogue.happened(Happening.SENT)
        if result is None:
            dialogue.happened(Happening.SILENCE)
            return
        renamed = dialogue.reverses and result is Result.DUPLICATE
        dialogue.answered(result)
        closed = result not in NOT_FINAL and not renamed

    for result in [None, *waiting]:
        if not closed:
            step(result)
    dialogue.happened(Happening.GONE)
    if FATES[command] is Fate.FORGET:
        closed = True
    for result in alone:
        if not closed:
            step(result)
    assert dialogue.open is not closed


@pytest.mark.parametrize("command", [Command.SALE, Command.BALANCE])
def test_what_is_resumed_may_have_been_sent(command):
    """It is open at once, its first copy is a repeat, and when its caller's time is over it goes as any other."""
    dialogue = Dialogue.resumed(asked(command))
    assert (dialogue.open, dialogue.sent, dialogue.phase) == (True, True, Phase.ASKING)
    assert dialogue.outgoing() == asked(command)._replace(flags=Flag.REPEAT)
    dialogue.happened(Happening.GONE)
    assert dialogue.phase is gone(command).phase
