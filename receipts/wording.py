"""What each value of the facts is in words: in one language, in the signs of one code page.

Receipts are made for every answer of the switch, so all that Babel and transliteration know is asked once, when the
wording of a language and code page is prepared; a receipt then only joins ready pieces. What is kept is bounded: days
and seconds are shared by many receipts, names are few at an issuer, commands and reasons are closed sets.

Amounts carry the letters of their currency, never its sign: most code pages lack the sign, and the letters cannot be
mistaken. They are grouped and pointed as CLDR says for the language.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from babel.dates import format_date, format_time
from babel.numbers import get_decimal_symbol, get_group_symbol

from receipts.catalogue import Catalogue
from receipts.code_pages import transliterate
from receipts.facts import ReceiptFacts
from receipts.template import template

# Values that all receipts of a module in one second have in common, with the facts that they follow from.
SHARED: Final[Mapping[str, tuple[str, ...]]] = {
    "merchant": ("merchant",),
    "branch": ("branch",),
    "module": ("module",),
    "moment": ("date", "time"),
    "command": ("command",),
    "outcome": ("result",),
    "note": ("result", "reason"),
    "code": ("result", "reason"),
    "programme": ("programme",),
}

_SHOWN_DIGITS = 4
_NAMES_KEPT = 4096
_DAYS_KEPT = 128
_SECONDS_KEPT = 1024


class Wording:
    """Writes values of receipts in one language and code page; `values` has a writer for each value of a template."""

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

        keyed_mark = written("mark", "keyed")
        money = _money(
            transliterate(get_decimal_symbol(words.locale), code_page),
            transliterate(get_group_symbol(words.locale), code_page),
        )

        self._written = written
        self.values: dict[str, Callable[[ReceiptFacts], str]] = {
            "merchant": lambda facts: name(facts.merchant),
            "branch": lambda facts: name(facts.branch),
            "module": lambda facts: str(facts.module),
            "moment": lambda facts: f"{date(facts.date)} {time(facts.time)}",
            "command": lambda facts: command(facts.command),
            "outcome": lambda facts: outcome(facts.result),
            "note": lambda facts: note(facts.result, facts.reason),
            "code": lambda facts: f"{facts.result:02}-{facts.reason:04}",
            "programme": lambda facts: name(facts.programme),
            "card": lambda facts: mask(facts.card),
            "keyed": lambda facts: keyed_mark if facts.keyed else "",
            "requested": lambda facts: money(facts.requested, facts),
            "approved": lambda facts: money(facts.approved, facts),
            "still_due": lambda facts: money(facts.still_due, facts),
            "balance": lambda facts: money(facts.balance, facts),
            "available": lambda facts: "" if facts.available == facts.balance else money(facts.available, facts),
            "owed": lambda facts: money(facts.owed or None, facts),
            "valid_until": lambda facts: date(facts.valid_until) if facts.valid_until else "",
            "authorization": lambda facts: transliterate(facts.authorization, code_page),
            "original": lambda facts: transliterate(facts.original, code_page) if facts.original else "",
            "cashier": lambda facts: str(facts.cashier) if facts.cashier else "",
            "till_receipt": lambda facts: transliterate(facts.till_receipt, code_page) if facts.till_receipt else "",
        }

    def label(self, name: str) -> str:
        """Give what stands left of a value."""
        return self._written("label", name)


def mask(card: str) -> str:
    """Write a card number with all but its last four digits as stars; one too short to hide shows none."""
    shown = card[-_SHOWN_DIGITS:] if len(card) > _SHOWN_DIGITS else ""
    return "*" * (len(card) - len(shown)) + shown


def _money(decimal: str, group: str) -> Callable[[int | None, ReceiptFacts], str]:
    def money(minor: int | None, facts: ReceiptFacts) -> str:
        if minor is None:
            return ""
        exponent = facts.exponent
        if exponent == 2 and 0 <= minor < 100_000:
            return f"{minor // 100}{decimal}{minor % 100:02} {facts.currency}"
        digits = f"{abs(minor):0{exponent + 1}}"
        whole, fraction = (digits[:-exponent], decimal + digits[-exponent:]) if exponent else (digits, "")
        if len(whole) > 3:
            whole = f"{int(whole):,}".replace(",", group)
        return f"{'-' if minor < 0 else ''}{whole}{fraction} {facts.currency}"

    return money
