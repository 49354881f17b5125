"""The block that an access code travels in: ISO 9564-1 format 4.

The code is bound to the card number, so a block cannot be moved to another card, and holds 8 random bytes, so the same
code never looks the same twice. A block that does not decode is a wrong code and nothing else: a caller that could tell
the difference would be an oracle.
"""

from typing import Final

from protocol.crypto import BLOCK_BYTES, BlockCipher, encrypt_block

CONTROL: Final = 0x4
DIGITS_MIN: Final = 4
DIGITS_MAX: Final = 12
FILL: Final = "a"
RANDOM_BYTES: Final = 8
_CODE_NIBBLES: Final = 14
_CARD_DIGITS_MIN: Final = 12


def encode(access_code: str, card: str, key: bytes, random: bytes) -> bytes:
    """The block for an access code of 4 to 12 digits and a card number, under a key of 16 bytes, with 8 random bytes.

    Raises ValueError for a code or a card that the format cannot hold.
    """
    if not _is_code(access_code) or len(random) != RANDOM_BYTES:
        raise ValueError("an access code is 4 to 12 digits, and 8 random bytes go with it")
    plain = bytes.fromhex(f"{CONTROL:x}{len(access_code):x}{access_code.ljust(_CODE_NIBBLES, FILL)}") + random
    return encrypt_block(key, _xor(encrypt_block(key, plain), _card_block(card)))


def decode(block: bytes, card: str, cipher: BlockCipher) -> str | None:
    """The access code in a block for this card, or None if it is malformed: control, length, digits or fill.

    `cipher` is that of the session's key.
    """
    plain = cipher.decrypt(_xor(cipher.decrypt(block), _card_block(card)))
    nibbles = plain[:RANDOM_BYTES].hex()
    size = int(nibbles[1], 16)
    access_code, fill = nibbles[2 : 2 + size], nibbles[2 + size :]
    if nibbles[0] != f"{CONTROL:x}" or not _is_code(access_code) or fill.strip(FILL):
        return None
    return access_code


def _is_code(text: str) -> bool:
    return DIGITS_MIN <= len(text) <= DIGITS_MAX and text.isascii() and text.isdigit()


def _card_block(card: str) -> bytes:
    if not card.isascii() or not card.isdigit():
        raise ValueError("a card number is digits")
    more = max(0, len(card) - _CARD_DIGITS_MIN)
    return bytes.fromhex(f"{more:x}{card.zfill(_CARD_DIGITS_MIN)}".ljust(2 * BLOCK_BYTES, "0"))


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(BLOCK_BYTES)
