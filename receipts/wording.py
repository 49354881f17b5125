"""What each value of the facts is in words: in one language, in the signs of one code page.

Receipts are made for every answer of the switch, so all that Babel and transliteration know is asked once, when the
wording of a language and code page is prepared; a receipt then only joins ready pieces. What is kept is bounded: days
and seconds are shared by many receipts, names are few at an issuer, commands and reasons are closed sets.

Amounts carry the letters of their currency, never its sign: most code pages lack the sign, and the letters cannot be
mistaken. They are grouped and pointed as CLDR says for the language.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final

from babel.dates import format_date, format_time
from babel.numbers import get_decimal_symbol, get_group_symbol

from receipts.catalogue import Catalogue
from receipts.code_pages import transliterate
from receipts.facts import ReceiptFacts
from receipts.template import template

# Values that many receipts have in common, each with the place in `shared_keys` of what it follows from.
_PLACE, _MOMENT, _MODULE, _HAPPENED, _PROGRAMME, _VALID_UNTIL = range(6)
SHARED: Final[Mapping[str, int]] = {
    "merchant": _PLACE,
    "branch": _PLACE,
    "moment": _MOMENT,
    "module": _MODULE,
    "command": _HAPPENED,
    "outcome": _HAPPENED,
    "note": _HAPPENED,
    "code": _HAPPENED,
    "programme": _PROGRAMME,
    "valid_until": _VALID_UNTIL,
}

WRITTEN: Final = (
    "cashier", "till_receipt", "card", "keyed", "requested", "approved", "still_due", "authorization", "original",
    "balance", "available", "owed", "visits_left", "due_on", "held_until", "new_card",
    "frozen_from", "frozen_until", "limit", "interval",
)  # fmt: skip
"""Values that are written for each receipt, in the order of `Wording.written`."""

_SHOWN_DIGITS: Final = 4
_NAMES_KEPT: Final = 4096
_DAYS_KEPT: Final = 128
_SECONDS_KEPT: Final = 1024
_MINUTES_KEPT: Final = 24 * 60
_GROUP: Final = 1000


def shared_keys(facts: ReceiptFacts) -> tuple[object, ...]:
    """What the shared values of a receipt follow from, in the order that `SHARED` counts."""
    return (
        (facts.merchant, facts.branch),
        (facts.date, facts.time),
        facts.module,
        (facts.command, facts.result, facts.reason),
        facts.programme,
        facts.valid_until,
    )


class Wording:
    """Writes values of receipts in one language and code page."""

    def __init__(self, words: Catalogue, code_page: int) -> None:
        def written(context: str, name: str) -> str:
            return transliterate(words.text(context, name), code_page)

        @lru_cache(_NAMES_KEPT)
        def name(text: str) -> str:
            return transliterate(text, code_page)

        @lru_cache(_DAYS_KEPT)
        def date(day: dt.date) -> str:
            return transliterate(format_date(day, words.text("format", "date"), words.locale), code_page)

        @lru_cache(_SECONDS_KEPT)
        def time(second: dt.time) -> str:
            return transliterate(format_time(second, words.text("format", "time"), locale=words.locale), code_page)

        @lru_cache(_MINUTES_KEPT)
        def minute(begin: dt.time) -> str:
            return transliterate(format_time(begin, words.text("format", "minute"), locale=words.locale), code_page)

        @lru_cache(_NAMES_KEPT)
        def command(key: str) -> str:
            return written("command", key)

        @lru_cache(_NAMES_KEPT)
        def outcome(result: int) -> str:
            return written("outcome", template().outcome(result))

        @lru_cache(_NAMES_KEPT)
        def note(result: int, reason: int) -> str:
            found = words.find("reason", str(reason)) or words.find("result", f"{result:02}")
            return transliterate(found, code_page)

        self._code_page = code_page
        self._written = written
        self._keyed_mark = written("mark", "keyed")
        self._switch_mark = written("mark", "switch")
        self._decimal = transliterate(get_decimal_symbol(words.locale), code_page)
        self._group = transliterate(get_group_symbol(words.locale), code_page)
        self._money: dict[tuple[str, int], _Money | _Visits] = {}
        self._words = words
        self._date, self._minute = date, minute
        self.shared: Mapping[str, Callable[[ReceiptFacts], str]] = {
            "merchant": lambda facts: name(facts.merchant),
            "branch": lambda facts: name(facts.branch),
            "moment": lambda facts: f"{date(facts.date)} {time(facts.time)}",
            "module": lambda facts: str(facts.module),
            "command": lambda facts: command(facts.command),
            "outcome": lambda facts: outcome(facts.result),
            "note": lambda facts: note(facts.result, facts.reason),
            "code": lambda facts: f"{facts.result:02}-{facts.reason:04}",
            "programme": lambda facts: name(facts.programme),
            "valid_until": lambda facts: date(facts.valid_until) if facts.valid_until else "",
        }

    def label(self, name: str) -> str:
        """Give what stands left of a value."""
        return self._written("label", name)

    def written(self, facts: ReceiptFacts) -> list[str]:
        """Write the values that no two receipts need share, in the order of `WRITTEN`."""
        money = self._of(facts)
        page = self._code_page
        return [
            str(facts.cashier) if facts.cashier else "",
            transliterate(facts.till_receipt, page) if facts.till_receipt else "",
            mask(facts.card),
            self._keyed_mark if facts.keyed else "",
            money.written(facts.requested),
            money.written(facts.approved),
            money.written(facts.still_due),
            transliterate(facts.authorization, page),
            transliterate(facts.original, page) if facts.original else "",
            money.written(facts.balance),
            "" if facts.available == facts.balance else money.written(facts.available),
            money.written(facts.owed or None),
            str(facts.visits_left) if facts.visits_left is not None else "",
            self._date(facts.due_on) if facts.due_on is not None else "",
            self._until(facts.held_until) if facts.held_until is not None else "",
            mask(facts.new_card),
            self._date(facts.frozen_from) if facts.frozen_from is not None else "",
            self._date(facts.frozen_until) if facts.frozen_until is not None else "",
            money.written(facts.limit),
            "{}-{}".format(*facts.interval) if facts.interval is not None else "",
        ]

    def totals(self, facts: ReceiptFacts) -> Iterator[tuple[str, str, str]]:
        """What each side counted: a label, how many and their sum; the switch's only where it differs."""
        money = self._of(facts)
        for kind, asked, asked_total, counted, counted_total in facts.totals:
            yield self._written("totals", kind), str(asked), money.written(asked_total)
            if (asked, asked_total) != (counted, counted_total):
                yield self._switch_mark, str(counted), money.written(counted_total)

    def _of(self, facts: ReceiptFacts) -> "_Money | _Visits":
        """How amounts of this receipt are written."""
        currency = (facts.currency, facts.exponent)
        money = self._money.get(currency)
        if money is None:
            money = (
                _Money(self._decimal, self._group, *currency)
                if facts.currency
                else _Visits(self._words, self._code_page)
            )
            self._money[currency] = money
        return money

    def _until(self, moment: dt.datetime) -> str:
        """A moment by its minute: nobody acts on the second, and it is not later than the moment."""
        return f"{self._date(moment.date())} {self._minute(moment.time().replace(second=0, microsecond=0))}"


def mask(card: str) -> str:
    """Write a card number with all but its last four digits as stars; one too short to hide shows none."""
    hidden = len(card) - _SHOWN_DIGITS
    return "*" * hidden + card[hidden:] if hidden > 0 else "*" * len(card)


class _Visits:
    """Writes numbers of visits, in the plural form of the language."""

    def __init__(self, words: Catalogue, code_page: int) -> None:
        @lru_cache(_NAMES_KEPT)
        def written(count: int) -> str:
            return transliterate(words.counted("visits", count), code_page)

        self._counted = written

    def written(self, count: int | None) -> str:
        """A number of visits; "" for none."""
        return "" if count is None else self._counted(count)


class _Money:
    """Writes amounts of one currency, in groups of three digits; all pieces but the first digits are looked up."""

    def __init__(self, decimal: str, group: str, currency: str, exponent: int) -> None:
        self._unit = 10**exponent
        self._ends = [
            (f"{decimal}{part:0{exponent}} {currency}" if exponent else f" {currency}") for part in range(self._unit)
        ]
        self._groups = [f"{group}{three:03}" for three in range(_GROUP)]

    def written(self, minor: int | None) -> str:
        """An amount in minor units; "" for none."""
        if minor is None:
            return ""
        rest = abs(minor)
        written = self._ends[rest % self._unit]
        rest //= self._unit
        while rest >= _GROUP:
            written = self._groups[rest % _GROUP] + written
            rest //= _GROUP
        return f"-{rest}{written}" if minor < 0 else str(rest) + written
