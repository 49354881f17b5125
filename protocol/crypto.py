"""The few pieces of cryptography that the wire is made of, under the names that `WIRE.md` uses.

They are thin on purpose: each is one call of a kept library, in the one form that the wire and the stored tokens need,
so that the public vectors of NIST and the RFCs can be run through exactly what runs in a session. What fails to verify
raises `ForgeryError`, which says nothing about why.
"""

import hmac
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

BLOCK_BYTES: Final = 16
SHA256_BLOCK_BYTES: Final = 64
CHECK_BYTES: Final = 5
_CHECK_INFO: Final = b"authsrv/1 check"
_CIPHERS_KEPT: Final = 4096


class ForgeryError(Exception):
    """A tag, a MAC or a share that does not verify."""


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-SHA256's first half (RFC 5869): a pseudo-random key of 32 bytes from a secret."""
    return hmac.digest(salt, secret, "sha256")


def expand(key: bytes, info: bytes, size: int) -> bytes:
    """HKDF-SHA256's second half (RFC 5869): `size` bytes from a key, for the use that `info` names."""
    return HKDFExpand(algorithm=hashes.SHA256(), length=size, info=info).derive(key)


def check_value(key: bytes) -> bytes:
    """Five bytes that tell a key from another without telling the key."""
    return expand(key, _CHECK_INFO, CHECK_BYTES)


def mac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256, cut to its first 16 bytes."""
    return hmac.digest(key, message, "sha256")[:16]


class BlockCipher:
    """AES over single blocks of 16 bytes, under one key.

    Making a key ready costs ten times what a block does, so who has many keys keeps the cipher of each beside it, as a
    switch its sessions': a cache for all would be too small for some and outlive others. ECB keeps nothing between
    blocks.
    """

    __slots__ = ("decrypt", "encrypt")

    def __init__(self, key: bytes):
        cipher = Cipher(AES(key), ECB())  # noqa: S305 - one block, no mode is meant
        self.encrypt: Callable[[bytes], bytes] = cipher.encryptor().update
        self.decrypt: Callable[[bytes], bytes] = cipher.decryptor().update


def encrypt_block(key: bytes, block: bytes) -> bytes:
    """AES over one block of 16 bytes."""
    return _cipher(key).encrypt(block)


def decrypt_block(key: bytes, block: bytes) -> bytes:
    """The inverse of `encrypt_block`."""
    return _cipher(key).decrypt(block)


@lru_cache(_CIPHERS_KEPT)
def _cipher(key: bytes) -> BlockCipher:
    return BlockCipher(key)


class Hmac:
    """HMAC-SHA256 (RFC 2104) under one key of at most 64 bytes, made ready once: the two hashes begun with its pads."""

    def __init__(self, key: bytes):
        if len(key) > SHA256_BLOCK_BYTES:
            raise ValueError(f"a key of {len(key)} bytes would have to be hashed first")
        padded = key.ljust(SHA256_BLOCK_BYTES, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in padded))

    def tag(self, message: bytes) -> bytes:
        """The 32 bytes of a message."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()


class Cmac:
    """AES-CMAC (RFC 4493) under one key, made ready once; 16-byte tags."""

    def __init__(self, key: bytes):
        self._fresh = CMAC(AES(key))

    def tag(self, message: bytes) -> bytes:
        """The tag of a message."""
        mac = self._fresh.copy()
        mac.update(message)
        return mac.finalize()


class Gcm:
    """AES-GCM under one key; 16-byte tag behind the ciphertext."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes):
        self._cipher = AESGCM(key)

    def seal(self, nonce: bytes, plain: bytes, associated: bytes) -> bytes:
        """Encrypt and tag; a nonce may be used once."""
        return self._cipher.encrypt(nonce, plain, associated)

    def open(self, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        """Check the tag and decrypt; raises ForgeryError."""
        try:
            return self._cipher.decrypt(nonce, sealed, associated)
        except InvalidTag:
            raise ForgeryError from None


def x25519_public(private: bytes) -> bytes:
    """The public share, 32 bytes, of a private key of 32 random bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def x25519_shared(private: bytes, share: bytes) -> bytes:
    """What two shares have in common (RFC 7748), 32 bytes; raises ForgeryError if it would be all zero."""
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError:
        raise ForgeryError from None
