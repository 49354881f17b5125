"""The life of one request, from its first copy to its recorded answer: rules without sockets or clocks.

A name that was sent once may be recorded, whatever the module hears. So it stays open until a recorded answer tells
what became of it. Three rules stand above the table of phases:

  * 91, 96 and silence say only that nothing is known: the same request goes out again under the same name, marked as a
    repeat, after a back-off where the switch asked for it.
  * When the caller waits no longer, what moves value is undone by a reversal under a name of its own. The reversal is
    sent until it is recorded, before or after its original has arrived.
  * What cannot be reversed is itself sent until it is recorded. What leaves no record at all is forgotten.

A module that was cut off goes on where it stood: `Dialogue.resumed` is a request of which a copy may have left.

The access code is not part of a dialogue: it is sealed into a copy while the caller still waits, and kept nowhere.
"""

import datetime as dt
from enum import Enum
from typing import Final, Self

from protocol.messages import OriginalName, Request, RequestName
from protocol.numbers import Command, Flag, GivenReason, Result

BACK_OFF_MIN_S: Final = 1.0
BACK_OFF_MAX_S: Final = 60.0
NOT_FINAL: Final = frozenset((Result.UNAVAILABLE, Result.MALFUNCTION))


class Fate(Enum):
    """What becomes of a request that was sent when nobody waits for its answer any more."""

    REVERSE = "it moves value: undo it"
    REPEAT = "it cannot be undone, or has nothing to undo: send it until it is recorded"
    FORGET = "it leaves no record"


FATES: Final[dict[Command, Fate]] = dict.fromkeys(Command, Fate.REPEAT) | {
    Command.ECHO: Fate.FORGET,
    Command.PAGE: Fate.FORGET,
    Command.ACTIVATE: Fate.REVERSE,
    Command.RELOAD: Fate.REVERSE,
    Command.SALE: Fate.REVERSE,
    Command.HOLD: Fate.REVERSE,
    Command.CONFIRM: Fate.REVERSE,
    Command.REFUND: Fate.REVERSE,
    Command.PAYMENT: Fate.REVERSE,
    Command.VISIT: Fate.REVERSE,
    Command.PURCHASE: Fate.REVERSE,
    Command.VOUCHER_ACTIVATE: Fate.REVERSE,
    Command.VOUCHER_REDEEM: Fate.REVERSE,
}


class Phase(Enum):
    """Where a request stands."""

    UNSENT = "no copy has left: there is nothing to undo"
    ASKING = "copies have left, and the caller waits"
    REVERSING = "the caller has gone: its reversal is sent until recorded"
    REPEATING = "the caller has gone: the request is sent until recorded"
    CLOSED = "recorded, or nothing that could be"


class Happening(Enum):
    """What can befall it."""

    SENT = "a copy has left"
    FINAL = "a final answer came"
    NOT_FINAL = "91 or 96 came"
    SILENCE = "nothing came in time"
    LOST = "the session ended under it"
    GONE = "the caller waits no longer"


_GONE: Final = {Fate.REVERSE: Phase.REVERSING, Fate.REPEAT: Phase.REPEATING, Fate.FORGET: Phase.CLOSED}

TRANSITIONS: Final[dict[tuple[Phase, Happening], Phase]] = {
    (Phase.UNSENT, Happening.SENT): Phase.ASKING,
    (Phase.UNSENT, Happening.GONE): Phase.CLOSED,
    (Phase.ASKING, Happening.FINAL): Phase.CLOSED,
    (Phase.REVERSING, Happening.FINAL): Phase.CLOSED,
    (Phase.REPEATING, Happening.FINAL): Phase.CLOSED,
}
"""What moves a request on; (ASKING, GONE) goes where its fate leads, and everything else leaves it where it is."""


def back_off_s(failures: int, jitter: float) -> float:
    """How long to rest after so many failures in a row, in seconds: 1 to 60, the later the longer, never in step.

    `jitter` is random, from 0 to 1.
    """
    most = min(BACK_OFF_MAX_S, 2.0 ** min(failures, 6))
    return BACK_OFF_MIN_S + jitter * max(0.0, most - BACK_OFF_MIN_S)


class Dialogue:
    """One request on its way to a recorded answer; `outgoing` is the copy to send next.

    With `again`, the request was answered before and is only asked once more: it is a repeat from its first copy on,
    and nothing is undone when no answer comes, because its outcome is known.
    """

    def __init__(self, request: Request, *, again: bool = False):
        self.phase = Phase.UNSENT
        self.sent = False
        self._current: Request | None = request
        self._request = request
        self._fate = Fate.FORGET if again else FATES[request.command]
        self._copies = int(again)
        self._refusals = 0

    def __repr__(self) -> str:
        return f"<Dialogue {self._request!r} {self.phase.name.lower()}>"

    @classmethod
    def resumed(cls, request: Request) -> Self:
        """What was asked before the module was cut off: a copy may have left, and each from now on is a repeat."""
        dialogue = cls(request)
        dialogue.happened(Happening.SENT)
        return dialogue

    @property
    def open(self) -> bool:
        """Whether a copy was sent and nothing recorded is known yet."""
        return self.phase not in (Phase.UNSENT, Phase.CLOSED)

    @property
    def forgettable(self) -> bool:
        """Whether nothing is lost when the module forgets it at once: no record is left, or its answer is known."""
        return self._fate is Fate.FORGET

    @property
    def request(self) -> Request:
        """What the caller asked."""
        return self._request

    @property
    def reverses(self) -> bool:
        """Whether it is the reversal that is being sent."""
        return self.phase is Phase.REVERSING

    @property
    def unnamed(self) -> bool:
        """Whether the reversal needs a name of its own before it can be sent."""
        return self._current is None

    def name_reversal(self, name: RequestName, time: dt.time) -> None:
        """Give the reversal its name and time: it undoes the whole request, and says why."""
        original = self._request
        self._current = Request(
            command=Command.REVERSE,
            module=name.module,
            date=name.date,
            sequence=name.sequence,
            time=time,
            reason=GivenReason.NO_ANSWER,
            amount=original.amount,
            cashier=original.cashier,
            till_receipt=original.till_receipt,
            till_serial=original.till_serial,
            original=OriginalName(original.date, original.sequence),
        )

    def outgoing(self) -> Request:
        """The next copy, marked as a repeat if it is one; without an access code."""
        if self._current is None:
            raise ValueError("the reversal has no name yet")
        leaves_record = FATES[self._current.command] is not Fate.FORGET
        repeat = Flag.REPEAT if self._copies and leaves_record else Flag(0)
        return self._current._replace(flags=self._current.flags | repeat)

    def happened(self, what: Happening) -> None:
        """Move on."""
        if what is Happening.SENT:
            self.sent = True
            self._copies += 1
        if what is Happening.NOT_FINAL:
            self._refusals += 1
        if (self.phase, what) == (Phase.ASKING, Happening.GONE):
            self.phase = _GONE[self._fate]
            if self.phase is Phase.REVERSING:
                self._begin_again()
        else:
            self.phase = TRANSITIONS.get((self.phase, what), self.phase)

    def answered(self, result: int) -> None:
        """An answer to the current request has come.

        94 to a reversal is no end: its name belonged to something else, so it takes another one.
        """
        if result in NOT_FINAL:
            self.happened(Happening.NOT_FINAL)
        elif self.reverses and result == Result.DUPLICATE:
            self._begin_again()
            self.happened(Happening.NOT_FINAL)
        else:
            self.happened(Happening.FINAL)

    def rest_s(self, jitter: float) -> float:
        """How long to wait before the next copy, in seconds: a back-off once the switch has said 91 or 96."""
        return back_off_s(self._refusals, jitter) if self._refusals else 0.0

    def _begin_again(self) -> None:
        self._current = None
        self._copies = 0
        self._refusals = 0
