"""Pages: whole lines, as many as fit, nothing lost."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipts.pages import PAGE_BYTES_MAX, paginate

lines = st.lists(st.integers(0, 48).map(lambda length: b"x" * length + b"\n"), max_size=120)


def test_a_page_is_what_the_wire_carries() -> None:
    """The receipt field of an answer is 1,176 bytes."""
    assert PAGE_BYTES_MAX == 1176


def test_24_full_lines_are_one_page_and_25_are_two() -> None:
    """The bound itself still fits."""
    line = b"=" * 48 + b"\n"
    assert paginate(line * 24) == (line * 24,)
    assert paginate(line * 25) == (line * 24, line)


def test_a_line_that_does_not_fit_whole_goes_to_the_next_page() -> None:
    """35 lines of 33 bytes are 1,155; the 36th would end at 1,188."""
    line = b"-" * 32 + b"\n"
    assert paginate(line * 36) == (line * 35, line)


def test_nothing_to_print_is_no_page() -> None:
    """An answer without receipt has 0 pages."""
    assert paginate(b"") == ()


def test_what_is_not_made_of_lines_is_refused() -> None:
    """A line longer than a page cannot be kept whole, and a torn last line would run into what follows."""
    with pytest.raises(ValueError, match="longer than a page"):
        paginate(b"x" * 1176 + b"\n")
    with pytest.raises(ValueError, match="line feed"):
        paginate(b"x")


@given(lines=lines)
def test_pages_are_whole_lines_and_lose_nothing(lines: list[bytes]) -> None:
    """Put together they are the receipt; each ends a line and fits; none could have taken the next one's first line."""
    pages = paginate(b"".join(lines))
    assert b"".join(pages) == b"".join(lines)
    for page in pages:
        assert page.endswith(b"\n")
        assert len(page) <= 1176
    for page, following in pairwise(pages):
        assert len(page) + following.index(b"\n") + 1 > 1176
