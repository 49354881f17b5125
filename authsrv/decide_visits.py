"""What becomes of requests on a pass: its sale, its visits, its freezing.

What must hold: a visit takes off what the pass has and no more; within the minutes of a visit further entries take
nothing; the days of a pass begin, move and end as its programme says, by the issuer's calendar.
"""

import datetime as dt
from typing import Final

from authsrv.facts import Decision, Facts, decline, moved
from ledger.accounts import Account
from ledger.authorizations import NO_END, Original
from ledger.cards import Card, CardStatus
from ledger.passes import Pass
from ledger.passes import moved as later
from ledger.postings import bring, spend
from loyalty.programme import Begins, Programme, expired
from protocol.messages import Request
from protocol.numbers import Command, Reason, Result

_NEW: Final = Pass()


def load(request: Request, facts: Facts, card: Card, programme: Programme) -> Decision:
    """Sell a pass, or as many visits once more on a card that had one."""
    activation = request.command is Command.ACTIVATE
    if not activation and not programme.reloadable:
        return decline(Reason.NOT_RELOADABLE)
    if request.amount not in (0, programme.visits):
        return decline(Reason.AMOUNT_FIXED)
    loads_today = card.loads_today if card.loads_on == facts.moment.booked_on else 0
    if loads_today >= programme.loads_per_day:
        return decline(Reason.LOADS_PER_DAY)
    today = facts.moment.today
    left = card.balances.available and not expired(card.valid_until, today)
    after = card._replace(
        status=CardStatus.ACTIVE,
        valid_until=_end(programme, today, card.valid_until) if left else _end_of_new(programme, today),
        loads_on=facts.moment.booked_on,
        loads_today=loads_today + 1,
        visits=_NEW if activation or card.visits is None else card.visits,
    )
    return moved(after, bring(card.balances, Account.TENDER, programme.visits), programme.visits)


def _end_of_new(programme: Programme, today: dt.date) -> dt.date | None:
    return None if programme.begins is Begins.FIRST_USE else programme.valid_until(today)


def _end(programme: Programme, day: dt.date, before: dt.date | None) -> dt.date | None:
    """The end of a pass that had some days left and gets those of a new one from `day` on."""
    new = programme.valid_until(day)
    return None if before is None or new is None else max(before, new)


def visit(request: Request, facts: Facts, card: Card, programme: Programme) -> Decision:
    """Let in, and take a visit off; more than one for several persons on one pass."""
    at, today = facts.moment.at, facts.moment.today
    visits = card.visits or _NEW
    if visits.frozen(today):
        return decline(Reason.FROZEN)
    same_until = visits.entered_at and visits.entered_at + dt.timedelta(minutes=programme.same_visit_minutes)
    if same_until and at < same_until:
        return Decision(Result.APPROVED, Reason.SAME_VISIT, card=card)
    wanted = request.amount or 1
    if programme.visits_per_day is not None and visits.entries(today) + wanted > programme.visits_per_day:
        return decline(Reason.VISITS_PER_DAY)
    if wanted > card.balances.available:
        return decline(Reason.VISITS_USED)
    begins = card.valid_until is None and programme.begins is Begins.FIRST_USE
    after = card._replace(
        valid_until=programme.valid_until(today) if begins else card.valid_until,
        visits=visits.entered(at, today, wanted),
    )
    return moved(after, spend(wanted), wanted)


def before_visit(card: Card, original: Original, today: dt.date) -> Card:
    """The card without what a visit made of it besides its value: an entry, and the beginning of days not yet over."""
    if card.visits is None or not original.postings:
        return card
    last = card.visits.entered_at == original.decided_at
    visits = card.visits.not_entered(original.decided_at, original.booked_on, original.approved)
    began = original.end_before == NO_END and last and not visits.entries(original.booked_on)
    began = began and not expired(card.valid_until, today)
    return card._replace(visits=visits, valid_until=None if began else card.valid_until)


def before_reload(card: Card, original: Original, programme: Programme) -> Card:
    """The card with the end that it had before a reload, unless its end was moved since."""
    if original.end_before is None:
        return card
    before = None if original.end_before == NO_END else original.end_before
    new = programme.valid_until(original.booked_on)
    set_then = new if before is None or new is None else max(before, new)
    return card._replace(valid_until=before) if card.valid_until in (None, set_then) else card


def freeze(request: Request, facts: Facts, card: Card, programme: Programme) -> Decision:
    """Let the pass stand still for some days and end so much later, or go on again.

    What is left of an earlier freeze is given back first: there is one at a time.
    """
    today, days = facts.moment.today, request.freeze
    if programme.freeze_days_maximum is None or days is None:
        return decline(Reason.NOT_PROGRAMME)
    if days.first < today:
        return decline(Reason.FREEZE_DAYS)
    visits, spared = (card.visits or _NEW).thawed(days.first if days.last is None else today)
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
    return Decision(Result.APPROVED, card=card._replace(visits=visits, valid_until=valid_until))
