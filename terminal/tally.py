"""What a module has moved since its last totals, counted from its own answers.

What must hold: it counts as the switch does. What counts is an approval, by its kind, in the unit of its answer; a
reversal and its original count neither where both lie in the interval, nor does a reversal that moved nothing. A name
counts once, however often its answer came. What has no answer yet cannot be counted, so totals are asked for when
nothing is open.
"""

from dataclasses import dataclass
from typing import Final

from protocol.messages import OriginalName, RequestName, Totals
from protocol.numbers import Command, Reason, TotalsKind
from terminal.answer import Answer

_KINDS: Final = {Command[kind.name]: kind for kind in TotalsKind if kind is not TotalsKind.OTHER}


@dataclass(frozen=True, slots=True, repr=False)
class _Counted:
    kind: TotalsKind
    unit: int
    amount: int
    authorization: str


class Tally:
    """The approvals of one module, from `begin` on."""

    def __init__(self) -> None:
        self._counted: dict[RequestName, _Counted] = {}
        self._undone: set[int] = set()
        self._first: RequestName | None = None
        self._last: RequestName | None = None

    def __repr__(self) -> str:
        return f"<Tally of {len(self._counted)}>"

    def take(self, name: RequestName) -> None:
        """Let a name that was given out belong to the interval, whatever becomes of it."""
        if self._first is None or name.sequence < self._first.sequence:
            self._first = name
        if self._last is None or name.sequence > self._last.sequence:
            self._last = name

    def add(self, answer: Answer) -> None:
        """Count a final answer; the same one again changes nothing."""
        name, request = answer.name, answer.request
        self.take(name)
        if not answer.approved or name in self._counted or name.sequence in self._undone:
            return
        if request.command is Command.REVERSE:
            if answer.reason != Reason.NONE:
                return
            original = self._within(request.original)
            if original is not None:
                self._undone |= {original, name.sequence}
                self._counted = {key: kept for key, kept in self._counted.items() if key.sequence != original}
                return
        kind = _KINDS.get(request.command, TotalsKind.OTHER)
        self._counted[name] = _Counted(kind, answer.unit, answer.approved_minor, answer.authorization)

    def _within(self, original: OriginalName | str | None) -> int | None:
        """The sequence of an original of this interval."""
        if isinstance(original, OriginalName):
            return original.sequence if self._first and original.sequence >= self._first.sequence else None
        found = [name.sequence for name, kept in self._counted.items() if kept.authorization == original]
        return found[0] if found else None

    def totals(self, unit: int) -> Totals | None:
        """The interval and its pairs in one unit; None where nothing was asked since `begin`."""
        if self._first is None or self._last is None:
            return None
        pairs = [[0, 0] for _ in TotalsKind]
        for kept in self._counted.values():
            if kept.unit == unit:
                pairs[kept.kind][0] += 1
                pairs[kept.kind][1] += kept.amount
        ends = [OriginalName(name.date, name.sequence) for name in (self._first, self._last)]
        return Totals(ends[0], ends[1], tuple((count, total) for count, total in pairs))

    def begin(self) -> None:
        """Start anew, behind what was counted."""
        self._counted.clear()
        self._undone.clear()
        self._first = self._last = None
