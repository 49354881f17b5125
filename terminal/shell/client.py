"""A module: typed calls on one side, a session with the switch on the other.

A call takes a name, sends copies until a final answer comes, and leaves its name open when its caller's time is over.
One task settles what was left open, another keeps the module signed on (`terminal.shell.sign_on`).
`terminal.dialogue` says what is to be done; this file does it.

    async with connect("127.0.0.1", 7411, identity) as module:
        answer = await module.sale(card, 1250, access_code="1234")
        if answer.approved: print(answer.text)

With a `PendingFile` what it asks survives a power cut; who prints a receipt then says so:

    async with connect("127.0.0.1", 7411, identity, sequence=Sequence(path), pending=PendingFile(other)) as module:
        for answer in (*await module.resume(), await module.sale(card, 1250)):
            print(answer.text)
            await module.printed(answer)
"""

import datetime as dt
import math
import random as randomness
import secrets
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypedDict, Unpack

import trio

from protocol import access_code as pin
from protocol.messages import Freeze, OriginalName, Request, RequestName
from protocol.module import SessionOverError
from protocol.numbers import Command, Flag, GivenReason
from protocol.signon import ModuleIdentity
from terminal.answer import Answer, NoAnswerError, OpenNamesError, TooManyOpenError, UnsettledError
from terminal.dialogue import BACK_OFF_MAX_S, FATES, Dialogue, Fate, Happening, Phase
from terminal.pending import Pending, Stage, left_s
from terminal.settings import Settings
from terminal.shell.pending_file import PendingFile
from terminal.shell.roots import Roots
from terminal.shell.sequence import Names, Sequence, SequenceError
from terminal.shell.sign_on import SignOn
from terminal.shell.trunk import Dial, Line, Reply, Trunk, dialling, open_trunk
from terminal.tally import Tally

PENDING_MAX: Final = 512  # of which only those with a recorded answer can be so many: nobody prints them
JITTER: Final = randomness.SystemRandom().random
Original = Answer | Request | RequestName | OriginalName | str
"""An earlier request: its answer, itself, its name, or its authorization number of 12 digits."""


class Origin(TypedDict, total=False):
    """What every call may say of where it comes from, and how long it waits for its answer."""

    cashier: int
    till_receipt: str
    till_serial: str
    day_close: int
    deadline_s: float | None


def local_time() -> dt.datetime:
    """The time in this machine's zone."""
    return dt.datetime.now().astimezone()


class _Pursuit:
    """A dialogue with what it needs to be sent: where its answer comes in, and when the next copy may leave."""

    def __init__(self, dialogue: Dialogue):
        self.dialogue = dialogue
        self.reply = Reply()
        self.not_before = 0.0
        self.until = math.inf  # when nobody waits any more for what was resumed
        self.resumed = False  # asked before the module was cut off
        self.answer: Answer | None = None
        self.closed = trio.Event()


class Module:
    """One module; safe to use from several tasks. Made by `connect` or `link.module`."""

    def __init__(
        self,
        trunk: Trunk,
        roots: Roots,
        settings: Settings,
        sequence: Sequence,
        clock: Callable[[], dt.datetime],
        random: Callable[[int], bytes],
        jitter: Callable[[], float],
        pending: PendingFile | None = None,
    ):
        self.identity = identity = roots.identity
        self.settings = settings
        self._random = random
        self._jitter = jitter
        self._names = Names(identity.module, sequence, clock)
        self._signed_on = SignOn(trunk, roots, self._names, settings, jitter)
        self._tally = Tally()
        self._counted_to = 0
        self._calls = 0
        self._open: deque[_Pursuit] = deque()
        self._added = trio.Event()
        self._pending = pending
        for entry in pending.entries if pending else ():
            self._take_up(entry, clock())

    def __repr__(self) -> str:
        return f"<Module {self.identity.module}>"

    # ----------------------------------------------------------------------------------------------------------- calls

    async def echo(self, *, deadline_s: float | None = None) -> Answer:
        """Ask whether the switch is there; `last_sequence` is the last of this module that it has recorded."""
        return await self._call(Command.ECHO, deadline_s=deadline_s)

    async def balance(self, card: str, *, access_code: str | None = None, **origin: Unpack[Origin]) -> Answer:
        """What is on a card."""
        return await self._call(Command.BALANCE, card=card, access_code=access_code, **origin)

    async def activate(
        self, card: str, amount_minor: int, *, access_code: str | None = None, **origin: Unpack[Origin]
    ) -> Answer:
        """Sell a card with this amount on it."""
        return await self._call(Command.ACTIVATE, card=card, amount=amount_minor, access_code=access_code, **origin)

    async def reload(
        self, card: str, amount_minor: int, *, access_code: str | None = None, **origin: Unpack[Origin]
    ) -> Answer:
        """Put an amount on a card."""
        return await self._call(Command.RELOAD, card=card, amount=amount_minor, access_code=access_code, **origin)

    async def sale(
        self,
        card: str,
        amount_minor: int,
        *,
        access_code: str | None = None,
        partial: bool = False,
        **origin: Unpack[Origin],
    ) -> Answer:
        """Take an amount from a card; with `partial`, what is there if that is less (result 10)."""
        flags = Flag.PARTIAL if partial else Flag(0)
        return await self._call(
            Command.SALE, card=card, amount=amount_minor, access_code=access_code, flags=flags, **origin
        )

    async def hold(
        self,
        card: str,
        amount_minor: int,
        *,
        access_code: str | None = None,
        partial: bool = False,
        **origin: Unpack[Origin],
    ) -> Answer:
        """Reserve an amount of a card, to be confirmed or released; with `partial`, what is there if that is less."""
        flags = Flag.PARTIAL if partial else Flag(0)
        return await self._call(
            Command.HOLD, card=card, amount=amount_minor, access_code=access_code, flags=flags, **origin
        )

    async def confirm(self, original: Original, amount_minor: int, **origin: Unpack[Origin]) -> Answer:
        """Take what was held, or less of it; the rest is free again."""
        return await self._call(Command.CONFIRM, original=_original(original), amount=amount_minor, **origin)

    async def release(self, original: Original, **origin: Unpack[Origin]) -> Answer:
        """Give a hold up."""
        return await self._call(Command.RELEASE, original=_original(original), **origin)

    async def payment(self, card: str, amount_minor: int, **origin: Unpack[Origin]) -> Answer:
        """Take money for what a local credit card owes."""
        return await self._call(Command.PAYMENT, card=card, amount=amount_minor, **origin)

    async def visit(
        self, card: str, visits: int = 1, *, access_code: str | None = None, **origin: Unpack[Origin]
    ) -> Answer:
        """Let somebody in on a pass, or several at once."""
        return await self._call(Command.VISIT, card=card, amount=visits, access_code=access_code, **origin)

    async def cash_out(self, card: str, *, access_code: str | None = None, **origin: Unpack[Origin]) -> Answer:
        """Pay the whole balance out and close the card."""
        return await self._call(Command.CASH_OUT, card=card, access_code=access_code, **origin)

    async def block(self, card: str, reason: GivenReason, **origin: Unpack[Origin]) -> Answer:
        """Have a card refused from now on."""
        return await self._call(Command.BLOCK, card=card, reason=reason, **origin)

    async def unblock(self, card: str, reason: GivenReason, **origin: Unpack[Origin]) -> Answer:
        """Have a blocked card served again."""
        return await self._call(Command.UNBLOCK, card=card, reason=reason, **origin)

    async def replace(
        self, card: str, new_card: str, *, access_code: str | None = None, **origin: Unpack[Origin]
    ) -> Answer:
        """Let the number of a new card take the place of a card's."""
        return await self._call(Command.REPLACE, card=card, new_card=new_card, access_code=access_code, **origin)

    async def change_access_code(
        self, card: str, new_code: str, *, access_code: str | None = None, **origin: Unpack[Origin]
    ) -> Answer:
        """Give a card the code that its holder has chosen; a desk does it without the old one."""
        return await self._call(
            Command.CHANGE_ACCESS_CODE, card=card, access_code=access_code, new_code=new_code, **origin
        )

    async def freeze(self, card: str, first: dt.date, last: dt.date | None = None, **origin: Unpack[Origin]) -> Answer:
        """Let a pass stand still from the first day to the last; without a last, go on again on the first."""
        return await self._call(Command.FREEZE, card=card, freeze=Freeze(first, last), **origin)

    async def limit(self, card: str, limit_minor: int, **origin: Unpack[Origin]) -> Answer:
        """Set how much a local credit card may owe."""
        return await self._call(Command.LIMIT, card=card, limit=limit_minor, **origin)

    async def reset_tries(self, card: str, **origin: Unpack[Origin]) -> Answer:
        """Have the wrong codes of a card forgotten."""
        return await self._call(Command.RESET_TRIES, card=card, **origin)

    async def totals(self, unit: int, **origin: Unpack[Origin]) -> Answer:
        """Compare with the switch what this module has moved in one unit since `close_totals`, or since it began.

        Raises OpenNamesError if a request has no recorded answer yet or is under way, see `settle`; ValueError if
        nothing was asked, or more than can be counted at once.
        """
        counted = self._tally.totals(unit)
        if counted is None:
            raise ValueError("nothing was asked since the last totals")
        if self._tally.too_long:
            raise ValueError("too much was asked since the last totals to be counted at once")
        if self._open or self._calls:
            raise OpenNamesError
        self._counted_to = counted.last.sequence
        return await self._call(Command.TOTALS, unit=unit, totals=counted, **origin)

    def close_totals(self) -> None:
        """Begin counting anew: the next interval starts behind the one that totals were asked for last."""
        self._tally.begin(self._counted_to)

    async def refund(self, original: Original, amount_minor: int, **origin: Unpack[Origin]) -> Answer:
        """Give back an amount, up to what is left of an original."""
        return await self._call(Command.REFUND, original=_original(original), amount=amount_minor, **origin)

    async def reverse(
        self,
        original: Original,
        amount_minor: int,
        *,
        reason: GivenReason = GivenReason.MISTAKE,
        **origin: Unpack[Origin],
    ) -> Answer:
        """Undo an original whole; `amount_minor` is what the original asked for."""
        return await self._call(
            Command.REVERSE, original=_original(original), amount=amount_minor, reason=reason, **origin
        )

    async def reprint(self, original: Original, **origin: Unpack[Origin]) -> Answer:
        """Fetch the receipt of an original again, with a copy mark."""
        return await self._call(Command.REPRINT, original=_original(original), **origin)

    async def page(self, original: Original, page: int, *, deadline_s: float | None = None) -> Answer:
        """Fetch one page, counted from 1, of a recorded answer."""
        return await self._call(Command.PAGE, original=_original(original), page=page, deadline_s=deadline_s)

    async def draft(self, command: Command, *, deadline_s: float | None = None, **fields: Any) -> Request:
        """Name a request and do not send it yet; `fields` are those of `protocol.messages.Request`.

        Raises ValueError if a field cannot hold its value, NoAnswerError if the module could not sign on in time.
        """
        with trio.move_on_after(self._deadline_s(deadline_s)):
            if not self._names.known:
                await self._signed_on.line()
            unrecorded = FATES[command] is Fate.FORGET
            name, time = self._names.passing() if unrecorded else await self._take_name()
            request = Request(
                command=command, module=name.module, date=name.date, sequence=name.sequence, time=time, **fields
            )
            request.encode()
            return request
        raise NoAnswerError(None, sent=False, refused=self._signed_on.refused)

    async def _take_name(self) -> tuple[RequestName, dt.time]:
        name, time = await self._names.take()
        self._tally.take(name)
        return name, time

    async def ask(
        self,
        request: Request,
        *,
        access_code: str | None = None,
        new_code: str | None = None,
        deadline_s: float | None = None,
    ) -> Answer:
        """Send a drafted request until its answer comes.

        Args:
            request: what `draft` gave.
            access_code: the holder's, 4 to 12 digits; sent with each copy while this call waits, and kept nowhere.
            new_code: the one that the holder has chosen, in the same way.
            deadline_s: how long to wait for the answer, in seconds.

        Raises:
            NoAnswerError: no recorded answer came in time; what was sent is settled in the background.
            TooManyOpenError: too many requests are without a recorded answer; nothing was sent.
            ValueError: the access code or the card cannot be sealed; nothing was sent.

        """
        return await self._ask(Dialogue(request), access_code, deadline_s, new_code)

    async def repeat(
        self, answer: Answer, *, access_code: str | None = None, deadline_s: float | None = None
    ) -> Answer:
        """Send the request of an answer once more, as a repeat: the same answer comes, and nothing happens again."""
        return await self._ask(Dialogue(answer.request, again=True), access_code, deadline_s)

    async def settle(self) -> None:
        """Wait until nothing is open: all that callers left without an answer is recorded."""
        while self._open:
            await self._open[-1].closed.wait()

    async def resume(self, *, deadline_s: float | None = None) -> tuple[Answer, ...]:
        """Settle what is open, from before a power cut too, and give each answer whose receipt was not printed yet.

        A program with a `PendingFile` calls it at its start and prints the receipts, oldest first, each with `printed`
        behind it; later, when no call of its own is under way, for those that came in the background. What has no
        answer within `deadline_s` stays in `open_names`, goes on by itself and is given another time.
        """
        deadline = trio.current_time() + self._deadline_s(deadline_s)
        with trio.move_on_at(deadline):
            await self.settle()
        answers = [entry.answer() for entry in (self._pending.entries if self._pending else ())]
        return tuple([await self._whole(answer, deadline) for answer in answers if answer is not None])

    async def printed(self, answer: Answer) -> None:
        """The receipt of an answer is on paper, or wherever it goes: a power cut from now on needs it no more."""
        if self._pending is not None:
            await self._pending.forget(answer.name)

    @property
    def open_names(self) -> tuple[RequestName, ...]:
        """The names of requests that were left without a recorded answer, oldest first."""
        return tuple(pursuit.dialogue.request.name for pursuit in self._open)

    # ----------------------------------------------------------------------------------------------------- one request

    async def _ask(
        self, dialogue: Dialogue, access_code: str | None, deadline_s: float | None, new_code: str | None = None
    ) -> Answer:
        kept = 0 if self._pending is None else len(self._pending.entries)
        if len(self._open) + self._calls >= self.settings.open_max or kept >= PENDING_MAX:
            raise TooManyOpenError
        request = dialogue.request
        for code in (access_code, new_code):
            if code is not None:
                pin.encode(code, request.card, bytes(16), bytes(pin.RANDOM_BYTES))
        pursuit = _Pursuit(dialogue)
        deadline = trio.current_time() + self._deadline_s(deadline_s)
        self._calls += 1
        try:
            with trio.CancelScope(deadline=deadline):
                while dialogue.phase is not Phase.CLOSED:
                    await trio.sleep_until(pursuit.not_before)
                    await self._send_copy(pursuit, access_code, new_code)
        finally:
            self._calls -= 1
            await self._leave_open(pursuit)
        if pursuit.answer is not None:
            return await self._whole(pursuit.answer, deadline)
        if dialogue.reverses:
            with trio.move_on_after(self.settings.reversal_s):
                await pursuit.closed.wait()
        refused = self._signed_on.refused
        raise NoAnswerError(request.name, sent=dialogue.sent, reversal=pursuit.answer, refused=refused)

    async def _call(
        self,
        command: Command,
        *,
        access_code: str | None = None,
        new_code: str | None = None,
        deadline_s: float | None = None,
        **fields: Any,
    ) -> Answer:
        started = trio.current_time()
        whole_s = self._deadline_s(deadline_s)
        request = await self.draft(command, deadline_s=whole_s, **fields)
        left_s = max(0.0, whole_s - (trio.current_time() - started))
        return await self.ask(request, access_code=access_code, new_code=new_code, deadline_s=left_s)

    def _deadline_s(self, deadline_s: float | None) -> float:
        return self.settings.deadline_s if deadline_s is None else deadline_s

    async def _send_copy(self, pursuit: _Pursuit, access_code: str | None, new_code: str | None = None) -> None:
        """Send one copy as soon as there is a session, and deal with what becomes of it."""
        dialogue = pursuit.dialogue
        line = await self._signed_on.line()
        if dialogue.phase is Phase.ASKING and trio.current_time() >= pursuit.until:
            await self._gone(dialogue)
        if self._pending is not None and not dialogue.forgettable:
            await self._pending.asked(dialogue.request)
        if dialogue.unnamed:
            dialogue.name_reversal(*await self._take_name())
        async with line.slots:
            request = dialogue.outgoing()
            try:
                sealed = self._sealed(request, access_code, new_code, line)
                line.send(sealed.encode(), pursuit.reply)
            except SessionOverError:
                return
            dialogue.happened(Happening.SENT)
            recorded = await line.wait(pursuit.reply, self.settings.answer_s)
        if recorded is None:
            dialogue.happened(Happening.SILENCE if line.why is None else Happening.LOST)
            return
        answer = Answer.read(request, recorded)
        if answer is None:
            line.close()
            dialogue.happened(Happening.LOST)
            return
        dialogue.answered(answer.result)
        pursuit.not_before = trio.current_time() + dialogue.rest_s(self._jitter())
        if dialogue.phase is Phase.CLOSED:
            pursuit.answer = answer
            earlier = pursuit.resumed and answer.name == dialogue.request.name  # of an interval that was lost
            if FATES[answer.request.command] is not Fate.FORGET and not earlier:
                self._tally.add(answer)
            if self._pending is not None:
                await self._pending.answered(dialogue.request, answer.request, answer.recorded)

    def _sealed(self, request: Request, access_code: str | None, new_code: str | None, line: Line) -> Request:
        if access_code is not None:
            block = self._block(access_code, request.card, line)
            request = request._replace(flags=request.flags | Flag.ACCESS_CODE, access_code_block=block)
        if new_code is not None:
            request = request._replace(new_access_code_block=self._block(new_code, request.card, line))
        return request

    def _block(self, code: str, card: str, line: Line) -> bytes:
        return pin.encode(code, card, line.session.access_code_key, self._random(pin.RANDOM_BYTES))

    async def _whole(self, answer: Answer, deadline: float) -> Answer:
        """The answer with all its pages, as far as they can be fetched in time."""
        if answer.request.command is Command.PAGE:
            return answer
        texts = list(answer.pages)
        for page in range(2, answer.pages_total + 1):
            left_s = max(self.settings.answer_s, deadline - trio.current_time())
            try:
                fetched = await self.page(answer, page, deadline_s=left_s)
            except (NoAnswerError, TooManyOpenError):
                break
            if not fetched.approved:
                break
            texts += fetched.pages
        return replace(answer, pages=tuple(texts))

    # ------------------------------------------------------------------------------------------- what callers left open

    async def _leave_open(self, pursuit: _Pursuit) -> None:
        dialogue = pursuit.dialogue
        await self._gone(dialogue)
        if not dialogue.open:
            if self._pending is not None and pursuit.answer is None:
                await self._pending.forget(dialogue.request.name)
            return
        if dialogue.reverses:
            pursuit.reply = Reply()
        pursuit.not_before = trio.current_time()
        self._open.append(pursuit)
        self._added.set()

    async def _gone(self, dialogue: Dialogue) -> None:
        """Nobody waits for its answer any more; that is on the disk before a reversal can leave."""
        dialogue.happened(Happening.GONE)
        if self._pending is not None and dialogue.open:
            await self._pending.left(dialogue.request)

    def _take_up(self, entry: Pending, now: dt.datetime) -> None:
        """Go on with what was pending when the module was cut off."""
        for name in entry.names:
            self._names.learn(name.sequence + 1)  # its reversal may have had the next one
        if entry.stage is Stage.ANSWERED:
            return
        pursuit = _Pursuit(Dialogue.resumed(entry.request))
        pursuit.resumed = True
        pursuit.until = trio.current_time() + left_s(entry.request, now, self.settings.resume_s)
        if entry.stage is Stage.LEFT:
            pursuit.dialogue.happened(Happening.GONE)
        self._open.append(pursuit)

    async def _settle_open(self) -> None:
        """Send what callers left open, oldest first, until each is recorded; one that must rest lets others pass."""
        while True:
            self._added = trio.Event()
            due = min(self._open, key=lambda pursuit: pursuit.not_before, default=None)
            if due is None:
                await self._added.wait()
                continue
            if due.not_before > trio.current_time():
                with trio.move_on_at(due.not_before):
                    await self._added.wait()
                continue
            try:
                await self._send_copy(due, None)
            except (OSError, SequenceError):  # no number for the reversal can be written down now
                due.not_before = trio.current_time() + BACK_OFF_MAX_S
            if due.dialogue.phase is Phase.CLOSED:
                self._open.remove(due)
                due.closed.set()

    async def run(self) -> None:
        """Keep the module going until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._signed_on.keep)
            nursery.start_soon(self._settle_open)

    def leave(self) -> None:
        """End the session."""
        self._signed_on.leave()


def _original(original: Original) -> OriginalName | str:
    match original:
        case Answer(request=Request(date=date, sequence=sequence)):
            return OriginalName(date, sequence)
        case Request(date=date, sequence=sequence) | RequestName(date=date, sequence=sequence):
            return OriginalName(date, sequence)
        case _:
            return original


class Link:
    """One connection for the modules of a store. Made by `open_link`."""

    def __init__(self, trunk: Trunk):
        self._trunk = trunk

    @asynccontextmanager
    async def module(
        self,
        identity: ModuleIdentity,
        *,
        settings: Settings | None = None,
        sequence: Sequence | None = None,
        root_file: Path | None = None,
        clock: Callable[[], dt.datetime] = local_time,
        random: Callable[[int], bytes] = secrets.token_bytes,
        jitter: Callable[[], float] = JITTER,
        pending: PendingFile | None = None,
    ) -> AsyncIterator[Module]:
        """A module on this connection.

        When it is left, with an exception or without, it tries for `leave_s` to settle what is open. If it cannot, it
        raises UnsettledError, unless another exception is on its way out already.

        Args:
            identity: what the module was given when it was enrolled.
            settings: how patient it is.
            sequence: where its numbers come from; give one with a file if the module may be killed.
            root_file: where it keeps root keys that it takes from sessions; without one it takes none.
            clock: the module's local date and time.
            random: gives that many random bytes, for access-code blocks.
            jitter: a random number from 0 to 1, for back-offs.
            pending: where what it asks survives it, see `Module.resume`; give a sequence with a file too.

        """
        roots = Roots(identity, root_file)  # what is pending is sealed under the kit's own key, which stays
        with _opened(pending, identity):
            module = Module(
                self._trunk, roots, settings or Settings(), sequence or Sequence(), clock, random, jitter, pending
            )
            async with self._running(module):
                yield module
        if names := module.open_names:
            raise UnsettledError(names)

    @asynccontextmanager
    async def _running(self, module: Module) -> AsyncIterator[None]:
        scope, ended = trio.CancelScope(), trio.Event()

        async def run() -> None:
            try:
                with scope:
                    await module.run()
            finally:
                ended.set()

        self._trunk.nursery.start_soon(run)
        try:
            yield
        finally:
            try:
                with trio.move_on_after(module.settings.leave_s):
                    await module.settle()
            finally:
                module.leave()
                scope.cancel()
                with trio.CancelScope(shield=True):
                    await ended.wait()


@contextmanager
def _opened(pending: PendingFile | None, identity: ModuleIdentity) -> Iterator[None]:
    if pending is None:
        yield
        return
    pending.open(identity)
    try:
        yield
    finally:
        pending.close()


@asynccontextmanager
async def open_link_over(dial: Dial) -> AsyncIterator[Link]:
    """A connection for the modules of a store, over whatever stream `dial` opens."""
    async with open_trunk(dial) as trunk:
        yield Link(trunk)


@asynccontextmanager
async def open_link(host: str, port: int, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Link]:
    """A connection for the modules of a store, over TCP, with TLS if a context is given."""
    async with open_link_over(dialling(host, port, tls)) as link:
        yield link


@asynccontextmanager
async def connect(
    host: str,
    port: int,
    identity: ModuleIdentity,
    *,
    tls: ssl.SSLContext | None = None,
    settings: Settings | None = None,
    sequence: Sequence | None = None,
    root_file: Path | None = None,
    clock: Callable[[], dt.datetime] = local_time,
    pending: PendingFile | None = None,
) -> AsyncIterator[Module]:
    """One module on a connection of its own; see `open_link` and `Link.module` for its arguments."""
    async with (
        open_link(host, port, tls=tls) as link,
        link.module(
            identity, settings=settings, sequence=sequence, root_file=root_file, clock=clock, pending=pending
        ) as module,
    ):
        yield module
