"""Wording: amounts, dates, cards and notes in a language and a code page."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from babel import Locale
from babel.numbers import format_currency
from hypothesis import given
from hypothesis import strategies as st

from receipts.catalogue import Catalogue, catalogue
from receipts.code_pages import transliterate
from receipts.facts import ReceiptFacts
from receipts.template import template
from receipts.wording import SHARED, WRITTEN, Wording, mask, shared_keys

FIELDS: dict[str, Any] = {
    "merchant": "Rīgas nams",
    "branch": "Centrs",
    "module": 1001,
    "date": dt.date(2025, 11, 2),
    "time": dt.time(4, 5, 9),
    "command": "sale",
    "result": 0,
    "reason": 0,
    "currency": "EUR",
    "exponent": 2,
}
EN = Wording(catalogue("en"), 0)

LATVIAN = Catalogue(
    Locale.parse("lv"),
    {
        ("label", "balance"): "Atlikums",
        ("label", "card"): "Kartes Nr. „ķ”",
        ("format", "date"): "dd.MM.yyyy",
        ("format", "time"): "HH:mm",
        ("mark", "keyed"): "ievadīta ar roku",
    },
)


def written(value: str, wording: Wording = EN, **other: Any) -> str:
    """Write one value of the facts above, some of them otherwise."""
    facts = ReceiptFacts(**(FIELDS | other))
    return wording.shared[value](facts) if value in SHARED else wording.written(facts)[WRITTEN.index(value)]


def test_every_value_is_shared_or_written() -> None:
    """Each has one writer, and a template can name no other."""
    assert not SHARED.keys() & set(WRITTEN)
    assert EN.shared.keys() == SHARED.keys()
    assert len(EN.written(ReceiptFacts(**FIELDS))) == len(WRITTEN)
    named = {line.value for lines in template().receipts.values() for line in lines if line.value}
    assert named <= SHARED.keys() | set(WRITTEN)


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("merchant", "X"),
        ("branch", "X"),
        ("module", 7),
        ("date", dt.date(2026, 1, 1)),
        ("time", dt.time(1)),
        ("command", "reload"),
        ("result", 51),
        ("reason", 1),
        ("programme", "X"),
        ("valid_until", dt.date(2026, 1, 1)),
    ],
)
def test_a_shared_value_follows_from_its_key_alone(field: str, other: Any) -> None:
    """Where a fact changes what is shared, it changes what that is kept by."""
    before, after = ReceiptFacts(**FIELDS), ReceiptFacts(**(FIELDS | {field: other}))
    changed = [value for value in SHARED if EN.shared[value](before) != EN.shared[value](after)]
    assert changed
    for value in changed:
        assert shared_keys(before)[SHARED[value]] != shared_keys(after)[SHARED[value]]


@pytest.mark.parametrize(
    ("minor", "currency", "exponent", "text"),
    [
        (0, "EUR", 2, "0.00 EUR"),
        (5, "EUR", 2, "0.05 EUR"),
        (-5, "EUR", 2, "-0.05 EUR"),
        (99_999, "EUR", 2, "999.99 EUR"),
        (100_000, "EUR", 2, "1,000.00 EUR"),
        (-123_456_789, "EUR", 2, "-1,234,567.89 EUR"),
        (1234, "JPY", 0, "1,234 JPY"),
        (1234, "BHD", 3, "1.234 BHD"),
        (2**63 - 1, "EUR", 2, "92,233,720,368,547,758.07 EUR"),
    ],
)
def test_an_amount_is_written_with_the_letters_of_its_currency(
    minor: int, currency: str, exponent: int, text: str
) -> None:
    """Grouped by thousands, as many decimals as the currency has, the sign before."""
    assert written("balance", balance=minor, currency=currency, exponent=exponent) == text


def test_the_largest_amount_fits_the_narrowest_paper_whole() -> None:
    """So no amount ever has to be cut."""
    for exponent in (0, 2, 3):
        for minor in (2**63 - 1, -(2**63)):
            assert len(written("balance", balance=minor, exponent=exponent)) <= 32


@pytest.mark.parametrize("language", ["en", "lv", "lt", "et", "ru", "pl", "bg", "ro", "de"])
@given(minor=st.integers(-(2**63), 2**63 - 1), exponent=st.sampled_from([0, 2, 3]))
def test_amounts_are_what_babel_writes_for_the_language(language: str, minor: int, exponent: int) -> None:
    """The quick way of writing amounts agrees with the full one."""
    wording = Wording(Catalogue(Locale.parse(language), {}), 0)
    pattern = "#,##0" + ("." + "0" * exponent if exponent else "") + " ¤¤"
    value = Decimal(minor).scaleb(-exponent)
    babel = format_currency(value, "EUR", pattern, locale=language, currency_digits=False)
    assert written("balance", wording, balance=minor, exponent=exponent) == transliterate(babel, 0)


def test_what_is_not_known_is_not_written_and_zero_is() -> None:
    """None is no amount, 0 is one; what is owed is told only where something is."""
    assert written("balance", balance=None) == ""
    assert written("balance", balance=0) == "0.00 EUR"
    assert written("owed", owed=None) == ""
    assert written("owed", owed=0) == ""
    assert written("owed", owed=100) == "1.00 EUR"


def test_available_is_told_where_it_differs_from_the_balance() -> None:
    """Held value is the difference; without it the line would say the same twice."""
    assert written("available", balance=500, available=500) == ""
    assert written("available", balance=500, available=0) == "0.00 EUR"
    assert written("available", balance=500, available=None) == ""


def test_dates_and_times_follow_the_patterns_of_the_language() -> None:
    """The day and the second as the issuer's clock had them."""
    assert written("moment") == "2 Nov 2025 04:05:09"
    assert written("valid_until", valid_until=dt.date(2028, 2, 29)) == "29 Feb 2028"
    assert written("valid_until") == ""


def test_a_hold_is_told_until_the_minute() -> None:
    """Never a later one than it ends in."""
    ends = dt.datetime(2025, 11, 22, 14, 35, 59, 999_999, tzinfo=dt.UTC)
    assert written("held_until", held_until=ends) == "22 Nov 2025 14:35"


def test_another_language_writes_in_its_own_way_and_signs() -> None:
    """Latvian on a printer with its letters, and on one without."""
    facts = {"balance": 123_450, "keyed": True}
    for page, label, keyed in ((1, "Kartes Nr. „ķ”", "ievadīta ar roku"), (0, 'Kartes Nr. "k"', "ievadita ar roku")):
        wording = Wording(LATVIAN, page)
        assert wording.label("card") == label
        assert written("keyed", wording, **facts) == keyed
        assert written("moment", wording, **facts) == "02.11.2025 04:05"
        assert written("balance", wording, **facts) == "1 234,50 EUR"


@pytest.mark.parametrize(
    ("card", "shown"),
    [("9990001234567890", "************7890"), ("12345", "*2345"), ("1234", "****"), ("1", "*"), ("", "")],
)
def test_a_card_shows_its_last_four_digits_and_a_short_one_none(card: str, shown: str) -> None:
    """Four digits would be the whole of a short number."""
    assert mask(card) == shown


def test_a_note_tells_the_reason_or_else_the_result() -> None:
    """An approval needs none; a number that the texts do not know yet falls back on its result."""
    assert written("note") == ""
    assert written("note", result=51, reason=5101) == "Not enough money on the card."
    assert written("note", result=51, reason=5199) == "Not enough on the card."
    assert written("note", result=51) == "Not enough on the card."
    assert written("note", reason=1) == "There was nothing to undo: no value had moved."


def test_a_decline_carries_its_code_for_support() -> None:
    """Result and reason, each with all its digits."""
    assert written("code", result=51, reason=5101) == "51-5101"
    assert written("code", result=7, reason=0) == "07-0000"


def test_names_are_written_with_the_signs_of_the_printer() -> None:
    """Names of the issuer and the till's own text alike."""
    assert written("merchant") == "Rigas nams"
    assert written("merchant", Wording(LATVIAN, 1)) == "Rīgas nams"
    assert written("till_receipt", till_receipt="A\x1b@") == "A?@"
    assert written("original", original="3110\x0000017") == "3110?00017"
