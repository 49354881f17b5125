"""Tokens, verifiers, digests and sealed answers: what the ledger keeps instead of what must not be kept (law 6).

What must hold:
  * A token or verifier of version n is the one of version n - 1 put through key n, so that both rotate without
    numbers or codes.
  * A verifier is bound to its card's id: moved to another card's row, it fits no code.
  * A sealed answer is bound to its name and page, and to the dictionary that it was compressed by.
  * Keys leave the ring in no repr. Python cannot wipe them; nothing here claims to.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from authsrv.compression import DICTIONARY, compressed, decompressed
from ledger.names import Name
from protocol.crypto import Cmac, Hmac, check_value

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
DIGEST_BYTES: Final = 16
CARD_BYTES: Final = 20
ANSWER_BYTES: Final = 1400

_VERIFIER_FIRST, _VERIFIER_NEXT, _TOKEN_FIRST, _TOKEN_NEXT = b"\1", b"\2", b"\3", b"\4"
_NO_CARD: Final = 0
_VERSION_BITS: Final = 12  # of the two bytes before a sealed answer; above them the number of its dictionary
VERSION_MAX: Final = 2**_VERSION_BITS - 1  # of any key, which whoever adds one checks


class KeyFault(Exception):
    """A key is missing, does not open, or is there twice; the message says which and what to do, never its value."""


class Purpose(StrEnum):
    """What a key is for. The list is open: another purpose is another member."""

    TOKEN = "token"  # noqa: S105 - the name of a purpose
    VERIFIER = "verifier"
    DIGEST = "digest"
    RECORD = "record"
    GROUP = "group"
    MODULE = "module"
    COMPONENT = "component"  # half of a module's root key, until it is handed out


ISSUER_PURPOSES: Final = (Purpose.TOKEN, Purpose.VERIFIER, Purpose.DIGEST, Purpose.RECORD)
"""The keys that an issuer has one ring of; a group's and a module's belong to that group or module."""


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key as the database keeps it, under the key-encryption key; `owner` is 0 or a group's or module's number."""

    purpose: Purpose
    owner: int
    version: int
    sealed: bytes = field(repr=False)
    check_value: bytes


def wrap(kek: bytes, purpose: Purpose, owner: int, version: int, key: bytes, nonce: bytes) -> WrappedKey:
    """Seal `key` under the 32-byte key-encryption key, bound to what it is for."""
    sealed = nonce + AESGCM(kek).encrypt(nonce, key, _label(purpose, owner, version))
    return WrappedKey(purpose, owner, version, sealed, check_value(key))


def unwrap(kek: bytes, wrapped: WrappedKey) -> bytes:
    """The key itself; raises KeyFault unless `kek` sealed it for this purpose, owner and version."""
    nonce, sealed = wrapped.sealed[:NONCE_BYTES], wrapped.sealed[NONCE_BYTES:]
    try:
        return AESGCM(kek).decrypt(nonce, sealed, _label(wrapped.purpose, wrapped.owner, wrapped.version))
    except InvalidTag:
        raise KeyFault(
            f"the {wrapped.purpose} key of {wrapped.owner}, version {wrapped.version}, does not open: "
            "the key-encryption key is not the one that this database was set up with, or the row was changed"
        ) from None


def _label(purpose: Purpose, owner: int, version: int) -> bytes:
    return f"authsrv/1 key {purpose} {owner} {version}".encode()


class KeyRing:
    """An issuer's keys in every version, opened; made from (purpose, version) -> 32 bytes.

    `coming` is the next token key, 32 bytes, where one is being prepared: numbers that are issued meanwhile need heirs.
    """

    def __init__(self, issuer: int, keys: Mapping[tuple[Purpose, int], bytes], coming: bytes | None = None) -> None:
        self._coming = Cmac(coming) if coming is not None else None
        self._first_of_token = _TOKEN_FIRST + issuer.to_bytes(4)
        self._current: dict[Purpose, int] = {}
        for purpose in ISSUER_PURPOSES:
            versions = [version for held, version in keys if held is purpose]
            if not versions:
                raise KeyFault(f"the database holds no {purpose} key: make the issuer's keys with `authsrv keys init`")
            if sorted(versions) != list(range(1, len(versions) + 1)):
                raise KeyFault(f"the database holds the {purpose} keys {sorted(versions)}: one in between is missing")
            self._current[purpose] = max(versions)
        self.token_key, self.digest_key = self._current[Purpose.TOKEN], self._current[Purpose.DIGEST]
        self._token_macs = self._nest(keys, Purpose.TOKEN)
        self._verifier_macs = self._nest(keys, Purpose.VERIFIER)
        self._digests = {version: Hmac(key) for (purpose, version), key in keys.items() if purpose is Purpose.DIGEST}
        self._records = {version: AESGCM(key) for (purpose, version), key in keys.items() if purpose is Purpose.RECORD}
        self._record = self._records[self._current[Purpose.RECORD]]
        self._record_version = (DICTIONARY << _VERSION_BITS | self._current[Purpose.RECORD]).to_bytes(2)

    def __repr__(self) -> str:
        return "<KeyRing>"

    def current(self, purpose: Purpose) -> int:
        """The newest version for a purpose: the one that new rows are made under."""
        return self._current[purpose]

    def token(self, card: bytes, version: int | None = None) -> bytes:
        """The 16 bytes that stand for a card number, given as the 20 bytes of the wire."""
        return _nested(_up_to(self._token_macs, version), self._first_of_token + card, _TOKEN_NEXT)

    @property
    def has_coming(self) -> bool:
        """Whether a next token key is being prepared."""
        return self._coming is not None

    def heir(self, token: bytes) -> bytes:
        """What a token of the newest version becomes under the coming key; raises KeyFault where none is coming."""
        if self._coming is None:
            raise KeyFault("no token key is coming")
        return self._coming.tag(_TOKEN_NEXT + token)

    def brought_forward(self, verifier: bytes, version: int) -> bytes:
        """A verifier of an older version as it is under the newest key: without its code, by nesting."""
        value = verifier
        for mac in self._verifier_macs[version:]:
            value = mac.tag(_VERIFIER_NEXT + value)
        return value

    def verifier(self, card_id: int, digits: str, version: int | None = None) -> bytes:
        """The 16 bytes that an access code is compared by."""
        first = _VERIFIER_FIRST + card_id.to_bytes(8) + digits.encode()
        return _nested(_up_to(self._verifier_macs, version), first, _VERIFIER_NEXT)

    def verifies(self, card_id: int | None, verifier: bytes | None, version: int | None, digits: str | None) -> bool:
        """Whether `digits` is the card's code.

        An unknown card, a card without a code and a malformed code take the same work.
        """
        made = self.verifier(card_id or _NO_CARD, digits or "", version)
        right = hmac.compare_digest(made, verifier or bytes(len(made)))
        return right and card_id is not None and verifier is not None and digits is not None

    def digest(self, identity: bytes, version: int | None = None) -> bytes:
        """The keyed digest of a request's content, 16 bytes: HMAC-SHA-256 cut to half."""
        return self._digests[version or self.digest_key].tag(identity)[:DIGEST_BYTES]

    def seal(self, name: Name, page: int, answer: bytes, nonce: bytes) -> bytes:
        """A recorded answer for the ledger: dictionary and version, nonce, and the answer without its trailing zeros,
        compressed and sealed.

        Who made the answer hands it in before it is filled up: to take off a thousand zeros costs more than to seal.
        """
        small = compressed(answer.rstrip(b"\0"))
        return self._record_version + nonce + self._record.encrypt(nonce, small, _place(name, page, DICTIONARY))

    def open(self, name: Name, page: int, sealed: bytes) -> bytes:
        """The recorded answer, 1,400 bytes; raises KeyFault if it is not this name's and page's, or was changed."""
        dictionary, version = divmod(int.from_bytes(sealed[:2]), VERSION_MAX + 1)
        nonce = sealed[2 : 2 + NONCE_BYTES]
        try:
            answer = self._records[version].decrypt(nonce, sealed[2 + NONCE_BYTES :], _place(name, page, dictionary))
        except (KeyError, ValueError, InvalidTag):  # a ValueError: cut within its nonce
            raise KeyFault(f"a recorded answer does not open under record key {version}") from None
        if dictionary:  # none: from before answers were compressed
            try:
                answer = decompressed(answer, dictionary, ANSWER_BYTES)
            except ValueError as error:
                raise KeyFault(str(error)) from None
        return filled_up(answer)

    def _nest(self, keys: Mapping[tuple[Purpose, int], bytes], purpose: Purpose) -> tuple[Cmac, ...]:
        return tuple(Cmac(keys[purpose, version]) for version in range(1, self._current[purpose] + 1))


def filled_up(page: bytes) -> bytes:
    """A page of an answer as it leaves: 1,400 bytes, zeros at its end."""
    return page.ljust(ANSWER_BYTES, b"\0")


def _up_to(macs: tuple[Cmac, ...], version: int | None) -> tuple[Cmac, ...]:
    if version is not None and not 0 < version <= len(macs):
        raise KeyFault(f"version {version} of a key is not in the ring, which has {len(macs)}")
    return macs[:version]


def _nested(macs: tuple[Cmac, ...], first: bytes, following: bytes) -> bytes:
    """The value of the last of these versions: each is the one before put through its key."""
    value = macs[0].tag(first)
    for mac in macs[1:]:
        value = mac.tag(following + value)
    return value


def _place(name: Name, page: int, dictionary: int) -> bytes:
    module, date, sequence = name
    by = f" {dictionary}" if dictionary else ""
    return f"{module} {date.toordinal()} {sequence} {page}{by}".encode("ascii")
