"""Keys: what is bound to what, what nests, and that nothing shows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from authsrv.compression import DICTIONARY
from authsrv.keys import (
    ANSWER_BYTES,
    ISSUER_PURPOSES,
    KeyFault,
    KeyRing,
    Purpose,
    WrappedKey,
    unwrap,
    wrap,
)
from ledger.names import Name
from protocol.crypto import Cmac, check_value

KEK = bytes(range(32))
NONCE = bytes(12)
CARD = b"6371120000000000017\0"
NAME = Name(1001, dt.date(2026, 11, 30), 7)


def key(purpose: Purpose, version: int) -> bytes:
    return bytes([ISSUER_PURPOSES.index(purpose) + 1, version]) * 16


def ring(issuer: int = 41, **versions: int) -> KeyRing:
    """A ring with one version of each key, or as many as said."""
    return KeyRing(
        issuer,
        {
            (purpose, version): key(purpose, version)
            for purpose in ISSUER_PURPOSES
            for version in range(1, versions.get(purpose.value, 1) + 1)
        },
    )


class TestWrap:
    def test_a_key_comes_back(self) -> None:
        """What was wrapped is unwrapped by the same key-encryption key."""
        assert unwrap(KEK, wrap(KEK, Purpose.TOKEN, 0, 1, b"k" * 32, NONCE)) == b"k" * 32

    @pytest.mark.parametrize(
        "changed",
        [
            {"purpose": Purpose.VERIFIER},
            {"owner": 1},
            {"version": 2},
            {"sealed": NONCE + bytes(48)},
            {"kek": bytes(32)},
        ],
    )
    def test_it_is_bound_to_what_it_is_for(self, changed: dict[str, Any]) -> None:
        """Another key-encryption key, purpose, owner or version opens nothing, and the message tells no key."""
        wrapped = wrap(KEK, Purpose.TOKEN, 0, 1, b"k" * 32, NONCE)
        row = {"purpose": wrapped.purpose, "owner": 0, "version": 1, "sealed": wrapped.sealed} | changed
        kek = row.pop("kek", KEK)
        with pytest.raises(KeyFault) as caught:
            unwrap(kek, WrappedKey(**row, check_value=wrapped.check_value))
        assert b"k" * 32 not in str(caught.value).encode()

    def test_check_values(self) -> None:
        """Equal keys have equal check values of five bytes, whatever they are for; different keys different ones."""
        one, same = (wrap(KEK, purpose, 0, 1, b"k" * 32, NONCE) for purpose in (Purpose.TOKEN, Purpose.RECORD))
        assert one.check_value == same.check_value == check_value(b"k" * 32)
        assert len(one.check_value) == 5
        assert check_value(b"l" * 32) != one.check_value


class TestTokens:
    def test_they_nest(self) -> None:
        """Version 2 is version 1 put through key 2: a stored token is brought forward without its number."""
        old, new = ring(token=1), ring(token=2)
        assert new.token(CARD, 1) == old.token(CARD)
        assert new.token(CARD) != old.token(CARD)
        forwarded = Cmac(key(Purpose.TOKEN, 2)).tag(b"\4" + old.token(CARD))
        assert forwarded == new.token(CARD) == new.token(CARD, 2)

    def test_a_version_that_is_not_in_the_ring_is_refused(self) -> None:
        """It must not be taken for the newest: every card would look unknown, every code wrong."""
        for version in (0, 3):
            with pytest.raises(KeyFault, match=f"version {version}"):
                ring(token=2).token(CARD, version)

    def test_they_are_the_issuers(self) -> None:
        """The same number at another issuer, or another number, is another token; 16 bytes each."""
        tokens = {ring().token(CARD), ring(42).token(CARD), ring().token(CARD[:-2] + b"8\0")}
        assert {len(token) for token in tokens} == {16}
        assert len(tokens) == 3


class TestVerifiers:
    def test_a_code_verifies_on_its_card_alone(self) -> None:
        """With the rows of two cards swapped neither code fits, and the right code fits the right card."""
        keys = ring()
        first, second = keys.verifier(1, "4321"), keys.verifier(2, "4321")
        assert first != second
        assert keys.verifies(1, first, 1, "4321")
        assert not keys.verifies(2, first, 1, "4321")
        assert not keys.verifies(1, second, 1, "4321")

    @pytest.mark.parametrize("digits", ["4322", "43210", "432", "", None])
    def test_another_code_does_not(self, digits: str | None) -> None:
        """A code that differs, is longer, shorter, or malformed does not verify."""
        keys = ring()
        assert not keys.verifies(1, keys.verifier(1, "4321"), 1, digits)

    def test_nobody_has_a_code_by_absence(self) -> None:
        """An unknown card and a card without a code verify nothing, not even the verifier of nothing."""
        keys = ring()
        assert not keys.verifies(None, None, None, "4321")
        assert not keys.verifies(1, None, None, "4321")
        assert not keys.verifies(None, keys.verifier(0, ""), 1, None)
        assert not keys.verifies(1, keys.verifier(1, ""), 1, None)

    def test_they_nest(self) -> None:
        """A verifier that was made before the key was changed verifies by its own version, and not by the new one."""
        old, new = ring(verifier=1), ring(verifier=2)
        stored = old.verifier(7, "4321")
        assert new.verifies(7, stored, 1, "4321")
        assert not new.verifies(7, stored, 2, "4321")
        assert new.verifier(7, "4321") == Cmac(key(Purpose.VERIFIER, 2)).tag(b"\2" + stored)


class TestDigests:
    def test_they_are_keyed_and_versioned(self) -> None:
        """Another content or another key version is another digest; the old version stays to be compared with."""
        old, new = ring(digest=1), ring(digest=2)
        assert new.digest(b"content", 1) == old.digest(b"content")
        assert new.digest(b"content") not in (old.digest(b"content"), new.digest(b"other"))
        assert len(new.digest(b"content")) == 16


class TestAnswers:
    @given(st.binary(max_size=ANSWER_BYTES))
    def test_an_answer_comes_back_whole(self, said: bytes) -> None:
        """Sealed without its trailing zeros, opened with them: 1,400 bytes, the same."""
        answer, keys = said.ljust(ANSWER_BYTES, b"\0"), ring()
        assert keys.open(NAME, 1, keys.seal(NAME, 1, answer, NONCE)) == answer

    @pytest.mark.parametrize(
        ("name", "page"),
        [
            (Name(1002, NAME.date, 7), 1),
            (Name(1001, NAME.date + dt.timedelta(days=1), 7), 1),
            (Name(1001, NAME.date, 8), 1),
            (NAME, 2),
        ],
    )
    def test_it_is_bound_to_its_name_and_page(self, name: Name, page: int) -> None:
        """A sealed answer in another row, or as another page, does not open."""
        keys = ring()
        sealed = keys.seal(NAME, 1, b"approved", NONCE)
        with pytest.raises(KeyFault):
            keys.open(name, page, sealed)

    def test_a_changed_byte_is_noticed(self) -> None:
        """No byte of a sealed answer can be changed: version, nonce, text or tag."""
        keys = ring()
        sealed = keys.seal(NAME, 1, b"approved", NONCE)
        for place in range(len(sealed)):
            changed = bytearray(sealed)
            changed[place] ^= 1
            with pytest.raises(KeyFault):
                keys.open(NAME, 1, bytes(changed))

    def test_an_answer_from_before_they_were_compressed_opens(self) -> None:
        """Version, nonce, and the text itself under the key, bound to its name and page."""
        text = f"{NAME.module} {NAME.date.toordinal()} {NAME.sequence} 1".encode()
        sealed = b"\0\1" + NONCE + AESGCM(key(Purpose.RECORD, 1)).encrypt(NONCE, b"approved", text)
        assert ring().open(NAME, 1, sealed) == b"approved".ljust(ANSWER_BYTES, b"\0")

    def test_it_says_by_which_dictionary_it_is_read(self) -> None:
        """Told to be of none, or of one that this program does not have, it does not open."""
        keys = ring()
        sealed = keys.seal(NAME, 1, b"approved", NONCE)
        assert sealed[0] >> 4 == DICTIONARY
        for other in (0, DICTIONARY + 1):
            with pytest.raises(KeyFault, match="does not open"):
                keys.open(NAME, 1, bytes([other << 4 | sealed[0] & 0xF]) + sealed[1:])
        place = f"{NAME.module} {NAME.date.toordinal()} {NAME.sequence} 1 {DICTIONARY + 1}".encode()
        newer = AESGCM(key(Purpose.RECORD, 1)).encrypt(NONCE, b"what only a newer program reads", place)
        with pytest.raises(KeyFault, match="install the newer program"):
            keys.open(NAME, 1, bytes([DICTIONARY + 1 << 4, 1]) + NONCE + newer)

    def test_what_was_cut_off_is_noticed(self) -> None:
        """Wherever, in the version and the nonce too."""
        keys = ring()
        sealed = keys.seal(NAME, 1, b"approved", NONCE)
        for length in range(len(sealed)):
            with pytest.raises(KeyFault):
                keys.open(NAME, 1, sealed[:length])

    def test_old_answers_open_after_a_change_of_keys(self) -> None:
        """An answer says which version sealed it; a ring without that version says so and no more."""
        old, new = ring(record=1), ring(record=2)
        assert new.open(NAME, 1, old.seal(NAME, 1, b"approved", NONCE)).rstrip(b"\0") == b"approved"
        with pytest.raises(KeyFault):
            old.open(NAME, 1, new.seal(NAME, 1, b"approved", NONCE))


class TestRing:
    @pytest.mark.parametrize("missing", ISSUER_PURPOSES)
    def test_a_missing_key_is_said(self, missing: Purpose) -> None:
        """A ring without one of the issuer's keys is refused, with the purpose and what to do."""
        keys = {(purpose, 1): key(purpose, 1) for purpose in ISSUER_PURPOSES if purpose is not missing}
        with pytest.raises(KeyFault, match=f"no {missing} key.*authsrv keys init"):
            KeyRing(41, keys)

    def test_nothing_shows(self) -> None:
        """No key stands in the repr of a ring or of a wrapped key."""
        assert repr(ring()) == "<KeyRing>"
        wrapped = wrap(KEK, Purpose.TOKEN, 0, 1, b"k" * 32, NONCE)
        assert "sealed" not in repr(wrapped)
