"""Whether all that the modules were told is true: the rules, over what was asked, what was answered, what is recorded.

    lost       an approval that a module saw is not in the ledger, or with another result, amount or number
    moved      the postings of an authorization do not add up to what was approved
    stranger   the ledger holds what no module asked for
    differing  two copies of one request were answered differently
    forged     an answer does not open, or is to another request
    books      a unit does not sum to zero, a balance is not what its postings add up to, a floor is passed

A request without a recorded answer at the end (it was repeated until then) is a finding too: nothing is left open.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from protocol.messages import Request, Response
from protocol.numbers import Command, Reason, Result

Name = tuple[int, int, int]  # module, date as yyyymmdd, sequence

NOT_RECORDED: Final = frozenset((Command.ECHO, Command.PAGE))
NOT_FINAL: Final = frozenset((Result.UNAVAILABLE, Result.MALFUNCTION))
MOVING: Final = frozenset((Command.ACTIVATE, Command.RELOAD, Command.SALE, Command.REFUND, Command.REVERSE))


class Entry(NamedTuple):
    """What the ledger holds under a name; amounts in minor units."""

    command: int
    result: int
    approved: int
    number: int
    posted: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """One copy of a request and what came back; None: nothing."""

    request: Request
    answer: Response | None

    @property
    def final(self) -> Response | None:
        """The answer, if it is the recorded one."""
        return None if self.answer is None or self.answer.result in NOT_FINAL else self.answer


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found wrong, in words without numbers of cards and amounts; and what was counted."""

    findings: tuple[str, ...]
    answers: Mapping[str, int]
    recorded: int

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def name_of(request: Request) -> Name:
    """The name as the wire writes it."""
    day = request.date
    return request.module, day.year * 10_000 + day.month * 100 + day.day, request.sequence


def open_requests(exchanges: Iterable[Exchange]) -> list[Request]:
    """The requests that have no recorded answer yet: they are to be repeated."""
    settled: set[Name] = set()
    asked: dict[Name, Request] = {}
    for exchange in exchanges:
        if exchange.request.command in NOT_RECORDED:
            continue
        name = name_of(exchange.request)
        asked.setdefault(name, exchange.request)
        if exchange.final is not None:
            settled.add(name)
    return [request for name, request in asked.items() if name not in settled]


def verify(exchanges: Sequence[Exchange], entries: Mapping[Name, Entry], found: Iterable[str]) -> Verdict:
    """Compare what modules saw with what is recorded.

    Args:
        exchanges: every copy of every request.
        entries: all that the ledger holds of these modules since the start.
        found: what was found before: in the books, in answers that do not open.

    """
    findings = list(found)
    findings += [f"unanswered: {_told(name_of(request))}" for request in open_requests(exchanges)]
    asked: set[Name] = set()
    told: dict[Name, Response] = {}
    for exchange in exchanges:
        if exchange.request.command in NOT_RECORDED:
            continue
        name = name_of(exchange.request)
        asked.add(name)
        answer = exchange.final
        if answer is None:
            continue
        if told.setdefault(name, answer) != answer:
            findings.append(f"differing: {_told(name)}")
        findings += _compare(name, answer, entries.get(name))
    findings += [f"stranger: {_told(name)}" for name in entries.keys() - asked]
    return Verdict(
        tuple(dict.fromkeys(findings)),
        Counter("none" if each.answer is None else f"{each.answer.result:02}" for each in exchanges),
        len(entries),
    )


def _compare(name: Name, answer: Response, entry: Entry | None) -> Iterable[str]:
    if entry is None:
        yield f"lost: {_told(name)} was answered {answer.result:02} and is not recorded"
        return
    if (answer.result, answer.approved, answer.authorization) != (
        entry.result, entry.approved, f"{entry.number:012d}",
    ):  # fmt: skip
        yield f"lost: {_told(name)} is recorded otherwise than it was answered"
    moves = entry.command in MOVING and answer.reason == Reason.NONE
    if entry.posted != (entry.approved if moves else 0):
        yield f"moved: {_told(name)} has other postings than it approved"


def _told(name: Name) -> str:
    return "/".join(map(str, name))
