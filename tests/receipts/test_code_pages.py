"""Code pages: what a printer has is written as it is, what it lacks is written with what it has."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipts.code_pages import CODECS, codec, encode, transliterate

pages = st.sampled_from(sorted(CODECS))

# Every letter with a mark of each language, and the code pages that the rules name for it.
ALPHABETS = {
    "lv": ("āčēģīķļņšūž", (1, 2)),
    "et": ("äõöüšž", (1, 2)),
    "lt": ("ąčęėįšųūž", (1, 2)),
    "pl": ("ąćęłńóśźż", (3, 4)),
    "ro": ("ăâîşţ", (3, 4)),
    "bg": ("абвгдежзийклмнопрстуфхцчшщъьюя", (5, 6, 7)),
    "ru": ("абвгдеёжзийклмнопрстуфхцчшщъыьэюя", (5, 6, 7)),
}


@pytest.mark.parametrize("language", ALPHABETS)
def test_a_language_is_printed_as_written_in_its_own_code_pages(language: str) -> None:
    """The pages that a language is assigned to have all its letters, small and capital."""
    letters, assigned = ALPHABETS[language]
    for page in assigned:
        assert encode([letters + letters.upper()], page).decode(CODECS[page]) == letters + letters.upper() + "\n"


@pytest.mark.parametrize("page", [3, 4])
def test_romanian_comma_below_becomes_cedilla(page: int) -> None:
    """The comma-below letters are in no page; the cedilla ones are in two of them."""
    assert transliterate("Țară Șosea știință", page) == "Ţară Şosea ştiinţă"


@pytest.mark.parametrize(
    ("page", "written"),
    [(0, "EUR"), (1, "EUR"), (3, "EUR"), (5, "EUR"), (6, "EUR"), (2, "€"), (4, "€"), (7, "€")],
)
def test_the_euro_sign_is_spelt_where_a_page_lacks_it(page: int, written: str) -> None:
    """The Windows pages have the sign, those of DOS and ASCII do not."""
    assert transliterate("5 €", page) == f"5 {written}"


@pytest.mark.parametrize(
    ("text", "page", "written"),
    [
        ("Rīgas šķūņi", 0, "Rigas skuni"),
        ("Rīga", 5, "Riga"),
        ("Магазин Жар-птица", 0, "Magazin Zhar-ptitsa"),
        ("Щит", 1, "Shtit"),
        ("ЩИТ", 1, "SHTIT"),
        ("Я", 0, "Ya"),
        ("България", 3, "Balgariya"),
        ("Łódź", 0, "Lodz"),
        ("Łódź", 7, "Lodz"),
        ("Straße", 0, "Strasse"),
        ("STRAẞE", 0, "STRASSE"),
        ("Café „Ūsa” — №1…", 0, 'Cafe "Usa" - No1...'),
        ("½", 0, "1/2"),
        ("店", 0, "?"),
        ("\uff9e", 0, "?"),
        ("😀", 7, "?"),
    ],
)
def test_what_a_page_lacks_is_written_with_what_it_has(text: str, page: int, written: str) -> None:
    """Letters lose their mark, Cyrillic becomes Latin, signs are spelt, and what is left shows as a question mark."""
    assert transliterate(text, page) == written


def test_decomposed_letters_are_put_together() -> None:
    """A letter and its mark that come as two characters are one letter on paper."""
    assert encode(["a\u0304"], 1) == encode(["ā"], 1) == bytes([0x83, 0x0A])


def test_control_characters_do_not_reach_the_printer() -> None:
    """An escape sequence in a name prints as signs instead of commanding the printer."""
    assert encode(["A\x1b@B\tC\x00\u200b\u00a0D"], 4) == b"A?@B C?? D\n"
    assert encode(["A\x1b@", "B\r\nC"], 0) == b"A?@\nB  C\n"


def test_an_unknown_code_page_says_which_are_known() -> None:
    """The error names the number and the range."""
    with pytest.raises(ValueError, match="code page 8 is not known; known are 0 to 7"):
        codec(8)
    with pytest.raises(ValueError, match="code page 8"):
        encode(["a"], 8)


def test_every_codec_exists() -> None:
    """Python has each of the code pages."""
    assert [codecs.lookup(name).name for name in CODECS.values()] == list(CODECS.values())


@given(text=st.text(), page=pages)
def test_transliteration_drops_nothing_and_fits_the_page(text: str, page: int) -> None:
    """Each character alone becomes at least one printable sign of the page, and so does a whole text."""
    for character in text:
        alone = transliterate(character, page)
        assert alone
        assert alone.isprintable()
        alone.encode(CODECS[page])
    whole = transliterate(text, page)
    assert whole.isprintable()
    whole.encode(CODECS[page])


@given(text=st.text(), page=pages)
def test_transliterating_again_changes_nothing(text: str, page: int) -> None:
    """A line that is ready passes `encode` as it is: its width stays what layout measured."""
    ready = transliterate(text, page)
    assert transliterate(ready, page) == ready
    assert encode([ready], page) == (ready + "\n").encode(CODECS[page])


@given(lines=st.lists(st.text()), page=pages)
def test_encoding_ends_each_line_with_one_line_feed(lines: list[str], page: int) -> None:
    """As many line feeds as lines, whatever the lines hold."""
    encoded = encode(lines, page)
    assert encoded.count(b"\n") == len(lines)
    assert b"\r" not in encoded
