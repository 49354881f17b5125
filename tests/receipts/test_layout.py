"""Layout: words on paper of a fixed width."""

from hypothesis import given
from hypothesis import strategies as st

from receipts.layout import centred, pair, wrap

words = st.text("abcdefgh -.", max_size=120)
columns = st.sampled_from([32, 42, 44, 48])


def test_wrap_breaks_between_words() -> None:
    """As many words as fit with one blank between them; a line may be full to its last column."""
    assert wrap("one two three", 7) == ["one two", "three"]
    assert wrap("one two three", 6) == ["one", "two", "three"]
    assert wrap("  one \t two ", 7) == ["one two"]
    assert wrap("", 7) == []


def test_wrap_splits_only_a_word_longer_than_the_line() -> None:
    """There is no other way to print all of it."""
    assert wrap("a bcdefghij k", 4) == ["a", "bcde", "fghi", "j k"]


def test_centred_leaves_no_blanks_behind() -> None:
    """Half of the free columns, rounded down, stand before the text."""
    assert centred("abc", 8) == ["  abc"]
    assert centred("abcd efgh", 6) == [" abcd", " efgh"]


def test_pair_puts_the_label_left_and_the_value_right() -> None:
    """One blank between them is enough."""
    assert pair("Balance", "0.00 EUR", 20) == ["Balance     0.00 EUR"]
    assert pair("Balance", "0.00 EUR", 16) == ["Balance 0.00 EUR"]


def test_pair_moves_an_amount_to_a_line_of_its_own_before_it_would_touch_the_label() -> None:
    """Without a blank between them the two would read as one."""
    assert pair("Balance", "0.00 EUR", 15) == ["Balance", "       0.00 EUR"]


def test_pair_wraps_a_long_label_and_ends_with_the_value() -> None:
    """The value stands on the last line of the label where it fits."""
    assert pair("Owed by the card", "1.00", 11) == ["Owed by the", "card   1.00"]
    assert pair("Owed by the", "1.00", 11) == ["Owed by the", "       1.00"]


def test_pair_indents_a_label_that_begins_with_blanks() -> None:
    """It belongs to the line above; a label of many blanks leaves room for itself."""
    assert pair("  switch", "1.00", 16) == ["  switch    1.00"]
    assert pair(9 * " " + "the switch", "1.00", 16) == ["    the switch", "            1.00"]


def test_pair_wraps_a_long_text_on_the_right() -> None:
    """A text longer than the paper is wrapped by words under its label."""
    assert pair("Programme", "Gift card of the old town", 14) == ["Programme", "  Gift card of", "  the old town"]


@given(text=words, columns=columns)
def test_wrap_keeps_every_sign_and_the_width(text: str, columns: int) -> None:
    """Only blanks are lost."""
    lines = wrap(text, columns)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(0 < len(line) <= columns for line in lines)


@given(label=words, value=st.text("0123456789., -EUR", min_size=1, max_size=32).map(str.strip), columns=columns)
def test_pair_never_cuts_a_value_that_fits_the_paper(label: str, value: str, columns: int) -> None:
    """Whatever the label, the value ends the last line whole, and a blank or the edge stands before it."""
    lines = pair(label, value, columns)
    assert all(len(line) <= columns for line in lines)
    assert len(lines[-1]) == columns
    assert lines[-1].endswith(value)
    assert lines[-1].removesuffix(value)[-1:] in ("", " ")
