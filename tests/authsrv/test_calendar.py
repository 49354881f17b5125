"""Days and minutes of passes and due dates, where calendars and clocks are odd: pure decisions at chosen moments."""
# ruff: noqa: DTZ001 - local times of the issuer, which have no zone

from __future__ import annotations

import ast
import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from shop import CREDIT, VISITS

from authsrv.decide import decide
from authsrv.facts import Code, Decision, Facts, Issuer, Module, Moment
from ledger.accounts import Account, Balances
from ledger.authorizations import Original
from ledger.cards import Card, CardStatus, Number
from ledger.charges import Charge, due_on, given_back, open_charges
from ledger.names import Name
from ledger.passes import Pass
from ledger.postings import Posting
from loyalty.programme import Begins, DueFrom
from loyalty.source import parse_programme
from protocol.messages import Freeze, OriginalName, Request
from protocol.numbers import VISIT, CodePage, Command, Reason

if TYPE_CHECKING:
    from loyalty.programme import Programme

RIGA = ZoneInfo("Europe/Riga")
ISSUER = Issuer(41, "Kafija SIA", 978, "EUR", 2, 7, RIGA)
DESK = Module(9001, 1, "Brivibas 1", 2, True, True, 42, CodePage.ASCII, "en", 15, 200, False)
PASS = replace(parse_programme(VISITS.read_text(), "visits.toml"), begins=Begins.PURCHASE)
NEW = Card(7, 1, CardStatus.ISSUED, None, None, None, None, 0, None, (), None, (), Balances())
NAME = Name(9001, dt.date(2026, 1, 1), 1)
NAMED = OriginalName(NAME.date, NAME.sequence)


def at(local: dt.datetime, *, fold: int = 0) -> Moment:
    """The moment at which clocks in Riga show this; the second time with `fold=1`."""
    moment = local.replace(tzinfo=RIGA, fold=fold).astimezone(dt.UTC)
    return Moment(moment, local, local.date())


def decided(
    moment: Moment, card: Card | None, command: Command, programme: Programme = PASS, **fields: Any
) -> Decision:
    original: Original | None = fields.pop("known", None)
    request = Request(command=command, module=9001, date=moment.today, sequence=1, card="6371120000000000017", **fields)
    facts = Facts(moment, ISSUER, DESK, Number(7, True, 0), card, programme, original, Code.ABSENT, 0)
    return decide(request, moment.today, facts)


def sold(moment: Moment, programme: Programme = PASS) -> Card:
    card = decided(moment, NEW, Command.ACTIVATE, programme).card
    assert card is not None
    return card


def visited(moment: Moment, card: Card, programme: Programme = PASS) -> Card:
    decision = decided(moment, card, Command.VISIT, programme)
    assert (decision.reason, decision.card is not None) == (Reason.NONE, True)
    assert decision.card is not None
    return decision.card


@pytest.mark.parametrize(
    ("day", "rules", "last"),
    [
        (dt.date(2028, 2, 29), {"valid_months": 12}, dt.date(2029, 2, 28)),
        (dt.date(2027, 2, 28), {"valid_months": 12}, dt.date(2028, 2, 28)),
        (dt.date(2026, 11, 30), {"valid_months": 3}, dt.date(2027, 2, 28)),
        (dt.date(2027, 11, 30), {"valid_months": 3}, dt.date(2028, 2, 29)),
        (dt.date(2027, 12, 31), {"valid_months": None, "valid_days": 60}, dt.date(2028, 2, 29)),
        (dt.date(2026, 3, 28), {"valid_months": None, "valid_days": 1}, dt.date(2026, 3, 29)),
    ],
)
def test_the_last_day(day: dt.date, rules: dict[str, Any], last: dt.date) -> None:
    """Twelve months from February 29, three from November 30, days through a leap day and a night of 23 hours."""
    programme = replace(PASS, **rules)
    card = sold(at(dt.datetime.combine(day, dt.time(23, 59, 59))), programme)
    assert card.valid_until == last
    end = at(dt.datetime.combine(last, dt.time(23, 59, 59)))
    assert decided(end, card, Command.VISIT, programme).reason == Reason.NONE
    after = at(dt.datetime.combine(last + dt.timedelta(days=1), dt.time()))
    assert decided(after, card, Command.VISIT, programme).reason == Reason.EXPIRED


def test_a_year_from_february_29_frozen_over_the_next() -> None:
    """A freeze of 29 days over February 2028 moves the end by 29, across the leap day."""
    card = sold(at(dt.datetime(2027, 12, 15, 12)))._replace(valid_until=dt.date(2028, 2, 20))
    freeze = Freeze(dt.date(2028, 2, 1), dt.date(2028, 2, 29))
    frozen = decided(at(dt.datetime(2028, 1, 31, 12)), card, Command.FREEZE, freeze=freeze).card
    assert frozen is not None
    assert frozen.valid_until == dt.date(2028, 3, 20)
    assert decided(at(dt.datetime(2028, 2, 29, 23, 59)), frozen, Command.VISIT).reason == Reason.FROZEN
    assert decided(at(dt.datetime(2028, 3, 1)), frozen, Command.VISIT).reason == Reason.NONE


def test_a_freeze_of_all_the_days_there_are() -> None:
    """Thirty days may be frozen, the first and the last of them too, and not one more."""
    moment = at(dt.datetime(2026, 6, 1, 12))
    card, first = sold(moment), dt.date(2026, 6, 2)
    last = first + dt.timedelta(days=29)
    assert decided(moment, card, Command.FREEZE, freeze=Freeze(first, last)).reason == Reason.NONE
    longer = Freeze(first, last + dt.timedelta(days=1))
    assert decided(moment, card, Command.FREEZE, freeze=longer).reason == Reason.FREEZE_LIMIT


@pytest.mark.parametrize(
    ("first", "second", "fold", "same"),
    [
        (dt.datetime(2026, 3, 29, 2, 50), dt.datetime(2026, 3, 29, 4, 4, 59), 0, True),  # clocks went from 3 to 4
        (dt.datetime(2026, 3, 29, 2, 50), dt.datetime(2026, 3, 29, 4, 5), 0, False),
        (dt.datetime(2026, 10, 25, 3, 50), dt.datetime(2026, 10, 25, 3, 4, 59), 1, True),  # clocks went from 4 to 3
        (dt.datetime(2026, 10, 25, 3, 50), dt.datetime(2026, 10, 25, 3, 55), 1, False),
        (dt.datetime(2026, 12, 31, 23, 50), dt.datetime(2027, 1, 1, 0, 4, 59), 0, True),
        (dt.datetime(2026, 12, 31, 23, 50), dt.datetime(2027, 1, 1, 0, 5), 0, False),
    ],
)
def test_minutes_are_those_that_passed(first: dt.datetime, second: dt.datetime, fold: int, same: bool) -> None:
    """A quarter of an hour is one, whatever clocks on the wall show meanwhile, over midnight too."""
    card = visited(at(first), sold(at(dt.datetime(2026, 1, 1, 12)))._replace(valid_until=None))
    decision = decided(at(second, fold=fold), card, Command.VISIT)
    assert (decision.reason is Reason.SAME_VISIT) == same


def test_the_same_visit_ends_with_the_pass_and_with_a_freeze() -> None:
    """Entered ten minutes before midnight, and back five minutes behind it: not on a pass that is over, or frozen."""
    card = visited(at(dt.datetime(2026, 12, 31, 23, 50)), sold(at(dt.datetime(2026, 12, 1, 12))))
    back, next_day = at(dt.datetime(2027, 1, 1, 0, 1)), dt.date(2027, 1, 1)
    assert card.visits is not None
    frozen = card._replace(visits=card.visits._replace(frozen_from=next_day, frozen_until=next_day))
    over = card._replace(valid_until=dt.date(2026, 12, 31))
    reasons = [decided(back, each, Command.VISIT).reason for each in (card, frozen, over)]
    assert reasons == [Reason.SAME_VISIT, Reason.FROZEN, Reason.EXPIRED]


def test_a_day_of_25_hours_is_one_day() -> None:
    """Three visits on the day that clocks are put back; the fourth is of the next day only after midnight."""
    programme = replace(PASS, same_visit_minutes=0)
    card = sold(at(dt.datetime(2026, 10, 1, 12)))
    for local, fold in ((dt.datetime(2026, 10, 25, 0, 1), 0), (dt.datetime(2026, 10, 25, 3, 30), 0),
                        (dt.datetime(2026, 10, 25, 3, 30), 1)):  # fmt: skip
        decision = decided(at(local, fold=fold), card, Command.VISIT, programme)
        assert decision.card is not None
        card = decision.card
    late, morning = dt.datetime(2026, 10, 25, 23, 59, 59), dt.datetime(2026, 10, 26)
    assert decided(at(late), card, Command.VISIT, programme).reason == Reason.VISITS_PER_DAY
    assert decided(at(morning), card, Command.VISIT, programme).reason == Reason.NONE


def test_a_visit_that_is_booked_on_the_next_day() -> None:
    """Decided a moment before midnight, when the day was closed already: its days and entries are still that day's."""
    moment = replace(at(dt.datetime(2026, 6, 30, 23, 59, 59)), booked_on=dt.date(2026, 7, 1))
    programme = replace(PASS, begins=Begins.FIRST_USE)
    entered = decided(moment, sold(moment, programme), Command.VISIT, programme)
    known = Original(
        NAME, False, 1, Command.VISIT, 0, VISIT, 7, 0, 1, moment.booked_on, None, False, 0, entered.postings, (),
        moment.at, term_days=entered.term_days,
    )  # fmt: skip
    undone = decided(moment, entered.card, Command.REVERSE, programme, known=known, amount=0, original=NAMED)
    assert (undone.reason, undone.card is not None) == (Reason.NONE, True)
    assert undone.card is not None
    assert undone.card.visits is not None
    assert (undone.card.valid_until, undone.card.visits.entries(moment.today)) == (None, 0)


@pytest.mark.parametrize(
    ("loaded", "loads_today", "ends"),
    [
        (dt.date(2026, 3, 1), 0, dt.date(2026, 3, 1)),
        (dt.date(2026, 2, 28), 1, dt.date(2026, 3, 1)),
        (dt.date(2026, 1, 30), 1, dt.date(2026, 3, 1)),
        (dt.date(2026, 1, 29), 1, dt.date(2026, 3, 31)),
    ],
)
def test_a_load_of_another_day_is_undone(loaded: dt.date, loads_today: int, ends: dt.date) -> None:
    """It gives a place back on its own day alone; and no days where its 30 were over before today, on March 1."""
    moment = at(dt.datetime(2026, 3, 1, 12))
    card = sold(moment)._replace(valid_until=dt.date(2026, 3, 31), balances=Balances(value=20))
    brought = (Posting(Account.TENDER, Account.VALUE, 10),)
    at_noon = at(dt.datetime.combine(loaded, dt.time(12))).at
    known = Original(
        NAME, False, 1, Command.RELOAD, 0, VISIT, 7, 10, 10, loaded, None, False, 0, brought, (), at_noon, term_days=30
    )
    undone = decided(moment, card, Command.REVERSE, known=known, amount=10, original=NAMED).card
    assert undone is not None
    assert (undone.loads(moment.booked_on), undone.valid_until) == (loads_today, ends)


@pytest.mark.parametrize(
    ("rules", "bought", "due"),
    [
        ({"due_from": DueFrom.PURCHASE, "due_days": 14}, dt.date(2028, 2, 20), dt.date(2028, 3, 5)),
        ({"due_from": DueFrom.MONTH_END, "due_days": 14}, dt.date(2028, 2, 1), dt.date(2028, 3, 14)),
        ({"due_from": DueFrom.MONTH_END, "due_days": 14}, dt.date(2028, 2, 29), dt.date(2028, 3, 14)),
        ({"due_from": DueFrom.MONTH_END, "due_days": 0}, dt.date(2026, 12, 31), dt.date(2026, 12, 31)),
    ],
)
def test_the_day_by_which_a_purchase_is_to_be_paid(rules: dict[str, Any], bought: dt.date, due: dt.date) -> None:
    """Days from the purchase, or from the end of its month; a second before midnight it is still of that day."""
    programme = replace(parse_programme(CREDIT.read_text(), "credit.toml"), **rules)
    moment = at(dt.datetime.combine(bought, dt.time(23, 59, 59)))
    decision = decided(moment, sold(moment, programme), Command.SALE, programme, amount=100)
    assert decision.charge is not None
    assert decision.charge.due_on == due


class TestOpenCharges:
    OLD, MIDDLE, LAST = (
        Charge(Name(1, dt.date(2026, month, 1), month), dt.date(2026, month, 15), amount)
        for month, amount in ((1, 100), (2, 50), (3, 70))
    )
    ALL = (OLD, MIDDLE, LAST)

    @pytest.mark.parametrize(
        ("debt", "still_open"),
        [
            (0, ()), (1, ((3, 1),)), (70, ((3, 70),)), (71, ((2, 1), (3, 70))), (120, ((2, 50), (3, 70))),
            (121, ((1, 1), (2, 50), (3, 70))), (220, ((1, 100), (2, 50), (3, 70))),
        ],
    )  # fmt: skip
    def test_the_newest_that_add_up_to_the_debt(self, debt: int, still_open: tuple[tuple[int, int], ...]) -> None:
        """What was paid has settled the oldest."""
        found = tuple((charge.name.sequence, charge.amount) for charge in open_charges(self.ALL, debt))
        assert found == still_open

    def test_what_is_due_first(self) -> None:
        """The earliest day of what is open, also where a later purchase is due before an earlier one."""
        hasty = self.LAST._replace(due_on=dt.date(2026, 1, 2))
        assert due_on((self.OLD, self.MIDDLE, hasty), 120) == dt.date(2026, 1, 2)
        assert due_on(self.ALL, 70) == dt.date(2026, 3, 15)
        assert due_on(self.ALL, 0) is None

    def test_goods_brought_back_are_taken_off_their_own(self) -> None:
        """And put on again where that is undone; a charge that is not there changes nothing."""
        less = given_back(self.ALL, self.MIDDLE.name, 50)
        assert [charge.amount for charge in less] == [100, 0, 70]
        assert open_charges(less, 100)[0].name == self.OLD.name
        assert given_back(less, self.MIDDLE.name, -50) == self.ALL
        assert given_back(self.ALL, NAME, 5) == self.ALL


class TestThaw:
    JUNE = Pass(frozen_from=dt.date(2026, 6, 10), frozen_until=dt.date(2026, 6, 19))

    @pytest.mark.parametrize(
        ("day", "until", "spared"),
        [(9, None, 10), (10, None, 10), (11, 10, 9), (19, 18, 1), (20, 19, 0), (30, 19, 0)],
    )
    def test_what_is_spared(self, day: int, until: int | None, spared: int) -> None:
        """The days from the thaw on; those before stay frozen ones."""
        thawed, days = self.JUNE.thawed(dt.date(2026, 6, day))
        assert days == spared
        assert thawed.frozen_until == (dt.date(2026, 6, until) if until else None)
        assert (thawed.frozen_from is None) == (until is None)


WALL_CLOCKS = {"now", "utcnow", "today", "time_ns", "localtime", "gmtime", "ctime", "clock_gettime", "fromtimestamp"}


def wall_clocks(source: str) -> list[str]:
    """Where a program asks its own host what time of day it is."""
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    asked = [each for each in calls if isinstance(each, ast.Attribute)]
    return [
        ast.unparse(each)
        for each in asked
        if each.attr in WALL_CLOCKS or (each.attr == "time" and ast.unparse(each.value) == "time")
    ]


def test_hosts_whose_clocks_differ_decide_alike() -> None:
    """Because no host is asked: whatever a switch decides by is the database's time, on whichever host it runs."""
    assert wall_clocks("time.time(); dt.datetime.now(); x.date.today(); dt.time(12)") == [
        *("time.time", "dt.datetime.now", "x.date.today"),
    ]
    root = Path(__file__).parents[2]
    files = [
        file
        for package in ("authsrv", "ledger", "loyalty", "protocol", "receipts")
        for file in (root / package).rglob("*.py")
    ]
    assert len(files) > 100
    assert {str(file): found for file in files if (found := wall_clocks(file.read_text("utf-8")))} == {}
