"""Looking for numbers in bytes: every secret of a family, in every way in which a program could have written it down.

The secrets of a family share their first digits, so each encoding of them shares some bytes. Those are looked for
first, at the speed of a substring search, and only where they stand is the whole compared with the set of all. Hits are
weighed against chance: where random bytes would hold one now and then, the search itself fails.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

CHANCE = 1e-3  # fewer hits than this are expected by chance where one is called a trace


def _bcd(digits: str, *, shifted: bool, fill: str) -> bytes:
    nibbles = "0" * shifted + digits
    return bytes.fromhex(nibbles + fill * (len(nibbles) % 2))


def _base64(digits: str, before: int) -> bytes:
    """The characters that say nothing but the digits, in the base64 of a text with so many bytes before them."""
    written = base64.b64encode(b"\0" * before + digits.encode())
    first, last = -(-before * 4 // 3), (before + len(digits)) * 4 // 3
    return written[first:last]


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "ASCII": lambda digits: digits.encode(),
    "UTF-16, little end first": lambda digits: digits.encode("utf-16-le"),
    "UTF-16, big end first": lambda digits: digits.encode("utf-16-be"),
    "BCD from a whole byte on": lambda digits: _bcd(digits, shifted=False, fill="0"),
    "BCD from a whole byte on, filled up with F": lambda digits: _bcd(digits, shifted=False, fill="f"),
    "BCD from half a byte on": lambda digits: _bcd(digits, shifted=True, fill="0"),
    "BCD from half a byte on, filled up with F": lambda digits: _bcd(digits, shifted=True, fill="f"),
    "64 bits, little end first": lambda digits: int(digits).to_bytes(8, "little"),
    "64 bits, big end first": lambda digits: int(digits).to_bytes(8, "big"),
    "hexadecimal of the ASCII": lambda digits: digits.encode().hex().encode(),
    "hexadecimal of the number": lambda digits: f"{int(digits):x}".encode(),
    "hexadecimal of the number, capitals": lambda digits: f"{int(digits):X}".encode(),
    "base64": lambda digits: _base64(digits, 0),
    "base64, one byte later": lambda digits: _base64(digits, 1),
    "base64, two bytes later": lambda digits: _base64(digits, 2),
    "with a point": lambda digits: f"{digits[:-2]}.{digits[-2:]}".encode(),
    "with a comma": lambda digits: f"{digits[:-2]},{digits[-2:]}".encode(),
}
"""How a number may have been written, by what to call it. Where digits fill their bytes, two of these are one."""


@dataclass(frozen=True)
class _Pattern:
    """The secrets in one encoding: all of one length, with some bytes in common at one place."""

    encoding: str
    common: bytes
    place: int  # of the common bytes
    length: int
    whole: frozenset[bytes] = field(repr=False)


def patterns(secrets: Sequence[str]) -> list[_Pattern]:
    """What is looked for, for secrets of one length with some first digits in common."""
    made = []
    for encoding, write in ENCODINGS.items():
        written = frozenset(map(write, secrets))
        [length] = {len(each) for each in written}
        alike = [len({each[at] for each in written}) == 1 for at in range(length)]
        start, longest = 0, 0
        for at in range(length):
            run = next((end for end in range(at, length) if not alike[end]), length) - at
            if run > longest:
                start, longest = at, run
        assert longest >= 3, f"{encoding} has nothing in common that can be looked for"
        made.append(_Pattern(encoding, next(iter(written))[start : start + longest], start, length, written))
    return made


def traces(file: Path, looked_for: Sequence[_Pattern]) -> Iterator[str]:
    """Each place of a file where one of the secrets stands, by its encoding and offset; what chance explains is not."""
    # Read, not mapped: before Python 3.11.4 `find` looks past the last page of a map. A table's file ends at 1 GiB.
    data = file.read_bytes()
    size = len(data)
    if size == 0:
        return
    for pattern in looked_for:
        expected = size * len(pattern.whole) / 256.0**pattern.length
        assert expected < CHANCE, f"{pattern.encoding}: {expected:.2g} hits are expected by chance in {file}"
        at = data.find(pattern.common)
        while at >= 0:
            start = at - pattern.place
            if start >= 0 and data[start : start + pattern.length] in pattern.whole:
                yield f"{pattern.encoding} at {start}"
            at = data.find(pattern.common, at + 1)
