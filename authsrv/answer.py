"""From a decision to the recorded answer: the fields that a module reads and the receipt that it prints.

What must hold: an answer is a function of the request, the facts and the decision alone, so that what is sealed is what
is sent. What a card holds stands only on answers that were not refused for who is asking: a wrong code learns nothing.
"""

import datetime as dt
from collections.abc import Iterable
from typing import Final

from authsrv.ask import Ask
from authsrv.facts import Code, Decision, Facts, Issuer, Module, Moment
from authsrv.table import APPROVALS
from ledger.accounts import Balances
from ledger.authorizations import Recorded
from ledger.cards import Card
from ledger.names import Name
from protocol.messages import Envelope, FormatError, Response, Taken
from protocol.numbers import OWN, Command, Flag, Reason, Result
from receipts.facts import ReceiptFacts
from receipts.pages import PAGE_BYTES_MAX, paginate
from receipts.receipt import copied, printed

_LIMITS: Final = frozenset((Result.AMOUNT, Result.FUNDS, Result.AMOUNT_LIMIT, Result.COUNT_LIMIT))
_FLAGS_OF_A_COPY: Final = Flag.REPEAT | Flag.ACCESS_CODE
_KEYED: Final = Flag.KEYED.value
_NOTHING: Final = Balances()
_NO_LOYALTY: Final = (0, 0, 0, 0)  # discount, points earned, points balance, visits left
_NO_VOUCHERS: Final = ("", "")
_NO_TAKING: Final = (0, Taken(), None, ())  # last sequence, taken, last date, totals
_COMMAND_KEYS: Final = {command.value: command.name.lower() for command in Command}


def compose(
    ask: Ask, facts: Facts, decision: Decision, number: int, copy_of: Iterable[bytes] = ()
) -> tuple[bytes, ...]:
    """The recorded answer to a decided request, page by page, 1,400 bytes each.

    Args:
        ask: what was asked.
        facts: what the decision was made from.
        decision: what was decided.
        number: the authorization number.
        copy_of: for a reprint, the opened pages of the original's answer.

    """
    module, envelope, card = facts.module, ask.envelope, decision.card or facts.card
    told = card if card is not None and _may_be_told(card, ask, facts, decision) else None
    authorization = f"{number:012d}"
    columns, code_page = module.columns, module.code_page
    if ask.command is Command.REPRINT and decision.result in APPROVALS:
        originals = [Response.decode(page) for page in copy_of]
        # As it was printed, whatever the module has now.
        columns, code_page = originals[0].columns, originals[0].code_page
        text = copied(b"".join(original.text for original in originals), module.language, columns, code_page)
    else:
        text = _receipt(ask, facts, decision, authorization, told)
    texts = (text,) if len(text) <= PAGE_BYTES_MAX else paginate(text)
    moment, balances = facts.moment, told.balances if told else _NOTHING
    answer = Response(  # by place, in the order of the layout: by keywords it takes four times as long
        envelope.command,
        envelope.flags,
        envelope.sequence,
        envelope.date,
        envelope.module,
        decision.result,
        decision.reason,
        facts.issuer.currency if told else OWN,
        len(texts),
        1,
        authorization,
        moment.today,
        moment.time_of_day,
        decision.approved,
        decision.still_due,
        balances.value,
        balances.available,
        *_NO_LOYALTY,
        told.valid_until if told else None,
        _NO_VOUCHERS,
        code_page,
        columns,
        *_NO_TAKING,
        texts[0],
    )
    further = (answer._replace(page=place, text=part) for place, part in enumerate(texts[1:], start=2))
    return (answer.encode(), *(page.encode() for page in further))


def _may_be_told(card: Card, ask: Ask, facts: Facts, decision: Decision) -> bool:
    """Whether an answer says what a card holds: a decline only where its holder was proven, or need not be.

    Reprinting needs no holder, nor does reversing what moved nothing: a sale that was refused for its code would else
    tell by its reversal what it did not tell itself.
    """
    if decision.result in APPROVALS:
        return ask.command is not Command.REPRINT and decision.reason is not Reason.NOTHING_MOVED
    return decision.result in _LIMITS and (facts.code is Code.RIGHT or card.verifier is None)


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


def _receipt(ask: Ask, facts: Facts, decision: Decision, authorization: str, told: Card | None) -> bytes:
    envelope = ask.envelope
    request = None if isinstance(ask.request, FormatError) else ask.request
    moment, module, issuer = facts.moment, facts.module, facts.issuer
    balances = told.balances if told else None
    return printed(
        ReceiptFacts(  # by place, as it is made for every request
            issuer.name,
            module.branch_name,
            module.number,
            moment.today,
            moment.time_of_day,
            _COMMAND_KEYS.get(envelope.command, "unknown"),
            decision.result,
            decision.reason,
            issuer.code,
            issuer.exponent,
            facts.programme.title if told and facts.programme else "",
            request.card if request else "",
            request is not None and bool(envelope.flags & _KEYED),
            request.amount or None if request else None,
            decision.approved or None if decision.result in APPROVALS else None,
            decision.still_due or None,
            balances.value if balances else None,
            balances.available if balances else None,
            -balances.owed if balances else None,
            told.valid_until if told else None,
            authorization,
            f"{facts.original.number:012d}" if facts.original else None,
            request.cashier if request else 0,
            request.till_receipt if request else "",
        ),
        module.language,
        module.columns,
        module.code_page,
    )
