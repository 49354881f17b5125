"""`grow`: a folder that looks as if its switch had served for weeks, filled by COPY.

The rows are honest: their shape is what the switch's own fold makes of a card's sale and of a sale of goods, answers
are sealed under their own names with their own numbers, every balance is what its postings add up to, the past days are
closed. Only the text of a receipt and the digest of a request are the pattern's and at random, so that an old name
cannot be repeated with success.
"""

import datetime as dt
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from random import Random
from typing import Any, Final

from authsrv.ask import Ask, open_ask
from authsrv.fold import Fold, answer_all
from authsrv.keys import CARD_BYTES, NONCE_BYTES, KeyRing, Purpose
from authsrv.registry import Registry
from ledger.accounts import Balances
from ledger.authorizations import Authorization
from ledger.batch import Gathered
from ledger.cards import Card, CardStatus, Number
from ledger.names import Name
from ledger.shell.door import Connection
from loadtest.cards import Cards
from loadtest.history import History, Past
from loadtest.shell.ground import Ground
from loadtest.traffic import OPENING_MINOR
from protocol.codec import Codec
from protocol.crypto import BlockCipher
from protocol.layout import RESPONSE
from protocol.messages import Request, date_number
from protocol.numbers import Command

MODULES: Final = 256
CHUNK: Final = 50_000
FRESH_CARDS: Final = 10_000
REPLY_BYTES: Final = 8
DIGEST_BYTES: Final = 16
_ANSWER: Final = Codec(RESPONSE)
_AUTHORIZATIONS: Final = (
    *("module", "date", "sequence", "number", "decided_at", "booked_on", "tombstone", "command", "result", "reason"),
    *("programme", "programme_version", "branch", "unit", "card", "requested", "approved", "cashier"),
    *("token_key", "digest_key", "digest", "answer", "postings"),
)


class GrowError(Exception):
    """The folder cannot be grown; the message says why."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """What the switch writes of one kind of request: the row, and its answer opened."""

    row: Authorization
    answer: bytes
    card: Card | None


def grow(ground: Ground, *, cards: int, authorizations: int, seed: int, progress: Callable[[str], None]) -> None:
    """Fill a new folder. Raises `GrowError` for one that holds cards, and for more cards than authorizations."""
    if ground.query("select from cards limit 1"):
        raise GrowError(f"{ground.folder} holds cards already; give a new folder")
    try:
        history = History(
            cards=cards,
            authorizations=authorizations,
            modules=[identity.module for identity in ground.modules[:MODULES]],
            today=dt.datetime.now(dt.UTC).date(),
            random=Random(seed),  # noqa: S311 - which card was used
        )
    except ValueError as error:
        raise GrowError(str(error)) from None
    registry, ring = ground.rules()
    ground.ask(partial(_fill, history=history, registry=registry, ring=ring, cards=cards, progress=progress))
    ground.keep_cards(cards, FRESH_CARDS)


async def _fill(
    connection: Connection,
    *,
    history: History,
    registry: Registry,
    ring: KeyRing,
    cards: int,
    progress: Callable[[str], None],
) -> None:
    await connection.execute("select make_months()")
    first_id: int = (await connection.fetchval("select reserve_card_ids($1)", cards + FRESH_CARDS))[0]
    patterns = _patterns(registry, ring)
    rows, done = iter(history), 0
    while chunk := list(islice(rows, CHUNK)):
        await connection.copy_records_to_table(
            "authorizations",
            records=_authorization_rows(chunk, patterns, ring, registry, first_id),
            columns=_AUTHORIZATIONS,
        )
        done += len(chunk)
        progress(f"{done} authorizations")
    unit = registry.issuer.currency
    for start in range(0, cards + FRESH_CARDS, CHUNK):
        places = range(start, min(start + CHUNK, cards + FRESH_CARDS))
        await _copy_cards(connection, ring, patterns[True].card, places, first_id, history.balances, unit)
        progress(f"{places.stop} of {cards + FRESH_CARDS} cards, {FRESH_CARDS} of which runs sell")
    for month, serial in history.serials.items():
        await connection.execute(f"select setval('numbers_{month:%Y%m}', {serial})")
    progress("closing the days")
    for (day,) in await connection.fetch("select distinct booked_on from authorizations order by booked_on"):
        await connection.execute("select mark_day($1)", day)
        await connection.execute("select close_day($1)", day)
    progress("vacuum")
    await connection.execute("vacuum analyze")


async def _copy_cards(
    connection: Connection,
    ring: KeyRing,
    pattern: Card | None,
    places: range,
    first_id: int,
    balances: Sequence[int],
    unit: int,
) -> None:
    sold = len(balances)
    if pattern is None:
        raise GrowError("the sale of a card leaves no card")
    verifier_key, token_key = ring.current(Purpose.VERIFIER), ring.current(Purpose.TOKEN)
    plastics = list(zip(places, Cards(places), strict=True))
    codes = {
        place: ring.verifier(first_id + place, card.access_code)
        for place, card in plastics
        if card.access_code is not None
    }
    await connection.copy_records_to_table(
        "cards",
        records=(
            (first_id + place, pattern.programme, CardStatus.ACTIVE if place < sold else CardStatus.ISSUED)
            + ((verifier_key, codes[place]) if place in codes else (None, None))
            + ((pattern.valid_until, pattern.loads_on, pattern.loads_today) if place < sold else (None, None, 0))
            + ((unit, balances[place]) if place < sold else (None, 0))
            for place in places
        ),
        columns=(
            "id",
            "programme",
            "status",
            "verifier_key",
            "verifier",
            "valid_until",
            "loads_on",
            "loads_today",
            "unit",
            "value",
        ),
    )
    await connection.copy_records_to_table(
        "card_numbers",
        records=(
            (ring.token(card.number.encode().ljust(CARD_BYTES, b"\0")), token_key, first_id + place)
            for place, card in plastics
        ),
        columns=("token", "token_key", "card"),
    )


def _patterns(registry: Registry, ring: KeyRing) -> dict[bool, _Pattern]:
    """What the switch makes of a card's sale and of a sale of goods, by whether the card is sold."""
    now = dt.datetime.now(dt.UTC)
    module, [programme] = next(iter(registry.modules)), list(registry.programmes)
    card = Card(1, programme, CardStatus.ISSUED, None, None, None, None, 0, None, (), None, (), Balances())
    patterns: dict[bool, _Pattern] = {}
    for sold, command, amount in ((True, Command.ACTIVATE, OPENING_MINOR), (False, Command.SALE, 1)):
        request = Request(
            command=command, module=module, date=now.date(), sequence=1, card=Cards(range(1))[0].number, amount=amount
        )
        _, ask = open_ask(request.encode(), module, BlockCipher(bytes(16)), ring)
        if not isinstance(ask, Ask) or ask.token is None:
            raise GrowError(f"a {command.name} is not a request of this switch")
        gathered = Gathered(
            registry=registry.version,
            decided_at=now,
            local_at=now.replace(tzinfo=None),
            booked_on=now.date(),
            serials=[1],
            tombstone_serials=[None],
            recorded={},
            originals={},
            numbers={ask.token: Number(card.id, live=True, failures=0)},
            cards={card.id: card},
            bad_cards={},
        )
        fold = Fold(gathered, registry, ring, secrets.token_bytes)
        [answer] = answer_all([ask], fold)
        [row] = fold.writes.authorizations
        if len(row.postings) != 1:
            raise GrowError(f"the pattern of a {command.name} was declined: {row.result:02}/{row.reason}")
        card = fold.writes.cards.get(card.id, card)
        patterns[sold] = _Pattern(row, answer, card)
    return patterns


def _authorization_rows(
    chunk: list[Past], patterns: dict[bool, _Pattern], ring: KeyRing, registry: Registry, first_id: int
) -> Iterator[tuple[Any, ...]]:
    for past in chunk:
        pattern = patterns[past.sold]
        row, name = pattern.row, past.name
        [posting] = row.postings
        yield (
            *name,
            past.number,
            _decided_at(name),
            name.date,
            False,
            row.command,
            row.result,
            row.reason,
            row.programme,
            row.programme_version,
            registry.modules[name.module].branch,
            row.unit,
            first_id + past.card,
            past.amount,
            past.amount,
            row.cashier,
            row.token_key,
            row.digest_key,
            secrets.token_bytes(DIGEST_BYTES),
            ring.seal(name, 1, _told(pattern.answer, past), secrets.token_bytes(NONCE_BYTES)),
            [(posting.debit, posting.credit, row.unit, past.amount)],
        )


def _decided_at(name: Name) -> dt.datetime:
    return dt.datetime(name.date.year, name.date.month, name.date.day, 12, tzinfo=dt.UTC)


def _told(answer: bytes, past: Past) -> bytes:
    """The pattern's answer with this authorization's name, number and amounts."""
    told = bytearray(answer)
    for field, value in (
        ("sequence", past.name.sequence),
        ("date", date_number(past.name.date)),
        ("module", past.name.module),
        ("approved", past.amount),
        ("balance", past.balance),
        ("available", past.balance),
    ):
        told[_ANSWER[field].at - REPLY_BYTES : _ANSWER[field].end - REPLY_BYTES] = value.to_bytes(_ANSWER[field].size)
    place = _ANSWER["authorization"]
    told[place.at - REPLY_BYTES : place.end - REPLY_BYTES] = b"%012d" % past.number
    return bytes(told)
