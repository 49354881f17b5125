"""Cards from a file of any length: read as it comes, issued a few thousand in a transaction, to be broken off at will.

What must hold: a line is issued, is there already, or is told with its place and what is wrong with it, and never with
its number or code. An import that ended in the middle is finished by giving it again: what is there is passed over. A
card that is there under another programme, or with another access code, is not passed over in silence.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from authsrv.keys import CARD_BYTES, KeyRing
from authsrv.shell.enrolment import (
    EnrolmentError,
    check_card,
    load_ring,
    opening_key,
    programme_for_cards,
    write_cards,
)
from authsrv.shell.owner import enter, owner_door, transaction
from authsrv.shell.report import Report
from authsrv.shell.settings import Settings
from ledger.shell.door import Connection
from loyalty.programme import AccessCode

BATCH_LINES: Final = 5000
TOLD_MOST: Final = 1000  # lines that are wrong; a file with more of them is another file


@dataclass(frozen=True, slots=True)
class _Line:
    place: int
    number: str = field(repr=False)
    code: str | None = field(repr=False)


@dataclass(slots=True)
class _Count:
    issued: int = 0
    there: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)

    def refuse(self, place: int, text: str) -> None:
        self.refused.append((place, text))
        if len(self.refused) > TOLD_MOST:
            raise EnrolmentError(
                f"more than {TOLD_MOST} lines are wrong, the last one told is line {place}: {text}; "
                f"is this the right file? {self.issued} cards were issued before"
            )


async def import_cards(settings: Settings, programme: str, file: Path, progress: Callable[[int, int], None]) -> Report:
    """Issue the cards of `file`; `progress` is told after each transaction how many lines are read and cards issued.

    Raises EnrolmentError for a programme that is not there, a file that cannot be read, and one that is mostly wrong.
    """
    keks = settings.key_encryption_keys()
    count = _Count()
    try:
        source = file.open("r", encoding="ascii", errors="replace")
    except OSError as error:
        raise EnrolmentError(f"{file} cannot be read: {error.strerror}") from None
    with source:
        async with owner_door(settings, "authsrv import") as door:

            async def begin(connection: Connection) -> tuple[int, AccessCode]:
                found = await programme_for_cards(connection, programme)
                await enter(connection, settings, "card import", {"programme": programme, "file": file.name})
                return found

            number, access_code = await door.run(transaction(begin))
            read = _lines(source, count)
            while batch := list(islice(read, BATCH_LINES)):
                fit = [line for line in batch if _fits(line, access_code, programme, count)]

                async def issue(connection: Connection, fit: list[_Line] = fit) -> tuple[int, int, list[Any]]:
                    # Anew for each transaction: while it is open, nobody changes the keys.
                    ring = await load_ring(connection, await opening_key(connection, keks))
                    return await _issue(connection, ring, number, fit)

                issued, there, others = await door.run(transaction(issue))
                count.issued += issued
                count.there += there
                for place, text in others:
                    count.refuse(place, text)
                progress(batch[-1].place, count.issued)
    count.refused.sort()
    return Report(
        {
            "programme": programme,
            "issued": count.issued,
            "there": count.there,
            "refused": [{"line": place, "text": text} for place, text in count.refused],
        },
        (f"{count.issued} cards of {programme} are issued, {count.there} were there, {len(count.refused)} refused",),
        tuple(f"{file}:{place}: {text}" for place, text in count.refused),
    )


def _lines(source: IO[str], count: _Count) -> Iterator[_Line]:
    """The lines that say something, a number and perhaps a code each."""
    for place, text in enumerate(source, start=1):
        words = text.replace(",", " ").replace(";", " ").split()
        if len(words) > 2:
            count.refuse(place, "not a number, or a number and an access code")
        elif words:
            yield _Line(place, words[0], words[1] if len(words) == 2 else None)


def _fits(line: _Line, access_code: AccessCode, programme: str, count: _Count) -> bool:
    wrong = check_card(line.number, line.code, access_code, programme)
    if wrong is not None:
        count.refuse(line.place, wrong)
    return wrong is None


async def _issue(
    connection: Connection, ring: KeyRing, programme: int, lines: list[_Line]
) -> tuple[int, int, list[tuple[int, str]]]:
    """Issue what is not there in one transaction: how many, how many were there, and what is there otherwise."""
    tokens = [ring.token(line.number.encode().ljust(CARD_BYTES, b"\0")) for line in lines]
    known = {
        row["token"]: row
        for row in await connection.fetch(
            """select n.token, n.live, c.id, c.programme, c.verifier, c.verifier_key
                 from unnest($1::bytea[]) t, lateral (select * from card_numbers where token = t offset 0) n
                 join cards c on c.id = n.card""",
            tokens,
        )
    }
    new: dict[bytes, _Line] = {}
    there, others = 0, []
    for token, line in zip(tokens, lines, strict=True):
        row = known.get(token)
        if row is None and token not in new:
            new[token] = line
        elif row is None:
            if new[token].code == line.code:
                there += 1
            else:
                others.append((line.place, "this number stands in the file before, with another access code"))
        elif row["programme"] != programme:
            others.append((line.place, "this number is issued already, under another programme"))
        elif row["live"] and not _same_code(ring, row, line.code):
            others.append((line.place, "this number is issued already, with another access code"))
        else:
            there += 1
    if new:
        ids: list[int] = await connection.fetchval("select reserve_card_ids($1)", len(new))
        cards = [(line.number, line.code) for line in new.values()]
        await write_cards(connection, ring, programme, list(zip(ids, cards, strict=True)))
    return len(new), there, others


def _same_code(ring: KeyRing, row: Any, code: str | None) -> bool:
    if code is None or row["verifier"] is None:
        return code is None and row["verifier"] is None
    return ring.verifies(row["id"], row["verifier"], row["verifier_key"], code)
