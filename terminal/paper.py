"""Which slips an answer makes, and how one looks on a screen."""

from collections.abc import Sequence
from typing import Final

from protocol.numbers import Command
from terminal.answer import Answer

SIGNED: Final = frozenset((Command.SALE, Command.CONFIRM, Command.CASH_OUT))
"""What the holder signs for on the shop's copy: value has left the card."""


def slips(answer: Answer, merchant: str | None) -> list[tuple[str, ...]]:
    """The holder's receipt, and the shop's copy of what is signed in the language `merchant`, where one is kept."""
    made = [answer.lines] if answer.lines else []
    if merchant is not None and made and answer.approved and answer.request.command in SIGNED:
        made.append(answer.merchant_copy(merchant))
    return made


def paper(lines: Sequence[str], columns: int) -> list[str]:
    """Draw a slip as it comes out of a printer: an edge above, torn off below; in ASCII, which every terminal has.

    The lines have at most `columns` signs; each line of the drawing has 4 more.
    """
    edge = "+" + "-" * (columns + 2) + "+"
    torn = ("\\/" * (columns + 4))[: columns + 4]
    return [edge, *(f"| {line:<{columns}} |" for line in lines), torn]
