"""A receipt as the bytes that a receipt printer takes: ESC/POS, as Epson describes it and others copy it.

A receipt comes from the switch laid out and encoded for its printer, so five commands are all that is needed: reset,
choose the code page, text, feed, cut. The numbers by which a printer chooses a code page are Epson's; a printer that
counts otherwise is told its own.
"""

from typing import Final

from protocol.numbers import CodePage

RESET: Final = b"\x1b@"
CODE_PAGE: Final = b"\x1bt"
FEED_AND_CUT: Final = b"\x1dVB\x03"  # GS V 66 n: feed to the cutter and a little more, then a cut that leaves a bridge
LINE_FEED: Final = 0x0A

PAGES: Final[dict[int, int]] = {
    CodePage.ASCII: 0,  # page 437: its first half is ASCII
    CodePage.CP866: 17,
    CodePage.CP852: 18,
    CodePage.CP775: 33,
    CodePage.CP855: 34,
    CodePage.CP1250: 45,
    CodePage.CP1251: 46,
    CodePage.CP1257: 51,
}
"""Epson's numbers of the code pages that a module can have, by the wire's."""

_CONTROLS: Final = {code: ord("?") for code in (*range(32), 127) if code != LINE_FEED}


def printed(text: bytes, code_page: int, *, page: int | None = None) -> bytes:
    """Print one slip and cut the paper.

    Args:
        text: lines encoded in the code page, a line feed after each. A control sign among them would command the
            printer, so it becomes a question mark.
        code_page: the wire's number.
        page: the printer's own number of that code page, where it is not Epson's.

    Raises:
        ValueError: a code page or a number that is not known.

    """
    number = PAGES.get(code_page) if page is None else page
    if number is None or not 0 <= number <= 255:
        raise ValueError(f"code page {code_page} has no number that a printer knows it by")
    return RESET + CODE_PAGE + bytes([number]) + text.translate(_TABLE) + FEED_AND_CUT


_TABLE: Final = bytes(_CONTROLS.get(code, code) for code in range(256))
