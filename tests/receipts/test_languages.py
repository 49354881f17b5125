"""The languages beside English: each whole, printable on the printers of its countries, and short enough for paper."""

import datetime as dt
from importlib.resources import files

import pytest
from babel.messages.pofile import read_po

from receipts.catalogue import catalogue, languages
from receipts.code_pages import CODECS, transliterate
from receipts.facts import Counted, ReceiptFacts
from receipts.layout import pair, wrap
from receipts.receipt import WIDTHS, render
from receipts.template import Style, template
from receipts.wording import SHARED, WRITTEN, Wording

NARROWEST = min(WIDTHS)
TRANSLATED = ("et", "lv", "ru")

# The code pages of the printers that are sold where the language is spoken, and ASCII, that every printer has.
PAGES = {"en": (0,), "lv": (1, 2, 0), "et": (1, 2, 0), "ru": (5, 6, 7, 0)}

COUNTS = {
    "en": (
        "0 visits",
        "1 visit",
        "2 visits",
        "5 visits",
        "10 visits",
        "11 visits",
        "21 visits",
        "101 visits",
    ),
    "lv": (
        "0 apmeklējumu",
        "1 apmeklējums",
        "2 apmeklējumi",
        "5 apmeklējumi",
        "10 apmeklējumu",
        "11 apmeklējumu",
        "21 apmeklējums",
        "101 apmeklējums",
    ),
    "ru": (
        "0 посещений",
        "1 посещение",
        "2 посещения",
        "5 посещений",
        "10 посещений",
        "11 посещений",
        "21 посещение",
        "101 посещение",
    ),
    "et": (
        "0 külastust",
        "1 külastus",
        "2 külastust",
        "5 külastust",
        "10 külastust",
        "11 külastust",
        "21 külastust",
        "101 külastust",
    ),
}

EVERYDAY = ReceiptFacts(
    merchant="",
    branch="",
    module=1001,
    date=dt.date(2025, 11, 22),
    time=dt.time(14, 5, 9),
    command="sale",
    result=0,
    reason=5101,
    currency="EUR",
    exponent=2,
    programme="x" * 14,
    card="9990001234567890",
    keyed=True,
    requested=999_999,
    approved=999_999,
    still_due=999_999,
    balance=999_999,
    available=-999_999,
    owed=999_999,
    valid_until=dt.date(2028, 11, 22),
    authorization="311000000025",
    original="311000000017",
    cashier=1234,
    till_receipt="A-0017-2025",
    visits_left=100,
    limit=20_000,
    interval=(1_017, 1_138),
    frozen_from=dt.date(2026, 11, 30),
    frozen_until=dt.date(2026, 12, 31),
    due_on=dt.date(2025, 12, 31),
    held_until=dt.datetime(2025, 11, 22, 14, 35, 9, tzinfo=dt.UTC),
    new_card="9990001234560042",
)
"""All that can stand beside a label, of a size that is seen every day."""

LABELS = sorted(
    {(line.label, line.value) for lines in template().receipts.values() for line in lines if line.style is Style.PAIR}
)


def own_texts(language: str) -> set[tuple[str, str]]:
    """Context and name of what stands in the language's own file and counts as translated."""
    with files("receipts").joinpath("texts", f"{language}.po").open("rb") as file:
        return {
            (str(message.context), str(message.id))
            for message in read_po(file, locale=language, abort_invalid=True)
            if message.id and message.string and not message.fuzzy
        }


def test_the_languages_of_the_shops_are_there() -> None:
    """Latvian, Russian and Estonian beside English."""
    assert set(languages()) == {"en", *TRANSLATED}


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_language_has_every_text_of_english_and_no_other(language: str) -> None:
    """A text that is added in English only fails here; numbers of visits have forms of their own."""
    own, english = ({name for name in own_texts(each) if name[0] != "visits"} for each in (language, "en"))
    assert own == english


@pytest.mark.parametrize("language", ["en", *TRANSLATED])
def test_a_language_has_every_plural_form_and_no_other(language: str) -> None:
    """Those that CLDR has for it."""
    forms = {name for context, name in own_texts(language) if context == "visits"}
    assert forms == {*catalogue(language).locale.plural_form.tags, "other"}


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_text_stands_twice(language: str) -> None:
    """The later one would win unseen."""
    lines = files("receipts").joinpath("texts", f"{language}.po").read_text("utf-8").splitlines()
    assert sum(line.startswith("msgctxt ") for line in lines) == len(own_texts(language))


@pytest.mark.parametrize("language", TRANSLATED)
@pytest.mark.parametrize("context", ["reason", "result"])
def test_what_a_clerk_is_told_is_a_whole_sentence_in_every_language(language: str, context: str) -> None:
    """It begins with a capital and ends with a stop."""
    for where, name in own_texts(language):
        if where == context:
            text = catalogue(language).text(where, name)
            assert text[0].isupper()
            assert text.endswith(".")


@pytest.mark.parametrize("language", COUNTS)
def test_visits_are_counted_as_the_language_does(language: str) -> None:
    """Written by hand for numbers of each form."""
    counted = tuple(catalogue(language).counted("visits", count) for count in (0, 1, 2, 5, 10, 11, 21, 101))
    assert counted == COUNTS[language]


@pytest.mark.parametrize(
    ("language", "page"), [(language, page) for language, pages in PAGES.items() for page in pages]
)
def test_every_text_can_be_printed_where_the_language_is_spoken(language: str, page: int) -> None:
    """No question mark stands for a letter; the code pages of the language have all its letters as they are."""
    for (context, _), text in catalogue(language).texts.items():
        ready = transliterate(text, page)
        assert "?" not in ready
        assert ready.encode(CODECS[page])
        if page and context != "format":
            assert ready == text


@pytest.mark.parametrize("language", PAGES)
def test_an_everyday_value_stands_beside_its_label_on_the_narrowest_paper(language: str) -> None:
    """A label that is too long would take a line of its own on every receipt."""
    wording = Wording(catalogue(language), PAGES[language][0])
    written = wording.written(EVERYDAY)
    for label, name in LABELS:
        value = wording.shared[name](EVERYDAY) if name in SHARED else written[WRITTEN.index(name)]
        assert value
        assert len(pair(wording.label(label), value, NARROWEST)) == 1, f"{wording.label(label)!r} {value!r}"


@pytest.mark.parametrize("language", PAGES)
def test_the_totals_of_a_day_stand_beside_their_kinds_on_the_narrowest_paper(language: str) -> None:
    """Both sides' counts, sums of thousands."""
    wording = Wording(catalogue(language), PAGES[language][0])
    kinds = sorted(name for context, name in own_texts(language) if context == "totals")
    facts = ReceiptFacts(
        merchant="",
        branch="",
        module=1,
        date=dt.date(2025, 11, 22),
        time=dt.time(),
        command="totals",
        result=95,
        reason=9501,
        currency="EUR",
        exponent=2,
        totals=tuple(Counted(kind, 12, 123_456, 13, 123_556) for kind in kinds),
    )
    for label, count, total in wording.totals(facts):
        assert len(pair(label, f"{count} / {total}", NARROWEST)) == 1, f"{label!r} {count} / {total}"


@pytest.mark.parametrize("language", PAGES)
def test_heads_and_marks_take_one_line_of_the_narrowest_paper(language: str) -> None:
    """They are read at a glance."""
    for (context, _), text in catalogue(language).texts.items():
        if context in ("command", "outcome", "mark"):
            assert len(wrap(text, NARROWEST)) == 1


@pytest.mark.parametrize("language", TRANSLATED)
def test_dates_and_times_stand_as_the_language_writes_them(language: str) -> None:
    """Day, month, year with points; hours of 24."""
    (line,) = (line for line in render(EVERYDAY, language, 42, 1) if line.endswith("14:05:09"))
    assert line.endswith(" 22.11.2025 14:05:09")
