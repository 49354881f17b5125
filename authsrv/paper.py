"""A report as pages (PDF, A4): the head of the table on each page, amounts at the right, pages numbered.

The font that comes along with the library has the letters of western Europe alone; another one, such as DejaVu Sans
with those of all of it, is given as a TrueType file. A word with a letter that a font lacks is written in Latin
letters without accents, never dropped.
"""

import io
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, Final

import reportlab
from reportlab.lib.colors import grey
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFError, TTFont
from reportlab.platypus import LongTable, Paragraph, SimpleDocTemplate, Spacer, TableStyle

from authsrv.sheet import Align, Sheet
from receipts.code_pages import transliterate

_MARGIN: Final = 15 * mm
_SIZE: Final = 8
_PADDING: Final = 10
_OWN_FONT: Final = Path(reportlab.__file__).parent / "fonts" / "Vera.ttf"
_ASCII: Final = 0


class FontError(Exception):
    """A file that is no font that can be used; the message says which."""


def pages(sheet: Sheet, font: Path | None = None) -> bytes:
    """The file's bytes; equal for equal reports.

    Args:
        sheet: the report.
        font: a TrueType file, in place of the font that comes along.

    Raises:
        FontError: where the file is none.

    """
    face = _face(font or _OWN_FONT)

    def spelt(text: str) -> str:
        return spelling(text, face.face.charToGlyph)

    out = io.BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=landscape(A4) if len(sheet.columns) > 6 else A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title=sheet.title,
        invariant=1,
    )
    document.build(
        [
            Paragraph(
                _escaped(spelt(sheet.title)), ParagraphStyle("title", fontName=face.fontName, fontSize=13, leading=18)
            ),
            *(
                Paragraph(
                    _escaped(spelt(note)), ParagraphStyle("note", fontName=face.fontName, fontSize=_SIZE, leading=11)
                )
                for note in sheet.notes
            ),
            Spacer(0, 4 * mm),
            _table(sheet, face.fontName, spelt, document.width),
        ],
        onFirstPage=lambda canvas, _: _number(canvas, face.fontName),
        onLaterPages=lambda canvas, _: _number(canvas, face.fontName),
    )
    return out.getvalue()


def spelling(text: str, letters: Container[int]) -> str:
    """The text in the letters that there are, given as code points; a word with another one is written in ASCII."""
    return " ".join(
        word if all(ord(letter) in letters for letter in word) else transliterate(word, _ASCII)
        for word in text.split(" ")
    )


def _face(file: Path) -> Any:
    name = file.stem
    try:
        face = TTFont(name, str(file))
    except (TTFError, OSError):
        raise FontError(f"{file} is no TrueType font; give one such as DejaVuSans.ttf") from None
    pdfmetrics.registerFont(face)
    return face


def _table(sheet: Sheet, font: str, spelt: Callable[[str], str], room: float) -> Any:
    sums = sheet.sums()
    cells = [[spelt(column.title) for column in sheet.columns]]
    cells += [[spelt(sheet.written(cell)) for cell in row] for row in (*sheet.rows, *sums)]
    widest = sum(
        max(pdfmetrics.stringWidth(line[place], font, _SIZE) for line in cells) + _PADDING
        for place in range(len(sheet.columns))
    )
    size = _SIZE * min(1.0, room / widest)  # rather small than cut
    style: list[tuple[Any, ...]] = [
        ("FONT", (0, 0), (-1, -1), font, size, size + 2),
        ("LEFTPADDING", (0, 0), (-1, -1), _PADDING / 2 * size / _SIZE),
        ("RIGHTPADDING", (0, 0), (-1, -1), _PADDING / 2 * size / _SIZE),
        ("TOPPADDING", (0, 0), (-1, -1), 1),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
        ("LINEBELOW", (0, 0), (-1, 0), 0.5, grey),
    ]
    style += [
        ("ALIGN", (place, 0), (place, -1), "RIGHT")
        for place, column in enumerate(sheet.columns)
        if column.align is Align.RIGHT
    ]
    if sums:
        style.append(("LINEABOVE", (0, len(cells) - len(sums)), (-1, len(cells) - len(sums)), 0.5, grey))
    return LongTable(cells, style=TableStyle(style), repeatRows=1, hAlign="LEFT")


def _number(canvas: Any, font: str) -> None:
    canvas.setFont(font, _SIZE)
    canvas.drawRightString(canvas._pagesize[0] - _MARGIN, _MARGIN / 2, str(canvas.getPageNumber()))  # noqa: SLF001


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
