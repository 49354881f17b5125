"""The derived codec: it reads and writes what Construct itself would, and refuses what Construct lets pass."""

import pytest
from construct import Bytes, Const, Float32b, GreedyBytes, Int16ub, Int16ul, Int64sb, Struct
from hypothesis import given
from hypothesis import strategies as st

from protocol import layout
from protocol.codec import Codec, LayoutError
from protocol.numbers import Command

LAYOUTS = {
    "header": layout.HEADER,
    "hello": layout.HELLO,
    "identity": layout.IDENTITY,
    "welcome": layout.WELCOME,
    "terms": layout.TERMS,
    "response": layout.RESPONSE,
    "totals response": layout.TOTALS_RESPONSE,
    "request": layout.request(None),
    **{command.name: layout.request(command) for command in Command},
}
SMALL = Codec(Struct("number" / Int16ub * "a note", Const(bytes(2)), "text" / Bytes(3), "signed" / Int64sb))


@pytest.mark.parametrize("declaration", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_agrees_with_construct(declaration: Struct) -> None:
    """For every layout, the derived codec reads what Construct reads and writes the same bytes back."""
    codec = Codec(declaration)
    data = bytearray(at * 7 % 251 for at in range(codec.size))
    for field in codec.fields:
        if not field.name:
            data[field.at : field.end] = bytes(field.size)
    plain = bytes(data)
    parsed = declaration.parse(plain)
    assert codec.unpack(plain) == {name: parsed[name] for name in codec.names}
    assert codec.pack(codec.unpack(plain)) == plain


@given(st.integers(0, 2**16 - 1), st.binary(min_size=3, max_size=3), st.integers(-(2**63), 2**63 - 1))
def test_there_and_back(number: int, text: bytes, signed: int) -> None:
    """What is written reads back."""
    values = {"number": number, "text": text, "signed": signed}
    assert SMALL.unpack(SMALL.pack(values)) == values


def test_places() -> None:
    """Offsets, sizes and notes are the declaration's."""
    field = SMALL["text"]
    assert (field.at, field.size, field.end) == (4, 3, 7)
    assert (SMALL["number"].note, SMALL.size) == ("a note", 15)
    assert SMALL.picking("number", "signed").unpack(SMALL.pack({"number": 3, "signed": -1})) == (3, -1)


def test_bits() -> None:
    """The bits of some fields are those of their bytes alone; the empty name is that of the unused ones."""
    assert SMALL.bits({"number", "text"}).to_bytes(15).hex() == "ffff0000ffffff" + 16 * "0"
    assert SMALL.bits({""}).to_bytes(15).hex() == "0000ffff" + 22 * "0"


@pytest.mark.parametrize("size", [0, 14, 16])
def test_wrong_length(size: int) -> None:
    """One byte less or more is refused."""
    with pytest.raises(LayoutError):
        SMALL.unpack(bytes(size))


@pytest.mark.parametrize("at", [2, 3])
def test_unused_bytes_are_checked(at: int) -> None:
    """An unused byte that is not zero is refused."""
    with pytest.raises(LayoutError):
        SMALL.unpack(bytes(at) + b"\x01" + bytes(14 - at))


@pytest.mark.parametrize("values", [{"number": 2**16}, {"number": -1}, {"text": b"long"}, {"other": 1}])
def test_what_does_not_fit_is_not_written(values: dict[str, int | bytes]) -> None:
    """A number outside its field, too many bytes and an unknown name are errors; nothing is cut."""
    with pytest.raises(ValueError, match=r"fit|longer|layout"):
        SMALL.pack(values)


@pytest.mark.parametrize(
    "declared",
    ["x" / Int16ul, "x" / Float32b, "x" / GreedyBytes, Const(b"\x01")],
    ids=["little-endian", "float", "greedy", "constant"],
)
def test_only_what_is_understood(declared: object) -> None:
    """A declaration with anything else stops at once: little-endian, floats, open sizes, other constants."""
    with pytest.raises(TypeError, match="a layout is made of"):
        Codec(Struct(declared))
