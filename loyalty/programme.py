"""A programme: the rules that a kind of card follows, as one frozen value.

Rules are never edited: a change is a new version with its first day, so that what was decided under the old rules can
still be explained.

The value is flat like the schema (`programme.schema.json`): one property, one field, one name for both. A further kind
adds its properties to the schema, with a list of those that it requires, and its fields here. What a kind does not have
is absent from its text and stands at its default here, which is what "left out" means.

A last day, of a version or of a card, is a local day of the issuer and counts to its end.
"""

import calendar
import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a card holds."""

    GIFT = "gift"
    VISITS = "visits"
    CREDIT = "credit"


class Begins(StrEnum):
    """From when on the days of a pass count."""

    PURCHASE = "purchase"
    FIRST_USE = "first_use"


class DueFrom(StrEnum):
    """From when on the days count in which a purchase is to be paid."""

    PURCHASE = "purchase"
    MONTH_END = "month_end"


class AccessCode(StrEnum):
    """Whether requests on a card need its access code."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """One version of a programme; amounts in minor units of its currency, what each field means is in the schema."""

    name: str
    version: int
    title: str
    kind: Kind
    effective_from: dt.date
    effective_until: dt.date | None = None
    access_code: AccessCode
    branches: tuple[int, ...] | None = None
    valid_days: int | None = None
    valid_months: int | None = None
    currency: str = ""
    partial: bool = False
    reloadable: bool = False
    refundable: bool = False
    load_minimum_minor: int = 0
    load_maximum_minor: int = 0
    balance_maximum_minor: int = 0
    loads_per_day: int = 0
    sale_maximum_minor: int | None = None
    sales_per_day: int | None = None
    spend_per_day_minor: int | None = None
    cash_out: bool = False
    hold_minutes: int | None = None
    visits: int = 0
    begins: Begins = Begins.PURCHASE
    same_visit_minutes: int = 0
    visits_per_day: int | None = None
    freeze_days_maximum: int | None = None
    limit_minor: int | None = None
    limit_maximum_minor: int | None = None
    due_days: int | None = None
    due_from: DueFrom = DueFrom.PURCHASE
    overdue_block_days: int | None = None

    def in_effect(self, day: dt.date) -> bool:
        """Whether these rules count on a local day, whatever later versions say."""
        return self.effective_from <= day and (self.effective_until is None or day <= self.effective_until)

    def serves(self, branch: int) -> bool:
        """Whether cards are valid at a branch, by its number."""
        return self.branches is None or branch in self.branches

    def valid_until(self, activated_on: dt.date) -> dt.date | None:
        """Give the last day of a card that was activated on a local day; `None` for a card without end.

        A month that is too short for the day ends it: one month after January 31 is the last of February.
        """
        if self.valid_days is not None:
            return activated_on + dt.timedelta(days=self.valid_days)
        if self.valid_months is not None:
            years, month = divmod(activated_on.month - 1 + self.valid_months, 12)
            year, month = activated_on.year + years, month + 1
            return dt.date(year, month, min(activated_on.day, calendar.monthrange(year, month)[1]))
        return None

    @property
    def watches_spending(self) -> bool:
        """Whether it has to be known what a card has spent today."""
        return self.sales_per_day is not None or self.spend_per_day_minor is not None

    def due_on(self, bought_on: dt.date) -> dt.date:
        """Give the day by which a purchase of a local day is to be paid."""
        if self.due_from is DueFrom.MONTH_END:
            bought_on = bought_on.replace(day=calendar.monthrange(bought_on.year, bought_on.month)[1])
        return bought_on + dt.timedelta(days=self.due_days or 0)

    def overdue(self, due_on: dt.date | None, today: dt.date) -> bool:
        """Whether purchases are refused because what was due on a day is not paid yet."""
        if due_on is None or self.overdue_block_days is None:
            return False
        return (today - due_on).days > self.overdue_block_days


def version_on(versions: Iterable[Programme], day: dt.date) -> Programme | None:
    """Choose among the versions of one programme the latest that is in effect on a local day."""
    return max((each for each in versions if each.in_effect(day)), key=lambda each: each.version, default=None)


def expired(valid_until: dt.date | None, today: dt.date) -> bool:
    """Whether a card's last day is over on the local day `today`."""
    return valid_until is not None and today > valid_until
