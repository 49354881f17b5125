"""Facts in, paper out: a receipt.

Every answer of the switch carries one, so a receipt is not interpreted but assembled. For each language, width and code
page the template is turned once into sections, with a rule between two that say something: never first, last or twice.
A section is a list of steps; a step gives the bytes of one line of the template, none where its value is "".

Steps write in the printer's code page, where a sign is a byte: to encode a whole receipt into a page other than ASCII
costs more than to make it. Labels are encoded once; what is written each time is digits and ASCII letters mostly.

Most of a receipt is the same for all that one module prints in one second: who and where, what happened, under which
programme. Neighbouring steps of such values are joined into one that keeps its bytes by those values, within a bound;
only the card, the numbers and the amounts are written each time.
"""

from collections.abc import Callable, Iterable
from functools import cache
from itertools import groupby
from operator import attrgetter

from receipts.catalogue import catalogue
from receipts.code_pages import codec, encode, transliterate
from receipts.facts import ReceiptFacts
from receipts.layout import centred, pair, wrap
from receipts.template import Line, Outcome, Style, template
from receipts.wording import SHARED, Wording

WIDTHS = (32, 42, 44, 48)

_SHARED_KEPT = 4096  # by each joined step: modules at work in one second, times what they do

_Value = Callable[[ReceiptFacts], str]
_Step = Callable[[ReceiptFacts], bytes]
_Section = tuple[_Step, ...]


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
    written = printed(facts, language, columns, code_page).decode(codec(code_page))
    return tuple(written.split("\n")[:-1])


def printed(facts: ReceiptFacts, language: str, columns: int, code_page: int) -> bytes:
    """The same as the printer's bytes, a line feed after each line."""
    sections = _sections(language, columns, code_page)[template().outcome(facts.result)]
    written = [b"".join([step(facts) for step in section]) for section in sections]
    return _rule(columns).join([lines for lines in written if lines])


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
def _rule(columns: int) -> bytes:
    return b"-" * columns + b"\n"


@cache
def _sections(language: str, columns: int, code_page: int) -> dict[Outcome, tuple[_Section, ...]]:
    if columns not in WIDTHS:
        raise ValueError(f"no receipt is {columns} columns wide; known are {', '.join(map(str, WIDTHS))}")
    wording = Wording(catalogue(language), code_page)
    return {
        outcome: tuple(
            tuple(_steps(section, wording, columns, code_page))
            for is_rule, section in groupby(lines, lambda line: line.style is Style.RULE)
            if not is_rule
        )
        for outcome, lines in template().receipts.items()
    }


def _steps(lines: Iterable[Line], wording: Wording, columns: int, code_page: int) -> Iterable[_Step]:
    for shared, neighbours in groupby(lines, lambda line: line.value in SHARED):
        steps = [(line, _step(line, wording, columns, code_page)) for line in neighbours]
        if shared:
            read = {name: None for line, _ in steps for name in SHARED[line.value]}  # each once, in order
            yield _kept([step for _, step in steps], tuple(read))
        else:
            yield from (step for _, step in steps)


def _kept(steps: list[_Step], read: tuple[str, ...]) -> _Step:
    """One step for all these, whose bytes follow from the facts named in `read` alone."""
    key: Callable[[ReceiptFacts], object] = attrgetter(*read)  # one value, or a tuple of several
    kept: dict[object, bytes] = {}

    def step(facts: ReceiptFacts) -> bytes:
        values = key(facts)
        written = kept.get(values)
        if written is None:
            if len(kept) >= _SHARED_KEPT:
                kept.clear()
            written = kept[values] = b"".join([step(facts) for step in steps])
        return written

    return step


def _step(line: Line, wording: Wording, columns: int, code_page: int) -> _Step:
    value = wording.values[line.value]
    match line.style:
        case Style.CENTRED:
            return lambda facts: encode(centred(value(facts), columns), code_page)
        case Style.TEXT:
            return lambda facts: encode(wrap(value(facts), columns), code_page)
        case Style.PAIR:
            return _pair(wording.label(line.label), value, columns, code_page)
        case Style.RULE:
            raise ValueError("a rule stands between sections, not in one")


def _pair(label: str, value: _Value, columns: int, code_page: int) -> _Step:
    room = columns - len(label)
    left = label.encode(codec(code_page)).replace(b"%", b"%%")
    form = left + b"%%%db\n" % max(room, 0)  # the label, and a blank to the right edge

    def step(facts: ReceiptFacts) -> bytes:
        text = value(facts)
        if not text:
            return b""
        if len(text) < room and text.isascii():
            return form % text.encode("ascii")
        return encode(pair(label, text, columns), code_page)

    return step
