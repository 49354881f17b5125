"""Paper on a screen."""

import pytest

from receipts.receipt import WIDTHS
from terminal.paper import paper


@pytest.mark.parametrize("columns", WIDTHS)
def test_paper_is_as_wide_as_its_lines_and_its_edges(columns):
    """Every line of it; what is printed stands in it as it was."""
    lines = ["SALE".center(columns), "x" * columns, ""]
    drawn = paper(lines, columns)
    assert {len(line) for line in drawn} == {columns + 4}
    assert [line[2:-2] for line in drawn[1:-1]] == [line.ljust(columns) for line in lines]
