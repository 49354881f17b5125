"""What a command has to say, once for programs and once for people."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Report:
    """`values` is what `--json` prints, in the shape that the command's help shows; `lines` is for a person."""

    values: dict[str, Any]
    lines: tuple[str, ...]
