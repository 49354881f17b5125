"""Facts in, paper out: a receipt.

Every answer of the switch carries one, so a receipt is not interpreted but assembled, in bytes of the printer's code
page, where one sign is one byte. For each language, width and code page the template is turned once into sections of
writers: lines in a row whose values many receipts share become one writer that keeps what it wrote, every other line is
a form with a blank at its right. A line whose value is "" is no line, and a rule comes between sections that say
something: never first, last or twice.
"""

from collections.abc import Callable, Iterable
from functools import cache
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from receipts.catalogue import catalogue
from receipts.code_pages import encode, transliterate
from receipts.facts import ReceiptFacts
from receipts.layout import centred, pair, wrap
from receipts.template import Line, Outcome, Style, template
from receipts.wording import SHARED, Wording

WIDTHS = (32, 42, 44, 48)

_KEPT = 4096  # by each writer

_Writer = Callable[[ReceiptFacts], bytes]
_Section = tuple[_Writer, ...]


class _Paper(NamedTuple):
    """What is ready for one language, width and code page."""

    sections: dict[Outcome, tuple[_Section, ...]]
    rule: bytes


def render(facts: ReceiptFacts, language: str = "en", columns: int = 42, code_page: int = 0) -> bytes:
    """Write the receipt of what was decided, in bytes of the code page, a line feed after each line.

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
    paper = _paper(language, columns, code_page)
    told = []
    for section in paper.sections[template().outcome(facts.result)]:
        lines = b"".join([write(facts) for write in section])
        if lines:
            told.append(lines)
    return paper.rule.join(told)


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
def _paper(language: str, columns: int, code_page: int) -> _Paper:
    if columns not in WIDTHS:
        raise ValueError(f"no receipt is {columns} columns wide; known are {', '.join(map(str, WIDTHS))}")
    press = _Press(Wording(catalogue(language), code_page), columns, code_page)
    return _Paper(
        {outcome: press.sections(lines) for outcome, lines in template().receipts.items()},
        encode(["-" * columns], code_page),
    )


class _Press:
    """Makes the writers of one paper."""

    def __init__(self, wording: Wording, columns: int, code_page: int) -> None:
        self._wording = wording
        self._columns = columns
        self._code_page = code_page

    def sections(self, lines: Iterable[Line]) -> tuple[_Section, ...]:
        """The sections of a receipt, which rules part."""
        parts = groupby(lines, key=lambda line: line.style is Style.RULE)
        return tuple(tuple(self._section(list(between))) for rule, between in parts if not rule)

    def _section(self, lines: list[Line]) -> Iterable[_Writer]:
        for shared, run in groupby(lines, key=lambda line: line.value in SHARED):
            if shared:
                yield self._kept(list(run))
            else:
                yield from map(self._line, run)

    def _kept(self, lines: list[Line]) -> _Writer:
        """One writer for lines in a row that many receipts share."""
        made_from = attrgetter(*dict.fromkeys(fact for line in lines for fact in SHARED[line.value]))
        writers = [self._line(line) for line in lines]
        kept: dict[object, bytes] = {}

        def write(facts: ReceiptFacts) -> bytes:
            key = made_from(facts)
            written = kept.get(key)
            if written is None:
                if len(kept) >= _KEPT:
                    kept.clear()
                written = kept[key] = b"".join([write(facts) for write in writers])
            return written

        return write

    def _line(self, line: Line) -> _Writer:
        value, columns, code_page = self._wording.values[line.value], self._columns, self._code_page
        match line.style:
            case Style.CENTRED:
                return lambda facts: encode(centred(value(facts), columns), code_page)
            case Style.TEXT:
                return lambda facts: encode(wrap(value(facts), columns), code_page)
            case Style.PAIR:
                return self._pair(self._wording.label(line.label), value)
            case Style.RULE:
                raise ValueError("a rule is no line of a section")

    def _pair(self, label: str, value: Callable[[ReceiptFacts], str]) -> _Writer:
        columns, code_page = self._columns, self._code_page
        room = columns - len(label)
        form = encode([label], code_page)[:-1].replace(b"%", b"%%") + b"%%%db\n" % max(room, 0)

        def write(facts: ReceiptFacts) -> bytes:
            text = value(facts)
            if len(text) < room and text.isascii():
                return form % text.encode("ascii") if text else b""
            return encode(pair(label, text, columns), code_page)

        return write
