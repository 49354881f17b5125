"""Card numbers as they are made."""

import pytest

from authsrv.card_number import NumberSpaceError, card_number, serials


def test_a_number_is_prefix_serial_and_check_digit() -> None:
    """Luhn by hand: doubled 1 -> 2, 2 -> 4, 1 -> 2, 3 -> 6; plain 1, 7, 6; together 28, so that 2 is missing to 30."""
    assert card_number("637112", 1) == "6371120000000000012"


def test_the_space_ends_with_its_last_serial() -> None:
    """Seventeen digits of prefix leave ten serials."""
    assert serials("1" * 17) == 10
    assert len(card_number("1" * 17, 9)) == 19


@pytest.mark.parametrize("prefix", ["", "12a", "1" * 18, "١٢٣"])
def test_what_is_no_prefix_is_refused(prefix: str) -> None:
    """It has to leave room for a serial and the check digit."""
    with pytest.raises(NumberSpaceError):
        serials(prefix)
