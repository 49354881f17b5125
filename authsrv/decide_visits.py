"""What becomes of requests on a pass: its sale, its visits, its freezing.

What must hold: a visit takes off what the pass has and no more; within the minutes of a visit further entries take
nothing; the days of a pass begin, move and end as its programme says, by the issuer's calendar.
"""

import datetime as dt
from typing import Final

from authsrv.facts import Decision, Facts, decline, moved
from ledger.accounts import Account
from ledger.authorizations import Original
from ledger.cards import Card, CardStatus
from ledger.passes import Pass, later
from ledger.postings import bring, spend
from loyalty.programme import Begins, Programme, expired
from protocol.messages import Request
from protocol.numbers import Command, Reason, Result

_NEW: Final = Pass()


def load(request: Request, facts: Facts, card: Card, programme: Programme) -> Decision:
    """Sell a pass, or as many visits once more on a card that had one.

    A pass that runs goes on for the days of another; one that has ended begins anew, and so does one that is used up
    where days begin with a visit.
    """
    activation = request.command is Command.ACTIVATE
    if not activation and not programme.reloadable:
        return decline(Reason.NOT_RELOADABLE)
    if request.amount not in (0, programme.visits):
        return decline(Reason.AMOUNT_FIXED)
    booked_on, today = facts.moment.booked_on, facts.moment.today
    loads_today = card.loads(booked_on)
    if loads_today >= programme.loads_per_day:
        return decline(Reason.LOADS_PER_DAY)
    visits = _NEW if activation or card.visits is None else card.visits
    ends_on, days = _term(programme, visits, card, today)
    after = card._replace(
        status=CardStatus.ACTIVE,
        valid_until=ends_on,
        loads_on=booked_on,
        loads_today=loads_today + 1,
        visits=visits,
    )
    return moved(after, bring(card.balances, Account.TENDER, programme.visits), programme.visits, term_days=days)


def _term(programme: Programme, visits: Pass, card: Card, today: dt.date) -> tuple[dt.date | None, int | None]:
    """The last day of a pass that is loaded, and by how many days that moves it or lies behind today."""
    ends_on = card.valid_until if card.status is CardStatus.ACTIVE else None
    ended, used_up = expired(ends_on, today), not card.balances.available
    if programme.begins is Begins.FIRST_USE and (ended or used_up or ends_on is None):
        return None, None
    if ended or card.status is not CardStatus.ACTIVE:
        return _from(programme, visits, today)
    if ends_on is None:
        return None, None
    longer = programme.valid_until(ends_on)
    return longer, (longer - ends_on).days if longer is not None else None


def _from(programme: Programme, visits: Pass, day: dt.date) -> tuple[dt.date | None, int | None]:
    """The last day of a pass whose days begin on `day`, and how many they are: those that it will stand still too."""
    ends_on = programme.valid_until(day)
    if ends_on is None:
        return None, None
    _, frozen = visits.thawed(day)
    return later(ends_on, frozen), (ends_on - day).days + frozen


def visit(request: Request, facts: Facts, card: Card, programme: Programme) -> Decision:
    """Let in, and take a visit off; more than one for several persons on one pass.

    It is the same visit for as many persons as entered at first, and for no more.
    """
    at, today = facts.moment.at, facts.moment.today
    visits = card.visits or _NEW
    if visits.frozen(today):
        return decline(Reason.FROZEN)
    wanted = request.amount or 1
    same_until = visits.entered_at and visits.entered_at + dt.timedelta(minutes=programme.same_visit_minutes)
    if same_until and at < same_until and wanted <= visits.entered_by:
        return Decision(Result.APPROVED, Reason.SAME_VISIT, card=card)
    if programme.visits_per_day is not None and visits.entries(today) + wanted > programme.visits_per_day:
        return decline(Reason.VISITS_PER_DAY)
    if wanted > card.balances.available:
        return decline(Reason.VISITS_USED)
    ends_on, days = card.valid_until, None
    if ends_on is None and programme.begins is Begins.FIRST_USE:
        ends_on, days = _from(programme, visits, today)
    after = card._replace(valid_until=ends_on, visits=visits.entered(at, today, wanted))
    return moved(after, spend(wanted), wanted, term_days=days)


def before_visit(card: Card, original: Original, on: dt.date, today: dt.date) -> Card:
    """The card without what a visit `on` a day made of it besides its value: an entry, and days not yet over.

    Days begin anew only where it is sure that no visit stands: the last was undone too, and all of its day.
    """
    if card.visits is None or not original.postings:
        return card
    visits = card.visits.not_entered(original.decided_at, on, original.approved)
    began = original.term_days is not None and card.valid_until == later(on, original.term_days)
    alone = visits.entered_at is None and visits.entries_on == on and not visits.entries_today
    again = began and alone and not expired(card.valid_until, today)
    return card._replace(visits=visits, valid_until=None if again else card.valid_until)


def before_load(card: Card, original: Original, on: dt.date, today: dt.date) -> Card:
    """The card without the days that a load `on` a day brought, unless they are over."""
    days = original.term_days
    if days is None or on + dt.timedelta(days=days) < today:
        return card
    return card._replace(valid_until=later(card.valid_until, -days))


def freeze(request: Request, facts: Facts, card: Card, programme: Programme) -> Decision:
    """Let the pass stand still for some days and end so much later, or go on again.

    What is left of an earlier freeze is given back first: there is one at a time.
    """
    today, days = facts.moment.today, request.freeze
    if programme.freeze_days_maximum is None or days is None:
        return decline(Reason.NOT_PROGRAMME)
    if days.first < today:
        return decline(Reason.FREEZE_DAYS)
    before = card.visits or _NEW
    visits, spared = before.thawed(days.first if days.last is None else today)
    valid_until = later(card.valid_until, -spared)
    if days.last is None and not spared:
        return decline(Reason.FREEZE_DAYS)
    if days.last is not None:
        if valid_until is not None and days.first > valid_until:
            return decline(Reason.FREEZE_DAYS)
        visits, added = visits.freezing(days.first, days.last)
        if added > programme.freeze_days_maximum:
            return decline(Reason.FREEZE_LIMIT)
        valid_until = later(valid_until, added)
    return Decision(
        Result.APPROVED, _told(before, days.last, today), card=card._replace(visits=visits, valid_until=valid_until)
    )


def _told(before: Pass, last: dt.date | None, today: dt.date) -> Reason:
    """What became of an earlier freeze, where there is one that still counts."""
    if last is None:
        return Reason.THAWED
    return Reason.REFROZEN if before.stands_still(today) else Reason.NONE
