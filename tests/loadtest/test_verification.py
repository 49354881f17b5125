"""Verification finds each kind of lie, and nothing where there is none."""

import datetime as dt

import pytest

from loadtest.verification import Entry, Exchange, Name, open_requests, verify
from protocol.messages import OriginalName, Request, Response
from protocol.numbers import Command, Flag, Reason, Result

DAY = dt.date(2026, 3, 14)
NAME: Name = (1001, 20260314, 1)
SALE = Request(command=Command.SALE, module=1001, date=DAY, sequence=1, card="6371120000000000017", amount=500)
APPROVED = Response(
    command=Command.SALE, module=1001, date=20260314, sequence=1, approved=500, authorization="315000000017"
)
ENTRY = Entry(Command.SALE, Result.APPROVED, 500, 315000000017, 500)
TOLD = Exchange(SALE, APPROVED)
REVERSAL = Request(
    command=Command.REVERSE, module=1001, date=DAY, sequence=2, original=OriginalName(DAY, 1), amount=500
)


def test_an_approval_that_stands_in_the_ledger_is_true() -> None:
    """Nothing is found, and what was counted is told."""
    verdict = verify([TOLD], {NAME: ENTRY}, [])
    assert verdict.holds
    assert verdict.recorded == 1
    assert verdict.answers == {"00": 1}


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ({}, "lost"),
        ({NAME: ENTRY._replace(approved=499, posted=499)}, "lost"),
        ({NAME: ENTRY._replace(result=Result.FUNDS)}, "lost"),
        ({NAME: ENTRY._replace(number=315000000025)}, "lost"),
        ({NAME: ENTRY._replace(posted=0)}, "moved"),
        ({NAME: ENTRY._replace(posted=1000)}, "moved"),
        ({NAME: ENTRY, (1001, 20260314, 9): ENTRY}, "stranger"),
        ({NAME: ENTRY, (2002, 20260314, 1): ENTRY}, "stranger"),
    ],
)
def test_a_ledger_that_says_otherwise_is_found(entries: dict[Name, Entry], found: str) -> None:
    """An approval that is missing, changed, moved otherwise, or stands where nobody asked."""
    verdict = verify([TOLD], entries, [])
    assert [finding.partition(":")[0] for finding in verdict.findings] == [found]


def test_a_decline_must_be_recorded_too_and_must_not_move_value() -> None:
    """Law 1 holds for declines: recorded once; and a decline with a posting is a lie."""
    declined = APPROVED._replace(result=Result.FUNDS, reason=Reason.FUNDS, approved=0)
    entry = ENTRY._replace(result=Result.FUNDS, approved=0, posted=0)
    assert verify([Exchange(SALE, declined)], {NAME: entry}, []).holds
    assert not verify([Exchange(SALE, declined)], {}, []).holds
    assert not verify([Exchange(SALE, declined)], {NAME: entry._replace(posted=500)}, []).holds


def test_two_copies_must_be_answered_alike() -> None:
    """A repeat gets the recorded answer, so a difference anywhere in it is found."""
    again = Exchange(SALE._replace(flags=Flag.REPEAT), APPROVED._replace(balance=1))
    verdict = verify([TOLD, again], {NAME: ENTRY}, [])
    assert verdict.findings == ("differing: 1001/20260314/1",)


def test_91_96_and_silence_are_no_answer_and_the_next_copys_counts() -> None:
    """What is not final leaves the request open until a copy gets its recorded answer."""
    refused = Exchange(SALE, APPROVED._replace(result=Result.UNAVAILABLE, approved=0, authorization=""))
    broken = Exchange(SALE, APPROVED._replace(result=Result.MALFUNCTION, approved=0, authorization=""))
    silent = Exchange(SALE, None)
    assert open_requests([refused, broken, silent]) == [SALE]
    assert open_requests([refused, TOLD]) == []
    assert verify([refused, silent], {}, []).findings == ("unanswered: 1001/20260314/1",)
    verdict = verify([refused, silent, TOLD], {NAME: ENTRY}, [])
    assert verdict.holds
    assert verdict.answers == {"91": 1, "none": 1, "00": 1}


def test_a_reversal_of_nothing_posts_nothing() -> None:
    """A reversal that found a decline, or one that was made already, is approved and moves no value."""
    sale = (1001, 20260314, 2)
    answer = Response(
        command=Command.REVERSE, module=1001, date=20260314, sequence=2, approved=500, authorization="315000000025"
    )
    entry = Entry(Command.REVERSE, Result.APPROVED, 500, 315000000025, 500)
    again = answer._replace(reason=Reason.AGAIN)
    assert verify([Exchange(REVERSAL, answer)], {sale: entry}, []).holds
    assert not verify([Exchange(REVERSAL, again)], {sale: entry}, []).holds
    assert verify([Exchange(REVERSAL, again)], {sale: entry._replace(posted=0)}, []).holds


def test_echo_and_page_leave_no_record() -> None:
    """They are neither open nor missing."""
    echo = Request(command=Command.ECHO, module=1001, date=DAY, sequence=5)
    assert open_requests([Exchange(echo, None)]) == []
    assert verify([Exchange(echo, Response(command=Command.ECHO))], {}, []).holds


def test_what_was_found_before_is_a_finding() -> None:
    """Books that do not balance fail a run whose answers are all true."""
    assert verify([TOLD], {NAME: ENTRY}, ["books: a unit does not sum to zero"]).findings == (
        "books: a unit does not sum to zero",
    )


def test_no_finding_shows_a_card_or_an_amount() -> None:
    """Findings may be kept and sent around."""
    verdict = verify([TOLD], {}, [])
    assert SALE.card not in str(verdict.findings)
    assert "500" not in str(verdict.findings)
