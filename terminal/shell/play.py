"""Plays a day at the tills through real modules and prints each receipt as it comes.

Every till has a connection of its own, so that pulling the cable of one harms no other. A till learns what it must know
of earlier steps (the answer to refund, the request to repeat) from `Memory`, as a clerk does from the receipts.
"""

import datetime as dt
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import trio

from protocol.messages import Request
from protocol.numbers import VISIT, Command, Flag, GivenReason
from terminal.answer import Answer, NoAnswerError
from terminal.day import HELD_BACK, REVERSED, Code, Day, Deed, Step, differences, groups
from terminal.kit import Kit, KitCard, KitError
from terminal.money import minor_units, written
from terminal.shell.client import Module, local_time, open_link_over
from terminal.shell.trunk import Dial

BAR: Final = "    | "
NO_CARD: Final = KitCard("", None)
_COMMANDS: Final = {
    Deed.BALANCE: Command.BALANCE,
    Deed.ACTIVATE: Command.ACTIVATE,
    Deed.RELOAD: Command.RELOAD,
    Deed.SALE: Command.SALE,
    Deed.HOLD: Command.HOLD,
    Deed.PAYMENT: Command.PAYMENT,
    Deed.VISIT: Command.VISIT,
}


class Cable(trio.abc.Stream):
    """A stream that can be pulled out of the wall as soon as the next bytes have left."""

    def __init__(self, stream: trio.abc.Stream):
        self._stream = stream
        self.pull_after_sending = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, and break if that was asked for."""
        await self._stream.send_all(data)
        if self.pull_after_sending:
            await self._stream.aclose()

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream does."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As the stream does."""
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """As the stream does."""
        await self._stream.aclose()


class Till:
    """A module with a cable that can be pulled."""

    def __init__(self, dial: Dial):
        self._dial = dial
        self._cable: Cable | None = None
        self.module: Module

    async def dial(self) -> trio.abc.Stream:
        """Plug the cable in."""
        self._cable = Cable(await self._dial())
        return self._cable

    def pull_after_sending(self) -> None:
        """Let the next bytes that leave be the last ones."""
        if self._cable is not None:
            self._cable.pull_after_sending = True


@dataclass
class Memory:
    """What the clerks know of the steps that were named."""

    answers: dict[str, Answer] = field(default_factory=dict)
    drafts: dict[str, tuple[Request, str | None]] = field(default_factory=dict)
    decided_on: dt.date | None = None  # the last answer; the issuer's day, which this machine's need not be

    @property
    def today(self) -> dt.date:
        """The issuer's day, as far as is known."""
        return self.decided_on or local_time().date()

    def original(self, name: str) -> Answer | Request:
        """What a later step is about."""
        return self.answers[name] if name in self.answers else self.drafts[name][0]

    def answer(self, name: str) -> Answer:
        """The answer to a step; raises KitError if it has none."""
        if name not in self.answers:
            raise KitError(f"the step {name} has no answer yet")
        return self.answers[name]


@dataclass(frozen=True)
class Outcome:
    """How a step came out: as the script says it, with the receipt that was printed."""

    outcome: str
    answer: Answer | None
    note: str = ""


def check(day: Day, kit: Kit) -> None:
    """Raise KitError or ValueError if the kit lacks what the script needs, before anything is sent."""
    for step in day.steps:
        try:
            kit.till(step.till)
            if step.card:
                _code(step, kit.card(str(step.card)))
            if step.amount:
                minor_units(step.amount, kit.exponent)
        except (KitError, ValueError) as error:
            raise KitError(f"step {step.place}: {error}") from None


async def play(day: Day, kit: Kit, dial: Dial, say: Callable[[str], None]) -> bool:
    """Play a day; whether every step came out as its script says. It ends with the first one that does not."""
    tills: dict[int, Till] = {}
    memory = Memory()
    async with AsyncExitStack() as stack:
        for place in sorted({step.till for step in day.steps}):
            till = tills[place] = Till(dial)
            link = await stack.enter_async_context(open_link_over(till.dial))
            till.module = await stack.enter_async_context(link.module(kit.till(place)))
        say(f"{day.title}\n{'=' * len(day.title)}")
        for group in groups(day):
            failures: list[str] = []

            async def run(step: Step, failures: list[str] = failures) -> None:
                outcome = await _do(step, tills[step.till], kit, memory)
                _print(step, len(day.steps), outcome, kit.language(step.till), say)
                told = written(outcome.answer.balance_minor, kit.exponent) if outcome.answer else None
                left = outcome.answer.visits_left if outcome.answer else None
                differing = differences(step, outcome.outcome, told, left)
                failures += [f"Step {step.place} differs: {each}." for each in differing]

            async with trio.open_nursery() as nursery:
                for step in group:
                    nursery.start_soon(run, step)
            if failures:
                say("\n" + "\n".join(failures))
                return False
        say(f"\n{len(day.steps)} steps at {len(tills)} tills, each as expected.")
        return True


async def _do(step: Step, till: Till, kit: Kit, memory: Memory) -> Outcome:
    try:
        if step.cut:
            await till.module.echo()  # so that the next bytes are this step's, and not a sign-on
            till.pull_after_sending()
        if step.hold_back:
            await _hold_back(step, till.module, kit, memory)
            return Outcome(HELD_BACK, None, "(written by the till, and held back on its way)")
        answer = await _ask(step, till.module, kit, memory)
    except KitError as error:
        return Outcome("an impossible step", None, f"({error})")
    except NoAnswerError as error:
        if error.reversal is not None and error.reversal.approved:
            return Outcome(REVERSED, error.reversal, "(no answer came in time: the till reverses by itself)")
        return Outcome("no answer", None, f"({error})")
    memory.decided_on = answer.decided_on or memory.decided_on
    if step.name:
        memory.answers[step.name] = answer
    note = ""
    if step.deed is Deed.REPEAT:
        same = answer.recorded == memory.answer(step.original).recorded
        if not same:
            return Outcome("another answer", answer)
        note = "(the same 1,400 bytes as the first time)"
    return Outcome(f"{answer.result:02}", answer, note)


async def _hold_back(step: Step, module: Module, kit: Kit, memory: Memory) -> None:
    card = kit.card(str(step.card))
    flags = Flag.PARTIAL if step.partial else Flag(0)
    request = await module.draft(_COMMANDS[step.deed], card=card.number, amount=_amount(step, kit), flags=flags)
    memory.drafts[step.name] = request, _code(step, card)


def _ask(  # noqa: PLR0912 - each deed is a call
    step: Step, module: Module, kit: Kit, memory: Memory
) -> Awaitable[Answer]:
    card = kit.card(str(step.card)) if step.card else NO_CARD
    code = _code(step, card)
    match step.deed:
        case Deed.ECHO:
            return module.echo(deadline_s=step.deadline_s)
        case Deed.BALANCE:
            return module.balance(card.number, access_code=code, deadline_s=step.deadline_s)
        case Deed.ACTIVATE:
            return module.activate(card.number, _amount(step, kit), access_code=code, deadline_s=step.deadline_s)
        case Deed.RELOAD:
            return module.reload(card.number, _amount(step, kit), access_code=code, deadline_s=step.deadline_s)
        case Deed.SALE:
            return module.sale(
                card.number, _amount(step, kit), access_code=code, partial=step.partial, deadline_s=step.deadline_s
            )
        case Deed.HOLD:
            return module.hold(
                card.number, _amount(step, kit), access_code=code, partial=step.partial, deadline_s=step.deadline_s
            )
        case Deed.CONFIRM:
            return module.confirm(memory.answer(step.original), _amount(step, kit), deadline_s=step.deadline_s)
        case Deed.RELEASE:
            return module.release(memory.answer(step.original), deadline_s=step.deadline_s)
        case Deed.PAYMENT:
            return module.payment(card.number, _amount(step, kit), deadline_s=step.deadline_s)
        case Deed.VISIT:
            return module.visit(card.number, step.persons or 1, access_code=code, deadline_s=step.deadline_s)
        case Deed.CASH_OUT:
            return module.cash_out(card.number, access_code=code, deadline_s=step.deadline_s)
        case Deed.BLOCK:
            return module.block(card.number, GivenReason.HOLDER, deadline_s=step.deadline_s)
        case Deed.UNBLOCK:
            return module.unblock(card.number, GivenReason.HOLDER, deadline_s=step.deadline_s)
        case Deed.FREEZE:
            last = memory.today + dt.timedelta(days=step.days - 1)
            return module.freeze(card.number, memory.today, last, deadline_s=step.deadline_s)
        case Deed.THAW:
            return module.freeze(card.number, memory.today, deadline_s=step.deadline_s)
        case Deed.LIMIT:
            return module.limit(card.number, minor_units(step.limit, kit.exponent), deadline_s=step.deadline_s)
        case Deed.TOTALS:
            return module.totals(VISIT if step.unit == "visits" else kit.currency, deadline_s=step.deadline_s)
        case Deed.REFUND:
            return module.refund(memory.answer(step.original), _amount(step, kit), deadline_s=step.deadline_s)
        case Deed.REVERSE:
            return module.reverse(memory.original(step.original), _amount(step, kit), deadline_s=step.deadline_s)
        case Deed.REPRINT:
            return module.reprint(memory.answer(step.original), deadline_s=step.deadline_s)
        case Deed.REPEAT:
            return module.repeat(memory.answer(step.original), deadline_s=step.deadline_s)
        case Deed.SEND:
            request, held_code = memory.drafts[step.original]
            return module.ask(request, access_code=held_code, deadline_s=step.deadline_s)


def _amount(step: Step, kit: Kit) -> int:
    return minor_units(step.amount, kit.exponent) if step.amount else 0


def _code(step: Step, card: KitCard) -> str | None:
    if step.code is Code.NONE:
        return None
    if card.access_code is None:
        raise KitError(f"the card at place {step.card} of the kit has no access code")
    if step.code is Code.OWN:
        return card.access_code
    return card.access_code[:-1] + str((int(card.access_code[-1]) + 1) % 10)


def _print(step: Step, steps: int, outcome: Outcome, language: str, say: Callable[[str], None]) -> None:
    lines = [f"\n[{step.place}/{steps}] Till {step.till}: {step.say}"]
    if outcome.note:
        lines.append(f"    {outcome.note}")
    if outcome.answer is not None:
        lines += [(BAR + line).rstrip() for line in outcome.answer.lines]
        if step.signature and outcome.answer.approved:
            lines += [BAR.rstrip(), *((BAR + line).rstrip() for line in outcome.answer.merchant_copy(language))]
    say("\n".join(lines))


def say_aloud(text: str) -> None:
    """Print at once, whoever reads."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
