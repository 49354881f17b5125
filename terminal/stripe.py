"""A card as it reaches a till that has one keyboard: typed, from a scanner, or from a magnetic-stripe reader.

Scanners and readers type what they read, with Enter behind it. A reader may send track 1 (`%B6371...^NAME^3012...?`),
track 2 (`;6371...=3012...?`), both in one line or each with its own Enter. Only the number is taken; the rest of a
track says nothing about a closed-loop card, and is kept nowhere.
"""

import re
from dataclasses import dataclass
from typing import Final

DIGITS_MIN: Final = 8
DIGITS_MAX: Final = 20
SECONDS_A_SIGN: Final = 0.03  # quicker than that nobody types a whole number; scanners and readers all are

_TRACK_1: Final = re.compile(r"%B(?P<number>[0-9 ]+)\^[^^?]*\^[^?]*\?", re.ASCII | re.IGNORECASE)
_TRACK_2: Final = re.compile(r";(?P<number>[0-9]+)=[^?]*\?", re.ASCII)
_BETWEEN_DIGITS: Final = str.maketrans("", "", " -")


class CardError(ValueError):
    """What was read or typed is no card number."""


@dataclass(frozen=True, slots=True, repr=False)
class CardRead:
    """A card's number, and whether a person typed it."""

    number: str
    keyed: bool


def is_stripe(text: str) -> bool:
    """Whether a magnetic-stripe reader sent it, which may happen at any question."""
    return text.lstrip().startswith(("%", ";"))


def read_card(text: str, took_s: float | None = None, *, prefix: str = "", suffix: str = "") -> CardRead:
    """Read one line that should be a card.

    Args:
        text: the line, without its Enter.
        took_s: how long it took from its first sign to its Enter, in seconds; None where nobody measured.
        prefix: what the scanner sends before a number.
        suffix: what it sends behind one, before the Enter.

    Raises:
        CardError: it is no number of 8 to 20 digits, a track that was not read whole, or two tracks that differ.

    """
    line = text.strip()
    if is_stripe(line):
        return CardRead(_checked(_of_tracks(line)), keyed=False)
    marked = bool(prefix or suffix) and line.startswith(prefix) and line.endswith(suffix)
    if marked:
        line = line[len(prefix) : len(line) - len(suffix)]
    quick = took_s is not None and took_s <= SECONDS_A_SIGN * len(line)
    return CardRead(_checked(line.translate(_BETWEEN_DIGITS)), keyed=not (marked or quick))


def _of_tracks(line: str) -> str:
    numbers = {
        found["number"].translate(_BETWEEN_DIGITS) for track in (_TRACK_1, _TRACK_2) for found in track.finditer(line)
    }
    if len(numbers) != 1:
        raise CardError("no track was read whole, or two differ")
    return numbers.pop()


def _checked(number: str) -> str:
    if not (number.isascii() and number.isdigit() and DIGITS_MIN <= len(number) <= DIGITS_MAX):
        raise CardError(f"a card number has {DIGITS_MIN} to {DIGITS_MAX} digits")
    return number
