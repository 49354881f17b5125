"""Wording: amounts, dates, cards and notes in a language and a code page."""

import datetime as dt
from decimal import Decimal

import pytest
from babel import Locale
from babel.numbers import format_currency
from hypothesis import given
from hypothesis import strategies as st

from receipts.catalogue import Catalogue, catalogue
from receipts.code_pages import transliterate
from receipts.facts import ReceiptFacts
from receipts.wording import Wording, mask

FACTS = ReceiptFacts(
    merchant="Rīgas nams",
    branch="Centrs",
    module=1001,
    date=dt.date(2025, 11, 2),
    time=dt.time(4, 5, 9),
    command="sale",
    result=0,
    reason=0,
    currency="EUR",
    exponent=2,
)
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


def written(value: str, facts: ReceiptFacts, wording: Wording = EN) -> str:
    """Write one value."""
    return wording.values[value](facts)


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
    assert written("balance", FACTS._replace(balance=minor, currency=currency, exponent=exponent)) == text


def test_the_largest_amount_fits_the_narrowest_paper_whole() -> None:
    """So no amount ever has to be cut."""
    for exponent in (0, 2, 3):
        for minor in (2**63 - 1, -(2**63)):
            assert len(written("balance", FACTS._replace(balance=minor, exponent=exponent))) <= 32


@pytest.mark.parametrize("language", ["en", "lv", "lt", "et", "ru", "pl", "bg", "ro", "de"])
@given(minor=st.integers(-(2**63), 2**63 - 1), exponent=st.sampled_from([0, 2, 3]))
def test_amounts_are_what_babel_writes_for_the_language(language: str, minor: int, exponent: int) -> None:
    """The quick way of writing amounts agrees with the full one."""
    wording = Wording(Catalogue(Locale.parse(language), {}), 0)
    pattern = "#,##0" + ("." + "0" * exponent if exponent else "") + " ¤¤"
    value = Decimal(minor).scaleb(-exponent)
    babel = format_currency(value, "EUR", pattern, locale=language, currency_digits=False)
    assert written("balance", FACTS._replace(balance=minor, exponent=exponent), wording) == transliterate(babel, 0)


def test_what_is_not_known_is_not_written_and_zero_is() -> None:
    """None is no amount, 0 is one; what is owed is told only where something is."""
    assert written("balance", FACTS._replace(balance=None)) == ""
    assert written("balance", FACTS._replace(balance=0)) == "0.00 EUR"
    assert written("owed", FACTS._replace(owed=None)) == ""
    assert written("owed", FACTS._replace(owed=0)) == ""
    assert written("owed", FACTS._replace(owed=100)) == "1.00 EUR"


def test_available_is_told_where_it_differs_from_the_balance() -> None:
    """Held value is the difference; without it the line would say the same twice."""
    assert written("available", FACTS._replace(balance=500, available=500)) == ""
    assert written("available", FACTS._replace(balance=500, available=0)) == "0.00 EUR"
    assert written("available", FACTS._replace(balance=500, available=None)) == ""


def test_dates_and_times_follow_the_patterns_of_the_language() -> None:
    """The day and the second as the issuer's clock had them."""
    assert written("moment", FACTS) == "2 Nov 2025 04:05:09"
    assert written("valid_until", FACTS._replace(valid_until=dt.date(2028, 2, 29))) == "29 Feb 2028"
    assert written("valid_until", FACTS) == ""


def test_another_language_writes_in_its_own_way_and_signs() -> None:
    """Latvian on a printer with its letters, and on one without."""
    facts = FACTS._replace(balance=123_450, keyed=True)
    for page, label, keyed in ((1, "Kartes Nr. „ķ”", "ievadīta ar roku"), (0, 'Kartes Nr. "k"', "ievadita ar roku")):
        wording = Wording(LATVIAN, page)
        assert wording.label("card") == label
        assert written("keyed", facts, wording) == keyed
        assert written("moment", facts, wording) == "02.11.2025 04:05"
        assert written("balance", facts, wording) == "1 234,50 EUR"


@pytest.mark.parametrize(
    ("card", "shown"),
    [("9990001234567890", "************7890"), ("12345", "*2345"), ("1234", "****"), ("1", "*"), ("", "")],
)
def test_a_card_shows_its_last_four_digits_and_a_short_one_none(card: str, shown: str) -> None:
    """Four digits would be the whole of a short number."""
    assert mask(card) == shown


def test_a_note_tells_the_reason_or_else_the_result() -> None:
    """An approval needs none; a number that the texts do not know yet falls back on its result."""
    assert written("note", FACTS) == ""
    assert written("note", FACTS._replace(result=51, reason=5101)) == "Not enough money on the card."
    assert written("note", FACTS._replace(result=51, reason=5199)) == "Not enough on the card."
    assert written("note", FACTS._replace(result=51)) == "Not enough on the card."
    assert written("note", FACTS._replace(reason=1)) == "There was nothing to undo: no value had moved."


def test_a_decline_carries_its_code_for_support() -> None:
    """Result and reason, each with all its digits."""
    assert written("code", FACTS._replace(result=51, reason=5101)) == "51-5101"
    assert written("code", FACTS._replace(result=7, reason=0)) == "07-0000"


def test_names_are_written_with_the_signs_of_the_printer() -> None:
    """Names of the issuer and the till's own text alike."""
    assert written("merchant", FACTS) == "Rigas nams"
    assert written("merchant", FACTS, Wording(LATVIAN, 1)) == "Rīgas nams"
    assert written("till_receipt", FACTS._replace(till_receipt="A\x1b@")) == "A?@"
    assert written("original", FACTS._replace(original="3110\x0000017")) == "3110?00017"
