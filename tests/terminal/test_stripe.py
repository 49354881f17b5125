"""What scanners, stripe readers and fingers send, as one line each."""

import pytest

from terminal.stripe import CardError, is_stripe, read_card

NUMBER = "6371120000000000017"


@pytest.mark.parametrize(
    "line",
    [
        f";{NUMBER}=30121010000012345678?",
        f"%B{NUMBER}^OZOLA/ANNA^30121010000012345678?",
        "%b6371120 0000 0000 0017^ ^3012?",
        f"%B{NUMBER}^OZOLA/ANNA^3012?;{NUMBER}=3012?",
        f"  ;{NUMBER}=3012?\t",
        f";{NUMBER}=?",
    ],
)
def test_a_track_gives_its_number(line):
    """Either track or both; nobody typed it, however long it took."""
    read = read_card(line, 60.0)
    assert (read.number, read.keyed) == (NUMBER, False)


@pytest.mark.parametrize(
    "line",
    [
        f";{NUMBER}=3012",  # the end sentinel is missing: the swipe broke off
        f";{NUMBER}",
        f"%B{NUMBER}^OZOLA/ANNA",
        f"%B{NUMBER}^OZOLA/ANNA^3012?;6371120000000000025=3012?",
        "%E?",
        ";E?",
        ";1234567=3012?",
        ";123456789012345678901=3012?",
        "",
        "1234567",
        "123456789012345678901",
        "63711200000000000l7",
        "٦٣٧١١٢٠٠٠٠٠٠٠٠٠٠٠١٧",
    ],
)
def test_what_is_no_card_is_refused(line):
    """Half a track, two cards at once, a reader's own errors, too short, too long, other signs than digits."""
    with pytest.raises(CardError) as error:
        read_card(line)
    assert NUMBER not in str(error.value)


def test_a_typed_number_is_keyed_and_may_stand_in_groups():
    """As it is printed on the card."""
    assert read_card("6371 1200-0000 0000 017", 9.0).number == NUMBER
    assert read_card(NUMBER, 9.0).keyed
    assert read_card(NUMBER).keyed  # nobody measured


def test_a_burst_is_a_scanner_s():
    """19 digits within half a second are no fingers'."""
    assert not read_card(NUMBER, 0.05).keyed
    assert read_card(NUMBER, 2.0).keyed


def test_a_scanner_marks_what_it_reads():
    """Its prefix and suffix are taken off; a number without them was typed."""
    read = read_card(f"]C1{NUMBER}#", 9.0, prefix="]C1", suffix="#")
    assert (read.number, read.keyed) == (NUMBER, False)
    assert read_card(NUMBER, 9.0, prefix="]C1", suffix="#").keyed
    with pytest.raises(CardError):
        read_card(f"]C2{NUMBER}#", prefix="]C1", suffix="#")


def test_a_stripe_is_known_by_its_first_sign():
    """It may come at any question."""
    assert is_stripe("%B")
    assert is_stripe(" ;1")
    assert not is_stripe("1;")


def test_a_card_shows_itself_to_nobody():
    """Not in a traceback."""
    assert NUMBER not in repr(read_card(NUMBER))
