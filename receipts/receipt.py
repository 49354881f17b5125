"""Facts in, paper out: a receipt.

Every answer of the switch carries one, so a receipt is not interpreted but assembled. For each language, width and code
page the template is turned once into sections, with a rule between two that say something: never first, last or twice.
A section is a list of steps; a step gives the bytes of one line of the template or of some that belong together, none
where there is nothing to say.

A receipt is put together as a `str` whose signs are the bytes of the printer's code page, where a sign is a byte: to
join and pad such is quicker than bytes are, and to make bytes of it at the end is a copy. Labels are turned once; what
is written each time is digits and ASCII letters mostly.

Much of a receipt is the same for many: who and where, the second, what happened, under which programme. Neighbouring
lines of such values are kept by what they follow from, within a bound; only the card, the numbers and the amounts are
written each time.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cache
from itertools import groupby
from typing import Final

from receipts.catalogue import catalogue
from receipts.code_pages import codec, encode, transliterate
from receipts.facts import ReceiptFacts
from receipts.layout import centred, pair, wrap
from receipts.template import Line, Outcome, Style, template
from receipts.wording import SHARED, WRITTEN, Wording, shared_keys

WIDTHS: Final = (32, 42, 44, 48)

_SHARED_KEPT: Final = 4096  # of each group of shared lines: modules, places, what can happen
_AS_BYTES: Final = "latin-1"  # each sign one byte of the same number


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
    wanted = (language, columns, code_page, facts.result)
    form = _FORMS.get(wanted)
    if form is None:
        form = _FORMS[wanted] = _form(language, columns, code_page, template().outcome(facts.result))
    return form.filled(facts).encode(_AS_BYTES)


def copied(text: bytes, language: str, columns: int, code_page: int) -> bytes:
    """Put the copy mark above an encoded receipt that was printed before; what it says stays as it was.

    Args:
        text: all its pages, put together.
        language: the language of the mark.
        columns: the width that the receipt was laid out for.
        code_page: the code page that it was encoded in.

    """
    return _mark("copy", language, columns, code_page) + text


def merchant_copy(text: bytes, language: str, columns: int, code_page: int) -> bytes:
    """Make the copy that a merchant keeps of an encoded receipt of an approval: marked, with a line for the signature.

    The holder signs on it that the amount was taken; the receipt itself, which the holder keeps, has no such line.

    Args:
        text: all its pages, put together.
        language: the language of the mark and of what stands below the line.
        columns: the width that the receipt was laid out for.
        code_page: the code page that it was encoded in.

    """
    return _mark("merchant copy", language, columns, code_page) + text + _signature(language, columns, code_page)


@cache
def _mark(name: str, language: str, columns: int, code_page: int) -> bytes:
    mark = transliterate(catalogue(language).text("mark", name), code_page)
    return encode(centred(mark, columns), code_page)


@cache
def _signature(language: str, columns: int, code_page: int) -> bytes:
    line = encode(["", "", "_" * columns], code_page)  # room to write in
    return line + _mark("signature", language, columns, code_page)


class _Step(ABC):
    """Some lines of a receipt, ready to be written."""

    @abstractmethod
    def written(self, facts: ReceiptFacts, values: list[str], keys: tuple[object, ...]) -> str:
        """The lines, a line feed after each; "" where there is nothing to say."""


class _Form:
    """A receipt of one outcome, in one language, for one paper: sections of steps, with a rule between two."""

    def __init__(self, wording: Wording, columns: int, sections: list[list[_Step]]) -> None:
        self._wording = wording
        self._rule = "-" * columns + "\n"
        self._sections = sections

    def filled(self, facts: ReceiptFacts) -> str:
        """The whole receipt."""
        values, keys = self._wording.written(facts), shared_keys(facts)
        lines: list[str] = []
        for section in self._sections:
            before = len(lines)
            if before:
                lines.append(self._rule)
            ruled = len(lines)
            for step in section:
                written = step.written(facts, values, keys)
                if written:
                    lines.append(written)
            if len(lines) == ruled > before:
                lines.pop()
        return "".join(lines)


class _Shared(_Step):
    """Neighbouring lines that follow from the same few facts, kept by those."""

    def __init__(self, key: int, lines: list[Callable[[ReceiptFacts], str]]) -> None:
        self._key = key
        self._lines = lines
        self._kept: dict[object, str] = {}

    def written(self, facts: ReceiptFacts, values: list[str], keys: tuple[object, ...]) -> str:  # noqa: ARG002
        """What is kept, or is from now on."""
        key = keys[self._key]
        written = self._kept.get(key)
        if written is None:
            if len(self._kept) >= _SHARED_KEPT:
                self._kept.clear()
            written = self._kept[key] = "".join([line(facts) for line in self._lines])
        return written


class _Pair(_Step):
    """A label left, and right of it a value that is written each time."""

    def __init__(self, label: str, value: int, columns: int, code_page: int) -> None:
        self._label = label
        self._left = _as_bytes(label.encode(codec(code_page)))
        self._room = columns - len(label)
        self._value = value
        self._columns = columns
        self._code_page = code_page

    def written(self, facts: ReceiptFacts, values: list[str], keys: tuple[object, ...]) -> str:  # noqa: ARG002
        """One line as a rule, none where the value is ""."""
        return self.line(values[self._value])

    def line(self, text: str) -> str:
        """The label with this value."""
        if not text:
            return ""
        if len(text) < self._room and text.isascii():
            return self._left + text.rjust(self._room) + "\n"
        return _as_bytes(encode(pair(self._label, text, self._columns), self._code_page))


class _Table(_Step):
    """The lines of totals: as many as there are kinds to tell of."""

    def __init__(self, wording: Wording, columns: int, code_page: int) -> None:
        self._wording = wording
        self._columns = columns
        self._code_page = code_page

    def written(self, facts: ReceiptFacts, values: list[str], keys: tuple[object, ...]) -> str:  # noqa: ARG002
        """A pair for each, none where nothing was counted."""
        if not facts.totals:
            return ""
        lines = [
            line for label, count, total in self._wording.totals(facts) for line in self._lines(label, count, total)
        ]
        return _as_bytes(encode(lines, self._code_page))

    def _lines(self, label: str, count: str, total: str) -> list[str]:
        """How many and their sum on one line, or else the sum on one of its own: its groups of digits stay together."""
        both = f"{count} / {total}"
        if len(both) <= self._columns:
            return pair(label, both, self._columns)
        return [*pair(label, f"{count} /", self._columns), total.rjust(self._columns)]


_FORMS: Final[dict[tuple[str, int, int, int], _Form]] = {}
"""By language, columns, code page and result: all closed sets."""


@cache
def _form(language: str, columns: int, code_page: int, outcome: Outcome) -> _Form:
    if columns not in WIDTHS:
        raise ValueError(f"no receipt is {columns} columns wide; known are {', '.join(map(str, WIDTHS))}")
    wording = _wording(language, code_page)
    sections = [
        _steps(section, wording, columns, code_page)
        for is_rule, section in groupby(template().receipts[outcome], lambda line: line.style is Style.RULE)
        if not is_rule
    ]
    return _Form(wording, columns, sections)


@cache
def _wording(language: str, code_page: int) -> Wording:
    return Wording(catalogue(language), code_page)


def _steps(section: Iterable[Line], wording: Wording, columns: int, code_page: int) -> list[_Step]:
    steps: list[_Step] = []
    for key, lines in groupby(section, lambda line: SHARED.get(line.value)):
        if key is not None:
            steps.append(_Shared(key, [_shared_line(line, wording, columns, code_page) for line in lines]))
        else:
            steps += [_written(line, wording, columns, code_page) for line in lines]
    return steps


def _written(line: Line, wording: Wording, columns: int, code_page: int) -> _Step:
    if line.style is Style.TABLE:
        return _Table(wording, columns, code_page)
    return _pair(line, wording, WRITTEN.index(line.value), columns, code_page)


def _shared_line(line: Line, wording: Wording, columns: int, code_page: int) -> Callable[[ReceiptFacts], str]:
    value = wording.shared[line.value]
    match line.style:
        case Style.CENTRED:
            return lambda facts: _as_bytes(encode(centred(value(facts), columns), code_page))
        case Style.TEXT:
            return lambda facts: _as_bytes(encode(wrap(value(facts), columns), code_page))
        case Style.PAIR:
            beside = _pair(line, wording, 0, columns, code_page)
            return lambda facts: beside.line(value(facts))
        case Style.RULE | Style.TABLE:
            raise ValueError(f"a {line.style} is no line of its own")


def _pair(line: Line, wording: Wording, value: int, columns: int, code_page: int) -> _Pair:
    if line.style is not Style.PAIR:
        raise ValueError(f"{line.value} stands beside a label only")
    return _Pair(wording.label(line.label), value, columns, code_page)


def _as_bytes(encoded: bytes) -> str:
    return encoded.decode(_AS_BYTES)
