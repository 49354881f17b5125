"""Bytes to values and back, derived from a Construct declaration when the program starts.

Construct is a good language to declare in and a poor one to run: about 11 us a parse here, trailing bytes and unknown
values accepted. So the declaration is walked once and becomes a `struct.Struct` and a list of unused stretches; reading
a request then costs about 2 us, and refuses a wrong length and a non-zero unused byte.

Only what `layout.py` needs is understood (big-endian numbers, bytes, unnamed zeros); all else stops the import.
"""

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from construct import Bytes, Const, Construct, FormatField, Renamed, Struct


class LayoutError(ValueError):
    """Bytes that do not fit a layout: a wrong length, or an unused byte that is not zero."""


@dataclass(frozen=True, slots=True)
class Field:
    """One stretch of a layout; an unused one has no name."""

    name: str
    at: int
    size: int
    form: str
    note: str

    @property
    def is_bytes(self) -> bool:
        """Whether the value is bytes, not a number."""
        return self.form.endswith("s")

    @property
    def place(self) -> slice:
        """Where it lies."""
        return slice(self.at, self.end)

    @property
    def end(self) -> int:
        """The offset of the byte after it."""
        return self.at + self.size


def _form(declared: Construct) -> str:
    match declared:
        case FormatField(fmtstr=str(form)) if form[0] == ">" and form[1:] in "BHLQq":
            return form[1:]
        case Bytes(length=int(length)):
            return f"{length}s"
        case Const(value=bytes(value)) if not any(value):
            return f"{len(value)}x"
        case Renamed(subcon=inner):  # once for the name, once for the note
            return _form(inner)
    raise TypeError(f"a layout is made of big-endian numbers, bytes and unused zeros, not of {declared!r}")


def _walk(declaration: Struct) -> tuple[Field, ...]:
    fields: list[Field] = []
    at = 0
    for declared in declaration.subcons:
        form = _form(declared)
        size = struct.calcsize(">" + form)
        if size:
            fields.append(Field(declared.name or "", at, size, form, declared.docs))
        at += size
    return tuple(fields)


class Codec:
    """What one declaration says, ready to run."""

    def __init__(self, declaration: Struct):
        self.fields = _walk(declaration)
        self.size: int = declaration.sizeof()
        self._struct = struct.Struct(">" + "".join(field.form for field in self.fields))
        self._names = tuple(field.name for field in self.fields if field.name)
        self._by_name = {field.name: field for field in self.fields if field.name}
        self._zeros: dict[str, Any] = {name: b"" if self._by_name[name].is_bytes else 0 for name in self._names}
        self._sizes = tuple((field.name, field.size) for field in self._by_name.values() if field.is_bytes)
        self._unused = tuple((field.at, field.end, bytes(field.size)) for field in self.fields if not field.name)
        if self._struct.size != self.size or len(self._by_name) != len(self._names):
            raise TypeError("a declaration whose names or sizes do not add up")

    def __getitem__(self, name: str) -> Field:
        return self._by_name[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The named fields in their order."""
        return self._names

    def bits(self, names: Collection[str]) -> int:
        """The bits of some fields, in the whole layout read as one big-endian number; "" names the unused bytes."""
        number = 0
        for field in self.fields:
            if field.name in names:
                number |= ((1 << 8 * field.size) - 1) << 8 * (self.size - field.end)
        return number

    def unpack(self, data: bytes) -> dict[str, Any]:
        """Read the values of exactly `size` bytes, whole numbers and bytes by name.

        Raises LayoutError on another length or a non-zero unused byte.
        """
        if len(data) != self.size:
            raise LayoutError(f"{self.size} bytes are needed, {len(data)} came")
        for at, end, zeros in self._unused:
            if data[at:end] != zeros:
                raise LayoutError(f"an unused byte from {at} to {end - 1} is not zero")
        return dict(zip(self._names, self._struct.unpack(data), strict=True))

    def pack(self, values: Mapping[str, int | bytes]) -> bytes:
        """Write values; a name that is left out is zero.

        Raises ValueError for an unknown name, a number outside its field and bytes longer than theirs.
        """
        row = {**self._zeros, **values}
        if len(row) != len(self._zeros):
            raise ValueError(f"not in this layout: {sorted(values.keys() - self._zeros.keys())}")
        for name, size in self._sizes:
            if len(row[name]) > size:
                raise ValueError(f"{name} is longer than {size} bytes")
        try:
            return self._struct.pack(*row.values())
        except struct.error:
            raise ValueError("a number does not fit its field") from None

    def picking(self, *names: str) -> struct.Struct:
        """A `struct.Struct` over the same bytes that reads the named fields alone, in the layout's order."""
        return struct.Struct(
            ">" + "".join(field.form if field.name in names else f"{field.size}x" for field in self.fields)
        )
