"""Which lines stand on which receipt: `template.toml`, read once and checked.

It is data because it changes for reasons of its own (a new law, an issuer's wish), and none of them is a reason to
touch the code that formats amounts or measures lines.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files


class Outcome(StrEnum):
    """How a request ended, as a receipt tells it."""

    APPROVED = "approved"
    PARTLY = "partly"
    DECLINED = "declined"
    DIFFER = "differ"
    OPEN = "open"


class Style(StrEnum):
    """How a line looks."""

    CENTRED = "centred"
    PAIR = "pair"
    TEXT = "text"
    RULE = "rule"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a receipt: its look, the name of its label (pairs) and the name of its value (all but rules)."""

    style: Style
    label: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """The lines of each kind of receipt, and which result makes which kind."""

    receipts: Mapping[Outcome, tuple[Line, ...]]
    outcomes: Mapping[int, Outcome]

    def outcome(self, result: int) -> Outcome:
        """Say how a request with this result ended."""
        return self.outcomes.get(result, Outcome.DECLINED)


def parse_template(text: str) -> Template:
    """Read a template from TOML; `ValueError` or `KeyError` where it names what does not exist."""
    data = tomllib.loads(text)
    lines = {name: Line(**(look | {"style": Style(look["style"])})) for name, look in data["lines"].items()}
    return Template(
        receipts={outcome: tuple(lines[name] for name in data["receipts"][outcome]) for outcome in Outcome},
        outcomes={result: Outcome(name) for name, results in data["outcomes"].items() for result in results},
    )


@cache
def template() -> Template:
    """Give the template that ships with this package."""
    return parse_template(files("receipts").joinpath("template.toml").read_text("utf-8"))
