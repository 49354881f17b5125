"""The module against a switch that does as it is told, on the virtual clock."""
# ruff: noqa: ARG001 - the runner takes the virtual clock from a test's own arguments

import dataclasses
import datetime as dt

import pytest
import trio
import trio.testing
from scripted_switch import CARD, CODE, NOON, Deed, identity

from protocol.messages import OriginalName, RequestName
from protocol.numbers import Command, Flag, GivenReason
from protocol.switch import Limits
from terminal import NoAnswerError, OpenNamesError, Settings, TooManyOpenError, UnsettledError, open_link_over


async def test_a_sale_is_answered(switch, module, autojump_clock):
    """A call gives the recorded answer: result, amounts, receipt; the code went along, sealed for this session."""
    async with module() as till:
        answer = await till.sale(CARD, 1250, access_code=CODE, cashier=7, till_receipt="A-17")
    assert answer.approved
    assert answer.approved_minor == 1250
    assert answer.lines == ("APPROVED",)
    (heard,) = switch.of(Command.SALE)
    assert heard.access_code == CODE
    assert (heard.request.card, heard.request.amount, heard.request.cashier) == (CARD, 1250, 7)
    assert (heard.request.date, heard.request.time, heard.request.till_receipt) == (NOON.date(), NOON.time(), "A-17")
    assert not heard.repeat


async def test_each_call_sends_its_command(switch, module, autojump_clock):
    """Every typed call sends what its name says, under sequence numbers that follow each other."""
    async with module() as till:
        await till.activate(CARD, 5000)
        sale = await till.sale(CARD, 1250, partial=True)
        await till.reload(CARD, 700)
        await till.balance(CARD, access_code=CODE)
        await till.refund(sale, 250)
        await till.reverse("323000000017", 700, reason=GivenReason.HOLDER)
        await till.reprint(sale.name)
    heard = [each.request for each in switch.heard if each.request.command is not Command.ECHO]
    assert [each.command.name for each in heard] == [
        *("ACTIVATE", "SALE", "RELOAD", "BALANCE", "REFUND", "REVERSE", "REPRINT")
    ]
    assert [each.sequence for each in heard] == [1, 2, 3, 4, 5, 6, 7]
    assert heard[1].flags == Flag.PARTIAL
    assert heard[4].original == OriginalName(NOON.date(), 2)
    assert heard[5].original == "323000000017"
    assert heard[5].reason is GivenReason.HOLDER
    assert heard[6].original == OriginalName(NOON.date(), 2)


async def test_a_lost_answer_is_fetched_by_a_repeat(switch, module, autojump_clock):
    """The connection breaks after the switch has recorded: the same request goes out again, and the answer comes."""
    async with module() as till:
        switch.deeds.append(Deed.RECORD_AND_DROP)
        answer = await till.sale(CARD, 1250, access_code=CODE)
    assert answer.approved
    first, second = switch.of(Command.SALE)
    assert (first.repeat, second.repeat) == (False, True)
    assert second.access_code == CODE
    assert (first.request.name, first.request.time) == (second.request.name, second.request.time)
    assert second.connection == first.connection + 1
    assert len(switch.recorded) == 1


async def test_silence_is_repeated_after_answer_s(switch, module, autojump_clock):
    """Nothing comes within `answer_s`: another copy leaves on the same session."""
    switch.deeds += [Deed.SILENCE, Deed.ANSWER]
    async with module(answer_s=5) as till:
        answer = await till.sale(CARD, 1250)
    first, second = switch.of(Command.SALE)
    assert answer.approved
    assert second.at - first.at == pytest.approx(5)
    assert second.connection == first.connection


async def test_a_late_answer_to_the_first_copy_counts(switch, module, autojump_clock):
    """The answer to a copy that was given up is the answer to the request."""
    switch.deeds += [Deed.LATE, Deed.SILENCE]  # the first answer comes after 6 s, the second copy's never
    async with module(answer_s=5) as till:
        started = trio.current_time()
        answer = await till.sale(CARD, 1250)
        assert trio.current_time() - started == pytest.approx(6)
    assert answer.approved


async def test_91_is_repeated_after_a_back_off(switch, module, autojump_clock):
    """91 says that this copy did nothing: the module rests, longer each time, and repeats until it is answered."""
    switch.deeds += [Deed.REFUSE, Deed.REFUSE, Deed.ANSWER]
    async with module(jitter=1.0) as till:
        answer = await till.sale(CARD, 1250)
    first, second, third = switch.of(Command.SALE)
    assert answer.approved
    assert second.at - first.at == pytest.approx(2)
    assert third.at - second.at == pytest.approx(4)
    assert second.request.name == first.request.name
    assert second.repeat


async def test_no_answer_ever_is_reversed(switch, module, autojump_clock):
    """The deadline passes: the sale is reversed whole, under a name of its own, and the caller is told."""
    async with module(answer_s=5) as till:
        switch.deeds += [Deed.RECORD_IN_SILENCE]
        with pytest.raises(NoAnswerError) as error:
            await till.sale(CARD, 1250, access_code=CODE, deadline_s=3)
    assert error.value.name == RequestName(1001, NOON.date(), 1)
    assert error.value.sent
    assert error.value.reversal.approved
    (sale,) = switch.of(Command.SALE)
    (reversal,) = switch.of(Command.REVERSE)
    assert reversal.at - sale.at == pytest.approx(3)
    assert reversal.request.original == OriginalName(sale.request.date, sale.request.sequence)
    assert (reversal.request.amount, reversal.request.reason) == (1250, GivenReason.NO_ANSWER)
    assert (reversal.request.sequence, reversal.request.card, reversal.access_code) == (2, "", None)


async def test_a_reversal_is_repeated_until_it_is_recorded(switch, module, autojump_clock):
    """Through silence, refusals and broken connections; the caller has long been told, and `settle` waits for it."""
    async with module(answer_s=5, reversal_s=1, jitter=0.0) as till:
        switch.deeds += [Deed.SILENCE, Deed.SILENCE, Deed.REFUSE, Deed.RECORD_AND_DROP, Deed.CLOSE]
        with pytest.raises(NoAnswerError) as error:
            await till.sale(CARD, 1250, deadline_s=2)
        assert error.value.reversal is None
        assert till.open_names == (RequestName(1001, NOON.date(), 1),)
        await till.settle()
        assert till.open_names == ()
    reversals = switch.of(Command.REVERSE)
    assert [each.repeat for each in reversals] == [False, True, True, True, True]
    assert {each.request.name for each in reversals} == {RequestName(1001, NOON.date(), 2)}


async def test_what_cannot_be_reversed_is_repeated_without_its_code(switch, module, autojump_clock):
    """A balance has nothing to undo: it is repeated until recorded, and its code died with the call."""
    async with module(answer_s=5) as till:
        switch.deeds += [Deed.SILENCE]
        with pytest.raises(NoAnswerError) as error:
            await till.balance(CARD, access_code=CODE, deadline_s=3)
        assert error.value.reversal is None
        await till.settle()
    first, second = switch.of(Command.BALANCE)
    assert (first.access_code, second.access_code) == (CODE, None)
    assert second.request.name == first.request.name
    assert switch.of(Command.REVERSE) == []


async def test_an_echo_that_is_not_answered_is_forgotten(switch, module, autojump_clock):
    """An echo leaves no record: nothing stays open."""
    async with module(answer_s=5) as till:
        await till.echo()
        switch.echoes += [Deed.SILENCE]
        with pytest.raises(NoAnswerError):
            await till.echo(deadline_s=3)
        assert till.open_names == ()


async def test_what_was_never_sent_is_not_reversed(switch, module, autojump_clock):
    """Without a session nothing leaves, so nothing is undone; the caller learns that it was not sent."""
    switch.reachable = False
    async with module() as till:
        with pytest.raises(NoAnswerError) as error:
            await till.sale(CARD, 1250, deadline_s=3)
        assert not error.value.sent
        assert error.value.name is None
        switch.reachable = True
        assert (await till.sale(CARD, 100)).approved
    assert switch.of(Command.REVERSE) == []
    assert [each.request.sequence for each in switch.of(Command.SALE)] == [1]


async def test_a_switch_that_refuses_is_told_from_one_that_is_not_there(switch, dial, autojump_clock):
    """It is reached and answers HELLO with CLOSE, as it does after a revocation; where nobody listens it is not so."""
    stranger = dataclasses.replace(identity(1001), root_key=bytes(32))
    for reachable, said in ((True, "refuses this module"), (False, "could not be reached")):
        switch.reachable = reachable
        async with open_link_over(dial) as link, link.module(stranger, clock=lambda: NOON) as till:
            with pytest.raises(NoAnswerError, match=said) as error:
                await till.sale(CARD, 1250, deadline_s=5)
        assert (error.value.refused, error.value.sent) == (reachable, False)


async def test_a_cancelled_call_is_reversed(switch, module, autojump_clock):
    """A caller that is cancelled leaves its request behind like one whose deadline passed."""
    async with module() as till:
        switch.deeds += [Deed.SILENCE]
        with trio.move_on_after(1):
            await till.sale(CARD, 1250)
        await till.settle()
    assert [each.request.amount for each in switch.of(Command.REVERSE)] == [1250]


async def test_a_deliberate_repeat_gives_the_same_bytes(switch, module, autojump_clock):
    """The same request, marked as a repeat, gets the recorded answer; and no answer to it undoes nothing."""
    async with module(answer_s=5) as till:
        answer = await till.sale(CARD, 1250, access_code=CODE)
        again = await till.repeat(answer)
        assert again.recorded == answer.recorded
        switch.deeds += [Deed.SILENCE]
        with pytest.raises(NoAnswerError):
            await till.repeat(answer, deadline_s=2)
        assert till.open_names == ()
    assert [each.repeat for each in switch.of(Command.SALE)] == [False, True, True]
    assert switch.of(Command.REVERSE) == []


async def test_a_draft_is_sent_when_asked(switch, module, autojump_clock):
    """A request can be named first and sent later, so that its reversal can overtake it."""
    async with module() as till:
        draft = await till.draft(Command.SALE, card=CARD, amount=1000)
        await till.reverse(draft, 1000)
        await till.ask(draft, access_code=CODE)
    reversal, sale = switch.of(Command.REVERSE, Command.SALE)
    assert reversal.request.original == OriginalName(NOON.date(), 1)
    assert (sale.request.sequence, reversal.request.sequence) == (1, 2)
    assert sale.access_code == CODE


@pytest.mark.parametrize("deed", [Deed.TEAR, Deed.FORGE, Deed.SKIP, Deed.CLOSE, Deed.DROP, Deed.MISMATCH])
async def test_whatever_ends_a_session_costs_a_repeat_and_no_more(switch, module, deed, autojump_clock):
    """An answer cut in the middle, forged, out of count or another's, a CLOSE, a broken connection: sign on again after
    a back-off, repeat, one record."""
    async with module(jitter=1.0) as till:
        switch.deeds.append(deed)
        answer = await till.sale(CARD, 1250)
    assert answer.approved
    first, second = switch.of(Command.SALE)
    assert second.repeat
    assert second.request.name == first.request.name
    assert len(switch.recorded) == 1
    assert second.at - first.at == pytest.approx(2)
    assert len(switch.hellos) == 2


async def test_sign_on_backs_off_longer_and_longer(switch, module, autojump_clock):
    """Nobody listens: the module tries after 2, 4, 8 ... seconds with the longest jitter, never sooner than 1 s."""
    switch.reachable = False
    async with module(jitter=1.0):
        await trio.sleep(70)
    assert switch.dialled == pytest.approx([t + switch.dialled[0] for t in (0, 2, 6, 14, 30, 62)])


async def test_two_modules_do_not_come_back_in_step(switch, link, autojump_clock):
    """The rest before a sign-on follows the module's own chance."""
    settings = Settings()
    async with (
        link.module(identity(1), settings=settings, jitter=lambda: 0.0) as one,
        link.module(identity(2), settings=settings, jitter=lambda: 0.5) as two,
    ):
        await one.echo()
        await two.echo()
        switch.hellos.clear()
        dropped = trio.current_time()
        switch.deeds.append(Deed.DROP)
        await one.sale(CARD, 100)
        await two.echo()
    assert [at - dropped for at in switch.hellos] == pytest.approx([1.0, 1.5])


async def test_a_welcome_that_does_not_verify_gets_nothing(switch, module, autojump_clock):
    """Behind a WELCOME that does not open there may be anybody: HELLO and CLOSE leave, and nothing of a card."""
    switch.forge_welcome = True
    async with module(jitter=0.0) as till:
        with pytest.raises(NoAnswerError) as error:
            await till.sale(CARD, 1250, access_code=CODE, deadline_s=3.5)
    assert not error.value.sent
    assert switch.heard == []
    assert len(switch.hellos) == 4
    assert switch.bytes_in == 4 * (104 + 20)


async def test_a_restarted_module_goes_on_with_its_numbers(switch, module, autojump_clock):
    """The last recorded name comes with the echo after sign-on; no number is used twice."""
    switch.last_sequence = 41
    async with module() as till:
        await till.sale(CARD, 100)
    async with module() as till:
        await till.sale(CARD, 100)
    assert [each.request.sequence for each in switch.of(Command.SALE)] == [42, 43]


async def test_no_name_is_used_before_the_last_one_is_known(switch, module, autojump_clock):
    """As long as the switch cannot say the last name (91 to the echo), a call waits; the session stays."""
    switch.last_sequence = 41
    switch.echoes += [Deed.REFUSE, Deed.REFUSE]
    async with module(jitter=1.0) as till:
        started = trio.current_time()
        await till.sale(CARD, 100)
        assert trio.current_time() - started == pytest.approx(2 + 4)
    assert [each.request.sequence for each in switch.of(Command.SALE)] == [42]
    assert len(switch.hellos) == 1


async def test_two_tasks_share_a_module(switch, module, autojump_clock):
    """Calls of several tasks are in flight together, each gets its own answer, all under different names."""
    answers = []

    async def sell(till, amount):
        answers.append(((await till.sale(CARD, amount)).approved_minor, amount))

    async with module() as till, trio.open_nursery() as nursery:
        for amount in range(1, 41):
            nursery.start_soon(sell, till, amount)
    assert sorted(answers) == [(amount, amount) for amount in range(1, 41)]
    assert sorted(each.request.sequence for each in switch.of(Command.SALE)) == list(range(1, 41))


async def test_in_flight_is_bounded_by_the_terms(switch, module, autojump_clock):
    """No more requests wait for an answer than WELCOME allows; the others wait in the module."""
    switch.limits = Limits(in_flight_max=3)
    switch.always = Deed.RECORD_IN_SILENCE
    async with module(answer_s=5) as till:
        with trio.move_on_after(4):
            async with trio.open_nursery() as nursery:
                for amount in range(1, 11):
                    nursery.start_soon(till.sale, CARD, amount)
        assert len(switch.of(Command.SALE)) == 3
        switch.always = Deed.ANSWER


async def test_a_concentrator_carries_many_modules(switch, link, autojump_clock):
    """Several modules share one connection, each with its own session, names and answers."""
    sold = {}

    async def work(number):
        async with link.module(identity(number), clock=lambda: NOON) as till:
            sold[number] = (await till.sale(CARD, number)).approved_minor

    async with trio.open_nursery() as nursery:
        for number in range(1, 17):
            nursery.start_soon(work, number)
    assert sold == {number: number for number in range(1, 17)}
    assert len(switch.dialled) == 1
    assert len(switch.hellos) == 16


async def test_a_closed_session_harms_no_other_module(switch, link, autojump_clock):
    """CLOSE for one module's session leaves the connection and the other modules alone."""
    async with (
        link.module(identity(1), jitter=lambda: 1.0) as one,
        link.module(identity(2), jitter=lambda: 1.0) as two,
    ):
        await one.echo()
        await two.echo()
        switch.deeds.append(Deed.CLOSE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.sale, CARD, 100)
            await trio.testing.wait_all_tasks_blocked()
            started = trio.current_time()
            assert (await two.sale(CARD, 200)).approved
            assert trio.current_time() == started
    assert len(switch.dialled) == 1


async def test_a_session_is_kept_by_an_echo(switch, module, autojump_clock):
    """An idle session gets an echo at half of its idle time, so that it never ends."""
    switch.limits = Limits(idle_s=90)
    async with module() as till:
        await till.sale(CARD, 100)
        await trio.sleep(1000)
        assert (await till.sale(CARD, 100)).approved
    assert len(switch.hellos) == 1
    assert 10 < len(switch.of(Command.ECHO)) <= 1 + 1000 / 45


async def test_a_session_that_is_not_kept_ends_and_comes_back(switch, module, autojump_clock):
    """With `keep_open` off an idle module is silent, and signs on again when a call needs it, without a rest."""
    switch.limits = Limits(idle_s=90)
    async with module(keep_open=False) as till:
        await till.sale(CARD, 100)
        await trio.sleep(1000)
        assert len(switch.of(Command.ECHO)) == 1
        started = trio.current_time()
        await till.sale(CARD, 100)
        assert trio.current_time() == started
    assert len(switch.hellos) == 2


async def test_a_session_is_renewed_before_its_frames_are_used(switch, module, autojump_clock):
    """At nine tenths of the frames a new session takes over on the same connection; nothing is repeated or delayed."""
    switch.limits = Limits(frames_max=20)
    async with module() as till:
        started = trio.current_time()
        for _ in range(100):
            assert (await till.sale(CARD, 1)).approved
        assert trio.current_time() == started
    assert len(switch.dialled) == 1
    assert len(switch.hellos) >= 5
    assert not any(each.repeat for each in switch.heard)


async def test_a_session_is_renewed_before_its_life_is_over(switch, module, autojump_clock):
    """At nine tenths of its life a session is replaced on the same connection, without a rest."""
    switch.limits = Limits(life_s=1000, idle_s=90)
    async with module() as till:
        await till.echo()
        await trio.sleep(950)
    assert len(switch.dialled) == 1
    assert [at - switch.hellos[0] for at in switch.hellos] == pytest.approx([0, 901], abs=1)


async def test_a_dead_path_is_left(switch, module, autojump_clock):
    """A connection on which two waits hear nothing is given up, though it never broke; the next one serves."""
    async with module(answer_s=5, jitter=0.0) as till:
        await till.echo()
        switch.always = Deed.SILENCE
        switch.echoes += [Deed.SILENCE] * 20

        async def heal():
            await trio.sleep(9.5)
            switch.always = Deed.ANSWER
            switch.echoes.clear()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(heal)
            assert (await till.sale(CARD, 100)).approved
    assert len(switch.dialled) == 2


async def test_the_open_list_is_bounded(switch, module, autojump_clock):
    """A module that remembers as much as it may refuses further requests before anything is sent."""
    async with module(open_max=2, reversal_s=0, answer_s=5) as till:
        await till.echo()
        switch.always = Deed.SILENCE
        for _ in range(2):
            with pytest.raises(NoAnswerError):
                await till.sale(CARD, 100, deadline_s=1)
        sent = len(switch.of(Command.SALE))
        with pytest.raises(TooManyOpenError):
            await till.sale(CARD, 100, deadline_s=1)
        assert len(switch.of(Command.SALE)) == sent
        switch.always = Deed.ANSWER
        await till.settle()
        assert (await till.sale(CARD, 100)).approved


async def test_leaving_with_open_names_says_so(switch, module, autojump_clock):
    """Who leaves a module whose names cannot be settled within `leave_s` is told which."""

    async def leave():
        async with module(reversal_s=0, leave_s=8) as till:
            await till.echo()
            switch.always = Deed.SILENCE
            with pytest.raises(NoAnswerError):
                await till.sale(CARD, 100, deadline_s=1)

    with pytest.raises(UnsettledError) as error:
        await leave()
    assert error.value.names == (RequestName(1001, NOON.date(), 1),)


async def test_leaving_settles_what_is_open(switch, module, autojump_clock):
    """Who leaves a module leaves nothing behind when the switch answers in time."""
    async with module(reversal_s=0, jitter=0.0) as till:
        switch.deeds += [Deed.SILENCE, Deed.REFUSE]
        with pytest.raises(NoAnswerError):
            await till.sale(CARD, 100, deadline_s=1)
    assert [each.repeat for each in switch.of(Command.REVERSE)] == [False, True]


async def test_long_receipts_come_in_pages(switch, module, autojump_clock):
    """The other pages of an answer are fetched with `page`, and the receipt is whole."""
    switch.pages = (b"ONE\n", b"TWO\n", b"THREE\n")
    async with module() as till:
        answer = await till.sale(CARD, 100)
    assert answer.lines == ("ONE", "TWO", "THREE")
    assert [(each.request.page, each.request.original) for each in switch.of(Command.PAGE)] == [
        (2, OriginalName(NOON.date(), 1)),
        (3, OriginalName(NOON.date(), 1)),
    ]


async def test_pages_that_do_not_come_spoil_no_answer(switch, module, autojump_clock):
    """An approval stays one when its second page cannot be fetched; it says how many pages there are."""
    switch.pages = (b"ONE\n", b"TWO\n")
    switch.silent_pages = True
    async with module(answer_s=5) as till:
        answer = await till.sale(CARD, 100, deadline_s=10)
        assert till.open_names == ()
    assert answer.approved
    assert (answer.pages, answer.pages_total) == (("ONE\n",), 2)


@pytest.mark.parametrize(
    "wrong", [{"card": "12a4", "amount": 1}, {"card": "1" * 21, "amount": 1}, {"card": CARD, "amount": 2**64}]
)
async def test_what_does_not_fit_is_not_sent(switch, module, wrong, autojump_clock):
    """A field that cannot hold its value is refused here, before anything leaves."""
    async with module() as till:
        with pytest.raises(ValueError, match=r"."):
            await till.ask(await till.draft(Command.SALE, **wrong), access_code=CODE)
    assert switch.of(Command.SALE) == []


@pytest.mark.parametrize("code", ["123", "1" * 13, "12e4"])
async def test_a_code_that_cannot_be_sealed_is_not_sent(switch, module, code, autojump_clock):
    """An access code is 4 to 12 digits; another one is refused here, and not shown in the error."""
    async with module() as till:
        with pytest.raises(ValueError, match="4 to 12 digits") as error:
            await till.sale(CARD, 100, access_code=code)
    assert code not in str(error.value)
    assert switch.of(Command.SALE) == []


async def test_nothing_secret_is_shown(switch, module, autojump_clock):
    """Neither card, code nor amount is in the repr of what a caller holds or catches."""
    shown = []
    async with module() as till:
        answer = await till.sale(CARD, 1250, access_code=CODE)
        shown += [repr(till), repr(answer), repr(answer.request)]
        switch.deeds += [Deed.SILENCE]
        with pytest.raises(NoAnswerError) as error:
            await till.sale(CARD, 1250, access_code=CODE, deadline_s=1)
        shown += [repr(error.value), str(error.value), repr(error.value.reversal)]
    for text in shown:
        assert CARD not in text
        assert CODE not in text
        assert "1250" not in text


async def test_the_body_s_exception_comes_out_as_it_is(module, autojump_clock):
    """What the caller raises inside a module is not wrapped in a group."""
    with pytest.raises(ZeroDivisionError):
        async with module():
            raise ZeroDivisionError


async def test_the_module_s_clock_names_its_requests(switch, link, autojump_clock):
    """Date and time are the module's own; a repeat a day later keeps those of the first copy."""
    days = iter([NOON, NOON, NOON + dt.timedelta(days=1)])
    async with link.module(identity(1001), clock=lambda: next(days, NOON + dt.timedelta(days=2))) as till:
        switch.deeds += [Deed.REFUSE]
        await till.sale(CARD, 100)
    first, second = switch.of(Command.SALE)
    assert first.request.date == NOON.date()
    assert second.request.name == first.request.name


async def test_leaving_by_an_exception_settles_too(switch, module, autojump_clock):
    """A caller that lets NoAnswerError out of the module leaves nothing open behind it."""

    async def sell():
        async with module(reversal_s=0, jitter=0.0) as till:
            switch.deeds += [Deed.SILENCE, Deed.REFUSE]
            await till.sale(CARD, 100, deadline_s=1)

    with pytest.raises(NoAnswerError):
        await sell()
    assert [each.repeat for each in switch.of(Command.REVERSE)] == [False, True]


async def test_a_failure_in_the_background_reaches_the_caller(dial, autojump_clock):
    """What breaks a module's own tasks ends its caller with that error; nobody waits for ever."""

    def broken_clock():
        raise ZeroDivisionError

    async def sell():
        async with open_link_over(dial) as own, own.module(identity(1001), clock=broken_clock) as till:
            await till.sale(CARD, 100)

    with pytest.raises(ExceptionGroup) as error:
        await sell()
    assert error.value.subgroup(ZeroDivisionError) is not None


async def test_a_late_answer_is_not_taken_for_the_reversal_s(switch, module, autojump_clock):
    """An answer to the sale that comes while its reversal is under way changes nothing, and the session stays."""
    async with module(answer_s=9) as till:
        switch.deeds += [Deed.LATE]
        with pytest.raises(NoAnswerError) as error:
            await till.sale(CARD, 1250, deadline_s=3)
    assert error.value.reversal.approved
    assert error.value.reversal.request.command is Command.REVERSE
    assert len(switch.hellos) == 1


async def test_a_module_that_knows_its_numbers_asks_at_once(switch, module, autojump_clock):
    """After a lost connection a repeat does not wait until the switch can tell the last name again."""
    async with module(jitter=1.0) as till:
        await till.echo()
        switch.deeds += [Deed.DROP]
        switch.echoes += [Deed.REFUSE, Deed.REFUSE, Deed.REFUSE]
        await till.sale(CARD, 100)
    first, second = switch.of(Command.SALE)
    assert second.at - first.at == pytest.approx(2)


async def test_a_sign_on_that_held_forgets_the_failures_before(switch, module, autojump_clock):
    """After a session that served, the back-off begins with its shortest rest again, and grows from there."""
    switch.reachable = False
    async with module(jitter=1.0) as till:
        await trio.sleep(10)  # tried at 0, 2 and 6 s
        switch.reachable = True
        await till.echo()
        switch.reachable = False
        switch.dialled.clear()
        switch.deeds += [Deed.DROP]
        started = trio.current_time()
        with pytest.raises(NoAnswerError):
            await till.sale(CARD, 100, deadline_s=20)
        switch.reachable = True
    assert [at - started for at in switch.dialled[:4]] == pytest.approx([2, 6, 14, 30])


async def test_an_open_name_that_must_rest_lets_others_pass(switch, module, autojump_clock):
    """Open names are settled oldest first, each with its own back-off: one that is refused holds up no other."""
    async with module(reversal_s=0, jitter=1.0, answer_s=5) as till:
        await till.echo()
        switch.deeds += [Deed.RECORD_IN_SILENCE, Deed.REFUSE, Deed.REFUSE]

        async def sell(amount, deadline_s):
            with pytest.raises(NoAnswerError):
                await till.sale(CARD, amount, deadline_s=deadline_s)

        await sell(1, 1)  # its reversal is refused at 1 s, and again at 3 s
        await trio.sleep(0.5)
        switch.deeds.appendleft(Deed.RECORD_IN_SILENCE)
        await sell(2, 1)  # its reversal at 2.5 s takes the second refusal, and rests until 4.5 s
        await till.settle()
    started = switch.of(Command.SALE)[0].at
    came = [(each.request.amount, round(each.at - started, 3)) for each in switch.of(Command.REVERSE)]
    assert came == [(1, 1.0), (2, 2.5), (1, 3.0), (2, 4.5)]


async def test_single_silences_do_not_end_a_connection(switch, module, autojump_clock):
    """Only two waits in a row without a byte mean that nobody is there."""
    async with module(answer_s=5) as till:
        for _ in range(4):
            switch.deeds += [Deed.SILENCE, Deed.ANSWER]
            await till.sale(CARD, 100)
    assert len(switch.dialled) == 1


async def test_copies_that_were_given_up_are_not_kept_for_ever(switch, module, autojump_clock):
    """A session remembers a bounded number of copies that nobody waits for."""
    switch.limits = Limits(in_flight_max=1)
    async with module(answer_s=5) as till:
        for _ in range(20):
            switch.deeds += [Deed.SILENCE, Deed.ANSWER]
            await till.sale(CARD, 100)
        assert len(till._signed_on._line._replies) <= 8


async def test_totals_are_what_was_answered(switch, module):
    """Each answer counts once, an automatic reversal takes its original away, and totals begin anew when closed."""
    async with module() as till:
        with pytest.raises(ValueError, match="nothing was asked"):
            await till.totals(978)
        await till.sale(CARD, 1250)
        await till.repeat(await till.sale(CARD, 300))
        sold = await till.sale(CARD, 5)
        await till.reverse(sold, 5)
        await till.totals(978)
        till.close_totals()
        await till.sale(CARD, 7)
        await till.totals(978)
    first, second = (heard.request.totals for heard in switch.of(Command.TOTALS))
    assert (first.first.sequence, first.last.sequence) == (1, 4)
    assert (first.pairs[2], sum(count for count, _ in first.pairs)) == ((2, 1550), 2)
    assert (second.first.sequence, second.last.sequence, second.pairs[2]) == (5, 6, (1, 7))


async def test_no_totals_while_something_is_open(switch, module, autojump_clock):
    """What has no recorded answer cannot be counted; settled, it can."""
    switch.deeds += [Deed.ANSWER, Deed.SILENCE]
    async with module() as till:
        await till.balance(CARD)
        with pytest.raises(NoAnswerError):
            await till.reprint("323000000017", deadline_s=1)
        with pytest.raises(OpenNamesError):
            await till.totals(978)
        await till.settle()
        assert (await till.totals(978)).approved
