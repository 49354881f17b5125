"""Keeps one module signed on.

A new session is proven with an echo, which also tells the last sequence number that the switch has recorded; until that
is known once, no request gets a name. A session is renewed before its frames or its life are used, and kept by an echo
when nothing else is said. After a session that was lost the module rests before it comes back, as long as it fails the
longer.
"""

from collections.abc import Callable
from math import inf
from typing import Final

import trio

from protocol.messages import Request
from protocol.module import ModuleSession, SessionOverError
from protocol.numbers import Command, Result, TermFlag
from protocol.session import Ended
from protocol.signon import ModuleIdentity
from terminal.answer import Answer
from terminal.dialogue import NOT_FINAL, back_off_s
from terminal.settings import Settings
from terminal.shell.roots import Roots
from terminal.shell.sequence import Names
from terminal.shell.trunk import Line, Reply, SignOnError, Trunk

RENEWAL: Final = 0.901  # of its life, a little after the session says that it is due


class SignOn:
    """The sessions of one module, one after the other; `keep` runs as long as the module does."""

    def __init__(self, trunk: Trunk, roots: Roots, names: Names, settings: Settings, jitter: Callable[[], float]):
        self._trunk = trunk
        self._roots = roots
        self._names = names
        self._settings = settings
        self._jitter = jitter
        self._line: Line | None = None
        self._changed = trio.Event()
        self._wanted = trio.Event()
        self._waiting = 0
        self.refused = False  # the switch answered the last attempt, and would have no session

    async def line(self) -> Line:
        """A session that takes requests, as soon as there is one."""
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

    async def keep(self) -> None:
        """Keep a session while one is wanted."""
        failures = 0
        while True:
            while not self._settings.keep_open and not self._waiting:
                self._wanted = trio.Event()
                await self._wanted.wait()
            identity = self._roots.identity
            try:
                line = await self._trunk.sign_on(identity)
                self._names.learn(line.session.terms.last_sequence)
                if self._names.known:
                    self._adopt(line)
                await self._prove(line)
            except SignOnError as error:
                self.refused = error.refused
                self._roots.refused()
                failures += 1
                await trio.sleep(back_off_s(failures, self._jitter()))
                continue
            self.refused = False
            at_most_s = await self._succeed(line, identity)
            if self._line is not line:
                self._adopt(line)
            failures = int(await self._stay(line, at_most_s))
            if failures:
                await trio.sleep(back_off_s(failures, self._jitter()))

    async def _prove(self, line: Line) -> None:
        """Make a session live with an echo, and learn the last sequence number; raises SignOnError."""
        refusals = 0
        while (answer := await self._echo(line)) is not None:
            if answer.result == Result.APPROVED:
                self._names.learn(answer.last_sequence, known=True)
                return
            if answer.result not in NOT_FINAL:
                break
            refusals += 1
            await trio.sleep(back_off_s(refusals, self._jitter()))
        line.close()
        raise SignOnError("the switch does not answer an echo")

    async def _echo(self, line: Line) -> Answer | None:
        name, time = self._names.passing()
        request = Request(command=Command.ECHO, module=name.module, date=name.date, sequence=name.sequence, time=time)
        reply = Reply()
        try:
            line.send(request.encode(), reply)
        except SessionOverError:
            return None
        recorded = await line.wait(reply, self._settings.answer_s)
        return Answer.read(request, recorded) if recorded is not None else None

    async def _succeed(self, line: Line, identity: ModuleIdentity) -> float:
        """Give up the generation of keys before this one; take the next if that is wanted. How long to stay at most."""
        await self._roots.proven(identity)
        session = line.session
        root_key, session.next_root = session.next_root, None
        wanted = bool(session.terms.flags & TermFlag.NEXT_ROOT)
        if wanted and root_key is not None and await self._roots.take(identity, root_key):
            return self._roots.rest_s
        return inf

    async def _stay(self, line: Line, at_most_s: float) -> bool:
        """Stay until the session is over or due for renewal; whether to rest before the next one."""
        session = line.session
        renewal_at = session.welcomed_at + min(RENEWAL * session.terms.life_s, at_most_s)
        echo_at = session.echo_due_at
        while line.why is None and not self._due(session, renewal_at):
            with trio.move_on_at(min(echo_at, renewal_at) if self._settings.keep_open else renewal_at):
                await line.stirred.wait()
            if self._settings.keep_open and echo_at <= trio.current_time() and line.usable:
                if session.echo_due_at <= trio.current_time() and await self._echo(line) is None:
                    line.close()
                echo_at = max(session.echo_due_at, trio.current_time() + 1)
        return line.why not in (None, Ended.IDLE)

    def _due(self, session: ModuleSession, renewal_at: float) -> bool:
        now = trio.current_time()
        return session.renewal_due(now) or now >= renewal_at

    def leave(self) -> None:
        """End the session."""
        if self._line is not None:
            self._line.close()
