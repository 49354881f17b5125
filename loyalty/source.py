"""Programmes as they are written: TOML by people, JSON in the database, both checked by the published schema.

What is written with mistakes is refused whole, and the error lists all of them, each with its line and what to write
instead, because nobody should have to start the switch once for each mistake. The schema holds the descriptions that
the error repeats, so a property is explained in one place.
"""

import datetime as dt
import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

from babel.numbers import is_currency
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from loyalty.places import DEPTH_MAX, Path, Places, depth, places
from loyalty.programme import AccessCode, Begins, DueFrom, Kind, Programme

_NOT_ABOVE = (
    ("effective_from", "effective_until"),
    ("load_minimum_minor", "load_maximum_minor"),
    ("load_minimum_minor", "balance_maximum_minor"),
    ("limit_minor", "limit_maximum_minor"),
)
_TYPES = {"integer": "a whole number", "string": "a text in quotes", "boolean": "true or false", "array": "a list"}
_DEMANDS = {
    "minimum": "{} or more",
    "maximum": "{} or less",
    "maxLength": "{} signs or fewer",
    "minItems": "at least one",
    "uniqueItems": "each once",
}
_CHOICES: Mapping[str, type[StrEnum]] = {"kind": Kind, "access_code": AccessCode, "begins": Begins, "due_from": DueFrom}
_SYNTAX_LINE = re.compile(r"at line (\d+)")
_LONG_NUMBER = re.compile(r"\d[\d_]{4299,}")  # longer ones Python does not read
_NUMBER_BITS = 1024  # far above any number of a programme, and short enough to be shown
_BARE_KEY = re.compile(r"[\w-]+", re.ASCII)
_SHOWN_SIGNS = 60
_NESTED = "more lists and tables stand in one another than any programme has; leave them out"


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake: the line where it stands (0 where there are no lines) and what to do."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


class ProgrammeError(ValueError):
    """A programme that cannot be used, with every mistake in it."""

    def __init__(self, source: str, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__(source, mistakes)
        self.source = source
        self.mistakes = mistakes

    def __str__(self) -> str:
        return "\n  ".join([f"{self.source} is not a programme:", *map(str, self.mistakes)])


def parse_programme(text: str, source: str) -> Programme:
    """Read a programme from TOML.

    Args:
        text: the TOML.
        source: where it comes from, for the error: a file's name.

    Raises:
        ProgrammeError: with every mistake, by line.

    """
    found = places(text)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProgrammeError(source, (_syntax(str(error), text, found),)) from None
    except RecursionError:
        raise ProgrammeError(source, (Mistake(found.too_deep or 0, _NESTED),)) from None
    except ValueError:  # a number of more digits than Python reads
        before = text.partition(long[0])[0] if (long := _LONG_NUMBER.search(text)) else ""
        raise ProgrammeError(source, (Mistake(before.count("\n") + 1, "this number is too long"),)) from None
    return _checked(data, source, found)


def _syntax(error: str, text: str, found: Places) -> Mistake:
    """Say what is no TOML, where the eye has to look: at what is open to the end of the text where it begins."""
    if text.startswith("\ufeff"):
        return Mistake(1, "the text begins with a byte order mark; save it as UTF-8 without one")
    if "Cannot overwrite" in error and found.twice is not None:
        key, first, second = found.twice
        return Mistake(second, f"{_name(key)} is written twice, on line {first} already; leave one of them out")
    if line := _SYNTAX_LINE.search(error):
        return Mistake(int(line[1]), f"this is not TOML: {error}")
    return Mistake(found.unclosed or len(text.rstrip("\n").split("\n")), f"this is not TOML: {error}")


def load_programme(data: Mapping[str, Any], source: str) -> Programme:
    """Make a programme of what `programme_document` gave; `ProgrammeError` with every mistake."""
    return _checked(data, source, None)


def programme_document(programme: Programme) -> dict[str, Any]:
    """Give a programme as JSON can hold it; `load_programme` makes the same programme of it."""
    required = {*schema()["required"], *_required_of(programme.kind)}
    values = {field.name: (getattr(programme, field.name), field.default) for field in fields(programme)}
    return {name: _plain(value) for name, (value, default) in values.items() if value != default or name in required}


def _required_of(kind: Kind) -> list[str]:
    [rules] = [rules for rules in schema()["allOf"] if rules["if"]["properties"]["kind"]["const"] == kind]
    found: list[str] = rules["then"]["required"]
    return found


def _plain(value: Any) -> Any:
    match value:
        case dt.date():
            return value.isoformat()
        case StrEnum():
            return value.value
        case tuple():
            return list(value)
        case _:
            return value


@cache
def schema() -> Mapping[str, Any]:
    """Give the published JSON Schema of programmes."""
    text = files("loyalty").joinpath("programme.schema.json").read_text("utf-8")
    published: dict[str, Any] = json.loads(text)
    return published


@cache
def _validator() -> Validator:
    # JSON Schema takes 5.0 for an integer; an amount written so is more likely meant in whole units of the currency.
    strict = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    kind: type[Validator] = extend(Draft202012Validator, type_checker=strict)  # type: ignore[no-untyped-call]
    return kind(schema(), format_checker=FormatChecker(["date"]))


def _checked(data: Mapping[str, Any], source: str, found: Places | None) -> Programme:
    """Make a programme of what was read, or refuse it; `found` says where things stand, None: nowhere."""

    def refuse(wrong: Iterable[tuple[Path, str]]) -> None:
        mistakes = tuple(sorted(Mistake(_line(found, path), text) for path, text in wrong))
        if mistakes:
            raise ProgrammeError(source, mistakes)

    refuse(_unreadable(data))
    plain = {key: value.isoformat() if isinstance(value, dt.date) else value for key, value in data.items()}
    wrong = {told for error in _validator().iter_errors(plain) for told in _told(error)}
    sound = {key: value for key, value in plain.items() if key not in {path[0] for path, _ in wrong}}
    refuse(wrong.union(((key,), text) for key, text in _contradictions(sound)))
    return _programme(sound)


def _line(found: Places | None, path: Path) -> int:
    """The line of what a mistake is about; what is missing is told at the kind that asks for it, or at the top."""
    if found is None:
        return 0
    return found.line(path) or found.line(("kind",)) or 1


def _unreadable(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Find what the schema's own check could not even write into its error."""
    for key, value in data.items():
        if depth(value) > DEPTH_MAX:
            yield (key,), f"{_name(key)}: {_NESTED}"
        elif any(type(each) is int and each.bit_length() > _NUMBER_BITS for each in _leaves(value)):
            yield (key,), f"{_name(key)}: this number is too long"


def _leaves(value: Any) -> Iterator[Any]:
    match value:
        case list():
            for each in value:
                yield from _leaves(each)
        case Mapping():
            yield from _leaves(list(value.values()))
        case _:
            yield value


def _told(error: ValidationError) -> Iterator[tuple[Path, str]]:
    """Say what a schema error is about and what to do, for each property that it concerns."""
    properties = schema()["properties"]
    value: Any = error.instance
    rule: Any = error.validator_value
    match error.validator:
        case "required":
            for key in rule:
                if key not in value:
                    yield (key,), f"{key} is missing; write it: {properties[key]['description']}"
        case "additionalProperties":
            for key in value:
                if key not in properties:
                    near = difflib.get_close_matches(key[:_SHOWN_SIGNS], properties, 1)
                    to_do = f"did you mean {near[0]}?" if near else "leave it out"
                    yield (key,), f"{_name(key)} is not known; {to_do}"
        case _:
            key = str(error.path[0])
            path: Path = (key, int(error.path[1])) if len(error.path) > 1 else (key,)
            shown = _short(json.dumps(value, ensure_ascii=False, default=str))
            demand = _demand(str(error.validator), rule)
            yield path, f"{key} cannot be {shown}; write {demand}: {properties[key]['description']}"


def _name(key: str) -> str:
    """A key as it can stand in a line of text."""
    return _short(key if _BARE_KEY.fullmatch(key) else json.dumps(key))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_SIGNS else f"{text[:_SHOWN_SIGNS]}..."


def _demand(validator: str, rule: Any) -> str:
    match validator:
        case "type":
            return _TYPES[rule]
        case "enum":
            return " or ".join(f'"{choice}"' for choice in rule)
        case _:
            return _DEMANDS.get(validator, "it in its form").format(rule)


def _contradictions(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find what each property alone allows but together they do not, or what a schema cannot know."""
    for low, high in _NOT_ABOVE:
        if low in data and high in data and data[low] > data[high]:
            yield high, f"{high} is {data[high]}, but {low} is {data[low]}; raise the one or lower the other"
    for key in data:
        kinds = schema()["properties"].get(key, {}).get("kinds")
        if kinds is not None and "kind" in data and data["kind"] not in kinds:
            only = " and ".join(kinds)
            yield key, f'{key} is not for cards of the kind "{data["kind"]}", only for {only}; leave it out'
    if "valid_days" in data and "valid_months" in data:
        yield "valid_months", "valid_days and valid_months exclude each other; leave one of them out"
    if "currency" in data and not is_currency(data["currency"]):
        yield "currency", f'currency "{data["currency"]}" is not in ISO 4217; write one that is, like "EUR"'


def _programme(data: Mapping[str, Any]) -> Programme:
    made: dict[str, Any] = dict(data)
    for key, members in _CHOICES.items():
        if key in made:
            made[key] = members(made[key])
    for key in ("effective_from", "effective_until"):
        if key in made:
            made[key] = dt.date.fromisoformat(made[key])
    if "branches" in made:
        made["branches"] = tuple(made["branches"])
    return Programme(**made)
