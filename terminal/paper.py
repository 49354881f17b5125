"""A slip as it comes out of a printer, for a screen: an edge above, torn off below. ASCII, which every terminal has."""

from collections.abc import Sequence


def paper(lines: Sequence[str], columns: int) -> list[str]:
    """Draw the paper around lines of at most `columns` signs; each line of the drawing is `columns` + 4 wide."""
    edge = "+" + "-" * (columns + 2) + "+"
    torn = ("\\/" * (columns + 4))[: columns + 4]
    return [edge, *(f"| {line:<{columns}} |" for line in lines), torn]
