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
from collections.abc import Iterator, Mapping
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
_KEY = re.compile(r"""\s*\[*\s*["']?([\w-]+)""")
_SYNTAX_LINE = re.compile(r"at line (\d+)")


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake: the line where it stands (0 where it stands in none) and what to do."""

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
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _SYNTAX_LINE.search(str(error))
        line = int(found[1]) if found else len(text.splitlines())
        raise ProgrammeError(source, (Mistake(line, f"this is not TOML: {error}"),)) from None
    return _checked(data, source, _lines(text))


def load_programme(data: Mapping[str, Any], source: str) -> Programme:
    """Make a programme of what `programme_document` gave; `ProgrammeError` with every mistake."""
    return _checked(data, source, {})


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


def _lines(text: str) -> dict[str, int]:
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if found := _KEY.match(line):
            lines.setdefault(found[1], number)
    return lines


def _checked(data: Mapping[str, Any], source: str, lines: Mapping[str, int]) -> Programme:
    plain = {key: value.isoformat() if isinstance(value, dt.date) else value for key, value in data.items()}
    wrong = {told for error in _validator().iter_errors(plain) for told in _told(error)}
    sound = {key: value for key, value in plain.items() if key not in {name for name, _ in wrong}}
    found = wrong.union(_contradictions(sound))
    if found:
        raise ProgrammeError(source, tuple(sorted(Mistake(lines.get(key, 0), text) for key, text in found)))
    return _programme(sound)


def _told(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Say what a schema error is about and what to do, for each property that it concerns."""
    properties = schema()["properties"]
    value: Any = error.instance
    rule: Any = error.validator_value
    match error.validator:
        case "required":
            for key in rule:
                if key not in value:
                    yield key, f"{key} is missing; write it: {properties[key]['description']}"
        case "additionalProperties":
            for key in value:
                if key not in properties:
                    near = difflib.get_close_matches(key, properties, 1)
                    yield key, f"{key} is not known; " + (f"did you mean {near[0]}?" if near else "leave it out")
        case _:
            key = str(error.path[0])
            shown = json.dumps(value, ensure_ascii=False, default=str)
            demand = _demand(str(error.validator), rule)
            yield key, f"{key} cannot be {shown}; write {demand}: {properties[key]['description']}"


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
