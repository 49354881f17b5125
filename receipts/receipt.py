"""Facts in, lines out: a receipt.

Every answer of the switch carries one, so a receipt is not interpreted but assembled: for each language, width and code
page the template is turned once into a list of steps with their labels written and measured; a receipt runs the steps
of its outcome. A step whose value is "" adds no line, and a rule only comes between lines: never first, last or twice.
"""

from collections.abc import Callable
from functools import cache, lru_cache

from receipts.catalogue import catalogue
from receipts.code_pages import encode, transliterate
from receipts.facts import ReceiptFacts
from receipts.layout import centred, pair, wrap
from receipts.template import Line, Outcome, Style, template
from receipts.wording import Wording

WIDTHS = (32, 42, 44, 48)

_TEXTS_KEPT = 1024  # names and notes, broken into lines

_Value = Callable[[ReceiptFacts], str]
_Step = Callable[[ReceiptFacts, list[str]], None]


def render(facts: ReceiptFacts, language: str = "en", columns: int = 42, code_page: int = 0) -> tuple[str, ...]:
    """Write the receipt of what was decided, in signs that the code page has.

    Args:
        facts: what was asked and decided.
        language: one that there are texts in, see `receipts.catalogue.languages`.
        columns: the width of the paper in signs: 32, 42, 44 or 48.
        code_page: the wire's number of the printer's code page, see `receipts.code_pages.CODECS`.

    Returns:
        The lines, none longer than `columns`.

    Raises:
        ValueError: a language, width or code page that is not known; never because of the facts.

    """
    steps = _steps(language, columns, code_page)[template().outcome(facts.result)]
    lines: list[str] = []
    for step in steps:
        step(facts, lines)
    return tuple(lines)


def copied(text: bytes, language: str, columns: int, code_page: int) -> bytes:
    """Put the copy mark above an encoded receipt that was printed before; what it says stays as it was.

    Args:
        text: all its pages, put together.
        language: the language of the mark.
        columns: the width that the receipt was laid out for.
        code_page: the code page that it was encoded in.

    """
    return _copy_mark(language, columns, code_page) + text


@cache
def _copy_mark(language: str, columns: int, code_page: int) -> bytes:
    mark = transliterate(catalogue(language).text("mark", "copy"), code_page)
    return encode(centred(mark, columns), code_page)


@cache
def _steps(language: str, columns: int, code_page: int) -> dict[Outcome, tuple[_Step, ...]]:
    if columns not in WIDTHS:
        raise ValueError(f"no receipt is {columns} columns wide; known are {', '.join(map(str, WIDTHS))}")
    wording = Wording(catalogue(language), code_page)
    rule = "-" * columns
    return {
        outcome: (*(_step(line, wording, columns, rule) for line in lines), _end(rule))
        for outcome, lines in template().receipts.items()
    }


def _step(line: Line, wording: Wording, columns: int, rule: str) -> _Step:
    match line.style:
        case Style.RULE:
            return _rule(rule)
        case Style.CENTRED:
            return _words(wording.values[line.value], lambda text: centred(text, columns))
        case Style.TEXT:
            return _words(wording.values[line.value], lambda text: wrap(text, columns))
        case Style.PAIR:
            return _pair(wording.label(line.label), wording.values[line.value], columns)


def _rule(rule: str) -> _Step:
    def step(_: ReceiptFacts, lines: list[str]) -> None:
        if lines and lines[-1] is not rule:
            lines.append(rule)

    return step


def _end(rule: str) -> _Step:
    def step(_: ReceiptFacts, lines: list[str]) -> None:
        if lines and lines[-1] is rule:
            lines.pop()

    return step


def _words(value: _Value, broken: Callable[[str], list[str]]) -> _Step:
    kept = lru_cache(_TEXTS_KEPT)(broken)

    def step(facts: ReceiptFacts, lines: list[str]) -> None:
        lines += kept(value(facts))

    return step


def _pair(label: str, value: _Value, columns: int) -> _Step:
    room = columns - len(label)

    def step(facts: ReceiptFacts, lines: list[str]) -> None:
        text = value(facts)
        if len(text) < room:
            if text:
                lines.append(label + text.rjust(room))
        else:
            lines += pair(label, text, columns)

    return step
