"""The code pages that a module's printer may have, and how to write in one what it lacks.

A printer knows 256 signs at most. What its code page lacks is written with signs that it has: the euro sign as EUR,
a Latvian letter without its mark, Cyrillic in Latin letters. Nothing is ever dropped: what cannot be written at all
becomes a question mark, so that a clerk sees that something stood there.

Transliteration can make a text longer, so it comes before layout: a line that was measured first would no longer fit.
`encode` therefore takes lines that are ready and only turns them into bytes. It transliterates again where it must,
which changes nothing in a line that came from `receipts.receipt.render` for the same page.

No control character gets through: a name that holds ESC would otherwise command the printer.

One table serves all languages, though Bulgarian and Russian write some letters differently in Latin, because a name
does not say its language. Where they differ, the form that readers of both can read was taken.
"""
# ruff: noqa: RUF001 - letters that look like others are what this file is about

import unicodedata
from collections.abc import Iterable
from functools import cache

# The wire's numbers of the code pages, and Python's names for them.
CODECS = {
    0: "ascii",
    1: "cp775",
    2: "cp1257",
    3: "cp852",
    4: "cp1250",
    5: "cp866",
    6: "cp855",
    7: "cp1251",
}

_MISSING = "?"

# Lower case only; capitals are made from it.
_LETTERS = {
    # Romanian letters with a comma below are in none of the pages; those with a cedilla look alike and are in two.
    "ș": "ş", "ț": "ţ",
    # Latin letters that do not come apart into a letter and a mark.
    "æ": "ae", "œ": "oe", "ø": "o", "ß": "ss", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ħ": "h", "ı": "i", "ĸ": "k",
    "ŋ": "ng", "ŧ": "t", "ſ": "s",
    # Cyrillic of Russian and Bulgarian, then Ukrainian and Belarusian, then Serbian and Macedonian.
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ё": "yo", "ж": "zh", "з": "z", "и": "i", "й": "y",
    "к": "k", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u", "ф": "f",
    "х": "h", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "sht", "ъ": "a", "ы": "y", "ь": "'", "э": "e", "ю": "yu", "я": "ya",
    "є": "ye", "і": "i", "ї": "yi", "ґ": "g", "ў": "u",
    "ђ": "dj", "ј": "j", "љ": "lj", "њ": "nj", "ћ": "c", "џ": "dz", "ѓ": "gj", "ќ": "kj", "ѕ": "dz",
}  # fmt: skip

_SIGNS = {
    "€": "EUR", "£": "GBP", "¥": "JPY", "₽": "RUB", "₴": "UAH", "₺": "TRY", "¢": "c",
    "„": '"', "“": '"', "”": '"', "«": '"', "»": '"', "‚": "'", "‘": "'", "’": "'", "‹": "'", "›": "'", "´": "'",
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "−": "-", "\u00ad": "-",
    "•": "*", "·": ".", "×": "x", "÷": "/", "±": "+/-", "№": "No", "°": "deg", "§": "S.", "©": "(C)", "®": "(R)",
    "⁄": "/", "¡": "!", "¿": "?", "¦": "|", "¬": "-", "µ": "u",
}  # fmt: skip

_SUBSTITUTES = (
    _SIGNS
    | _LETTERS
    | {small.upper(): latin.capitalize() for small, latin in _LETTERS.items() if len(small.upper()) == 1}
    | {"ẞ": "SS"}
)


class _Page(dict[int, str]):
    """What each character becomes in one code page, by code point, worked out when it is first met."""

    def __init__(self, codec: str) -> None:
        super().__init__()
        self._codec = codec

    def __missing__(self, code_point: int) -> str:
        written = self[code_point] = self._write(chr(code_point))
        return written

    def _write(self, character: str) -> str:
        if character.isspace():
            return " "
        if character.isprintable() and self._has(character):
            return character
        if character in _SUBSTITUTES:
            return "".join(self[ord(part)] for part in _SUBSTITUTES[character])
        parts = unicodedata.normalize("NFKD", character)
        if parts != character:
            return "".join(self[ord(part)] for part in parts if not unicodedata.combining(part)) or _MISSING
        return _MISSING

    def _has(self, character: str) -> bool:
        try:
            character.encode(self._codec)
        except UnicodeEncodeError:
            return False
        return True


@cache
def _page(code_page: int) -> _Page:
    return _Page(codec(code_page))


def codec(code_page: int) -> str:
    """Give Python's name of the code page with this number of the wire; `ValueError` for an unknown number."""
    try:
        return CODECS[code_page]
    except KeyError:
        raise ValueError(f"code page {code_page} is not known; known are 0 to {max(CODECS)}") from None


def transliterate(text: str, code_page: int) -> str:
    """Write the text with signs that the code page has: printable ones and spaces, nothing dropped."""
    if text.isascii() and text.isprintable():
        return text
    page = _page(code_page)
    return " ".join(_word(word, page) for word in unicodedata.normalize("NFC", text).split(" "))


def _word(word: str, page: _Page) -> str:
    written = word.translate(page)
    # A word in capitals stays one: the letter that becomes "Sht" at the head of a name is "SHT" here.
    return written.upper() if len(word) > 1 and word.isupper() else written


def encode(lines: Iterable[str], code_page: int) -> bytes:
    """Turn lines into bytes of the code page, a line feed after each; what the page lacks is transliterated."""
    ready = [line if line.isprintable() else transliterate(line, code_page) for line in lines]
    text = "".join([line + "\n" for line in ready])
    try:
        return text.encode(codec(code_page))
    except UnicodeEncodeError:
        return "".join([transliterate(line, code_page) + "\n" for line in ready]).encode(codec(code_page))
