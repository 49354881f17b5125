"""A grown folder is one that a switch could have left behind."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ledger.names import Name
from loadtest.profile import load_profile
from loadtest.shell.ground import Size, open_ground
from loadtest.shell.grow import FRESH_CARDS, GrowError, grow
from loadtest.shell.run import BOOKS, run_profile
from loadtest.shell.switch import running_switch
from protocol.messages import Response, date_number
from protocol.numbers import Command, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtest.shell.ground import Ground

CARDS, AUTHORIZATIONS = 60, 400


@pytest.fixture(scope="module")
def grown() -> Iterator[Ground]:
    folder = Path(tempfile.mkdtemp(prefix="authsrv-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        with open_ground(folder, Size(modules=16, cards=0, fresh_cards=0)) as ground:
            grow(ground, cards=CARDS, authorizations=AUTHORIZATIONS, seed=1, progress=lambda _: None)
        with open_ground(folder) as ground:
            yield ground
    finally:
        shutil.rmtree(folder)


def test_the_books_balance_and_the_past_days_are_closed(grown: Ground) -> None:
    """Sums are zero, balances follow from postings, all days of the past are closed."""
    assert not [finding for finding, sql in BOOKS.items() if grown.query(sql)]
    [counted] = grown.query(
        """select (select count(*) from authorizations) as authorizations, (select count(*) from postings) as postings,
                  (select count(*) from cards where status = 1) as active, (select count(*) from cards) as cards,
                  (select count(*) from closed_days where closed_at is not null) as closed,
                  (select count(distinct booked_on) from postings) as days"""
    )
    assert counted["authorizations"] == counted["postings"] == AUTHORIZATIONS
    assert (counted["active"], counted["cards"]) == (CARDS, CARDS + FRESH_CARDS)
    assert counted["closed"] == counted["days"] > 20


def test_an_old_answer_opens_under_its_own_name(grown: Ground) -> None:
    """What is sealed tells the name, number and amount of its row."""
    _, ring = grown.rules()
    for row in grown.query("select * from authorizations order by number limit 5"):
        name = Name(row["module"], row["date"], row["sequence"])
        answer = Response.decode(ring.open(name, 1, row["answer"]))
        assert (answer.module, answer.date, answer.sequence) == (name.module, date_number(name.date), name.sequence)
        assert (answer.authorization, answer.approved) == (f"{row['number']:012d}", row["approved"])
        assert (answer.command, answer.result) == (Command.ACTIVATE, Result.APPROVED)


def test_a_switch_goes_on_where_the_past_ends(grown: Ground) -> None:
    """Sales on old cards are approved, codes and all; fresh cards are sold; nothing old is in the way."""
    profile = replace(
        load_profile("mixed"),
        connections=2,
        modules_per_connection=4,
        cards=CARDS,
        duration_s=1.0,
        warm_up_s=0.2,
    )
    with running_switch(grown, {}) as switch:
        outcome = run_profile(grown, switch, profile, seed=1, progress=lambda _: None)
    assert outcome.verdict.findings == ()
    assert outcome.verdict.answers["00"] > sum(outcome.verdict.answers.values()) / 2


def test_a_folder_that_is_in_use_is_not_grown(grown: Ground) -> None:
    """Growing is for new folders."""
    with pytest.raises(GrowError, match="new folder"):
        grow(grown, cards=1, authorizations=1, seed=1, progress=lambda _: None)
