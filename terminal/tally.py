"""What a module has moved since its last totals, counted from its own answers.

What must hold: it counts as the switch does. What counts is an approval, by its kind, in the unit of its answer; a
reversal and its original count neither where both lie in the interval, nor does a reversal that moved nothing. A name
counts once, however often its answer came. What has no answer yet cannot be counted, so totals are asked for when
nothing is open.
"""

from dataclasses import dataclass
from typing import Final

from protocol.messages import OriginalName, RequestName, Totals
from protocol.numbers import AMOUNT_END, Command, Reason, TotalsKind, totals_kind
from terminal.answer import Answer

NAMES_MAX: Final = 10_000
"""The longest interval that a switch counts; behind it nothing is kept."""


@dataclass(frozen=True, slots=True, repr=False)
class _Counted:
    kind: TotalsKind
    unit: int
    amount: int
    authorization: str


class Tally:
    """The approvals of one module since its last totals."""

    def __init__(self) -> None:
        self._counted: dict[int, _Counted] = {}  # by sequence
        self._numbers: dict[str, int] = {}  # sequences by authorization number
        self._undone: set[int] = set()
        self._first: RequestName | None = None
        self._last: RequestName | None = None

    def __repr__(self) -> str:
        return f"<Tally of {len(self._counted)}>"

    @property
    def too_long(self) -> bool:
        """Whether the interval has more names than can be counted."""
        return (
            self._first is not None
            and self._last is not None
            and (self._last.sequence - self._first.sequence >= NAMES_MAX)
        )

    def take(self, name: RequestName) -> None:
        """Let a name that was given out belong to the interval, whatever becomes of it."""
        if self._first is None or name.sequence < self._first.sequence:
            self._first = name
        if self._last is None or name.sequence > self._last.sequence:
            self._last = name
        if self.too_long:
            self._counted.clear()
            self._numbers.clear()
            self._undone.clear()

    def add(self, answer: Answer) -> None:
        """Count a final answer; the same one again changes nothing."""
        name, request = answer.name, answer.request
        self.take(name)
        sequence = name.sequence
        if self.too_long or not answer.approved or sequence in self._counted or sequence in self._undone:
            return
        if request.command is Command.REVERSE:
            if answer.reason != Reason.NONE:
                return
            original = self._within(request.original)
            if original is not None:
                self._undone |= {original, sequence}
                self._counted.pop(original, None)
                return
        kind = totals_kind(request.command)
        self._counted[sequence] = _Counted(kind, answer.unit, answer.approved_minor, answer.authorization)
        self._numbers[answer.authorization] = sequence

    def _within(self, original: OriginalName | str | None) -> int | None:
        """The sequence of an original of this interval."""
        if isinstance(original, OriginalName):
            return original.sequence if self._first and original.sequence >= self._first.sequence else None
        return self._numbers.get(original or "")

    def totals(self, unit: int) -> Totals | None:
        """The interval and its pairs in one unit; None where nothing was asked since the last."""
        if self._first is None or self._last is None:
            return None
        pairs = [[0, 0] for _ in TotalsKind]
        for kept in self._counted.values():
            if kept.unit == unit:
                pairs[kept.kind][0] += 1
                pairs[kept.kind][1] += kept.amount
        ends = [OriginalName(name.date, name.sequence) for name in (self._first, self._last)]
        return Totals(ends[0], ends[1], tuple((count, min(total, AMOUNT_END - 1)) for count, total in pairs))

    def begin(self, behind: int) -> None:
        """Forget what was counted up to a sequence; the next interval starts behind it."""
        last = self._last
        self._counted = {sequence: kept for sequence, kept in self._counted.items() if sequence > behind}
        self._numbers = {kept.authorization: sequence for sequence, kept in self._counted.items()}
        self._undone = {sequence for sequence in self._undone if sequence > behind}
        if last is None or last.sequence <= behind:
            self._first = self._last = None
        else:
            self._first = last._replace(sequence=behind + 1)
