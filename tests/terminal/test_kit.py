"""The kit file as a till reads it."""

import json

import pytest
from scripted_switch import CARD, CODE, identity

from terminal.kit import Kit, KitError

RAW = {
    "host": "127.0.0.1",
    "port": 7411,
    "currency": 978,
    "exponent": 2,
    "modules": [identity(1001).to_json() | {"branch": 1}],
    "cards": [
        {"number": CARD, "access_code": CODE, "programme": "gift"},
        {"number": "6280000000000025", "access_code": None, "programme": "gift"},
    ],
}
KIT = Kit.read(json.dumps(RAW))


def test_modules_and_cards_are_found_by_place():
    """Places count from 1, as people do."""
    assert KIT.till(1) == identity(1001)
    assert (KIT.card("1").number, KIT.card("1").access_code) == (CARD, CODE)
    assert KIT.card("2").access_code is None


def test_a_card_is_found_by_its_number():
    """With the code that the kit knows; a number that it does not know has none."""
    assert KIT.card(CARD).access_code == CODE
    assert KIT.card("6280000000000991").number == "6280000000000991"
    assert KIT.card("6280000000000991").access_code is None


def test_a_module_has_the_language_of_its_receipts():
    """English where a kit does not say: kits were written before it stood there."""
    latvian = {**RAW, "modules": [RAW["modules"][0] | {"language": "lv"}]}
    assert Kit.read(json.dumps(latvian)).language(1) == "lv"
    assert KIT.language(1) == "en"
    with pytest.raises(KitError):
        KIT.language(2)


@pytest.mark.parametrize("place", ["0", "3", "x", ""])
def test_a_place_that_is_not_there_is_refused(place):
    """The error says how many there are."""
    with pytest.raises(KitError):
        KIT.card(place)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        json.dumps(RAW | {"modules": [{}]}),
        json.dumps(RAW | {"port": "x"}),
        json.dumps(RAW | {"port": float("inf")}),
    ],
)
def test_what_is_no_kit_is_refused(text):
    """And nothing of it is shown."""
    with pytest.raises(KitError, match="no kit file"):
        Kit.read(text)


def test_a_kit_shows_nothing():
    """Neither numbers nor codes nor keys are in a repr."""
    shown = repr(KIT) + repr(KIT.card("1"))
    assert CARD not in shown
    assert CODE not in shown
    assert identity(1001).root_key.hex() not in shown
