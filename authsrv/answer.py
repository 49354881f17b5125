"""From a decision to the recorded answer: the fields that a module reads and the receipt that it prints.

What must hold: an answer is a function of the request, the facts and the decision alone, so that what is sealed is what
is sent. What a card holds stands only on answers that were not refused for who is asking: a wrong code learns nothing.
"""

import datetime as dt
from collections.abc import Iterable
from typing import Final

from authsrv.ask import Ask
from authsrv.facts import Code, Decision, Facts, Issuer, Module, Moment
from authsrv.table import APPROVALS, OF_MONEY
from ledger.authorizations import Recorded
from ledger.cards import Card, CardStatus
from ledger.names import Name
from ledger.totals import Totals
from loyalty.programme import Kind
from protocol.layout import TOTALS_TEXT_BYTES
from protocol.messages import Envelope, FormatError, Response, pack_answer
from protocol.numbers import OWN, VISIT, Command, Flag, Reason, Result, TotalsKind
from receipts.facts import Counted, ReceiptFacts
from receipts.pages import PAGE_BYTES_MAX, paginate
from receipts.receipt import copied, printed

_LIMITS: Final = frozenset((Result.AMOUNT, Result.FUNDS, Result.AMOUNT_LIMIT, Result.COUNT_LIMIT))
_FLAGS_OF_A_COPY: Final = Flag.REPEAT | Flag.ACCESS_CODE
_KEYED: Final = Flag.KEYED.value
_REPRINT: Final = Command.REPRINT
_OF_ANYBODY: Final = frozenset((Command.BLOCK, Command.UNBLOCK))
_NOTHING_MOVED: Final = Reason.NOTHING_MOVED
_AGAIN: Final = Reason.AGAIN
_AMOUNT_FIXED: Final = Reason.AMOUNT_FIXED
_CLOSED: Final = CardStatus.CLOSED
_CREDIT: Final = Kind.CREDIT
_CODE_RIGHT: Final = Code.RIGHT
_COMMAND_KEYS: Final = {command.value: command.name.lower() for command in Command}


def compose(
    ask: Ask, facts: Facts, decision: Decision, number: int, copy_of: Iterable[bytes] = ()
) -> tuple[bytes, ...]:
    """The recorded answer to a decided request, page by page, each without the zeros that fill it up to 1,400 bytes.

    Args:
        ask: what was asked.
        facts: what the decision was made from.
        decision: what was decided.
        number: the authorization number.
        copy_of: for a reprint, the opened pages of the original's answer.

    """
    module, envelope, moment = facts.module, ask.envelope, facts.moment
    card, approval, reprint = decision.card or facts.card, decision.result in APPROVALS, ask.command is _REPRINT
    if card is not None and not _may_be_told(card, facts, decision, approval, ask.command):
        card = None
    authorization = f"{number:012}"
    value, owed, available, valid_until, due_on = None, None, None, None, None
    if card is not None:
        balances, valid_until = card.balances, card.valid_until
        value, owed, available = balances.value, -balances.owed, balances.available
        due_on = card.due_on if card.charges else None
        if card.status is _CLOSED:  # what is left of it can neither be spent nor run out
            available, valid_until = value, None
    unit = facts.unit if decision.totals is None else decision.totals.interval.unit
    passes, frozen = unit == VISIT, None
    in_visits = passes
    if card is None and not approval and decision.totals is None:
        unit = OWN
    if card is not None and card.visits is not None and card.visits.stands_still(moment.today):
        frozen = card.visits
    columns, code_page = module.columns, module.code_page
    if reprint and approval:
        originals = [Response.decode(page) for page in copy_of]
        # As it was printed, whatever the module has now.
        columns, code_page = originals[0].columns, originals[0].code_page
        text = copied(b"".join([original.text for original in originals]), module.language, columns, code_page)
    else:
        request = None if isinstance(ask.request, FormatError) else ask.request
        requested = request.amount or None if request is not None else None
        if passes and request is not None and not approval:
            if request.command in OF_MONEY:  # refused, so that no other amount stands beside it
                in_visits = False
            elif decision.reason is _AMOUNT_FIXED and request.unit == OWN:  # visits or money: nobody can tell
                requested = None
        receipt = ReceiptFacts(  # by place, here and below, as it is made for every request
            facts.issuer.name,
            module.branch_name,
            module.number,
            moment.today,
            moment.time_of_day,
            _COMMAND_KEYS.get(envelope.command, "unknown"),
            decision.result,
            decision.reason,
            "" if in_visits else facts.issuer.code,
            0 if in_visits else facts.issuer.exponent,
            facts.programme.title if card is not None and facts.programme is not None else "",
            request.card if request is not None else "",
            request is not None and envelope.flags & _KEYED != 0,
            requested,
            decision.approved or None if approval and decision.reason is not _AGAIN else None,
            decision.still_due or None,
            None if passes else value,
            None if passes else available,
            owed,
            valid_until,
            authorization,
            f"{facts.original.number:012}" if facts.original is not None else None,
            request.cashier if request is not None else 0,
            request.till_receipt if request is not None else "",
            value if passes else None,
            due_on,
            decision.hold.expires_at.astimezone(facts.issuer.zone) if decision.hold is not None else None,
            request.new_card if decision.given_up is not None and request is not None else "",
            _counted(decision.totals) if decision.totals is not None else (),
            frozen.frozen_from if frozen is not None else None,
            frozen.frozen_until if frozen is not None else None,
            -card.balances.floor if card is not None and facts.kind is _CREDIT and card.status is not _CLOSED else None,
            (decision.totals.interval.first, decision.totals.interval.last) if decision.totals is not None else None,
        )
        text = printed(receipt, module.language, columns, code_page)
    most = PAGE_BYTES_MAX if decision.totals is None else TOTALS_TEXT_BYTES
    texts = (text,) if len(text) <= most else paginate(text, most)
    return tuple(
        [
            pack_answer(
                envelope.command,
                envelope.flags,
                envelope.sequence,
                envelope.date,
                envelope.module,
                decision.result,
                decision.reason,
                unit,
                len(texts),
                page,
                authorization,
                moment.today,
                moment.time_of_day,
                decision.approved,
                decision.still_due,
                value or 0,
                available or 0,
                value or 0 if passes else 0,
                valid_until,
                code_page,
                columns,
                part,
                decision.totals.counted if decision.totals is not None else (),
            )
            for page, part in enumerate(texts, start=1)
        ]
    )


def _may_be_told(card: Card, facts: Facts, decision: Decision, approval: bool, command: Command | None) -> bool:
    """Whether an answer says what a card holds: a decline only where its holder was proven, or need not be.

    Reprinting needs no holder, nor does reversing what moved nothing: a sale that was refused for its code would else
    tell by its reversal what it did not tell itself. Nor do blocking and unblocking: on a card with a code they tell
    nothing.
    """
    if not approval:
        return decision.result in _LIMITS and (facts.code is _CODE_RIGHT or card.verifier is None)
    if command in _OF_ANYBODY:
        return card.verifier is None
    return command is not _REPRINT and decision.reason is not _NOTHING_MOVED


def _counted(totals: Totals) -> tuple[Counted, ...]:
    """The kinds of which either side has counted something."""
    return tuple(
        [
            Counted(kind.name.lower(), *asked, *counted)
            for kind, asked, counted in zip(TotalsKind, totals.asked, totals.counted, strict=True)
            if asked != (0, 0) or counted != (0, 0)
        ]
    )


def late_original(envelope: Envelope, issuer: Issuer, module: Module, tombstone: Recorded) -> bytes:
    """The decline of a request that was reversed before it came.

    It is made from the tombstone and the echoed fields alone, so that all copies are one.
    """
    reason = Reason.REVERSED_BEFORE_ARRIVAL
    local, number = tombstone.local_at.replace(microsecond=0), f"{tombstone.number:012d}"
    return _response(
        envelope._replace(flags=envelope.flags & ~_FLAGS_OF_A_COPY),
        module,
        result=reason.result,
        reason=reason,
        pages=1,
        page=1,
        authorization=number,
        switch_date=local.date(),
        switch_time=local.time(),
        text=_refusal(envelope, issuer, module, reason, local, number),
    )


def unrecorded(
    envelope: Envelope, issuer: Issuer, module: Module, reason: Reason, moment: Moment | None = None
) -> bytes:
    """An answer that leaves no record: 94, an unusable name, 91 and 96.

    It has a receipt where the database told the `moment`.
    """
    text = b"" if moment is None else _refusal(envelope, issuer, module, reason, moment.local)
    return _response(envelope, module, result=reason.result, reason=reason, pages=1, page=1, text=text)


def echo(envelope: Envelope, module: Module, last: Name | None) -> bytes:
    """The answer to `echo`: the last name of the module that the database knows."""
    return _response(
        envelope,
        module,
        result=Result.APPROVED,
        pages=1,
        page=1,
        last_date=last.date if last else None,
        last_sequence=last.sequence if last else 0,
    )


def page(envelope: Envelope, recorded: bytes) -> bytes:
    """The answer to `page`: a page of a recorded answer under the echoed fields of the one who asks for it."""
    return (
        Response.decode(recorded)
        ._replace(
            command=envelope.command,
            flags=envelope.flags,
            sequence=envelope.sequence,
            date=envelope.date,
            module=envelope.module,
            totals=(),
        )
        .encode()
    )


def _response(envelope: Envelope, module: Module, **fields: object) -> bytes:
    echoed: dict[str, object] = {
        "command": envelope.command,
        "flags": envelope.flags,
        "sequence": envelope.sequence,
        "date": envelope.date,
        "module": envelope.module,
        "code_page": module.code_page,
        "columns": module.columns,
    }
    return Response(**echoed | fields).encode()  # type: ignore[arg-type]  # the fields of Response, checked by its constructor


def _refusal(
    envelope: Envelope, issuer: Issuer, module: Module, reason: Reason, local: dt.datetime, authorization: str = ""
) -> bytes:
    """The receipt that tells why, and nothing of what was asked: no card was looked at."""
    facts = ReceiptFacts(
        merchant=issuer.name,
        branch=module.branch_name,
        module=module.number,
        date=local.date(),
        time=local.time(),
        command=_COMMAND_KEYS.get(envelope.command, "unknown"),
        result=reason.result,
        reason=reason,
        currency=issuer.code,
        exponent=issuer.exponent,
        authorization=authorization,
    )
    return printed(facts, module.language, module.columns, module.code_page)
