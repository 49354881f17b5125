"""What is recorded, as support and finance look for it: authorizations with what hangs on them, cards, the audit trail.

Everything here only reads, as the issuer's owner. A card is found by its number or by an authorization on its receipt;
it is told by its id, since the number is not known to anybody but its holder.
"""

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from authsrv.amounts import Units
from authsrv.keys import CARD_BYTES, KeyRing, Purpose
from authsrv.shell.enrolment import EnrolmentError, issuer_row, load_ring, opening_key
from authsrv.shell.owner import as_owner
from authsrv.shell.report import Report
from authsrv.shell.settings import Settings
from authsrv.shell.zone import Zone, issuer_zone
from authsrv.table import OF_MONEY
from ledger.cards import CardStatus
from ledger.holds import HoldEnd
from ledger.names import Name, read_authorization_number
from ledger.shell.door import Connection
from protocol.messages import Response
from protocol.numbers import Command, GivenReason, Reason
from receipts.code_pages import codec

FOUND_MOST: Final = 1000
_OF_MONEY: Final = frozenset(command.name.lower().replace("_", " ") for command in OF_MONEY)
_SUBJECTS: Final = ("card", "original", "module", "desk", "branch", "programme", "purpose", "file")
_FIRST: Final = {name: place for place, name in enumerate(_SUBJECTS)}


async def card_id(connection: Connection, ring: KeyRing, number: str) -> int:
    """The id of the card that a number is or was on; raises EnrolmentError where there is none."""
    wire = number.encode("ascii", "replace").ljust(CARD_BYTES, b"\0")
    tokens = [ring.token(wire, version) for version in range(1, ring.current(Purpose.TOKEN) + 1)]
    found: int | None = await connection.fetchval("select card from card_numbers where token = any ($1)", tokens)
    if found is None:
        raise EnrolmentError("there is no such card")
    return found


async def open_keys(connection: Connection, settings: Settings) -> KeyRing:
    """The issuer's keys, opened by the key-encryption key or by the one that is taking its place."""
    return await load_ring(connection, await opening_key(connection, settings.key_encryption_keys()))


async def minor_units(settings: Settings, amount: str) -> int:
    """An amount as people write it, in the minor units of the issuer's currency; raises EnrolmentError."""
    units = await as_owner(settings, _units)
    try:
        return units.minor(amount)
    except ValueError:
        raise EnrolmentError(f"{amount} is no amount in {units.code}, which has {units.exponent} decimals") from None


async def _units(connection: Connection) -> Units:
    issuer = await issuer_row(connection)
    return Units(issuer["currency"], issuer["code"], issuer["exponent"])


# Authorizations


async def find_authorizations(settings: Settings, wanted: dict[str, Any], card: str | None, most: int) -> Report:
    """The newest authorizations that match all that is wanted: `module`, `cashier`, `command`, `result`, `approved`,
    `first` and `last` booked day; and, where a card's number is given, those on it."""

    async def work(connection: Connection) -> tuple[list[dict[str, Any]], Units]:
        of_card, zone = None, await issuer_zone(connection)
        if card is not None:
            of_card = await card_id(connection, await open_keys(connection, settings), card)
        units = await _units(connection)
        rows = await connection.fetch(
            _FIND,
            *(wanted.get(name) for name in ("module", "cashier", "command", "result", "approved", "first", "last")),
            *(of_card, most),
        )
        return [_authorization(row, zone) for row in rows], units

    found, units = await as_owner(settings, work)
    return Report(
        {"authorizations": found},
        tuple(_line(each, units) for each in found) or ("nothing matches",),
    )


_FIND: Final = """
    select a.number, module, date, sequence, decided_at, booked_on, tombstone, command, result, reason, branch, unit,
           card, requested, approved, cashier
      from authorizations a, (select (clock_timestamp() at time zone zone)::date - 7 as week from issuer) i
     where ($1::bigint is null or module = $1) and ($2::bigint is null or cashier = $2)
       and ($3::integer is null or command = $3) and ($4::integer is null or result = $4)
       and ($5::bigint is null or approved = $5)
       and booked_on between coalesce($6::date, i.week) and coalesce($7::date, 'infinity')
       and date >= coalesce($6::date, i.week) - 36
       and ($8::bigint is null or card = $8)
     order by decided_at desc limit $9
"""


def _authorization(row: asyncpg.Record, zone: Zone) -> dict[str, Any]:
    return {
        "number": f"{row['number']:012d}",
        "module": row["module"],
        "date": row["date"].isoformat(),
        "sequence": row["sequence"],
        "decided_at": zone.told(row["decided_at"]),
        "booked_on": row["booked_on"].isoformat(),
        "command": "reversed before it came" if row["tombstone"] else _word(Command, row["command"]),
        "result": row["result"],
        "reason": row["reason"],
        "branch": row["branch"],
        "unit": row["unit"],
        "card": row["card"],
        "requested": row["requested"],
        "approved": row["approved"],
        "cashier": row["cashier"],
    }


def _word(members: Any, value: int) -> str:
    try:
        return str(members(value).name.lower().replace("_", " "))
    except ValueError:
        return str(value)


def _line(each: dict[str, Any], units: Units) -> str:
    card = "-" if each["card"] is None else f"card {each['card']}"
    return (
        f"{each['number']}  {each['decided_at']}  {each['module']:>6}  {each['command']:<10}"
        f"  {each['result']:02d}-{each['reason']:04d}  {units.written(each['approved'], each['unit']):>14}  {card}"
    )


async def show_authorization(settings: Settings, number: str) -> Report:
    """One authorization with what undid it, what it undid, its hold, who ordered it, and the receipt.

    Raises EnrolmentError for a number that none has, KeyFault where its recorded answer does not open.
    """
    read = read_authorization_number(number)
    if read is None:
        raise EnrolmentError("this is no authorization number: twelve digits, the last of which checks the others")

    async def work(connection: Connection) -> tuple[dict[str, Any], Units]:
        row = await connection.fetchrow(_SHOW, read)
        if row is None:
            raise EnrolmentError("there is no such authorization")
        zone = await issuer_zone(connection)
        name = Name(row["module"], row["date"], row["sequence"])
        undone = await connection.fetch(_UNDONE, *name)
        hold = await connection.fetchrow("select * from holds where module = $1 and date = $2 and sequence = $3", *name)
        entry = await connection.fetchrow(
            "select at, who, why, act from audit_trail where module = $1 and date = $2 and sequence = $3", *name
        )
        receipt = printed(await recorded_pages(connection, await open_keys(connection, settings), name))
        original = None if row["original_number"] is None else f"{row['original_number']:012d}"
        return _authorization(row, zone) | {
            "original": original,
            "undone_by": [
                {"number": f"{each['number']:012d}", "reversal": each["reversal"], "amount": each["amount"]}
                for each in undone
            ],
            "hold": None
            if hold is None
            else {
                "expires_at": zone.told(hold["expires_at"]),
                "ended": None if hold["ended"] is None else _word(HoldEnd, hold["ended"]),
            },
            "ordered": None
            if entry is None
            else {
                "at": zone.told(entry["at"]),
                **{name: entry[name] for name in ("who", "why", "act")},
            },
            "receipt": receipt,
        }, await _units(connection)

    shown, units = await as_owner(settings, work)
    asked_in = units.currency if shown["command"] in _OF_MONEY else shown["unit"]  # of a pass too, where it was refused
    reason = Reason(shown["reason"]).note if shown["reason"] in set(Reason) else ""
    lines = [
        f"authorization {shown['number']}, {shown['command']}, {shown['result']:02d}-{shown['reason']:04d} {reason}",
        f"name: module {shown['module']}, {shown['date']}, sequence {shown['sequence']}; cashier {shown['cashier']}",
        f"decided at {shown['decided_at']}, booked on {shown['booked_on']}, branch {shown['branch']}",
        (
            f"card id {shown['card'] or 'none'}; requested {units.written(shown['requested'], asked_in)},"
            f" approved {units.written(shown['approved'], shown['unit'])}"
        ),
        *([f"its original: {shown['original']}"] if shown["original"] else []),
        *(
            f"{'reversed' if each['reversal'] else 'refunded'} by {each['number']},"
            f" {units.written(each['amount'], shown['unit'])}"
            for each in shown["undone_by"]
        ),
        *([f"hold until {shown['hold']['expires_at']}: {shown['hold']['ended'] or 'open'}"] if shown["hold"] else []),
        *(
            [f"ordered by {shown['ordered']['who']} ({shown['ordered']['act']}): {shown['ordered']['why']}"]
            if shown["ordered"]
            else []
        ),
        "",
        *shown["receipt"].splitlines(),
    ]
    return Report(shown, tuple(lines))


_SHOW: Final = """
    select a.*, o.number as original_number
      from authorizations a
      left join authorizations o
             on (o.module, o.date, o.sequence) = (a.original_module, a.original_date, a.original_sequence)
     where a.number = $1 and a.date >= number_month($1) and a.date < number_month($1) + interval '1 month'
"""
_UNDONE: Final = """
    select a.number, u.reversal, u.amount
      from undos u join authorizations a on a.module = u.by_module and a.date = u.by_date and a.sequence = u.by_sequence
     where u.module = $1 and u.date = $2 and u.sequence = $3 order by a.decided_at
"""


async def recorded_pages(connection: Connection, ring: KeyRing, name: Name) -> tuple[bytes, ...]:
    """The opened pages of a recorded answer; none where nothing was recorded, as under a tombstone."""
    rows = await connection.fetch(
        """select 1 as page, answer from authorizations
            where module = $1 and date = $2 and sequence = $3 and answer is not null
           union all
           select page, answer from pages where module = $1 and date = $2 and sequence = $3 order by page""",
        *name,
    )
    return tuple(ring.open(name, row["page"], row["answer"]) for row in rows)


def printed(pages: Sequence[bytes]) -> str:
    """What a module printed of these pages, as text."""
    answers = [Response.decode(page) for page in pages]
    return b"".join([answer.text for answer in answers]).decode(codec(answers[0].code_page)) if answers else ""


# Cards


async def find_cards(settings: Settings, wanted: dict[str, Any], most: int) -> Report:
    """Cards by what is wanted of them: `programme`, `status`, `blocked`, `owing`, `authorization` (a number on one of
    their receipts)."""
    number = wanted.get("authorization")
    read = None if number is None else read_authorization_number(number)
    if number is not None and read is None:
        raise EnrolmentError("this is no authorization number: twelve digits, the last of which checks the others")

    async def work(connection: Connection) -> tuple[list[asyncpg.Record], Units]:
        units = await _units(connection)
        values = (wanted.get("programme"), wanted.get("status"), wanted.get("blocked"), wanted.get("owing"), read)
        return await connection.fetch(_FIND_CARDS, *values, most), units

    rows, units = await as_owner(settings, work)
    cards = [
        {
            "id": row["id"],
            "programme": row["programme"],
            "status": _word(CardStatus, row["status"]),
            "blocked": None if row["blocked"] is None else _word(GivenReason, row["blocked"]),
            "valid_until": None if row["valid_until"] is None else row["valid_until"].isoformat(),
            "unit": row["unit"],
            "value": row["value"],
            "held": row["held"],
            "owed": row["owed"],
        }
        for row in rows
    ]
    return Report(
        {"cards": cards},
        tuple(
            f"card {each['id']:>10}  {each['programme']:<12}  {each['status']:<8}"
            f"{'' if each['blocked'] is None else '  blocked: ' + each['blocked']}"
            f"  {units.written(each['value'], each['unit'])}"
            f"{'' if not each['owed'] else ', owes ' + units.written(each['owed'], each['unit'])}"
            for each in cards
        )
        or ("nothing matches",),
    )


_FIND_CARDS: Final = """
    select c.id, p.name as programme, c.status, c.blocked, c.valid_until,
           coalesce(c.unit, (select currency from issuer)) as unit, c.value, c.held, -c.owed as owed
      from cards c join programmes p on p.number = c.programme
     where ($1::text is null or p.name = $1) and ($2::smallint is null or c.status = $2)
       and ($3::boolean is null or (c.blocked is not null) = $3)
       and ($4::boolean is null or (c.owed < 0) = $4)
       and ($5::bigint is null
            or c.id = (select card from authorizations
                        where number = $5 and date >= number_month($5)
                          and date < number_month($5) + interval '1 month'))
     order by c.id limit $6
"""


# The trail


async def show_trail(settings: Settings, *, since: dt.date | None, who: str | None, most: int) -> Report:
    """The newest entries of the audit trail, the newest first."""

    async def work(connection: Connection) -> tuple[list[asyncpg.Record], Zone | None]:
        rows = await connection.fetch(_TRAIL, since, who, most)
        return rows, await issuer_zone(connection) if rows else None

    rows, zone = await as_owner(settings, work)
    entries = (
        []
        if zone is None
        else [
            {
                "id": row["id"],
                "at": zone.told(row["at"]),
                "who": row["who"],
                "why": row["why"],
                "act": row["act"],
                "about": _ordered(json.loads(row["detail"])),
                "authorization": None if row["number"] is None else f"{row['number']:012d}",
                "result": row["result"],
                "reason": row["reason"],
            }
            for row in rows
        ]
    )
    return Report(
        {"entries": entries},
        tuple(_entry_line(each) for each in entries) or ("nothing was entered",),
    )


def _entry_line(each: dict[str, Any]) -> str:
    about = ", ".join(f"{key} {value}" for key, value in each["about"].items())
    outcome = "" if each["authorization"] is None else f"  {each['authorization']} {_outcome(each)}"
    why = f"  ({each['why']})" if each["why"] else ""
    return f"{each['at']}  {each['who']:<12}  {each['act']:<14}  {about}{outcome}{why}".rstrip()


def _ordered(about: dict[str, Any]) -> dict[str, Any]:
    """What an act was about, first what it is called by: the database keeps no order of its own."""
    return dict(sorted(about.items(), key=lambda item: (_FIRST.get(item[0], len(_FIRST)), item[0])))


def _outcome(entry: dict[str, Any]) -> str:
    return f"{entry['result']:02d}-{entry['reason']:04d}"


_TRAIL: Final = """
    select t.id, t.at, t.who, t.why, t.act, t.detail, a.number, a.result, a.reason
      from audit_trail t left join authorizations a using (module, date, sequence)
     where ($1::date is null or t.at >= $1::date::timestamp at time zone (select zone from issuer))
       and ($2::text is null or t.who = $2)
     order by t.id desc limit $3
"""
