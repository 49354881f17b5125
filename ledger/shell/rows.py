"""The rows of a batch as PostgreSQL reads them: arrays of its composite types, packed by `struct`.

The driver packs such an array field by field and looks at each field's type first, which took longer than all else
that Python does for an authorization in the ledger. Here a row of the common shape is two calls of `struct`, and any
other is put together field by field.

What must hold: **what comes out is what the driver would have sent**, to the byte, and a value that its column cannot
hold raises `struct.error` rather than become another value. Whatever is not packed here, the driver still packs.

The format is that of `array_send` and `record_send`: for an array the dimensions, a flag, the type of its elements,
length and lower bound, then the elements, each with its length; for a row the number of its columns, then for each its
type, its length and the value. -1 as a length is a null.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final
from weakref import WeakKeyDictionary

from ledger.authorizations import Authorization
from ledger.batch import Lookup
from ledger.postings import Posting
from ledger.shell.door import ANSWER_S, Connection

_DAY_0: Final = dt.date(2000, 1, 1).toordinal()
_BYTES: Final = 17
_TYPES: Final = {"?": (16, 1), "h": (21, 2), "i": (23, 4), "q": (20, 8), "d": (1082, 4), "b": (_BYTES, -1)}
_TWO: Final = Struct(">Ii")
_ARRAY: Final = Struct(">iiIii")
_NULLS: Final = {column: _TWO.pack(oid, -1) for column, (oid, _) in _TYPES.items()}
_HEADS: Final = {column: _TWO.pack(oid, length) for column, (oid, length) in _TYPES.items()}
_VALUES: Final = {column: Struct(f">{column}") for column in "?hiq"} | {"d": Struct(">i")}


@dataclass(frozen=True, slots=True)
class RowTypes:
    """The numbers of the types in one database."""

    asked: int
    authorization: int
    posting: int
    postings: int  # an array of them


def _day(date: dt.date) -> int:
    return date.toordinal() - _DAY_0


# The columns of a type, one letter each: ? boolean, h smallint, i integer, q bigint, d date, b bytea.

_ASKED: Final = "qdqb?qdqqb"
_AUTHORIZATION: Final = "qdqq?ihiiiiiqqqqqdqiibb"  # then the postings, then this:
_TERM_DAYS: Final = "i"
_POSTED: Final = "hhiq"


def _any_row(columns: str, values: Sequence[Any], *packed: bytes) -> bytes:
    """A row of any shape, field by field, and behind them fields that are `packed` already."""
    fields = []
    for column, value in zip(columns, values, strict=True):
        if value is None:
            fields.append(_NULLS[column])
        elif column == "b":
            fields += (_TWO.pack(_BYTES, len(value)), value)
        else:
            fields += (_HEADS[column], _VALUES[column].pack(_day(value) if column == "d" else value))
    row = b"".join((*fields, *packed))
    return _TWO.pack(4 + len(row), len(columns) + len(packed)) + row


def _full(columns: str) -> Struct:
    """Length and number of columns of a row, then columns of a fixed length: for each its head and its value."""
    return Struct(">ii" + "".join("8s" + {"d": "i"}.get(column, column) for column in columns))


_Q, _D, _I, _H, _F = (_HEADS[column] for column in "qdih?")

_ASKED_HEAD = Struct(_full("qdq").format + "Ii")
_ASKED_TAILS: Final = {
    coded: _HEADS["?"] + _VALUES["?"].pack(coded) + b"".join(map(_NULLS.__getitem__, "qdqqb"))
    for coded in (False, True)
}
_ASKED_FIXED: Final = _ASKED_HEAD.size - 4 + len(_ASKED_TAILS[True])


def asked_rows(lookups: Iterable[Lookup]) -> list[bytes]:
    """Rows of `asked_row`."""
    rows: list[bytes] = []
    pack = _ASKED_HEAD.pack
    for name, token, with_code, original, number, new_token, _ in lookups:
        module, date, sequence = name
        if token is None or original is not None or number is not None or new_token is not None:
            named = original or (None, None, None)
            rows.append(_any_row(_ASKED, (*name, token, with_code, *named, number, new_token)))
            continue
        rows += (
            pack(
                _ASKED_FIXED + len(token), 10, _Q, module, _D, date.toordinal() - _DAY_0, _Q, sequence,
                _BYTES, len(token),
            ),
            token,
            _ASKED_TAILS[with_code],
        )  # fmt: skip
    return rows


_NO_ORIGINAL: Final = _NULLS["q"] + _NULLS["d"] + _NULLS["q"]
_AUTHORIZATION_HEAD = Struct(_full("qdqq?ihiiiiiqqqq").format + "24s8si8siIi")
_NO_TERM_DAYS: Final = _NULLS[_TERM_DAYS]
_AUTHORIZATION_FIXED: Final = _AUTHORIZATION_HEAD.size - 4 + 8 + len(_NO_TERM_DAYS)
_POSTED_ROW = _full(_POSTED)
_POSTED_FIXED: Final = _POSTED_ROW.size - 4


def authorization_rows(rows: Iterable[Authorization], types: RowTypes) -> list[bytes]:
    """Rows of `authorization_row`: with postings and the first page of the answer, without what hangs on the name."""
    packed: list[bytes] = []
    pack, two = _AUTHORIZATION_HEAD.pack, _TWO.pack
    for row in rows:
        (
            name, number, tombstone, command, result, reason, branch, unit, cashier, programme, version, card,
            requested, approved, original, token_key, digest_key, digest, answers, postings, _, term_days,
        ) = row  # fmt: skip
        moved = _moved(postings, unit, types)
        module, date, sequence = name
        if (
            digest is None
            or original is not None
            or not answers
            or term_days is not None
            or None in (programme, version, card, token_key, digest_key)
        ):
            packed.append(
                _any_row(
                    _AUTHORIZATION,
                    (
                        *name, number, tombstone, command, result, reason, programme, version, branch, unit, card,
                        requested, approved, cashier, *(original or (None, None, None)), token_key, digest_key, digest,
                        answers[0] if answers else None,
                    ),
                    moved,
                    _term_days(term_days),
                )
            )  # fmt: skip
            continue
        answer = answers[0]
        packed += (
            pack(
                _AUTHORIZATION_FIXED + len(digest) + len(answer) + len(moved), 25,
                _Q, module, _D, date.toordinal() - _DAY_0, _Q, sequence, _Q, number, _F, tombstone, _I, command,
                _H, result, _I, reason, _I, programme, _I, version, _I, branch, _I, unit, _Q, card, _Q, requested,
                _Q, approved, _Q, cashier, _NO_ORIGINAL, _I, token_key, _I, digest_key, _BYTES, len(digest),
            ),
            digest,
            two(_BYTES, len(answer)),
            answer,
            moved,
            _NO_TERM_DAYS,
        )  # fmt: skip
    return packed


def _term_days(term_days: int | None) -> bytes:
    """The column of the days by which a pass's end was moved."""
    if term_days is None:
        return _NO_TERM_DAYS
    return _HEADS[_TERM_DAYS] + _VALUES[_TERM_DAYS].pack(term_days)


def _moved(postings: Sequence[Posting], unit: int, types: RowTypes) -> bytes:
    """The column of the postings, with its head."""
    if not postings:
        return _TWO.pack(types.postings, -1)
    pack = _POSTED_ROW.pack
    rows = [pack(_POSTED_FIXED, 4, _H, debit, _H, credit, _I, unit, _Q, amount) for debit, credit, amount in postings]
    moved = array(types.posting, len(rows), rows)
    return _TWO.pack(types.postings, len(moved)) + moved


def array(oid: int, count: int, rows: Iterable[bytes]) -> bytes:
    """An array of `count` rows of the type `oid`, from their packed pieces."""
    if not count:
        return _ARRAY.pack(0, 0, oid, 0, 0)[:12]
    return b"".join((_ARRAY.pack(1, 0, oid, count, 1), *rows))


_KNOWN: WeakKeyDictionary[Connection, RowTypes] = WeakKeyDictionary()
_PACKED: Final = ("asked_row[]", "authorization_row[]")
_TYPES_OF_ROWS: Final = ("asked_row", "authorization_row", "posting", "posting[]")
_ASK_TYPES: Final = "select " + ", ".join(f"'{name}'::regtype::oid" for name in (*_TYPES_OF_ROWS, *_PACKED))


async def row_types(connection: Connection) -> RowTypes:
    """The types as this connection's database numbers them, and from then on it takes arrays of rows packed.

    One round trip for each connection's first batch.
    """
    known = _KNOWN.get(connection)
    if known is None:
        oids = await connection.fetchrow(_ASK_TYPES, timeout=ANSWER_S)
        assert oids is not None  # noqa: S101 -- a select without a from has one row
        asked, authorization, posting, postings, *packed = oids
        # asyncpg lets nobody pack a composite type, or an array, in a public way.
        settings = connection._protocol.get_settings()  # type: ignore[attr-defined]  # noqa: SLF001
        for name, oid in zip(_PACKED, packed, strict=True):
            settings.add_python_codec(oid, name, "", [], "scalar", bytes, bytes, "binary")
        known = _KNOWN[connection] = RowTypes(asked, authorization, posting, postings)
    return known
