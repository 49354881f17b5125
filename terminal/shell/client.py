"""A module: typed calls on one side, a session with the switch on the other.

One task keeps the module signed on: it proves each session with an echo, learns the last used sequence number, renews
the session before its frames or its life are used, and rests before it signs on again. Another one settles the names
that callers left open. A call takes a name, sends copies until a final answer comes, and hands what is left to the
settler when its caller's time is over; `terminal.dialogue` says what is to be done, this file does it.

    async with connect("127.0.0.1", 7411, identity) as module:
        answer = await module.sale(card, 1250, access_code="1234")
        if answer.approved: print(answer.text)
"""

import datetime as dt
import random as randomness
import secrets
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypedDict, Unpack

import trio

from protocol import access_code as pin
from protocol.codec import LayoutError
from protocol.messages import FormatError, OriginalName, Request, RequestName
from protocol.module import SessionOverError
from protocol.numbers import Command, Flag, GivenReason, Result
from protocol.session import Ended
from protocol.signon import ModuleIdentity
from terminal.answer import Answer, NoAnswerError, TooManyOpenError, UnsettledError
from terminal.dialogue import BACK_OFF_MAX_S, NOT_FINAL, Dialogue, Happening, Phase, back_off_s
from terminal.shell.sequence import Sequence, SequenceError
from terminal.shell.trunk import Dial, Line, Reply, SignOnError, Trunk, dialling, open_trunk

RENEWAL: Final = 0.901  # of its life, a little after the session says that it is due
JITTER: Final = randomness.SystemRandom().random
UNRECORDED_SEQUENCE: Final = 1  # echo and page leave no record, so they need a number but use none up

Original = Answer | Request | RequestName | OriginalName | str
"""An earlier request: its answer, itself, its name, or its authorization number of 12 digits."""


class Origin(TypedDict, total=False):
    """What every call may say of where it comes from, and how long it waits for its answer."""

    cashier: int
    till_receipt: str
    till_serial: str
    day_close: int
    deadline_s: float | None


@dataclass(frozen=True, slots=True)
class Settings:
    """How patient a module is; times in seconds.

    Attributes:
        deadline_s: how long a call waits for its answer, unless it says so itself.
        answer_s: how long it waits for the answer to one copy before it sends the next.
        reversal_s: how long it waits, after its deadline, for the automatic reversal.
        leave_s: how long a module that is left tries to settle what is open.
        keep_open: keep the session with an echo when idle; else let it end, and sign on when a call needs it.
        open_max: how many requests without a recorded answer the module remembers.

    """

    deadline_s: float = 30.0
    answer_s: float = 5.0
    reversal_s: float = 10.0
    leave_s: float = 10.0
    keep_open: bool = True
    open_max: int = 64


def local_time() -> dt.datetime:
    """The time in this machine's zone."""
    return dt.datetime.now().astimezone()


class _Pursuit:
    """A dialogue with what it needs to be sent: where its answer comes in, and when the next copy may leave."""

    def __init__(self, dialogue: Dialogue):
        self.dialogue = dialogue
        self.reply = Reply()
        self.not_before = 0.0
        self.answer: Answer | None = None
        self.closed = trio.Event()


class Module:
    """One module; safe to use from several tasks. Made by `connect` or `link.module`."""

    def __init__(
        self,
        trunk: Trunk,
        identity: ModuleIdentity,
        settings: Settings,
        sequence: Sequence,
        clock: Callable[[], dt.datetime],
        random: Callable[[int], bytes],
        jitter: Callable[[], float],
    ):
        self.identity = identity
        self.settings = settings
        self._trunk = trunk
        self._sequence = sequence
        self._clock = clock
        self._random = random
        self._jitter = jitter
        self._line: Line | None = None
        self._changed = trio.Event()
        self._wanted = trio.Event()
        self._waiting = 0
        self._sequence_known = False
        self._calls = 0
        self._open: deque[_Pursuit] = deque()
        self._added = trio.Event()

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
            if not self._sequence_known:
                await self._usable_line()
            name, time = await self._name(recorded=command not in (Command.ECHO, Command.PAGE))
            request = Request(
                command=command, module=name.module, date=name.date, sequence=name.sequence, time=time, **fields
            )
            request.encode()
            return request
        raise NoAnswerError(None, sent=False)

    async def ask(self, request: Request, *, access_code: str | None = None, deadline_s: float | None = None) -> Answer:
        """Send a drafted request until its answer comes.

        Args:
            request: what `draft` gave.
            access_code: the holder's, 4 to 12 digits; sent with each copy while this call waits, and kept nowhere.
            deadline_s: how long to wait for the answer, in seconds.

        Raises:
            NoAnswerError: no recorded answer came in time; what was sent is settled in the background.
            TooManyOpenError: too many requests are without a recorded answer; nothing was sent.
            ValueError: the access code or the card cannot be sealed; nothing was sent.

        """
        return await self._ask(Dialogue(request), access_code, deadline_s)

    async def repeat(
        self, answer: Answer, *, access_code: str | None = None, deadline_s: float | None = None
    ) -> Answer:
        """Send the request of an answer once more, as a repeat: the same answer comes, and nothing happens again."""
        return await self._ask(Dialogue(answer.request, again=True), access_code, deadline_s)

    async def settle(self) -> None:
        """Wait until nothing is open: all that callers left without an answer is recorded."""
        while self._open:
            await self._open[-1].closed.wait()

    @property
    def open_names(self) -> tuple[RequestName, ...]:
        """The names of requests that were left without a recorded answer, oldest first."""
        return tuple(pursuit.dialogue.request.name for pursuit in self._open)

    # ----------------------------------------------------------------------------------------------------- one request

    async def _ask(self, dialogue: Dialogue, access_code: str | None, deadline_s: float | None) -> Answer:
        if len(self._open) + self._calls >= self.settings.open_max:
            raise TooManyOpenError
        request = dialogue.request
        if access_code is not None:
            pin.encode(access_code, request.card, bytes(16), bytes(pin.RANDOM_BYTES))
        pursuit = _Pursuit(dialogue)
        deadline = trio.current_time() + self._deadline_s(deadline_s)
        self._calls += 1
        try:
            with trio.CancelScope(deadline=deadline):
                while dialogue.phase is not Phase.CLOSED:
                    await trio.sleep_until(pursuit.not_before)
                    await self._send_copy(pursuit, access_code)
        finally:
            self._calls -= 1
            self._leave_open(pursuit)
        if pursuit.answer is not None:
            return await self._whole(pursuit.answer, deadline)
        if dialogue.reverses:
            with trio.move_on_after(self.settings.reversal_s):
                await pursuit.closed.wait()
        raise NoAnswerError(request.name, sent=dialogue.sent, reversal=pursuit.answer)

    async def _call(
        self, command: Command, *, access_code: str | None = None, deadline_s: float | None = None, **fields: Any
    ) -> Answer:
        started = trio.current_time()
        whole_s = self._deadline_s(deadline_s)
        request = await self.draft(command, deadline_s=whole_s, **fields)
        left_s = max(0.0, whole_s - (trio.current_time() - started))
        return await self.ask(request, access_code=access_code, deadline_s=left_s)

    def _deadline_s(self, deadline_s: float | None) -> float:
        return self.settings.deadline_s if deadline_s is None else deadline_s

    async def _name(self, *, recorded: bool) -> tuple[RequestName, dt.time]:
        sequence = await self._sequence.take() if recorded else UNRECORDED_SEQUENCE
        now = self._clock()
        return RequestName(self.identity.module, now.date(), sequence), now.time().replace(microsecond=0)

    async def _send_copy(self, pursuit: _Pursuit, access_code: str | None) -> None:
        """Send one copy as soon as there is a session, and deal with what becomes of it."""
        dialogue = pursuit.dialogue
        line = await self._usable_line()
        if dialogue.unnamed:
            dialogue.name_reversal(*await self._name(recorded=True))
        async with line.slots:
            request = dialogue.outgoing()
            try:
                line.send(self._sealed(request, access_code, line).encode(), pursuit.reply)
            except SessionOverError:
                return
            dialogue.happened(Happening.SENT)
            recorded = await line.wait(pursuit.reply, self.settings.answer_s)
        if recorded is None:
            dialogue.happened(Happening.SILENCE if line.why is None else Happening.LOST)
            return
        answer = _read(request, recorded)
        if answer is None:
            line.close()
            dialogue.happened(Happening.LOST)
            return
        dialogue.answered(answer.result)
        pursuit.not_before = trio.current_time() + dialogue.rest_s(self._jitter())
        if dialogue.phase is Phase.CLOSED:
            pursuit.answer = answer

    def _sealed(self, request: Request, access_code: str | None, line: Line) -> Request:
        if access_code is None:
            return request
        key, random = line.session.access_code_key, self._random(pin.RANDOM_BYTES)
        block = pin.encode(access_code, request.card, key, random)
        return replace(request, flags=request.flags | Flag.ACCESS_CODE, access_code_block=block)

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

    def _leave_open(self, pursuit: _Pursuit) -> None:
        pursuit.dialogue.happened(Happening.GONE)
        if not pursuit.dialogue.open:
            return
        if pursuit.dialogue.reverses:
            pursuit.reply = Reply()
        pursuit.not_before = trio.current_time()
        self._open.append(pursuit)
        self._added.set()

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

    # -------------------------------------------------------------------------------------------------------- sessions

    async def _usable_line(self) -> Line:
        self._waiting += 1
        try:
            while self._line is None or not self._line.usable:
                self._wanted.set()
                await self._changed.wait()
            return self._line
        finally:
            self._waiting -= 1

    def _adopt(self, line: Line) -> None:
        self._line = line
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def _keep_signed_on(self) -> None:
        """Keep a session while one is wanted."""
        failures = 0
        while True:
            while not self.settings.keep_open and not self._waiting:
                self._wanted = trio.Event()
                await self._wanted.wait()
            try:
                line = await self._trunk.sign_on(self.identity)
                self._sequence.learn(line.session.terms.last_sequence)
                if self._sequence_known:
                    self._adopt(line)
                await self._prove(line)
            except SignOnError:
                failures += 1
                await trio.sleep(back_off_s(failures, self._jitter()))
                continue
            if self._line is not line:
                self._adopt(line)
            failures = int(await self._stay(line))
            if failures:
                await trio.sleep(back_off_s(failures, self._jitter()))

    async def _prove(self, line: Line) -> None:
        """Make a session live with an echo, and learn the last sequence number; raises SignOnError."""
        refusals = 0
        while (answer := await self._echo(line)) is not None:
            if answer.result == Result.APPROVED:
                self._sequence.learn(answer.last_sequence)
                self._sequence_known = True
                return
            if answer.result not in NOT_FINAL:
                break
            refusals += 1
            await trio.sleep(back_off_s(refusals, self._jitter()))
        line.close()
        raise SignOnError("the switch does not answer an echo")

    async def _echo(self, line: Line) -> Answer | None:
        name, time = await self._name(recorded=False)
        request = Request(command=Command.ECHO, module=name.module, date=name.date, sequence=name.sequence, time=time)
        reply = Reply()
        try:
            line.send(request.encode(), reply)
        except SessionOverError:
            return None
        recorded = await line.wait(reply, self.settings.answer_s)
        return _read(request, recorded) if recorded is not None else None

    async def _stay(self, line: Line) -> bool:
        """Stay until the session is over or due for renewal; whether to rest before the next one."""
        session = line.session
        renewal_at = session.welcomed_at + RENEWAL * session.terms.life_s
        echo_at = session.echo_due_at
        while line.why is None and not session.renewal_due(trio.current_time()):
            with trio.move_on_at(min(echo_at, renewal_at) if self.settings.keep_open else renewal_at):
                await line.stirred.wait()
            if self.settings.keep_open and echo_at <= trio.current_time() and line.usable:
                if session.echo_due_at <= trio.current_time() and await self._echo(line) is None:
                    line.close()
                echo_at = max(session.echo_due_at, trio.current_time() + 1)
        return line.why not in (None, Ended.IDLE)

    async def run(self) -> None:
        """Keep the module going until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_signed_on)
            nursery.start_soon(self._settle_open)

    def leave(self) -> None:
        """End the session."""
        if self._line is not None:
            self._line.close()


def _original(original: Original) -> OriginalName | str:
    match original:
        case Answer(request=Request(date=date, sequence=sequence)):
            return OriginalName(date, sequence)
        case Request(date=date, sequence=sequence) | RequestName(date=date, sequence=sequence):
            return OriginalName(date, sequence)
        case _:
            return original


def _read(request: Request, recorded: bytes) -> Answer | None:
    """The answer in these bytes; None if they are no answer to this request, which no honest switch sends."""
    try:
        return Answer.read(request, recorded)
    except (FormatError, LayoutError):
        return None


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
        clock: Callable[[], dt.datetime] = local_time,
        random: Callable[[int], bytes] = secrets.token_bytes,
        jitter: Callable[[], float] = JITTER,
    ) -> AsyncIterator[Module]:
        """A module on this connection.

        When it is left, with an exception or without, it tries for `leave_s` to settle what is open. If it cannot, it
        raises UnsettledError, unless another exception is on its way out already.

        Args:
            identity: what the module was given when it was enrolled.
            settings: how patient it is.
            sequence: where its numbers come from; give one with a file if the module may be killed.
            clock: the module's local date and time.
            random: gives that many random bytes, for access-code blocks.
            jitter: a random number from 0 to 1, for back-offs.

        """
        module = Module(self._trunk, identity, settings or Settings(), sequence or Sequence(), clock, random, jitter)
        scope, ended = trio.CancelScope(), trio.Event()

        async def run() -> None:
            try:
                with scope:
                    await module.run()
            finally:
                ended.set()

        self._trunk.nursery.start_soon(run)
        try:
            yield module
        finally:
            try:
                with trio.move_on_after(module.settings.leave_s):
                    await module.settle()
            finally:
                module.leave()
                scope.cancel()
                with trio.CancelScope(shield=True):
                    await ended.wait()
        if names := module.open_names:
            raise UnsettledError(names)


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
    clock: Callable[[], dt.datetime] = local_time,
) -> AsyncIterator[Module]:
    """One module on a connection of its own; see `open_link` and `Link.module` for its arguments."""
    async with (
        open_link(host, port, tls=tls) as link,
        link.module(identity, settings=settings, sequence=sequence, clock=clock) as module,
    ):
        yield module
