"""What a command has to say, once for programs and once for people.

A command that looks at something and finds it wrong has done its work: it reports, and `complaints` make it end as one
that refused.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Report:
    """`values` is what `--json` prints, in the shape that the command's help shows; `lines` is for a person, and so are
    `complaints`, which go to stderr."""

    values: dict[str, Any]
    lines: tuple[str, ...]
    complaints: tuple[str, ...] = ()
