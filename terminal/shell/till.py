"""The till on a screen: a cashier chooses, answers, and sees the receipt.

`terminal.operations` says what can be chosen and what is asked for it; this file carries it between the cashier, the
module and the printer. A receipt counts as printed when it was shown and, where there is a printer, when that took it;
until then the module's file of pending requests keeps it, and the till brings it up again before its next choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from protocol.messages import RequestName
from protocol.numbers import VISIT, Command
from receipts.catalogue import Catalogue
from receipts.template import template
from terminal.answer import Answer, NoAnswerError, OpenNamesError, TooManyOpenError
from terminal.dialogue import FATES, Fate
from terminal.money import written
from terminal.operations import (
    CHOICES,
    OPERATIONS,
    REASONS,
    UNITS,
    Ask,
    Form,
    Ground,
    Last,
    Operation,
    RefusedError,
    Unit,
    chosen,
)
from terminal.paper import paper, slips
from terminal.shell.client import Module
from terminal.shell.console import BAD, CARE, GOOD, HEAD, QUIET, Console, InputEndedError
from terminal.shell.printer import Printer

SCREEN: Final = 80
GREETING_S: Final = 5.0
SIGNS: Final = {"approved": ("[OK]", GOOD), "partly": ("[!!]", CARE), "differ": ("[!!]", CARE), "open": ("[..]", CARE)}
DECLINED: Final = ("[NO]", BAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a till is set up: `currency` by its ISO 4217 number, and whether the shop keeps copies to be signed."""

    ground: Ground
    currency: int
    words: Catalogue
    merchant: bool = False
    printer: Printer | None = None


class Till:
    """One cashier at one module."""

    def __init__(self, module: Module, manner: Manner, console: Console):
        self._module = module
        self._manner = manner
        self._ground = manner.ground
        self._console = console
        self._shown: set[RequestName] = set()
        self._left: set[RequestName] = set()  # by a power cut

    async def run(self) -> None:
        """Serve until the cashier ends it, or there is nobody any more."""
        self._say("head", HEAD, self._module.identity.module)
        try:
            await self._greet()
            self._show_choices()
            while (operation := await self._choose()) is not None:
                if await self._settled():
                    await self._serve(operation)
        except InputEndedError:
            pass
        self._say("end")

    # ---------------------------------------------------------------------------------------------- what is asked for

    async def _choose(self) -> Operation | None:
        """What is chosen; None where the till is to end. A receipt stays on the screen: choices come when asked for."""
        while True:
            await self._owed(0)
            self._console.say("")
            self._say("keys choose", QUIET)
            typed = await self._console.ask(self._text("choose"))
            if typed is None:
                return None
            if not typed.text.strip():
                self._show_choices()
                continue
            try:
                return chosen(typed.text.strip())
            except RefusedError as refused:
                self._say(refused.why, CARE)

    def _show_choices(self) -> None:
        self._console.say("")
        for line in self._menu():
            self._console.say(line)

    def _menu(self) -> list[str]:
        named = [f"{place:>3} {self._called(operation)}" for place, operation in enumerate(CHOICES, start=1)]
        width = max(map(len, named)) + 2
        across = max(1, SCREEN // width)
        lines, place = [], 0
        for group, operations in OPERATIONS:
            lines.append(self._text(group))
            cells = named[place : place + len(operations)]
            place += len(operations)
            lines += [
                "".join(cell.ljust(width) for cell in cells[start : start + across]).rstrip()
                for start in range(0, len(cells), across)
            ]
        return lines

    def _called(self, operation: Operation) -> str:
        name = self._manner.words.text("command", operation.command.name.lower())
        return self._text("the last").format(name) if operation.last else name

    async def _filled(self, operation: Operation) -> Form | None:
        """The form of an operation with all answers; None where the cashier has gone back to the choice."""
        form: Form | None
        try:
            form = Form.begin(operation, self._ground)
        except RefusedError as refused:
            self._say(refused.why, CARE)
            return None
        self._console.say("")
        self._console.say(f"== {self._called(operation)}", HEAD)
        while form is not None and (ask := form.question) is not None:
            self._before(form, ask)
            typed = await self._console.ask(self._text(ask), secret=ask.secret)
            if typed is None or (not typed.text.strip() and not ask.optional):
                form = form.back()
                continue
            try:
                form = form.answered(typed.text, typed.took_s)
            except RefusedError as refused:
                self._say(refused.why, CARE)
            else:
                if self._console.takes_away and (shown := form.shown(ask)):
                    self._console.say(f"   {self._text(ask)}: {shown}")
        return form

    def _before(self, form: Form, ask: Ask) -> None:
        """What the cashier must see before a question: choices, warnings, keys."""
        if ask is Ask.REASON:
            self._list([self._manner.words.text("given", reason.name.lower()) for reason in REASONS])
        if ask is Ask.UNIT:
            self._list([self._text(unit.value) for unit in UNITS])
        if ask is Ask.NUMBER and self._ground.last is not None:
            self._console.say(f"   {self._text('keys last')}: {self._described(self._ground.last)}", QUIET)
        if ask is Ask.SURE:
            if form.operation.last and self._ground.last is not None:
                self._console.say(f"   {self._described(self._ground.last)}")
            if form.operation.final:
                self._say("final", CARE)
            if form.big:
                self._say("big", CARE)
            self._say("keys sure", QUIET)
        else:
            self._say("keys optional" if ask.optional else "keys", QUIET)

    def _list(self, choices: Sequence[str]) -> None:
        for place, choice in enumerate(choices, start=1):
            self._console.say(f"{place:>3} {choice}")

    def _described(self, last: Last) -> str:
        amount = (
            written(last.amount, self._ground.exponent) if last.amount and last.command is not Command.VISIT else ""
        )
        named = (self._manner.words.text("command", last.command.name.lower()), last.authorization, amount)
        return "  ".join(filter(None, named))

    # ------------------------------------------------------------------------------------------------ what is done then

    async def _serve(self, operation: Operation) -> None:
        form = await self._filled(operation)
        if form is None:
            return
        self._say("asking", QUIET)
        try:
            answer = await self._ask(form)
        except NoAnswerError as error:
            await self._not_answered(error)
        except OpenNamesError:
            self._say("not countable", CARE)
        except TooManyOpenError:
            self._say("too busy", CARE)
        except OSError:
            self._say("no disk", BAD)
        else:
            if answer is not None:
                await self._deliver(answer)

    async def _ask(self, form: Form) -> Answer | None:
        command, given = form.operation.command, form.given
        if command is Command.ECHO:
            await self._module.echo()
            self._say("there", GOOD)
            return None
        if command is Command.TOTALS:
            unit = VISIT if given[Ask.UNIT] is Unit.VISITS else self._manner.currency
            try:
                answer = await self._module.totals(unit, cashier=self._ground.cashier)
            except ValueError:
                self._say("nothing counted", CARE)
                return None
            if given[Ask.CLOSE]:
                self._module.close_totals()
            return answer
        request = await self._module.draft(command, **form.fields())
        return await self._module.ask(request, access_code=form.access_code, new_code=form.new_code)

    async def _not_answered(self, error: NoAnswerError) -> None:
        if not error.sent:
            self._say("refused" if error.refused else "unsent", BAD)
        elif error.reversal is None:
            self._say("unknown", CARE)
        else:
            await self._deliver(error.reversal)
            if error.reversal.approved:  # else its receipt says why it was not undone
                self._say("undone", CARE)

    def _remember(self, answer: Answer) -> None:
        """Know the last one that can be undone."""
        request = answer.request
        if not answer.approved:
            return
        if request.command is Command.REVERSE:
            self._ground = replace(self._ground, last=None)
        elif FATES[request.command] is Fate.REVERSE:
            last = Last(command=request.command, authorization=answer.authorization, amount=request.amount)
            self._ground = replace(self._ground, last=last)

    # ----------------------------------------------------------------------------------------------------- on the paper

    async def _greet(self) -> None:
        """Bring up what a power cut has left, and say whether the switch is there."""
        self._left = set(self._module.open_names)
        if self._left:
            self._say("asking", QUIET)
        await self._owed(self._module.settings.deadline_s)
        try:
            await self._module.echo(deadline_s=min(GREETING_S, self._module.settings.deadline_s))
        except NoAnswerError as error:
            self._say("not served" if error.refused else "not there", CARE)
        else:
            self._say("there", GOOD)

    async def _settled(self) -> bool:
        """Whether all that a power cut has left is; until then nothing new is asked, lest a sale be taken twice."""
        if self._left & set(self._module.open_names):
            await self._owed(self._module.settings.deadline_s)
        return not self._left & set(self._module.open_names)

    async def _owed(self, deadline_s: float) -> None:
        """Print what is settled and was not printed yet; tell what is open."""
        answers = await self._module.resume(deadline_s=deadline_s)
        if any(answer.name not in self._shown for answer in answers):
            self._console.say("")
            self._say("from before", HEAD)
        for answer in answers:
            if not await self._deliver(answer):
                break
        if still := self._module.open_names:
            self._say("still open", CARE, len(still))

    async def _deliver(self, answer: Answer) -> bool:
        """Show a receipt, print it, and let the module forget it; False where it has to come once more."""
        if answer.name not in self._shown:
            self._shown.add(answer.name)
            self._show(answer)
            self._remember(answer)
        printer = self._manner.printer
        try:
            if printer is not None:
                for slip in self._slips(answer):
                    await printer.put(slip, answer.code_page)
        except (OSError, ValueError):
            self._say("no printer", BAD)
            return False
        self._shown.discard(answer.name)
        try:
            await self._module.printed(answer)
        except OSError:
            self._say("no disk", BAD)
        return True

    def _slips(self, answer: Answer) -> list[tuple[str, ...]]:
        return slips(answer, self._manner.words.locale.language if self._manner.merchant else None)

    def _show(self, answer: Answer) -> None:
        for slip in self._slips(answer):
            self._console.say("")
            for line in paper(slip, answer.columns):
                self._console.say(line)
        self._console.say("")
        outcome = template().outcome(answer.result)
        sign, style = SIGNS.get(outcome, DECLINED)
        self._console.say(f"{sign} {self._manner.words.text('outcome', outcome)}", style)
        note = self._manner.words.find("reason", str(answer.reason)) if answer.reason else ""
        if note or not answer.approved:
            self._console.say(f"     {note or self._manner.words.find('result', f'{answer.result:02}')}", style)
        if answer.still_due_minor and answer.unit != VISIT:
            due = written(answer.still_due_minor, self._ground.exponent)
            self._console.say(f"     {self._manner.words.text('label', 'still due')}: {due}", style)

    def _text(self, name: str) -> str:
        return self._manner.words.text("till", name)

    def _say(self, name: str, style: str = "", *values: object) -> None:
        self._console.say(self._text(name).format(*values), style)
