"""Recorded answers made small before they are sealed; what is sealed no longer compresses.

An answer is mostly words that stand on every receipt, so it is told as what differs from a dictionary of them:
Zstandard (RFC 8878) with a raw dictionary leaves a quarter of it, in two microseconds. Answers are most of what an
authorization's row, its log and its backup weigh.

What must hold: **what was compressed comes back to the byte, for ever** (law 1: a repeat gets the same 1,400 bytes). So
a dictionary, once it was used, never changes and never goes: a better one is a further file with the next number, of
15 at most, and a revision of the schema that keeps programs out that do not have it. Each sealed answer says by which
it is to be read. `python tests/authsrv/test_compression.py FILE` makes one, of all the receipts that were read by a
person, in the languages of that day. And: all of this is for one thread, as the library's compressors are.
"""

from importlib.resources import files
from typing import Final

from zstandard import (
    DICT_TYPE_RAWCONTENT,
    STRATEGY_FAST,
    ZstdCompressionDict,
    ZstdCompressionParameters,
    ZstdCompressor,
    ZstdDecompressor,
    ZstdError,
    get_frame_parameters,
)

DICTIONARY: Final = 1  # by which new answers are compressed
# The fastest way, without Huffman codes of an answer's own: to build them takes longer than all else.
PARAMETERS: Final = ZstdCompressionParameters(
    strategy=STRATEGY_FAST,
    window_log=17,  # holds a dictionary and an answer
    hash_log=13,  # of places in the dictionary: more fall out of the processor's cache, fewer miss the rarer receipts
    chain_log=6,
    search_log=1,
    min_match=6,
    target_length=2,  # any above zero: literals as they are
    write_checksum=False,  # the seal is one
    write_dict_id=False,
)


def _dictionary(number: int) -> ZstdCompressionDict:
    content = files("authsrv").joinpath(f"answers.{number}.dictionary").read_bytes()
    return ZstdCompressionDict(content, dict_type=DICT_TYPE_RAWCONTENT)


def _compressor(dictionary: ZstdCompressionDict) -> ZstdCompressor:
    dictionary.precompute_compress(compression_params=PARAMETERS)
    return ZstdCompressor(dict_data=dictionary, compression_params=PARAMETERS)


_COMPRESSOR: Final = _compressor(_dictionary(DICTIONARY))
_DECOMPRESSORS: Final = {number: ZstdDecompressor(dict_data=_dictionary(number)) for number in range(1, DICTIONARY + 1)}


def compressed(answer: bytes) -> bytes:
    """An answer, without the zeros that fill it up, as few bytes by the newest dictionary."""
    return _COMPRESSOR.compress(answer)


def decompressed(small: bytes, dictionary: int, most: int) -> bytes:
    """The answer, of at most so many bytes, that was compressed by this dictionary.

    Raises `ValueError` for a dictionary that this program does not have, and for what is no compressed answer.
    """
    decompressor = _DECOMPRESSORS.get(dictionary)
    if decompressor is None:
        raise ValueError(f"answers compressed by dictionary {dictionary} cannot be read: install the newer program")
    try:
        if get_frame_parameters(small).content_size > most:  # before anything is unpacked, or told to be unknown
            raise ValueError("a recorded answer is longer than an answer may be")
        return decompressor.decompress(small, allow_extra_data=False)
    except ZstdError:
        raise ValueError("a recorded answer does not decompress") from None
