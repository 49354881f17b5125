"""What operators do to cards and authorizations: as requests of a desk of theirs, each with its entry in the trail.

An act runs through the same `gather`, fold and `record` as the request of a till, in one transaction with its entry in
the audit trail; the switch need not run, and if it does, it is one more process at the same locks. What must hold:

  * Who, why and what stand in the trail if and only if the request is recorded, declines too.
  * An act that is done again, because somebody pressed twice or a connection broke, happens once: what was approved
    under the same digest is answered again. Only acts that would move value twice have one; blocking a blocked card
    does no harm, and blocking it again after it was unblocked is another act.
  * A dry run decides by the same locks and rules and is rolled back.
  * A card number goes into the request and, keyed, into the digest, and nowhere else.
"""

import datetime as dt
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from authsrv.ask import open_ask
from authsrv.fold import Fold
from authsrv.keys import CARD_BYTES, KeyRing
from authsrv.registry import Registry
from authsrv.shell.enrolment import EnrolmentError, refusals
from authsrv.shell.lanes import StaleRules
from authsrv.shell.owner import check_revision, owner_door
from authsrv.shell.records import printed, recorded_pages
from authsrv.shell.report import Report
from authsrv.shell.rules import Rules
from authsrv.shell.settings import Settings
from authsrv.shell.zone import Zone, issuer_zone
from ledger.batch import Gathered, Writes
from ledger.faults import Conflict, NameTaken, Unavailable
from ledger.names import Name
from ledger.shell import store
from ledger.shell.door import ANSWER_S, Connection, commit
from protocol.crypto import BlockCipher
from protocol.messages import Request, Response
from protocol.numbers import Command, Reason, Result

ATTEMPTS_MAX: Final = 8
_NO_CODES: Final = BlockCipher(bytes(16))  # a desk sends none


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What an operator wants done.

    Args:
        words: the command as it was given, "card block".
        command: what the desk asks for.
        fields: the request's, besides its name, time and module.
        about: what the trail says that it was about; no card number.
        once: whether it must not happen twice. `ticket` tells one that is meant to happen again from a double call.

    """

    words: str
    command: Command
    fields: dict[str, Any] = field(repr=False)
    about: dict[str, Any]
    once: bool = False
    ticket: str = ""


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acts at which desk, and why; `desk` is None where the issuer has one alone."""

    who: str
    why: str
    desk: int | None = None


class _Rehearsed(Exception):
    """A dry run has been decided; nothing of it stays."""

    def __init__(self, pages: tuple[bytes, ...]) -> None:
        super().__init__("a dry run")
        self.pages = pages


@dataclass(frozen=True, slots=True)
class _Done:
    """The opened pages of an answer; `before` says when and by whom, where it was done before."""

    pages: tuple[bytes, ...]
    before: tuple[dt.datetime, str] | None = None


async def carry_out(settings: Settings, operator: Operator, act: Act, *, dry_run: bool = False) -> Report:
    """Have a desk ask for `act`, and say what came of it, with the receipt.

    Raises EnrolmentError where there is no such desk, KeyFault and KeyFileError for keys that do not open, and the
    faults of the ledger. After InDoubt an act that happens once may simply be given again.
    """
    keks = settings.key_encryption_keys()
    async with owner_door(settings) as door:
        await door.run(check_revision)
        await door.run(store.make_months)
        zone = await door.run(issuer_zone)
        rules = Rules(keks[0], settings.key_encryption_keys)
        for _ in range(ATTEMPTS_MAX):
            await rules.load(door)
            try:
                done = await door.run(_work(rules.registry, rules.ring, operator, act, dry_run=dry_run))
            except _Rehearsed as rehearsed:
                return _report(act, _Done(rehearsed.pages), zone, dry_run=True)
            except (StaleRules, NameTaken, Conflict):
                continue
            return _report(act, done, zone, dry_run=dry_run)
    raise Unavailable(f"others were in the way {ATTEMPTS_MAX} times; nothing was done, try again")


def _work(
    registry: Registry, ring: KeyRing, operator: Operator, act: Act, *, dry_run: bool
) -> Callable[[Connection], Awaitable[_Done]]:
    async def work(connection: Connection) -> _Done:
        await connection.execute("begin", timeout=ANSWER_S)
        async with refusals():
            desk = await connection.fetchval("select operators_desk($1)", operator.desk, timeout=ANSWER_S)
            begun = await connection.fetchrow(
                "select * from begin_act($1, $2, $3, $4, $5, $6)",
                *(desk, operator.who, operator.why, act.words, json.dumps(act.about | _ticket(act))),
                _digest(act, ring),
                timeout=ANSWER_S,
            )
        if begun is None:
            raise ValueError("begin_act returned no row")
        if begun["done_at"] is not None:
            before = Name(begun["done_as"], begun["date"], begun["sequence"])
            pages = await recorded_pages(connection, ring, before)
            await connection.execute("select confirm_read()", timeout=ANSWER_S)  # what is visible may not be safe yet
            await commit(connection)
            return _Done(pages, (begun["done_at"], begun["done_by"]))
        name = Name(desk, begun["date"], begun["sequence"])
        request = Request(
            command=act.command,
            module=desk,
            date=name.date,
            sequence=name.sequence,
            time=begun["time_of_day"],
            **act.fields,
        )
        _, ask = open_ask(request.encode(), desk, _NO_CODES, ring)
        if isinstance(ask, Reason):
            raise EnrolmentError(f"this cannot be asked for: {ask.note}")

        def decide(gathered: Gathered) -> tuple[tuple[bytes, ...], Writes]:
            if gathered.registry != registry.version:
                raise StaleRules
            fold = Fold(gathered, registry, ring, secrets.token_bytes)
            first = fold.answer_all([ask])[0]
            recorded = [row for row in fold.writes.authorizations if row.name == name]
            if not recorded:
                raise EnrolmentError(f"this was not recorded: {_note(Response.decode(first))}")
            pages = tuple(ring.open(name, n, sealed) for n, sealed in enumerate(recorded[0].answers, start=1))
            if dry_run:
                raise _Rehearsed(pages)
            return pages, fold.writes

        return _Done(await store.transact([ask.lookup()], decide, watched=registry.watched)(connection))

    return work


def _ticket(act: Act) -> dict[str, str]:
    return {"ticket": act.ticket} if act.ticket else {}


def _digest(act: Act, ring: KeyRing) -> bytes | None:
    """What tells an act from others, keyed since it holds card numbers; None where it may happen again."""
    if not act.once:
        return None
    numbers = [act.fields.get(name, "").encode().ljust(CARD_BYTES, b"\0") for name in ("card", "new_card")]
    # By what it does, however its amount or its reason was written.
    what = json.dumps([act.command, act.fields.get("original"), act.fields.get("amount"), act.ticket]).encode()
    return ring.digest(b"".join([b"authsrv/1 act", *numbers, what]), 1)


# What is said of it


def _report(act: Act, done: _Done, zone: Zone, *, dry_run: bool) -> Report:
    first, text = Response.decode(done.pages[0]), printed(done.pages)
    approved = first.result in (Result.APPROVED, Result.PARTLY)
    reason = _note(first)
    before = done.before
    values = {
        "act": act.words,
        "dry_run": dry_run,
        "done_before": None if before is None else {"at": zone.told(before[0]), "who": before[1]},
        "authorization": first.authorization,
        "result": first.result,
        "reason": first.reason,
        "approved": first.approved,
        "receipt": text,
    }
    heads = []
    if dry_run:
        heads.append("dry run: this would happen, and nothing did")
    if before is not None:
        heads.append(
            f"done before, by {before[1]} at {zone.told(before[0])}; nothing was done now"
            " (another --ticket does it once more)"
        )
    return Report(
        values,
        (*heads, *([""] if heads else []), *text.splitlines()),
        () if approved else (f"authsrv: declined, {first.result:02d}-{first.reason:04d}: {reason}",),
    )


def _note(answer: Response) -> str:
    try:
        return Reason(answer.reason).note if answer.reason else Result(answer.result).note
    except ValueError:
        return "a reason that this program does not know"
