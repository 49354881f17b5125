"""Public known answers, run through exactly the functions that run in a session."""

import hmac
from collections.abc import Iterator

import cryptography_vectors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.crypto import (
    Cmac,
    ForgeryError,
    Gcm,
    Hmac,
    decrypt_block,
    encrypt_block,
    expand,
    extract,
    mac,
    x25519_public,
    x25519_shared,
)


def cases(path: str) -> Iterator[dict[str, str]]:
    """The cases of a vector file: `NAME = hex` or `NAME: hex` lines, blocks parted by empty lines."""
    with cryptography_vectors.open_vector_file(path, "r") as lines:
        case: dict[str, str] = {}
        for line in [*lines, ""]:
            text = line.strip()
            name, _, value = text.replace(": ", " = ").partition(" =")
            if not text:
                if case:
                    yield case
                case = {}
            elif text == "FAIL":
                case["FAIL"] = "FAIL"
            elif not text.startswith(("#", "[")):
                case[name.strip()] = value.strip()


def nist_gcm(path: str) -> list[dict[str, str]]:
    """The cases of a NIST GCM file whose nonce has 12 bytes and whose tag has 16, as on the wire."""
    return [case for case in cases(path) if len(case.get("IV", "")) == 24 and len(case.get("Tag", "")) == 32]


def raw(case: dict[str, str], *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name].removeprefix("0x")) for name in names]


def test_gcm_seals_as_nist_says() -> None:
    """NIST's encryptions with AES-128 come out bit for bit."""
    vectors = nist_gcm("ciphers/AES/GCM/gcmEncryptExtIV128.rsp")
    assert len(vectors) > 300
    for case in vectors:
        key, iv, plain, associated, sealed, tag = raw(case, "Key", "IV", "PT", "AAD", "CT", "Tag")
        assert Gcm(key).seal(iv, plain, associated) == sealed + tag


def test_gcm_opens_as_nist_says() -> None:
    """NIST's decryptions with AES-128 open, and those that must fail are forged."""
    vectors = nist_gcm("ciphers/AES/GCM/gcmDecrypt128.rsp")
    assert any("FAIL" in case for case in vectors)
    for case in vectors:
        key, iv, associated, sealed, tag = raw(case, "Key", "IV", "AAD", "CT", "Tag")
        if "FAIL" in case:
            with pytest.raises(ForgeryError):
                Gcm(key).open(iv, sealed + tag, associated)
        else:
            assert Gcm(key).open(iv, sealed + tag, associated) == raw(case, "PT")[0]


def test_hkdf() -> None:
    """RFC 5869's cases for SHA-256: extract, then expand."""
    seen = 0
    case: dict[str, str] = {}
    for block in cases("KDF/rfc-5869-HKDF-SHA256.txt"):
        case |= block  # an empty line may stand between what goes in and what must come out
        if "OKM" not in block:
            continue
        secret, salt, info, key, out = raw(case, "IKM", "salt", "info", "PRK", "OKM")
        assert extract(salt, secret) == key
        assert expand(key, info, int(case["L"])) == out
        seen += 1
    assert seen == 3


def test_cmac() -> None:
    """RFC 4493's four examples, which are NIST's too."""
    vectors = [case for case in cases("CMAC/nist-800-38b-aes128.txt") if "OUTPUT" in case]
    assert [len(case["MESSAGE"]) // 2 for case in vectors] == [0, 16, 40, 64]
    for case in vectors:
        key, message, tag = raw(case, "KEY", "MESSAGE", "OUTPUT")
        assert Cmac(key).tag(message) == tag


def test_block() -> None:
    """AES over one block, there and back: the first block of FIPS 197, appendix B."""
    key, plain = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"), bytes.fromhex("3243f6a8885a308d313198a2e0370734")
    sealed = bytes.fromhex("3925841d02dc09fbdc118597196a0b32")
    assert encrypt_block(key, plain) == sealed
    assert decrypt_block(key, sealed) == plain


def test_mac() -> None:
    """HMAC-SHA256 cut to 16 bytes: RFC 4231, case 5, which truncates so."""
    assert mac(b"\x0c" * 20, b"Test With Truncation").hex() == "a3b6167473100ee06e0c796c2955552b"


def test_x25519() -> None:
    """RFC 7748's two products, and the one with the base point, which makes a share."""
    vectors = list(cases("asymmetric/X25519/rfc7748.txt"))
    for case in vectors:
        scalar, share, product = raw(case, "INPUT_SCALAR", "INPUT_U", "OUTPUT_U")
        assert x25519_shared(scalar, share) == product
    base = vectors[2]
    assert base["INPUT_U"] == "09".ljust(64, "0")
    assert x25519_public(bytes.fromhex(base["INPUT_SCALAR"])).hex() == base["OUTPUT_U"]


@pytest.mark.parametrize("share", ["00" * 32, "01" + "00" * 31], ids=["zero", "one"])
def test_x25519_refuses_what_agrees_on_zero(share: str) -> None:
    """A share of small order, which would make the agreed secret all zero, is refused."""
    with pytest.raises(ForgeryError):
        x25519_shared(b"\x01" * 32, bytes.fromhex(share))


@given(st.binary(max_size=64), st.binary(max_size=400))
def test_an_hmac_made_ready_is_the_librarys(key: bytes, message: bytes) -> None:
    """Under any key that fits the block of SHA-256, again and again; a longer key is refused."""
    ready = Hmac(key)
    assert ready.tag(message) == ready.tag(message) == hmac.digest(key, message, "sha256")
    with pytest.raises(ValueError, match="65 bytes"):
        Hmac(bytes(65))
