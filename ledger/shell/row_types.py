"""How a database numbers the types of the rows that we pack ourselves (`ledger.rows`)."""

from typing import Final
from weakref import WeakKeyDictionary

from ledger.rows import RowTypes
from ledger.shell.door import ANSWER_S, Connection

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
