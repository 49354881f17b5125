"""A batch as it crosses the border of the database: what is asked, what was there, what is to be written."""

import datetime as dt
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from ledger.authorizations import Authorization, Original, Recorded
from ledger.cards import Card, Number
from ledger.charges import Charge
from ledger.holds import Hold, HoldEnd
from ledger.names import Name
from ledger.passes import Lapse, Pass
from ledger.totals import Interval, Pair, Totals


class Lookup(NamedTuple):
    """What one request makes the database look up and lock; an original, if any, is given by name or by number."""

    name: Name
    token: bytes | None
    with_code: bool
    original: Name | None
    original_number: int | None
    new_token: bytes | None = None  # of a further number that is named
    interval: Interval | None = None  # that is to be counted


@dataclass(frozen=True, slots=True)
class Gathered:
    """What stood in the database after the locks: by place in the batch, by token, by card, by module."""

    registry: int  # the count of changes of modules, keys and programmes
    decided_at: dt.datetime
    local_at: dt.datetime
    booked_on: dt.date
    serials: Sequence[int | None]  # a reserved authorization number for each new request; None: no such month
    tombstone_serials: Sequence[int | None]  # the same for each original that there is not
    recorded: Mapping[int, Recorded]
    originals: Mapping[int, Original]
    numbers: Mapping[bytes, Number]
    cards: Mapping[int, Card]
    bad_cards: Mapping[int, int]
    totals: Mapping[int, tuple[Pair, ...]] = field(default_factory=dict, repr=False)  # ten, of each interval
    busy: Set[int] = frozenset()  # places of those who ask for a card that others hold: nothing is known of it
    # Purchases of today and what they add up to, of cards whose programme asks for it.
    spent: Mapping[int, Pair] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Writes:
    """What a batch records: authorizations with what hangs on them, and the cards, tries and budgets as they end."""

    authorizations: list[Authorization] = field(default_factory=list)
    cards: dict[int, Card] = field(default_factory=dict)
    failures: dict[bytes, int] = field(default_factory=dict, repr=False)
    bad_cards: dict[int, int] = field(default_factory=dict)  # how many more, by module
    numbers: dict[bytes, Number] = field(default_factory=dict)  # that point to another card, or no longer to any
    holds: dict[Name, tuple[int, int, Hold]] = field(default_factory=dict)  # opened, with card and unit
    ended: dict[Name, HoldEnd] = field(default_factory=dict)  # opened before or in this batch
    passes: dict[int, tuple[Pass, dt.date | None]] = field(default_factory=dict)  # by card, with the day it lapses on
    lapses: dict[int, Lapse] = field(default_factory=dict)  # by card
    # By card: the unit, the floor of its value, and the lowest that it had in this batch.
    floors: dict[int, tuple[int, int, int]] = field(default_factory=dict, repr=False)
    charges: list[tuple[int, Charge]] = field(default_factory=list)  # with its card
    totals: dict[Name, Totals] = field(default_factory=dict)
