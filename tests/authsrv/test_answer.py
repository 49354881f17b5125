"""From a decision to the recorded answer: the echoed fields, the told ones, and the pages."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from shop import GIFT

from authsrv.answer import compose, echo, late_original, page, unrecorded
from authsrv.ask import Ask, open_ask
from authsrv.facts import Code, Decision, Facts, Issuer, Module, Moment, decline
from authsrv.keys import ISSUER_PURPOSES, KeyRing
from ledger.accounts import Balances
from ledger.authorizations import Original, Recorded
from ledger.cards import Card, CardStatus
from ledger.names import Name
from loyalty.programme import Programme
from loyalty.source import parse_programme
from protocol.crypto import BlockCipher
from protocol.messages import Request, Response
from protocol.numbers import Command, Flag, Reason, Result

RING = KeyRing(41, {(purpose, 1): bytes([place]) * 32 for place, purpose in enumerate(ISSUER_PURPOSES)})
DAY = dt.date(2026, 11, 30)
NOON = dt.datetime(2026, 11, 30, 12, 34, 56, 789_000)  # noqa: DTZ001 - the issuer's local time
NO_CODES = BlockCipher(bytes(16))
MOMENT = Moment(NOON.replace(tzinfo=dt.UTC), NOON, DAY)
ISSUER = Issuer(41, "Kafija SIA", 978, "EUR", 2, 7, ZoneInfo("Europe/Riga"))
MODULE = Module(1001, 1, "Brivibas 1", 2, False, True, 42, 0, "en", 15, 200, False)
CARD = Card(7, 1, CardStatus.ACTIVE, None, None, dt.date(2029, 11, 30), None, 0, None, (), None, (), Balances(3750))
SALE = Request(command=Command.SALE, module=1001, date=DAY, sequence=7, card="6371120000000000017", amount=1250)
NUMBER = 323_000_000_014


def asked(request: Request) -> Ask:
    _, ask = open_ask(request.encode(), 1001, NO_CODES, RING)
    assert isinstance(ask, Ask)
    return ask


def facts(
    card: Card | None = CARD,
    module: Module = MODULE,
    issuer: Issuer = ISSUER,
    programme: Programme | None = None,
    original: Original | None = None,
    code: Code = Code.ABSENT,
) -> Facts:
    return Facts(MOMENT, issuer, module, None, card, programme, original, code, 0)


def composed(request: Request, known: Facts, decision: Decision) -> list[bytes]:
    """The pages of an answer as they leave, each filled up."""
    return [page.ljust(1400, b"\0") for page in compose(asked(request), known, decision, NUMBER)]


def answer(decision: Decision, request: Request = SALE) -> Response:
    [only] = composed(request, facts(), decision)
    assert len(only) == 1400
    return Response.decode(only)


def test_the_request_is_echoed() -> None:
    """Command, flags, name and module come back as they were sent, beside number, day and local time to the second."""
    said = answer(Decision(Result.APPROVED, approved=1250), SALE._replace(flags=Flag.PARTIAL | Flag.REPEAT))
    assert (said.command, said.flags, said.sequence, said.date, said.module) == (0x13, 5, 7, 20261130, 1001)
    assert (said.authorization, said.switch_date, said.switch_time) == ("323000000014", DAY, dt.time(12, 34, 56))
    assert (said.columns, said.code_page, said.pages, said.page) == (42, 0, 1, 1)


def test_an_approval_tells_what_the_card_holds_afterwards() -> None:
    """The balance is the card's as decided, not as it was before; floor and unit are the card's."""
    after = CARD._replace(balances=Balances(value=2500, owed=-10, floor=-1000))
    said = answer(Decision(Result.PARTLY, approved=1250, still_due=750, card=after))
    assert (said.approved, said.still_due, said.balance, said.available) == (1250, 750, 2500, 3490)
    assert (said.unit, said.valid_until) == (978, dt.date(2029, 11, 30))


@pytest.mark.parametrize("reason", sorted(reason for reason in Reason if reason.result is not Result.APPROVED))
def test_who_is_refused_for_who_asks_learns_nothing(reason: Reason) -> None:
    """A decline tells what the card holds only where amount, funds or limits were the matter: 13, 51, 61, 65."""
    said = answer(decline(reason))
    told = said.result in (13, 51, 61, 65)
    assert (said.result, said.reason) == (reason.result, reason)
    assert (said.balance, said.available, said.unit) == ((3750, 3750, 978) if told else (0, 0, 0))
    assert (b"37.50" in said.text) == told
    assert said.authorization == "323000000014"
    assert b"0000017" not in said.text  # a card is masked to its last four


@pytest.mark.parametrize(("code", "told"), [(Code.ABSENT, 0), (Code.RIGHT, 3750)])
def test_a_declined_load_reads_no_balance_without_the_code(code: Code, told: int) -> None:
    """A load needs no access code; one below the limit would else tell anybody what a card with a code holds."""
    coded = CARD._replace(verifier_key=1, verifier=bytes(16))
    [only] = composed(SALE, facts(coded, code=code), decline(Reason.BELOW_LIMIT))
    said = Response.decode(only)
    assert (said.balance, said.available) == (told, told)
    assert (b"37.50" in said.text) == bool(told)


def test_a_long_receipt_is_paged() -> None:
    """What does not fit 1,176 bytes goes on in further pages, each a whole answer that says which it is of how many."""
    issuer, module = replace(ISSUER, name="W" * 64), replace(MODULE, branch_name="B" * 64, columns=48)
    request = SALE._replace(till_receipt="R" * 16, cashier=4_294_967_295, flags=Flag.KEYED | Flag.PARTIAL)
    card = CARD._replace(balances=Balances(10**15, -(10**15), -(10**16)))
    programme = replace(parse_programme(GIFT.read_text(), "gift.toml"), title="P" * 64)
    original = Original(
        Name(1001, DAY, 6), False, NUMBER, 19, 0, 978, 7, 1, 1, DAY, None, reversed=False, refunded=0, postings=(),
        decided_at=MOMENT.at,
        answers=(),
    )  # fmt: skip
    known = facts(card, module, issuer, programme, original)
    decision = Decision(Result.PARTLY, Reason.REFUND_ABOVE_ORIGINAL, approved=10**15, still_due=10**15, card=card)
    pages = [Response.decode(each) for each in composed(request, known, decision)]
    assert [(each.page, each.pages) for each in pages] == [(place, len(pages)) for place in range(1, len(pages) + 1)]
    assert len(pages) > 1
    assert len({each._replace(page=0, text=b"") for each in pages}) == 1
    assert all(len(each.text) <= 1176 and each.text.endswith(b"\n") for each in pages)


class TestLateOriginal:
    TOMBSTONE = Recorded(True, NUMBER, MOMENT.at, NOON, None, None, None, None)

    def test_copies_are_the_same_bytes(self) -> None:
        """The flags of a copy do not show; neither do amount or card, which a tombstone does not know."""
        copies = {
            late_original(asked(each).envelope, ISSUER, MODULE, self.TOMBSTONE)
            for each in (SALE, SALE._replace(flags=Flag.REPEAT), SALE._replace(amount=1), SALE._replace(cashier=9))
        }
        assert len(copies) == 1
        said = Response.decode(copies.pop())
        assert (said.result, said.reason) == (Result.INVALID, Reason.REVERSED_BEFORE_ARRIVAL)
        assert (said.authorization, said.switch_date, said.switch_time) == ("323000000014", DAY, dt.time(12, 34, 56))
        assert (said.command, said.sequence, said.flags) == (0x13, 7, 0)


def test_what_is_not_recorded_has_no_number() -> None:
    """94 and an unusable name have a receipt by the database's time; 91 and 96, without a database, have none."""
    envelope = asked(SALE).envelope
    timed = Response.decode(unrecorded(envelope, ISSUER, MODULE, Reason.OTHER_CONTENT, MOMENT))
    assert (timed.result, timed.authorization, timed.pages) == (Result.DUPLICATE, "", 1)
    assert b"Kafija SIA" in timed.text
    blind = Response.decode(unrecorded(envelope, ISSUER, MODULE, Reason.NO_DATABASE))
    assert (blind.result, blind.text, blind.switch_date) == (Result.UNAVAILABLE, b"", None)


def test_an_unknown_command_is_answered() -> None:
    """An answer can be made to a number that is no command at all: final, with a receipt."""
    plain = b"\x77\x77" + SALE.encode()[2:]
    _, ask = open_ask(plain, 1001, NO_CODES, RING)
    assert isinstance(ask, Ask)
    [only] = compose(ask, facts(None), decline(Reason.UNKNOWN_COMMAND), NUMBER)
    said = Response.decode(only.ljust(1400, b"\0"))
    assert (said.command, said.result) == (0x7777, Result.FORMAT)
    assert said.text


def test_echo_and_page() -> None:
    """Echo tells the last name; a page is the recorded answer under the fields of who asks."""
    envelope = asked(SALE._replace(command=Command.BALANCE, amount=0, sequence=99)).envelope
    told = Response.decode(echo(envelope, MODULE, Name(1001, DAY, 77)))
    assert (told.last_date, told.last_sequence, told.sequence) == (DAY, 77, 99)
    nothing = Response.decode(echo(envelope, MODULE, None))
    assert (nothing.last_date, nothing.last_sequence) == (None, 0)
    [recorded] = composed(SALE, facts(), Decision(Result.APPROVED, approved=1250))
    told = Response.decode(page(envelope, recorded))
    assert told._replace(command=0x13, sequence=7) == Response.decode(recorded)
    assert (told.command, told.sequence) == (0x10, 99)
