"""Packed rows: what the server reads is what the driver would have sent, for every shape of a row."""

from __future__ import annotations

import asyncio
import datetime as dt
from struct import error as StructError  # noqa: N812
from typing import Any

import pytest
from books import connected
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.accounts import Account
from ledger.authorizations import Authorization
from ledger.batch import Lookup
from ledger.names import Name
from ledger.postings import Posting
from ledger.rows import RowTypes, array, asked_rows, authorization_rows
from ledger.shell.row_types import row_types

BIG = st.integers(-(2**63), 2**63 - 1)
INTEGERS = st.integers(-(2**31), 2**31 - 1)
SMALL = st.integers(-(2**15), 2**15 - 1)
# The driver takes the first and the last day of all for infinity, which no name is written with.
DATES = st.dates(dt.date(1, 1, 2), dt.date(9999, 12, 30))
NAMES = st.builds(Name, BIG, DATES, BIG)
BYTES = st.binary(max_size=700)
# What the domain takes: one side of a card, one of the issuer, an amount above zero.
SIDES = st.permutations([Account.VALUE, Account.TENDER]) | st.permutations([Account.OWED, Account.REDEEMED])
POSTINGS = st.builds(lambda sides, amount: Posting(*sides, amount), SIDES, st.integers(1, 2**63 - 1))
LOOKUPS = st.builds(
    Lookup, NAMES, st.none() | BYTES, st.booleans(), st.none() | NAMES, st.none() | BIG, st.none() | BYTES
)
# The shape of what a known card does, which is packed at once, and every other, which is packed field by field.
KNOWN_CARD: dict[str, Any] = {
    "name": NAMES, "number": BIG, "tombstone": st.booleans(), "command": INTEGERS, "result": SMALL, "reason": INTEGERS,
    "branch": INTEGERS, "unit": INTEGERS, "cashier": BIG, "programme": INTEGERS, "programme_version": INTEGERS,
    "card": BIG, "requested": BIG, "approved": BIG, "original": st.none(), "token_key": INTEGERS,
    "digest_key": INTEGERS, "digest": BYTES, "undos": st.just(()), "term_days": st.none(),
    "answers": st.lists(BYTES, min_size=1, max_size=2).map(tuple),
    "postings": st.lists(POSTINGS, max_size=3).map(tuple),  # a row is packed alike with none, one and more
}  # fmt: skip
ANY = {
    column: st.none() | KNOWN_CARD[column]
    for column in ("programme", "programme_version", "card", "token_key", "digest_key", "digest")
} | {"original": st.none() | NAMES, "term_days": st.none() | INTEGERS, "answers": st.just(()) | KNOWN_CARD["answers"]}
AUTHORIZATIONS = st.builds(Authorization, **KNOWN_CARD) | st.builds(Authorization, **(KNOWN_CARD | ANY))
NOBODY = (None, None, None)
TYPES = RowTypes(1, 2, 3, 4)


def plain_asked(lookup: Lookup) -> tuple[Any, ...]:
    """The columns of an asked row, in their order."""
    named = (*(lookup.original or NOBODY), lookup.original_number)
    return (*lookup.name, lookup.token, lookup.with_code, *named, lookup.new_token)


def plain_authorization(row: Authorization) -> tuple[Any, ...]:
    """The columns of an authorization row, in their order."""
    return (
        *row.name, row.number, row.tombstone, row.command, row.result, row.reason, row.programme, row.programme_version,
        row.branch, row.unit, row.card, row.requested, row.approved, row.cashier, *(row.original or NOBODY),
        row.token_key, row.digest_key, row.digest, row.answers[0] if row.answers else None,
        [(posting.debit, posting.credit, row.unit, posting.amount) for posting in row.postings] or None,
        row.term_days,
    )  # fmt: skip


def test_the_server_reads_what_the_driver_would_send(issuer: Any) -> None:
    """Every row, with any of its columns null and at the ends of what they hold, arrives as from the driver."""
    batches: list[tuple[list[Authorization], list[Lookup]]] = []

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.lists(AUTHORIZATIONS, max_size=3), st.lists(LOOKUPS, max_size=3))
    def draw(rows: list[Authorization], lookups: list[Lookup]) -> None:
        batches.append((rows, lookups))

    async def scene() -> None:
        async with connected(issuer.owner_dsn) as packed, connected(issuer.owner_dsn) as plain:
            types = await row_types(packed)
            assert await row_types(packed) is types
            for rows, lookups in batches:
                asked = array(types.asked, len(lookups), asked_rows(lookups))
                authorizations = array(types.authorization, len(rows), authorization_rows(rows, types))
                for name, sent, expected in (
                    ("asked_row", asked, list(map(plain_asked, lookups))),
                    ("authorization_row", authorizations, list(map(plain_authorization, rows))),
                ):
                    read = f"select array_send(array(select r from unnest($1::{name}[]) r))"  # noqa: S608 - our own type
                    assert await packed.fetchval(read, sent) == await plain.fetchval(read, expected)

    draw()
    asyncio.run(scene())


@pytest.mark.parametrize("column", ["number", "command", "result", "approved"])
def test_a_value_that_its_column_cannot_hold_is_refused(column: str) -> None:
    """No value is cut to what fits."""
    row = Authorization(
        name=Name(1, dt.date(2026, 1, 1), 1), number=1, tombstone=False, command=19, result=0, reason=0, branch=1,
        unit=978, programme=1, programme_version=1, card=1, token_key=1, digest_key=1, digest=b"d", answers=(b"a",),
    )  # fmt: skip
    for shape in (row, row._replace(card=None)):
        authorization_rows([shape], TYPES)
        with pytest.raises(StructError):
            authorization_rows([shape._replace(**{column: 2**63})], TYPES)
