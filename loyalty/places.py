"""Where things stand in a TOML text: tomllib gives what they are and not their lines.

It looks at the text only as far as lines need it: strings, comments, brackets, keys at the beginning of a statement. It
never refuses one, since it also has to say where a text that is no TOML is broken, and it does not call itself, however
deep brackets go. Lines are counted as tomllib counts them, by line feeds alone.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

DEPTH_MAX: Final = 8
"""More lists and tables in one another than any programme has."""

Path = tuple[str] | tuple[str, int]

_TOKENS: Final = re.compile(
    r"""
      (?P<string> \"{3} (?: [^"\\] | \\. | \"{1,2}(?!\") )* \"{3,5} | '{3} (?: [^'] | '{1,2}(?!') )* '{3,5}
                | \"(?!\"\") (?: [^"\\\n] | \\. )* \" | '(?!'') [^'\n]* ' )
    | (?P<unclosed> \"{3} | '{3} )
    | (?P<comment> \#[^\n]* )
    | (?P<newline> \n )
    | (?P<open> [\[{] )
    | (?P<close> [\]}] )
    | (?P<comma> , )
    | (?P<equals> = )
    | (?P<space> [^\S\n]+ )
    | (?P<other> [^\s\[\]{},=\#"']+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(slots=True)
class Places:
    """The lines of a text: of each key at its top, and of each element of a list that such a key has."""

    lines: dict[Path, int] = field(default_factory=dict)
    twice: tuple[str, int, int] | None = None  # the first key that is written twice in one table, and its two lines
    unclosed: int | None = None  # where the string or bracket begins that the text ends in
    too_deep: int | None = None  # where first more than DEPTH_MAX brackets are open, or a key has parts without end

    def line(self, path: Path) -> int:
        """The line of an element, else of its key, else 0."""
        return self.lines.get(path) or self.lines.get((path[0],), 0)


def places(text: str) -> Places:
    """Find where the keys and elements of a TOML text stand."""
    reader = _Reader(text)
    for token in _TOKENS.finditer(text):
        if token.lastgroup == "unclosed":
            reader.found.unclosed = reader.line
            break
        reader.take(token)
    return reader.found


class _Reader:
    """Takes one token after the other and notes where they stand."""

    def __init__(self, text: str) -> None:
        self.found = Places()
        self.line = 1
        self._text = text
        self._begins = 0  # of the statement that is read
        self._open: list[int] = []  # the lines of the brackets that are open
        self._key: str | None = None  # of the value that is read; None before the equals sign
        self._element = -1  # of the list that the value is; -1 where it is none
        self._header = False
        self._tables = 0
        self._seen: dict[tuple[int, tuple[str, ...]], int] = {}

    def take(self, token: re.Match[str]) -> None:
        """Go on by a token."""
        kind = token.lastgroup
        if kind in ("string", "open", "other"):
            self._value(token[0])
        if kind == "newline" and not self._open:
            self._begins, self._key, self._element, self._header = token.end(), None, -1, False
        elif kind == "equals" and not self._open and self._key is None and not self._header:
            self._assigned(self._path(self._before(token)))
        elif kind == "open" and not self._open and self._key is None and not self._before(token).strip():
            self._headed(self._path(self._header_behind(token)))
        elif kind == "open" and not self._header:
            self._open.append(self.line)
            if len(self._open) > DEPTH_MAX and self.found.too_deep is None:
                self.found.too_deep = self.line
            self.found.unclosed = self._open[-1]
        elif kind == "close" and self._open:
            self._open.pop()
            self.found.unclosed = self._open[-1] if self._open else None
        elif kind == "comma" and len(self._open) == 1 and self._element >= 0:
            self._element += 1
        self.line += token[0].count("\n")

    def _before(self, token: re.Match[str]) -> str:
        """What stands between the beginning of the statement and a token."""
        return self._text[self._begins : token.start()]

    def _header_behind(self, token: re.Match[str]) -> str:
        """The name in a header that a bracket opens."""
        end = self._text.find("\n", token.end())
        return self._text[token.end() : end if end >= 0 else None].partition("]")[0].lstrip("[")

    def _value(self, text: str) -> None:
        """Note an element, or that the value is a list."""
        if self._key is None or self._header:
            return
        if len(self._open) == 1 and self._element >= 0:
            self.found.lines.setdefault((self._key, self._element), self.line)
        if not self._open and text == "[" and self._element < 0:
            self._element = 0

    def _assigned(self, path: tuple[str, ...]) -> None:
        self._key = path[0] if path else ""
        if not path:
            return
        if not self._tables:
            self.found.lines.setdefault((path[0],), self.line)
        first = self._seen.setdefault((self._tables, path), self.line)
        if first != self.line and self.found.twice is None:
            self.found.twice = (".".join(path), first, self.line)

    def _headed(self, path: tuple[str, ...]) -> None:
        self._header = True
        self._tables += 1
        if path:
            self.found.lines.setdefault((path[0],), self.line)

    def _path(self, key: str) -> tuple[str, ...]:
        """The parts of a key, without quotes and dots; none where it is no key, or one that tomllib does not follow."""
        try:
            value: object = tomllib.loads(f"{key.strip()} = 0")
        except ValueError:
            return ()
        except RecursionError:  # from Python 3.14 on a thousand parts are too many
            self.found.too_deep = self.found.too_deep or self.line
            return ()
        parts = []
        while isinstance(value, Mapping):
            [(name, value)] = value.items()
            parts.append(str(name))
        return tuple(parts)


def depth(value: object) -> int:
    """How many lists and tables stand in one another, the outermost counted."""
    levels, inside = 0, [value]
    while any(isinstance(each, list | Mapping) for each in inside):
        levels += 1
        inside = list(
            chain.from_iterable(
                each.values() if isinstance(each, Mapping) else each
                for each in inside
                if isinstance(each, list | Mapping)
            )
        )
    return levels
