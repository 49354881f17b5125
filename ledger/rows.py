"""What crosses the border of the database for a batch, both ways: its rows in the ledger's types, and the ledger's rows
as PostgreSQL reads them, arrays of its composite types packed by `struct`.

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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, TypeAlias

from ledger.accounts import Account, Balances
from ledger.authorizations import Authorization, Original, Recorded
from ledger.batch import Gathered, Lookup, Writes
from ledger.cards import Card, CardStatus, Number
from ledger.charges import Charge
from ledger.faults import Conflict
from ledger.holds import Hold, HoldEnd
from ledger.names import Name
from ledger.passes import Pass
from ledger.postings import Posting
from ledger.totals import Pair

_DAY_0: Final = dt.date(2000, 1, 1).toordinal()
_BYTES: Final = 17
_TYPES: Final = {"?": (16, 1), "h": (21, 2), "i": (23, 4), "q": (20, 8), "d": (1082, 4), "b": (_BYTES, -1)}
_TWO: Final = Struct(">Ii")
_ARRAY: Final = Struct(">iiIii")
_NULLS: Final = {column: _TWO.pack(oid, -1) for column, (oid, _) in _TYPES.items()}
_HEADS: Final = {column: _TWO.pack(oid, length) for column, (oid, length) in _TYPES.items()}
_VALUES: Final = {column: Struct(f">{column}") for column in "?hiq"} | {"d": Struct(">i")}
_STATUS: Final = {status.value: status for status in CardStatus}
NO_TOTALS: Final[Mapping[int, tuple[Pair, ...]]] = {}

Found: TypeAlias = Any  # a row as the driver hands it over: columns by name or by place


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


_Q: Final = _HEADS["q"]
_D: Final = _HEADS["d"]
_I: Final = _HEADS["i"]
_H: Final = _HEADS["h"]
_F: Final = _HEADS["?"]

_ASKED_HEAD: Final = Struct(_full("qdq").format + "Ii")
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
_AUTHORIZATION_HEAD: Final = Struct(_full("qdqq?ihiiiiiqqqq").format + "24s8si8siIi")
_NO_TERM_DAYS: Final = _NULLS[_TERM_DAYS]
_AUTHORIZATION_FIXED: Final = _AUTHORIZATION_HEAD.size - 4 + 8 + len(_NO_TERM_DAYS)
_POSTED_ROW: Final = _full(_POSTED)
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


# From the database


def gathered(row: Found, lookups: Sequence[Lookup], totals: Mapping[int, tuple[Pair, ...]] = NO_TOTALS) -> Gathered:
    """What `gather` returned, in the ledger's types; places count from 0 as in `lookups`.

    Raises `Conflict` where a number was given to another card while this batch waited for the one that it was on: the
    other one is not locked, so nothing can be decided.
    """
    failures = dict(row["tries"] or ())
    numbers = {
        token: Number(card, live is not False, failures.get(token, 0)) for token, card, live in row["numbers"] or ()
    }
    cards = _cards(*(row[name] or () for name in ("cards", "holds", "passes", "charges")))
    for number in numbers.values():
        if number.card is not None and number.card not in cards:
            raise Conflict("a number was given to another card meanwhile")
    return Gathered(
        registry=row["registry"],
        decided_at=row["decided_at"],
        local_at=row["local_at"],
        booked_on=row["booked_on"],
        serials=row["serials"],
        tombstone_serials=row["tombstone_serials"] or [None] * len(lookups),
        recorded={item[0] - 1: Recorded(*item[1:]) for item in row["recorded"] or ()},
        originals={item["ordinal"] - 1: _original(item) for item in row["originals"] or ()},
        numbers=numbers,
        cards=cards,
        bad_cards=dict(row["budgets"] or ()),
        totals=totals,
        busy=frozenset([ordinal - 1 for ordinal in row["busy"] or ()]),
    )


def _cards(
    cards: Iterable[Found],
    open_holds: Iterable[Found],
    passes: Iterable[Found],
    charged: Iterable[Found],
) -> dict[int, Card]:
    """The cards by id, each with what its row holds and what hangs on it."""
    holds: dict[int, tuple[Hold, ...]] = {}
    for module, date, sequence, card, _, amount, expires_at, _ in open_holds:
        holds[card] = (*holds.get(card, ()), Hold(Name(module, date, sequence), amount, expires_at))
    visits = {card: Pass(*rest) for card, *rest in passes}
    charges: dict[int, tuple[Charge, ...]] = {}
    for card, module, date, sequence, due_on, amount in charged:
        charges[card] = (*charges.get(card, ()), Charge(Name(module, date, sequence), due_on, amount))
    return {
        card: Card(
            card, programme, _STATUS[status], verifier_key, verifier, valid_until, loads_on, loads_today, blocked,
            holds.get(card, ()), visits.get(card), charges.get(card, ()), Balances(*balances),
        )
        for (
            card, programme, status, verifier_key, verifier, valid_until, loads_on, loads_today, blocked, *balances
        ) in cards
    }  # fmt: skip


def _original(item: Found) -> Original:
    undone = item["original_module"]
    return Original(
        name=Name(item["module"], item["date"], item["sequence"]),
        tombstone=item["tombstone"],
        number=item["number"],
        command=item["command"],
        result=item["result"],
        unit=item["unit"],
        card=item["card"],
        requested=item["requested"],
        approved=item["approved"],
        booked_on=item["booked_on"],
        original=None if undone is None else Name(undone, item["original_date"], item["original_sequence"]),
        reversed=item["reversed"],
        refunded=item["refunded"],
        postings=tuple(
            Posting(Account(debit), Account(credit), amount) for debit, credit, amount in item["postings"] or ()
        ),
        answers=tuple(item["answers"] or ()),
        decided_at=item["decided_at"],
        ended=HoldEnd(item["ended"]) if item["ended"] is not None else None,
        term_days=item["term_days"],
    )


# To the database


def written(row: Found, writes: Writes, types: RowTypes) -> tuple[Any, ...]:
    """The arguments of `record`: the moment that was gathered, then an array of rows for each sort of row."""
    rows = writes.authorizations
    return (
        row["decided_at"],
        row["booked_on"],
        row["local_at"].date(),
        array(types.authorization, len(rows), authorization_rows(rows, types)),
        [
            (*undo.original, undo.reversal, undo.amount, *each.name)
            for each in rows
            if each.undos
            for undo in each.undos
        ],
        [
            (*each.name, page, answer)
            for each in rows
            if len(each.answers) > 1
            for page, answer in enumerate(each.answers[1:], start=2)
        ],
        [(card.id, *card.kept) for card in writes.cards.values()],
        list(writes.failures.items()),
        list(writes.bad_cards.items()),
        [(token, number.card, number.live) for token, number in writes.numbers.items()],
        [
            (*name, card, unit, hold.amount, hold.expires_at, writes.ended.get(name))
            for name, (card, unit, hold) in writes.holds.items()
        ],
        [(*name, end) for name, end in writes.ended.items() if name not in writes.holds],
        [(card, *visits, lapses_on) for card, (visits, lapses_on) in writes.passes.items()],
        [(card, *lapse) for card, lapse in writes.lapses.items()],
        [(card, *floor) for card, floor in writes.floors.items()],
        [(card, *charge.name, charge.due_on, charge.amount) for card, charge in writes.charges],
        [
            (
                *name,
                interval.unit,
                interval.first,
                interval.last,
                interval.from_date,
                interval.to_date,
                list(asked),
                list(counted),
            )
            for name, (interval, asked, counted) in writes.totals.items()
        ],
    )
