"""Sign-on: HELLO, WELCOME and the keys that follow from them, for both ends, as functions of their bytes.

HELLO proves that its sender once knew the root key; it may be a replay, so the switch learns from it only where to
look. WELCOME proves that the switch knows the root key now, because it answers the module's random bytes. The module
proves the same with its first sealed request. So nothing of a card is sent, and nothing is believed, before that.

The transcript hash covers every byte of both, so that two ends with the same keys have agreed on everything. Who
records today's bytes and learns the root key tomorrow can open suite 1; suite 2 adds an X25519 exchange that keeps them
closed.
"""

import hashlib
import hmac
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from protocol.codec import Codec, LayoutError
from protocol.crypto import (
    ForgeryError,
    Gcm,
    decrypt_block,
    encrypt_block,
    expand,
    extract,
    mac,
    x25519_public,
    x25519_shared,
)
from protocol.frame import HEADER_BYTES, SESSION, header, nonce
from protocol.layout import HELLO, IDENTITY, TERMS, WELCOME
from protocol.numbers import FrameType, Suite

HELLO_INFO: Final = b"authsrv/1 hello"
SESSION_SALT: Final = b"authsrv/1 session"
KEYS_INFO: Final = b"authsrv/1 keys"
NEXT_ROOT_INFO: Final = b"authsrv/1 next root"
ROOT_KEY_BYTES: Final = 32
GROUP_KEY_BYTES: Final = 16
PRIVATE_BYTES: Final = 32
NAME_RANDOM_BYTES: Final = 10
RANDOM_BYTES: Final = 16
NO_SHARE: Final = bytes(32)

_HELLO = Codec(HELLO)
_IDENTITY = Codec(IDENTITY)
_WELCOME = Codec(WELCOME)
_TERMS = Codec(TERMS)
HELLO_MAC_OVER: Final = HEADER_BYTES + _HELLO["mac"].at
WELCOME_CLEAR: Final = HEADER_BYTES + _WELCOME["sealed"].at
_KEYS = struct.Struct("16s 16s 16s 12s 12s")


@dataclass(frozen=True, slots=True, repr=False)
class RootKey:
    """A module's root key of one generation, 32 bytes, and the suite that is pinned to it."""

    suite: Suite
    root_key: bytes

    def __post_init__(self) -> None:
        if len(self.root_key) != ROOT_KEY_BYTES:
            raise ValueError(f"a root key has {ROOT_KEY_BYTES} bytes")

    def __repr__(self) -> str:
        return f"<RootKey suite {self.suite.value}>"


@dataclass(frozen=True, slots=True, repr=False)
class ModuleIdentity:
    """What a module was given when it was enrolled."""

    module: int
    generation: int
    suite: Suite
    root_key: bytes
    group: int
    group_key: bytes

    def __post_init__(self) -> None:
        if len(self.root_key) != ROOT_KEY_BYTES or len(self.group_key) != GROUP_KEY_BYTES:
            raise ValueError("a root key has 32 bytes, a group key 16")

    def __repr__(self) -> str:
        return f"<ModuleIdentity {self.module} generation {self.generation} suite {self.suite.value}>"

    @property
    def root(self) -> RootKey:
        """The root key with its suite."""
        return RootKey(self.suite, self.root_key)

    def to_json(self) -> dict[str, Any]:
        """The identity as a kit file holds it, keys in hex."""
        return asdict(self) | {
            "suite": self.suite.value,
            "root_key": self.root_key.hex(),
            "group_key": self.group_key.hex(),
        }

    @classmethod
    def from_json(cls, kit: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote; other members are ignored. Raises KeyError and ValueError."""
        return cls(
            int(kit["module"]),
            int(kit["generation"]),
            Suite(kit["suite"]),
            bytes.fromhex(kit["root_key"]),
            int(kit["group"]),
            bytes.fromhex(kit["group_key"]),
        )


@dataclass(frozen=True, slots=True)
class Named:
    """Who a HELLO says it is from."""

    module: int
    generation: int
    suite: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What the switch grants a session; the last name is a hint, (0, 0) if it knows none."""

    frames_max: int
    life_s: int
    idle_s: int
    in_flight_max: int
    last_date: int = 0
    last_sequence: int = 0
    flags: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class SessionKeys:
    """The keys of one session; the next root key exists in suite 2 alone."""

    to_switch: bytes
    to_module: bytes
    access_code: bytes
    iv_to_switch: bytes
    iv_to_module: bytes
    next_root: bytes | None

    def __repr__(self) -> str:
        return "<SessionKeys>"


def hello(
    identity: ModuleIdentity, session: bytes, name_random: bytes, module_random: bytes, private: bytes | None
) -> bytes:
    """The HELLO frame, 104 bytes.

    `session` is 8 random bytes, `name_random` 10, `module_random` 16, `private` 32 (suite 2) or None (suite 1).
    """
    name = _IDENTITY.pack(
        {
            "module": identity.module,
            "generation": identity.generation,
            "suite": identity.suite.value,
            "name_random": name_random,
        }
    )
    start = header(FrameType.HELLO, session, 0)
    clear = _HELLO.pack(
        {
            "group": identity.group,
            "masked_identity": encrypt_block(identity.group_key, name),
            "module_random": module_random,
            "share": _share(private),
        }
    )[: _HELLO["mac"].at]
    return start + clear + _hello_mac(identity.root_key, start + clear)


def hello_group(frame: bytes) -> int:
    """The group number that a HELLO names."""
    return int(_HELLO.unpack(frame[HEADER_BYTES:])["group"])


def hello_name(frame: bytes, group_key: bytes) -> Named:
    """Who a HELLO says it is from; nonsense under another group's key."""
    raw = _IDENTITY.unpack(decrypt_block(group_key, _HELLO.unpack(frame[HEADER_BYTES:])["masked_identity"]))
    return Named(raw["module"], raw["generation"], raw["suite"])


def check_hello(frame: bytes, root_key: bytes) -> None:
    """Raise ForgeryError unless the HELLO's MAC was made with this root key."""
    if not hmac.compare_digest(_hello_mac(root_key, frame[:HELLO_MAC_OVER]), frame[HELLO_MAC_OVER:]):
        raise ForgeryError


def welcome(
    hello_frame: bytes, root: RootKey, terms: Terms, switch_random: bytes, private: bytes | None
) -> tuple[bytes, SessionKeys]:
    """The WELCOME frame, 116 bytes, that answers a checked HELLO, and the session's keys.

    `switch_random` is 16 bytes, `private` 32 (suite 2) or None (suite 1). Raises ForgeryError if the HELLO's share is
    not one of its suite.
    """
    said = _HELLO.unpack(hello_frame[HEADER_BYTES:])
    clear = header(FrameType.WELCOME, hello_frame[SESSION], 0) + switch_random + _share(private)
    keys = _derive(root, hello_frame + clear, private, said["share"])
    plain = _TERMS.pack(asdict(terms))
    return clear + Gcm(keys.to_module).seal(nonce(keys.iv_to_module, 0), plain, clear), keys


def open_welcome(
    hello_frame: bytes, welcome_frame: bytes, root: RootKey, private: bytes | None
) -> tuple[Terms, SessionKeys]:
    """What a WELCOME grants, and its keys; raises ForgeryError unless it answers this HELLO under this key."""
    said = _WELCOME.unpack(welcome_frame[HEADER_BYTES:])
    clear = welcome_frame[:WELCOME_CLEAR]
    keys = _derive(root, hello_frame + clear, private, said["share"])
    plain = Gcm(keys.to_module).open(nonce(keys.iv_to_module, 0), said["sealed"], clear)
    try:
        return Terms(**_TERMS.unpack(plain)), keys
    except LayoutError:
        raise ForgeryError from None


def _share(private: bytes | None) -> bytes:
    return NO_SHARE if private is None else x25519_public(private)


def _hello_mac(root_key: bytes, message: bytes) -> bytes:
    return mac(expand(root_key, HELLO_INFO, ROOT_KEY_BYTES), message)


def _derive(root: RootKey, transcript: bytes, private: bytes | None, share: bytes) -> SessionKeys:
    digest = hashlib.sha256(transcript).digest()
    key = extract(SESSION_SALT, root.root_key + _agreed(root.suite, private, share))
    stream = expand(key, KEYS_INFO + digest, _KEYS.size)
    to_switch, to_module, access_code, iv_to_switch, iv_to_module = _KEYS.unpack(stream)
    renewable = root.suite is Suite.SHARED_KEY_X25519
    next_root = expand(key, NEXT_ROOT_INFO + digest, ROOT_KEY_BYTES) if renewable else None
    return SessionKeys(to_switch, to_module, access_code, iv_to_switch, iv_to_module, next_root)


def _agreed(suite: Suite, private: bytes | None, share: bytes) -> bytes:
    match suite:
        case Suite.SHARED_KEY_X25519:
            if private is None:
                raise ValueError("suite 2 needs a private key")
            return x25519_shared(private, share)
        case Suite.SHARED_KEY:
            if share != NO_SHARE:
                raise ForgeryError
            return b""
