"""What a programme means, in a few plain lines: for whoever wrote one, before cards follow it.

The lines say what the rules do and not how they are written, so that an amount with two digits too few, or a rule that
was left out, is seen. Amounts are written with the digits of their currency.
"""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from authsrv.currency import CURRENCIES
from loyalty.programme import AccessCode, Begins, DueFrom, Kind, Programme

_ACCESS_CODE: Final = {
    AccessCode.REQUIRED: "every card has an access code and needs it",
    AccessCode.OPTIONAL: "a card that has an access code needs it",
    AccessCode.NONE: "cards have no access code",
}


def meaning(programme: Programme) -> tuple[str, ...]:
    """The lines for a programme, without its name and version."""
    return tuple(_lines(programme))


def amount(minor: int, currency: str) -> str:
    """An amount with the digits of its currency, or as it is where no issuer can have that currency."""
    known = CURRENCIES.get(currency)
    if known is None:
        return f"{minor} minor units of {currency}, a currency that no issuer can have"
    return f"{_digits(minor, known.exponent)} {currency}"


def _digits(minor: int, exponent: int) -> str:
    return f"{Decimal(minor).scaleb(-exponent):.{exponent}f}"


def _range(low: int, high: int, currency: str) -> str:
    known = CURRENCIES.get(currency)
    return f"from {_digits(low, known.exponent) if known else low} to {amount(high, currency)}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _lines(programme: Programme) -> Iterator[str]:
    title = json.dumps(programme.title, ensure_ascii=False)  # whatever signs it has, on one line
    yield f"{title}, for cards of the kind {programme.kind.value}; {_ACCESS_CODE[programme.access_code]}"
    until = f"to {programme.effective_until}" if programme.effective_until else "until a later version takes over"
    yield f"in force from {programme.effective_from} {until}, {_branches(programme.branches)}"
    yield _validity(programme)
    if programme.kind is Kind.GIFT:
        yield from _gift(programme)
    elif programme.kind is Kind.VISITS:
        yield from _visits(programme)
    else:
        yield from _credit(programme)
    if programme.kind is not Kind.VISITS:
        yield from _purchases(programme)


def _branches(numbers: tuple[int, ...] | None) -> str:
    if numbers is None:
        return "at every branch"
    return f"at {'branch' if len(numbers) == 1 else 'branches'} {', '.join(map(str, numbers))}"


def _validity(programme: Programme) -> str:
    if programme.valid_days is not None:
        term = _counted(programme.valid_days, "day")
    elif programme.valid_months is not None:
        term = _counted(programme.valid_months, "month")
    else:
        return "a card is valid without end"
    first = "first visit" if programme.begins is Begins.FIRST_USE else "activation"
    return f"a card is valid for {term} after its {first}, through the end of the last day"


def _gift(programme: Programme) -> Iterator[str]:
    currency = programme.currency
    loads = _range(programme.load_minimum_minor, programme.load_maximum_minor, currency)
    yield (
        f"loads {loads}, at most {programme.loads_per_day} a day; "
        f"a card holds at most {amount(programme.balance_maximum_minor, currency)}"
    )
    yield "can be reloaded" if programme.reloadable else "cannot be reloaded"


def _visits(programme: Programme) -> Iterator[str]:
    yield (
        f"{_counted(programme.visits, 'visit')}, at most "
        + ("all of them" if programme.visits_per_day is None else str(programme.visits_per_day))
        + " a day; "
        + (
            f"who comes back within {_counted(programme.same_visit_minutes, 'minute')} is on the same visit"
            if programme.same_visit_minutes
            else "each entry is a visit"
        )
    )
    yield (
        f"can be reloaded with {_counted(programme.visits, 'visit')}; at most {programme.loads_per_day} loads a day"
        if programme.reloadable
        else "cannot be reloaded"
    )
    days = programme.freeze_days_maximum
    yield f"a desk may freeze it for at most {_counted(days, 'day')} at a time" if days else "cannot be frozen"


def _credit(programme: Programme) -> Iterator[str]:
    currency, overdue = programme.currency, programme.overdue_block_days
    yield (
        f"a new card may owe {amount(programme.limit_minor or 0, currency)}, "
        f"and a desk may raise that to {amount(programme.limit_maximum_minor or 0, currency)}"
    )
    begin = "the end of its month" if programme.due_from is DueFrom.MONTH_END else "its day"
    late = (
        "a late payment stops no purchases"
        if overdue is None
        else f"a payment that is more than {_counted(overdue, 'day')} late stops further purchases"
    )
    yield f"a purchase is to be paid within {_counted(programme.due_days or 0, 'day')} after {begin}; {late}"


def _purchases(programme: Programme) -> Iterator[str]:
    most = programme.sale_maximum_minor
    yield (
        ("purchases of any amount" if most is None else f"purchases up to {amount(most, programme.currency)}")
        + "; above what is available, "
        + ("a part is taken" if programme.partial else "nothing is taken")
    )
    per_day = []
    if programme.sales_per_day is not None:
        per_day.append(f"at most {_counted(programme.sales_per_day, 'purchase')} a day with one card")
    if programme.spend_per_day_minor is not None:
        per_day.append(f"at most {amount(programme.spend_per_day_minor, programme.currency)} a day with one card")
    if per_day:
        yield "; ".join(per_day)
    hold = programme.hold_minutes
    yield (
        (f"an amount is held for {_counted(hold, 'minute')}" if hold else "nothing can be held")
        + "; goods brought back "
        + ("are" if programme.refundable else "are not")
        + " credited; the balance "
        + ("can" if programme.cash_out else "cannot")
        + " be paid out"
    )
