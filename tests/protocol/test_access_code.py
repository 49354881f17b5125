"""Access-code blocks: the standard's known answer, round trips, and every way to be malformed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.access_code import decode, encode
from protocol.crypto import BlockCipher, encrypt_block

KEY = bytes.fromhex("AF8CB133A78F8DC2D1359F18527593FB")
CIPHER = BlockCipher(KEY)
CARD = "4111111111111111"
RANDOM = bytes.fromhex("2F69ADDE2E9E7ACE")


def block_of(nibbles: str, card_block: str = "44111111111111111") -> bytes:
    """Seal any 16 bytes as a block, by the two steps of the standard; the card block is M, digits, zeros."""
    inner = encrypt_block(KEY, bytes.fromhex(nibbles) + RANDOM)
    bound = bytes.fromhex(card_block.ljust(32, "0"))
    return encrypt_block(KEY, bytes(left ^ right for left, right in zip(inner, bound, strict=True)))


def test_known_answer() -> None:
    """X9.24-3's example comes out bit for bit."""
    block = encode("1234", CARD, KEY, RANDOM)
    assert block.hex() == "a912150391ab65a67e52883d81ce2d15"
    assert decode(block, CARD, CIPHER) == "1234"
    assert block_of("441234aaaaaaaaaa") == block


@given(
    st.text("0123456789", min_size=4, max_size=12),
    st.text("0123456789", min_size=1, max_size=20),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=8, max_size=8),
)
def test_there_and_back(access_code: str, card: str, key: bytes, random: bytes) -> None:
    """Every code of 4 to 12 digits comes back, for every card number."""
    assert decode(encode(access_code, card, key, random), card, BlockCipher(key)) == access_code


@pytest.mark.parametrize(
    "nibbles",
    [
        "341234aaaaaaaaaa",
        "43123aaaaaaaaaaa",
        "4d123456789012aa",
        "4f12345678901234",
        "4012345678901234",
        "44123aaaaaaaaaaa",
        "441a34aaaaaaaaaa",
        "441234aaaaaaaaa0",
        "4412345aaaaaaaaa",
        "441234abaaaaaaaa",
    ],
    ids=["control", "3", "13", "15", "0", "short", "letter", "last fill", "first fill", "middle fill"],
)
def test_malformed_is_wrong(nibbles: str) -> None:
    """Another control nibble, length, digit or fill nibble is no code; nothing says which."""
    assert decode(block_of(nibbles), CARD, CIPHER) is None


def test_longest_code_has_two_fill_nibbles() -> None:
    """Twelve digits are a code, and their two fill nibbles are checked as well."""
    assert decode(block_of("4c123456789012aa"), CARD, CIPHER) == "123456789012"
    assert decode(block_of("4c123456789012ab"), CARD, CIPHER) is None


def test_bound_to_card_and_key() -> None:
    """A block moved to another card or opened under another key is no code."""
    block = encode("1234", CARD, KEY, RANDOM)
    assert decode(block, "4111111111111112", CIPHER) is None
    assert decode(block, CARD, BlockCipher(bytes(16))) is None


def test_short_card_is_filled_from_the_left() -> None:
    """A card of fewer than 12 digits counts as M = 0 and leading zeros."""
    assert encode("1234", "123", KEY, RANDOM) == block_of("441234aaaaaaaaaa", "0000000000123")


def test_every_flipped_bit_is_wrong() -> None:
    """No flipped bit leaves the same code."""
    block = encode("1234", CARD, KEY, RANDOM)
    for bit in range(128):
        assert decode((int.from_bytes(block) ^ 1 << bit).to_bytes(16), CARD, CIPHER) is None


@pytest.mark.parametrize("access_code", ["123", "1234567890123", "12a4", "١٢٣٤", ""])
def test_what_is_no_code_is_not_sent(access_code: str) -> None:
    """A code that the format cannot hold is an error, and the error does not show it."""
    with pytest.raises(ValueError, match="4 to 12 digits") as caught:
        encode(access_code, CARD, KEY, RANDOM)
    assert not access_code or access_code not in str(caught.value)


def test_a_card_must_be_digits() -> None:
    """A card number that is not digits is the caller's error."""
    with pytest.raises(ValueError, match="digits"):
        decode(bytes(16), "41x", CIPHER)
