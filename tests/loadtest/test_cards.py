"""Cards that follow from their serials."""

from loadtest.cards import Cards, access_code_of, plastic


def test_a_cards_code_is_found_again_by_its_number() -> None:
    """A repeat on a new session seals the same access code again, with the number alone at hand."""
    for card in Cards(range(500)):
        assert access_code_of(card.number) == card.access_code


def test_every_second_card_has_a_code_and_no_two_share_a_number() -> None:
    """Half of the holders type a code; numbers are told apart."""
    cards = list(Cards(range(100)))
    assert [card.access_code is not None for card in cards] == [False, True] * 50
    assert len({card.number for card in cards}) == 100


def test_a_foreign_number_has_no_code() -> None:
    """An unknown card's code is nobody's to know."""
    assert access_code_of("900000000000000001") is None


def test_a_part_of_the_cards_is_cards_of_the_same_serials() -> None:
    """Slices are by serial, so that modules share out cards without a list of them."""
    assert list(Cards(range(10))[1::3]) == [plastic(1), plastic(4), plastic(7)]
    assert len(Cards(range(10))[4:]) == 6
