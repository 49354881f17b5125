"""Amounts as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terminal.money import minor_units, written


@pytest.mark.parametrize(
    ("text", "exponent", "minor"), [("12.50", 2, 1250), ("12.5", 2, 1250), ("7", 2, 700), ("7", 0, 7), ("0.001", 3, 1)]
)
def test_an_amount_is_read_in_minor_units(text, exponent, minor):
    """12.50 EUR is 1250 cents."""
    assert minor_units(text, exponent) == minor


@pytest.mark.parametrize(
    "text", ["", "abc", "-1", "1.005", "NaN", "Infinity", "1,50", "1_0", "1e3", "+1", " 1", "1.", "\u0661"]
)
def test_what_is_no_amount_is_refused(text):
    """Nothing is rounded and nothing negative is taken."""
    with pytest.raises(ValueError, match="amount"):
        minor_units(text, 2)


@pytest.mark.parametrize("text", ["6371120000000000015x", "6371120000000000.015"])
def test_what_is_no_amount_is_not_told(text):
    """A card number that was typed in the amount's place stands in no error."""
    with pytest.raises(ValueError, match="amount") as caught:
        minor_units(text, 2)
    assert "637112" not in str(caught.value)


@given(st.integers(0, 2**63 - 1), st.integers(0, 4))
def test_what_is_written_reads_back(minor, exponent):
    """Writing and reading lose nothing."""
    assert minor_units(written(minor, exponent), exponent) == minor
