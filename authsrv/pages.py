"""Two pages about what the switch answers, made from its table and from the numbers of the wire.

`TABLE.md` is what becomes of each command on a card in each state; `RESULTS.md` is for support: what each result and
reason means, what the clerk reads, and what to do about it. The advice is written by people in `advice.toml`, the
choices in the head of `authsrv/table.py`; all else comes from where the switch itself has it.
"""

import ast
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from authsrv.table import (
    CODE_NEEDED,
    CODE_OF_HOLDER_ONLY,
    DESK_ONLY,
    HARD_BLOCKS,
    MOVING,
    NOT_REVERSIBLE,
    OF_A_PASS,
    OF_KIND,
    REFUNDABLE,
    SERVED,
    TABLE,
    State,
)
from ledger.names import RECORDED_DAYS_AHEAD, RECORDED_DAYS_BACK
from loyalty.programme import Kind
from protocol.numbers import Command, GivenReason, Reason, Result
from receipts.catalogue import SOURCE_LANGUAGE, catalogue
from receipts.template import Outcome, template

_STATES: Final = {
    State.UNKNOWN: "no card has this number",
    State.REPLACED: "another number took its place",
    State.CLOSED: "paid out, or given up",
    State.BLOCKED: "refused until it is unblocked",
    State.EXPIRED: "its last day is over",
    State.ISSUED: "not sold yet",
    State.ACTIVE: "in use",
}
_KINDS: Final = {Kind.GIFT: "gift", Kind.VISITS: "pass", Kind.CREDIT: "credit"}
_UNDONE: Final = MOVING | {Command.HOLD}
_UNNAMED: Final = frozenset((Reason.FOREIGN_MODULE,))
"""Declines for good that leave no record, because the request has no name that one could stand under."""

_PARTLY_UNNAMED: Final = {
    Reason.BAD_DATE: "no, where the date that names the request is meant",
    Reason.BAD_SEQUENCE: "no, where the sequence that names the request is meant",
    Reason.OUTSIDE_WINDOW: f"no, beyond {RECORDED_DAYS_BACK} days back or {RECORDED_DAYS_AHEAD} ahead",
}


def table_page() -> str:
    """The text of `TABLE.md`."""
    return _page(
        "What becomes of a command",
        "`authsrv/table.py`",
        "A card has one state, the worst that is true of it, from left to right. *Goes on*: the command's own checks "
        "decide. Anything else is the decline, as the receipt prints it, and its meaning. The table is for the card "
        "that would change; a request that names an original is about the original's card.",
        _table(("state", "of a card"), ((_words(state.name), _STATES[state]) for state in State)),
        "## Command and state",
        _table(
            ("command", *(_words(state.name) for state in State)),
            ((_words(command.name), *(_cell(command, state) for state in State)) for command in _commands()),
        ),
        _exceptions(),
        "## What each command asks for",
        "The access code is asked for where the programme requires it, or where it is optional and the card has one. A "
        "code that comes is checked, whether it is needed or not.",
        _table(
            ("command", "what it does", *_KINDS.values(), "access code", "desk alone", "can be reversed", "refunded"),
            (_properties(command) for command in _commands()),
        ),
        f"A command that the kind of card does not have is declined {_told(Reason.NOT_PROGRAMME)}. Without a card of "
        f"their own: {_listed(SERVED.difference(_commands()))}; they are served at every module. Known and not built, "
        f"declined {_told(Reason.NOT_BUILT)}: {_listed(_not_built())}.",
        "## Choices that a clerk asks about",
        _choices(),
        "## What a clerk reads",
        _table(
            ("code", "on the receipt"),
            ((_code(reason), _clerk(reason.result, reason)) for reason in _of_the_table()),
        ),
        "Every other reason, and what to do about each: [RESULTS.md](RESULTS.md).",
    )


def results_page() -> str:
    """The text of `RESULTS.md`."""
    return _page(
        "Results and reasons",
        "`protocol/numbers.py`, `authsrv/advice.toml` and the receipt's texts",
        "For support: find the code of the receipt, such as `51-5102`. What the clerk reads is English here; the "
        "receipt has it in the module's language. A decline is final when it is recorded, and the same request never "
        "gets another answer: what was put right is asked anew, under a new sequence.",
        "Not recorded besides what is marked here: echo and page, which move nothing. The switch sends no text where "
        "it could not ask the database, as with most of 91 and 96, or where the request has no usable name: then the "
        "till shows its own words.",
        "No answer at all is not final either: nothing is known then, and the module goes on as after 91.",
        *(part for result in Result for part in _section(result)),
    )


def advice(reason: Reason) -> str:
    """What support does about a reason; `KeyError` where nobody has written it."""
    return _advice()["reasons"][reason.name]


@cache
def _advice() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(files("authsrv").joinpath("advice.toml").read_text("utf-8"))


def _page(title: str, source: str, *parts: str) -> str:
    head = f"<!-- Generated by `python -m authsrv.generate` from {source}. Do not edit. -->\n# {title}"
    return "\n\n".join((head, *parts)) + "\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    return "\n".join(f"| {' | '.join(line)} |" for line in (names, ["---"] * len(names), *map(list, rows)))


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


def _listed(commands: Iterable[Command]) -> str:
    return ", ".join(_words(command.name) for command in sorted(commands))


def _code(reason: Reason) -> str:
    return f"{reason.result.value:02}-{reason.value:04}"


def _told(reason: Reason) -> str:
    return f"{_code(reason)}, {reason.note}"


def _clerk(result: Result, reason: Reason) -> str:
    """What the receipt says, by the rule of `receipts.wording`."""
    words = catalogue(SOURCE_LANGUAGE)
    return words.find("reason", str(reason.value)) or words.find("result", f"{result.value:02}")


# The table


def _commands() -> list[Command]:
    return list(dict.fromkeys(command for command, _ in TABLE))


def _not_built() -> list[Command]:
    return [each for each in Command if each not in SERVED and each not in (Command.ECHO, Command.PAGE)]


def _of_the_table() -> list[Reason]:
    return sorted({reason for reason in TABLE.values() if reason is not None} | set(HARD_BLOCKS.values()))


def _cell(command: Command, state: State) -> str:
    reason = TABLE[command, state]
    mark = "*" if (command, state) in OF_A_PASS else ""
    return (_told(reason) if reason is not None else "goes on") + mark


def _exceptions() -> str:
    passes = [
        f"{_words(command.name)} of a pass that is {_words(state.name)} " + (_told(reason) if reason else "goes on")
        for (command, state), reason in OF_A_PASS.items()
    ]
    blocks = [f"{GivenReason(given).note}: {_told(reason)}" for given, reason in HARD_BLOCKS.items()]
    return (
        f"\\* Where a pass differs: {'; '.join(passes)}.\n\nWhere a blocked card is declined, the reason of the block "
        f"may say more: {'; '.join(blocks)}. Only a desk takes such a block away, or replaces such a card."
    )


def _properties(command: Command) -> tuple[str, ...]:
    code = "needed" if command in CODE_NEEDED else ""
    if command in CODE_OF_HOLDER_ONLY:
        code = "needed, but not at a desk, nor on a card without one"
    reversal = "yes" if command in _UNDONE else f"{_told(Reason.NOTHING_MOVED)}"
    if command in NOT_REVERSIBLE:
        reversal = f"no: {_code(Reason.NOT_REVERSIBLE)}"
    return (
        _words(command.name),
        command.note,
        *("yes" if command in OF_KIND[kind] else "" for kind in _KINDS),
        code,
        "yes" if command in DESK_ONLY else "",
        reversal,
        "yes" if command in REFUNDABLE else "",
    )


def _choices() -> str:
    """The list in the head of the table; read from its source, since compiled code has no docstring."""
    text = ast.get_docstring(ast.parse(files("authsrv").joinpath("table.py").read_text("utf-8"))) or ""
    _, found, choices = text.partition("Choices that a clerk asks about:\n")
    if not found:
        raise ValueError("the head of authsrv/table.py names no choices")
    return "* " + "\n* ".join(" ".join(choice.split()) for choice in choices.split("  * ")[1:])


# Results


def _section(result: Result) -> list[str]:
    told = _advice()["next"]
    outcome = template().outcome(result)
    reasons = [reason for reason in Reason if reason.result is result]
    printed = catalogue(SOURCE_LANGUAGE).text("outcome", outcome)
    shows_code = any(line.value == "code" for line in template().receipts[outcome])
    head = f"The receipt says **{printed}**" + (" and the code." if shows_code else "; it prints no code.")
    parts = [
        f"## {result.value:02}: {result.note}",
        f"{head} What the module does next: {told.get(result.name) or told[outcome]}",
    ]
    if reasons:
        heads = ("code", "reason", "the clerk reads", "what it means", "what to do", "recorded")
        return [*parts, _table(heads, (_row(result, reason, outcome) for reason in reasons))]
    return [*parts, f"It has no reasons of its own: {result.value:02}-{Reason.NONE.value:04}."]


def _row(result: Result, reason: Reason, outcome: Outcome) -> tuple[str, ...]:
    return (
        _code(reason),
        f"`{reason.name}`",
        _clerk(result, reason) or "nothing besides",
        reason.note,
        advice(reason),
        _recorded(result, reason, outcome),
    )


def _recorded(result: Result, reason: Reason, outcome: Outcome) -> str:
    if outcome is Outcome.OPEN:
        return "no: not final"
    if result is Result.DUPLICATE:
        return "no: the name has its record"
    if reason in _UNNAMED:
        return "no: refused for good"
    return _PARTLY_UNNAMED.get(reason, "yes")
