"""Lanes: where requests gather and become one transaction.

A lane takes whatever has gathered and settles it as one batch; the next batch gathers meanwhile.
Which lane a request takes follows from its card, so that requests of one card meet in one batch rather than at its
lock. Where many of a batch were of few cards, those who were just answered get a moment to ask again: a part of them
taken at once could but wait for that card, which other processes lock too, and would cost a transaction more.
A batch does not wait for a card that another one holds, if it can do anything else: who asked for that is put off into
the next batch, which waits.
That is for speed only: every law holds with requests spread over lanes at random (law 8).

What must hold, whatever breaks (laws 1 and 4):
  * An answer leaves after its commit, or says no more than that this copy did nothing (91, 96).
  * Once a COMMIT was sent and not confirmed, a request is in doubt for good: it gets a recorded answer or silence.
  * A request that makes the batch fail is found by halving and gets 96 alone; its neighbours are decided without it.
  * Nothing is decided after the request's deadline, and who still waits then is told, however long a lane takes.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import trio

from authsrv.answer import unrecorded
from authsrv.fold import Fold, answer_all
from authsrv.shell.intake import Pending, Queue, Queues
from authsrv.shell.metrics import BATCH_REQUESTS, BATCH_SECONDS, FAULTS, PUT_OFF
from authsrv.shell.overdue import overdue_refused
from authsrv.shell.rules import Rules
from ledger.batch import Gathered, Writes
from ledger.faults import Conflict, InDoubt, LedgerFault, NameTaken, TooMuch, Unavailable
from ledger.shell.door import Connection, Door
from ledger.shell.store import transact
from protocol.numbers import Reason

logger = logging.getLogger(__name__)

ATTEMPTS_MAX = 6
BACK_OFF_S = 0.05
BACK_OFF_MAX_S = 1.0
CROWD = 8  # requests in a batch, from which on they can crowd around a card
CROWDED = 2  # requests a card
MOMENT_S = 0.005
BATCHES_A_CROSSING = 64  # nothing cancels a crossing, so it has to end by itself, however many wait


class Overdue(Exception):
    """A deadline passed while the batch waited for its locks: nothing was decided, run it again without who is late."""


class StaleRules(Exception):
    """The rules in memory are older than the database's: nothing was decided, load them and run the batch again."""


@dataclass(slots=True, eq=False)
class _Course:
    """A lane at work; `batch` is what it has in hand, for whom a fault would be, `crowd` how many it has just answered
    who may crowd around a card again, and `put_off` is whether some of the next batch have waited for their card."""

    queue: Queue
    batch: list[Pending] = field(default_factory=list)
    crowd: int = 0
    put_off: bool = False

    def keep(self, answers: list[bytes]) -> list[bytes]:
        """Put off who has no answer, whatever becomes of the others from here on; the answers that there are.

        Raises `Conflict` where nobody has one: all their numbers have moved to cards that others hold.
        """
        self.put_off = False
        if all(answers):
            return answers
        if not any(answers):
            raise Conflict("nobody's card is free any more")
        self.put_off = True
        put_off = [pending for pending, answer in zip(self.batch, answers, strict=True) if not answer]
        self.batch = [pending for pending, answer in zip(self.batch, answers, strict=True) if answer]
        self.queue.put_back(put_off)
        PUT_OFF.inc(len(put_off))
        return [answer for answer in answers if answer]


class Lanes:
    """The lanes of one process; `queues` take requests, `run` settles until `close`."""

    def __init__(self, door: Door, rules: Rules, *, lanes: int, batch_max: int, waiting_max: int) -> None:
        """Make `lanes` lanes of at most `batch_max` requests a transaction, with room for `waiting_max` in all."""
        self._door = door
        self._rules = rules
        self._batch_max = batch_max
        self.queues = Queues(lanes, waiting_max)
        self._waited_in = [*self.queues.each]  # and those of halves that wait for their other half

    async def run(self) -> None:
        """Settle what is offered until `close`, then what is left."""
        async with overdue_refused(self._waited_in, self._turn_away), trio.open_nursery() as nursery:
            for queue in self.queues.each:
                nursery.start_soon(self._serve, queue)

    def close(self) -> None:
        """Take nothing more; `run` returns when all that was taken is settled."""
        for queue in self.queues.each:
            queue.close()

    async def _serve(self, queue: Queue) -> None:
        course = _Course(queue)
        while True:
            course.crowd = 0
            if batch := queue.take(self._batch_max):
                course.batch = batch
                try:
                    await self._door.run(partial(self._run, course))
                except Exception as fault:  # whatever it is, `settle` knows what it means for whom was in hand
                    FAULTS.labels(type(fault).__name__).inc()
                    if not course.batch:
                        raise  # nobody's: a mistake of ours behind a COMMIT
                    course.crowd = 0
                    batch, course.batch = course.batch, []
                    await self.settle(batch, fault)
                if course.crowd:
                    queue.want(course.crowd)
                    with trio.move_on_after(MOMENT_S):
                        await queue.filled.wait()
            elif queue.closed:
                return
            else:
                await queue.filled.wait()

    async def _run(self, course: _Course, connection: Connection) -> None:
        """Settle batch after batch over one connection, as long as there are any, up to the bound of a crossing or to a
        batch that crowds around a card."""
        for left in reversed(range(BATCHES_A_CROSSING)):
            going_on = left > 0
            if batch := self._timely(course.batch):
                course.batch = batch
                course.crowd = _crowd(batch)
                going_on = going_on and not course.crowd
                started = trio.current_time()
                answers = await self._work(batch, course)(connection)
                batch, course.batch = course.batch, []
                self._reply(batch, answers, started)
            course.batch = course.queue.take(self._batch_max) if going_on else []
            if not course.batch:
                return

    # Settling

    async def settle(self, batch: list[Pending], fault: Exception | None = None) -> None:
        """Bring each request of a batch to its answer, or to silence; `fault` is what became of a first try."""
        attempts, back_off_s = 0, BACK_OFF_S
        names = 2 * len(batch)  # their own and those of their originals, any of which others may be recording
        while batch:
            if fault is None:
                batch = self._timely(batch)
                fault = await self._attempt(batch) if batch else None
            match fault:
                case None:
                    return
                case Overdue() | NameTaken():  # for whom it is not too late; a name that was taken has its record now
                    names -= isinstance(fault, NameTaken)
                case StaleRules():
                    attempts = attempts + 1 if await self._rules.renew(self._door) else ATTEMPTS_MAX
                case Conflict():
                    attempts += 1
                case InDoubt():
                    self._note(fault, batch)
                    for pending in batch:
                        pending.in_doubt = True
                    back_off_s = await _rest(back_off_s)
                case Unavailable():
                    self._note(fault, batch)
                    batch = self._refuse(batch, Reason.NO_DATABASE)
                    back_off_s = await _rest(back_off_s)
                case TooMuch():
                    await self._halve(batch)
                    return
                case _:  # a bad row or a mistake of ours: find the request that does it
                    self._note(fault, batch)
                    await self._halve(batch)
                    return
            fault = None
            if attempts >= ATTEMPTS_MAX or names < 0:
                logger.warning("a batch of %d is given up: it came to nothing too often", len(batch))
                attempts, names = 0, 2 * len(batch)
                batch = self._refuse(batch, Reason.NO_DATABASE)
                back_off_s = await _rest(back_off_s)

    async def _attempt(self, batch: list[Pending]) -> Exception | None:
        started = trio.current_time()
        try:
            answers = await self._door.run(self._work(batch))
        except Exception as fault:  # noqa: BLE001 - `settle` tells them apart
            FAULTS.labels(type(fault).__name__).inc()
            return fault
        self._reply(batch, answers, started)
        return None

    def _reply(self, batch: list[Pending], answers: list[bytes], started: float) -> None:
        now = trio.current_time()
        BATCH_REQUESTS.observe(len(batch))
        BATCH_SECONDS.observe(now - started)
        for pending, answer in zip(batch, answers, strict=True):
            pending.reply(answer, now)

    def _work(
        self, batch: Sequence[Pending], course: _Course | None = None
    ) -> Callable[[Connection], Awaitable[list[bytes]]]:
        """One transaction for a batch, or for those of it who need not wait; without a course nobody is put off."""
        registry, ring = self._rules.registry, self._rules.ring  # what is read below is read for these rules
        key = ring.token_key  # of which some who wait may have heard nothing yet
        asks = [pending.ask if pending.ask.token_key == key else pending.ask.under(ring) for pending in batch]
        earliest = min(pending.deadline for pending in batch)

        def decide(gathered: Gathered) -> tuple[list[bytes], Writes]:
            if trio.current_time() >= earliest:
                raise Overdue
            if gathered.registry != registry.version:
                raise StaleRules
            fold = Fold(gathered, registry, ring, secrets.token_bytes)
            answers = answer_all(asks, fold)
            if course is not None:
                answers = course.keep(answers)
            return answers, fold.writes

        wait = course is None or course.put_off or course.crowd > 0
        return transact([ask.lookup() for ask in asks], decide, registry.watched, wait=wait)

    async def _halve(self, batch: list[Pending]) -> None:
        if len(batch) == 1:
            for pending in self._refuse(batch, Reason.BAD_REQUEST):
                pending.stay_silent()
            return
        middle = len(batch) // 2
        others = Queue(len(batch))
        for pending in batch[middle:]:
            others.put(pending)
        self._waited_in.append(others)
        try:
            await self.settle(batch[:middle])
        finally:
            self._waited_in.remove(others)
        await self.settle(others.take(len(batch)))

    def _timely(self, batch: list[Pending]) -> list[Pending]:
        """Those whose deadline has not passed; the others are told, or left in silence where they are in doubt."""
        now = trio.current_time()
        late = [pending for pending in batch if pending.deadline <= now]
        if not late:
            return batch
        self._turn_away(late)
        return [pending for pending in batch if pending.deadline > now]

    def _turn_away(self, late: list[Pending]) -> None:
        for pending in self._refuse(late, Reason.TOO_LATE):
            pending.stay_silent()

    def _refuse(self, batch: list[Pending], reason: Reason) -> list[Pending]:
        """Tell each request that this copy did nothing; those in doubt cannot be told and are given back."""
        registry, now = self._rules.registry, trio.current_time()
        for pending in batch:
            if not pending.in_doubt:
                envelope = pending.ask.envelope
                pending.reply(unrecorded(envelope, registry.issuer, registry.modules[envelope.module], reason), now)
        return [pending for pending in batch if pending.in_doubt]

    def _note(self, fault: Exception, batch: list[Pending]) -> None:
        what = (
            f": {fault}" if isinstance(fault, LedgerFault) else ""
        )  # others' words could hold what must not be logged
        logger.warning("a batch of %d did not settle: %s%s", len(batch), type(fault).__name__, what)


def _crowd(batch: Sequence[Pending]) -> int:
    """How many requests a batch has that crowds around few cards; none, if it does not."""
    many = len(batch)
    if many < CROWD:
        return 0
    cards = len({pending.ask.token or pending.ask.name for pending in batch})  # who names none crowds around none
    return many if cards * CROWDED <= many else 0


async def _rest(seconds: float) -> float:
    await trio.sleep(seconds)
    return min(2 * seconds, BACK_OFF_MAX_S)
