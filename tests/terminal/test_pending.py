"""What a module keeps for the next start: what is in an entry, who can open it, and what becomes of each stage."""
# ruff: noqa: ARG001 - the runner takes the virtual clock from a test's own arguments

import dataclasses
import datetime as dt
import json
import stat
import subprocess
import sys
from contextlib import asynccontextmanager
from importlib.resources import files

import pytest
import trio
import trio.testing
from scripted_switch import CARD, CODE, NOON, Deed, identity

from protocol.messages import Request, decode_request
from protocol.numbers import Command, Flag, GivenReason, TotalsKind
from terminal import NoAnswerError, PendingError, PendingFile, Settings, TooManyOpenError, UnsettledError
from terminal.pending import Pending, Stage, left_s, seal, unseal
from terminal.shell.client import PENDING_MAX

NONCE = bytes(12)
VECTORS = json.loads(files("protocol").joinpath("vectors", "vectors.json").read_text("utf-8"))
SALE = Request(
    command=Command.SALE,
    module=1001,
    date=NOON.date(),
    sequence=5,
    time=NOON.time(),
    card=CARD,
    amount=1250,
    flags=Flag.ACCESS_CODE | Flag.PARTIAL,
    access_code_block=bytes(range(1, 17)),
)
BALANCE = Request(command=Command.BALANCE, module=1001, date=NOON.date(), sequence=6, time=NOON.time(), card=CARD)
NEW_CODE = SALE._replace(
    command=Command.CHANGE_ACCESS_CODE, amount=0, flags=Flag.ACCESS_CODE, new_access_code_block=bytes(range(16))
)


@pytest.fixture
def patient_clock():
    """A virtual clock that jumps only when the disk has had its time too."""
    return trio.testing.MockClock(autojump_threshold=0.6)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "till.pending"


@pytest.fixture
def cut_off(link, path):
    """Write what a module left when its power was cut, and start it again so many seconds later."""

    @asynccontextmanager
    async def start(*entries, seconds=20.0, jitter=0.0, **settings):
        path.write_bytes(seal(entries, identity(1001), NONCE))
        later = NOON + dt.timedelta(seconds=seconds)
        async with link.module(
            identity(1001),
            settings=Settings(**settings),
            clock=lambda: later,
            jitter=lambda: jitter,
            pending=PendingFile(path),
        ) as module:
            yield module

    return start


class Hearing(list):
    """What a switch heard, and at each how far the file said that it had come."""

    def __init__(self, path):
        super().__init__()
        self.path, self.stages = path, []

    def append(self, heard):
        super().append(heard)
        if heard.request.command is not Command.ECHO:
            self.stages.append([entry.stage for entry in kept(self.path)])


def kept(path):
    """What the next start would find."""
    return unseal(path.read_bytes(), identity(1001))


def test_an_entry_comes_back_without_its_codes():
    """Fields and stage as they were; neither the code's block nor that of a new code."""
    for request in (SALE, BALANCE, NEW_CODE):
        [entry] = unseal(seal([Pending(request=request, stage=Stage.LEFT)], identity(1001), NONCE), identity(1001))
        bare = request._replace(
            flags=request.flags & ~Flag.ACCESS_CODE, access_code_block=None, new_access_code_block=None
        )
        assert entry == Pending(request=bare, stage=Stage.LEFT)


@pytest.mark.parametrize("command", Command)
def test_a_request_of_each_command_comes_back_byte_by_byte(command):
    """As in the public vectors, but for a new access code, which is kept nowhere: what is asked again is the same."""
    plain = bytes.fromhex(VECTORS["requests"][command.name.lower()]["plain"])
    request = decode_request(plain)
    [entry] = unseal(seal([Pending(request=request)], identity(1001), NONCE), identity(1001))
    without_code = plain[:160] + bytes(160) if command is Command.CHANGE_ACCESS_CODE else plain
    assert entry.request.encode() == without_code


async def test_a_request_that_breaks_the_format_is_not_kept(path):
    """It is declined whatever happens, and it could not be read at the next start: the file stays one that can."""
    file = PendingFile(path)
    file.open(identity(1001))
    await file.asked(BALANCE._replace(command=Command.BLOCK))  # without a reason
    assert file.entries == ()
    await file.asked(BALANCE)
    assert [entry.request for entry in kept(path)] == [BALANCE]
    file.close()


def test_a_sealed_entry_shows_nothing():
    """No card in the bytes, nor in what is printed of an entry."""
    entry = Pending(request=SALE)
    assert CARD.encode() not in seal([entry], identity(1001), NONCE)
    assert CARD not in repr(entry)


@pytest.mark.parametrize("place", [0, 20, 40, -1])
def test_a_changed_file_is_refused(place):
    """Head, nonce, entry or tag."""
    data = bytearray(seal([Pending(request=SALE)], identity(1001), NONCE))
    data[place] ^= 1
    with pytest.raises(PendingError):
        unseal(bytes(data), identity(1001))


def test_another_module_s_file_is_refused():
    """Its key is another."""
    with pytest.raises(PendingError, match="another module"):
        unseal(seal([], identity(1002), NONCE), identity(1001))


async def test_what_an_earlier_kit_left_waits_for_that_kit(switch, link, path, patient_clock):
    """A new kit does not sign on over it, which would end the old one's key, and says to start with that one first; the
    file stays byte by byte, and the old kit then settles what is in it."""
    left = seal([Pending(request=SALE)], identity(1001), NONCE)
    path.write_bytes(left)
    newer = identity(1001)
    newer = dataclasses.replace(newer, generation=newer.generation + 1, root_key=bytes(32))
    with pytest.raises(PendingError, match="start once with the old kit") as refused:
        async with link.module(newer, pending=PendingFile(path)):
            pass
    assert str(path) in str(refused.value)
    assert (switch.hellos, path.read_bytes()) == ([], left)
    async with link.module(identity(1001), clock=lambda: NOON, pending=PendingFile(path)) as module:
        [answer] = await module.resume()
        await module.printed(answer)
    assert answer.name == SALE.name


@pytest.mark.parametrize(("seconds", "left"), [(0, 300), (299, 1), (300, 0), (86_400, 0), (-1, 0)])
def test_somebody_waits_for_so_long(seconds, left):
    """From when it was asked; a clock that stands before that is not believed."""
    assert left_s(SALE, NOON + dt.timedelta(seconds=seconds), 300) == left


async def test_what_was_asked_is_on_the_disk_before_it_leaves_and_until_it_is_printed(
    switch, link, path, patient_clock
):
    """When the switch hears of it, the file, 0600, has it; with its answer, when the call returns; then it is empty."""
    switch.heard = Hearing(path)
    async with link.module(identity(1001), clock=lambda: NOON, pending=PendingFile(path)) as till:
        answer = await till.sale(CARD, 1250, access_code=CODE)
        assert switch.heard.stages == [[Stage.ASKED]]
        [entry] = kept(path)
        assert (entry.stage, entry.answer()) == (Stage.ANSWERED, answer)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await till.printed(answer)
        assert kept(path) == ()
        await till.echo()
        assert kept(path) == ()


async def test_what_was_asked_just_now_is_asked_again(switch, cut_off, path, patient_clock):
    """As a repeat under its name, without its code; the recorded answer is given until it is printed."""
    async with cut_off(Pending(request=SALE)) as till:
        [answer] = await till.resume()
        assert await till.resume() == (answer,)
        await till.printed(answer)
        assert await till.resume() == ()
        assert (await till.sale(CARD, 100)).name.sequence > SALE.sequence + 1
    first = switch.of(Command.SALE)[0]
    assert (answer.approved_minor, answer.name, first.repeat, first.access_code) == (1250, SALE.name, True, None)
    assert switch.of(Command.REVERSE) == []


async def test_what_was_asked_long_ago_is_reversed(switch, cut_off, path, patient_clock):
    """Nobody stands at the till any more: it must not be done now."""
    async with cut_off(Pending(request=SALE), seconds=301) as till:
        [answer] = await till.resume()
    assert switch.of(Command.SALE) == []
    [reversal] = switch.of(Command.REVERSE)
    assert (reversal.request.original, reversal.request.amount) == (answer.request.original, 1250)
    assert (reversal.request.original.sequence, reversal.request.reason) == (SALE.sequence, GivenReason.NO_ANSWER)


async def test_what_finds_no_switch_in_time_is_reversed(switch, cut_off, path, patient_clock):
    """The time runs on while there is no connection, and that it has run out is on the disk before the reversal."""
    switch.reachable, switch.heard = False, Hearing(path)
    async with cut_off(Pending(request=SALE), seconds=290, jitter=1.0) as till:
        assert await till.resume(deadline_s=20) == ()
        switch.reachable = True
        [answer] = await till.resume()
    assert switch.of(Command.SALE) == []
    assert switch.heard.stages == [[Stage.LEFT]]
    assert answer.request.command is Command.REVERSE


async def test_what_its_caller_left_is_reversed(switch, cut_off, patient_clock):
    """However young it is: somebody was told that it had no answer."""
    async with cut_off(Pending(request=SALE, stage=Stage.LEFT), seconds=1) as till:
        [answer] = await till.resume()
    assert (answer.request.command, switch.of(Command.SALE)) == (Command.REVERSE, [])


async def test_what_cannot_be_undone_is_asked_again_whatever_its_age(switch, cut_off, patient_clock):
    """Until it is recorded."""
    switch.deeds.append(Deed.SILENCE)
    async with cut_off(Pending(request=BALANCE), seconds=86_400, answer_s=5) as till:
        [answer] = await till.resume()
    assert answer.name == BALANCE.name
    assert [each.repeat for each in switch.of(Command.BALANCE)] == [True, True]


async def test_what_was_answered_is_only_printed(switch, cut_off, link, path, patient_clock):
    """From the file, a day later and without a switch: the same answer."""
    async with link.module(identity(1001), clock=lambda: NOON, pending=PendingFile(path)) as till:
        answer = await till.sale(CARD, 1250)
    [entry] = kept(path)
    switch.heard.clear()
    async with cut_off(entry, seconds=86_400) as till:
        assert await till.resume(deadline_s=0) == (answer,)
    assert switch.of(Command.SALE, Command.REVERSE) == []


async def test_what_an_earlier_start_asked_is_not_in_the_totals(switch, cut_off, patient_clock):
    """Its own interval was lost with it: this one begins with the first name that was given out now."""
    answered = Pending(request=BALANCE, stage=Stage.LEFT)
    async with cut_off(Pending(request=SALE), answered) as till:
        assert len(await till.resume()) == 2
        sale = await till.sale(CARD, 300)
        await till.totals(978)
    [asked] = switch.of(Command.TOTALS)
    assert asked.request.totals.first.sequence == asked.request.totals.last.sequence == sale.name.sequence
    assert asked.request.totals.pairs[TotalsKind.SALE] == (1, 300)


async def test_a_module_does_not_keep_more_than_it_may(switch, cut_off, patient_clock):
    """Receipts that nobody prints stop it before they fill the disk."""
    entries = [
        Pending(request=SALE._replace(sequence=n), stage=Stage.ANSWERED, answered=SALE, recorded=bytes(1400))
        for n in range(1, PENDING_MAX + 1)
    ]
    async with cut_off(*entries) as till:
        with pytest.raises(TooManyOpenError):
            await till.sale(CARD, 100)
    assert switch.of(Command.SALE) == []


async def test_a_caller_that_goes_is_written_down_before_its_reversal_leaves(switch, link, path, patient_clock):
    """The reversal is recorded in silence and the module ends: the next start reverses, and asks nothing again."""
    switch.heard = Hearing(path)
    switch.deeds += [Deed.SILENCE, *[Deed.RECORD_IN_SILENCE] * 9]
    file, settings = PendingFile(path), Settings(answer_s=5, reversal_s=1, leave_s=1)

    async def ask():
        async with link.module(identity(1001), settings=settings, clock=lambda: NOON, pending=file) as till:
            with pytest.raises(NoAnswerError):
                await till.sale(CARD, 1250, deadline_s=2)

    with pytest.raises(UnsettledError):
        await ask()
    assert switch.heard.stages == [[Stage.ASKED], [Stage.LEFT]]
    assert [each.stage for each in kept(path)] == [Stage.LEFT]


async def test_what_was_never_sent_is_not_kept(switch, link, path, patient_clock):
    """The session ended before the first copy could leave: nothing is to be settled."""
    async with link.module(identity(1001), clock=lambda: NOON, pending=PendingFile(path)) as till:
        await till.echo()
        switch.reachable = False
        switch.echoes.append(Deed.DROP)
        with pytest.raises(NoAnswerError):
            await till.echo(deadline_s=5)
        with pytest.raises(NoAnswerError) as error:
            await till.sale(CARD, 1250, deadline_s=5)
        assert not error.value.sent
    assert not path.exists() or kept(path) == ()


async def test_a_request_does_not_leave_before_it_is_written(switch, link, path, patient_clock):
    """The disk takes nothing: the caller learns it, and the switch hears nothing."""
    async with link.module(identity(1001), clock=lambda: NOON, pending=PendingFile(path)) as till:
        blocked = path.with_name(path.name + ".new")
        blocked.mkdir()
        with pytest.raises(OSError, match="directory"):
            await till.sale(CARD, 1250)
        blocked.rmdir()
        assert (await till.sale(CARD, 700)).approved
    assert [each.request.amount for each in switch.of(Command.SALE)] == [700]


async def test_one_program_holds_the_file(path):
    """Another process is refused with a line that says why, and may have it when the first has left."""
    file = PendingFile(path)
    file.open(identity(1001))
    program = (
        "import sys; sys.path.insert(0, 'tests'); from pathlib import Path; from scripted_switch import identity\n"
    )
    program += f"from terminal import PendingFile; PendingFile(Path({str(path)!r})).open(identity(1001))"

    def other():
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    refused = await trio.to_thread.run_sync(other)
    assert "one plays a module at a time" in refused.stderr
    file.close()
    assert (await trio.to_thread.run_sync(other)).returncode == 0
