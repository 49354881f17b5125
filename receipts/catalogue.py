"""The words of a language: one file of texts, and CLDR for its numbers and dates.

The texts are gettext catalogues (`texts/<language>.po`), because translators have tools for them and plural forms are
in the format. Babel reads them as they are: no compiled copies that could be stale. They are part of the program like
its code, so reading them once is no touch of the world.

A text that a language lacks is taken from English, and a name that English lacks too is printed itself: a receipt with
an odd word is better than none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import IO

from babel import Locale
from babel.messages.pofile import read_po

SOURCE_LANGUAGE = "en"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All texts of one language, by context and name."""

    locale: Locale
    texts: Mapping[tuple[str, str], str]

    def find(self, context: str, name: str) -> str:
        """Give the text, or "" where there is none."""
        return self.texts.get((context, name), "")

    def text(self, context: str, name: str) -> str:
        """Give the text, or the name in plain letters where there is none."""
        return self.find(context, name) or name.replace("_", " ")

    def counted(self, context: str, count: int) -> str:
        """Write how many, in the form that CLDR has for the number in this language."""
        form = self.locale.plural_form(count)
        return (self.find(context, form) or self.text(context, "other")).format(count)


@cache
def languages() -> tuple[str, ...]:
    """Give the codes of the languages that there are texts in."""
    names = (entry.name for entry in files("receipts").joinpath("texts").iterdir())
    return tuple(sorted(name.removesuffix(".po") for name in names if name.endswith(".po")))


@cache
def catalogue(language: str) -> Catalogue:
    """Give the texts of a language; `ValueError` for a language that there are no texts in."""
    if language not in languages():
        raise ValueError(f"there are no receipt texts in {language!r}; there are: {', '.join(languages())}")
    with files("receipts").joinpath("texts", f"{language}.po").open("rb") as file:
        return read_catalogue(file, language)


def read_catalogue(file: IO[bytes], language: str) -> Catalogue:
    """Read the texts of a language from a gettext catalogue; what is not translated, or not surely, is English."""
    texts = {
        (message.context, message.id): message.string
        for message in read_po(file, locale=language, abort_invalid=True)
        if isinstance(message.id, str) and isinstance(message.string, str)
        if message.context and message.string and not message.fuzzy
    }
    source = {} if language == SOURCE_LANGUAGE else catalogue(SOURCE_LANGUAGE).texts
    return Catalogue(Locale.parse(language), {**source, **texts})
