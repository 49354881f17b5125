"""Bytes for a receipt printer; the numbers are those of Epson's command reference, `ESC t`."""

import pytest

from protocol.numbers import CodePage
from receipts.code_pages import CODECS, encode
from terminal.escpos import PAGES, printed


@pytest.mark.parametrize(
    ("page", "number"),
    [("cp866", 17), ("cp852", 18), ("cp775", 33), ("cp855", 34), ("cp1250", 45), ("cp1251", 46), ("cp1257", 51)],
)
def test_a_slip_is_reset_page_text_cut(page, number):
    """In this order, and nothing else."""
    code_page = next(key for key, name in CODECS.items() if name == page)
    slip = printed(b"SALE\n", code_page)
    assert slip == b"\x1b@" + b"\x1bt" + bytes([number]) + b"SALE\n" + b"\x1dVB\x03"


def test_every_code_page_of_the_wire_has_a_number():
    """So that no module is without its letters."""
    assert set(PAGES) == set(CodePage)


def test_letters_reach_the_printer_as_its_page_has_them():
    """Latvian in cp775, Russian in cp866: byte by byte as Python's tables have them."""
    assert "Ķīļa čeks\n".encode("cp775") in printed(encode(["Ķīļa čeks"], CodePage.CP775), CodePage.CP775)
    assert "Продажа\n".encode("cp866") in printed(encode(["Продажа"], CodePage.CP866), CodePage.CP866)


def test_a_printer_may_count_otherwise():
    """Its own number goes before Epson's."""
    assert printed(b"", CodePage.CP1257, page=25)[:5] == b"\x1b@\x1bt\x19"


@pytest.mark.parametrize(("code_page", "page"), [(99, None), (0, 256), (0, -1)])
def test_an_unknown_page_is_refused(code_page, page):
    """Rather than printed in wrong letters."""
    with pytest.raises(ValueError, match="code page"):
        printed(b"", code_page, page=page)


def test_no_text_commands_the_printer():
    """Every control sign but the line feed is a question mark; letters above ASCII stay."""
    text = bytes(code for code in range(256))
    body = printed(text, 0)[5:-4]
    assert len(body) == 256
    assert [code for code in body if code < 32] == [10]
    assert body[128:] == text[128:]
