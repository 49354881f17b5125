"""Sign-on as functions: what a HELLO hides and proves, and every changed bit of HELLO and WELCOME."""

import pytest

from protocol import signon
from protocol.crypto import ForgeryError, x25519_public
from protocol.frame import nonce
from protocol.numbers import Suite
from protocol.signon import ModuleIdentity, RootKey, Terms

ROOT_KEY, GROUP_KEY = bytes(range(32)), bytes(range(16))
SESSION, TERMS = b"sessions", Terms(100, 200, 30, 4, 20261121, 41)
MINE, THEIRS = b"\x01" * 32, b"\x02" * 32
SUITES = pytest.mark.parametrize("suite", Suite)


def identity(suite: Suite) -> ModuleIdentity:
    return ModuleIdentity(1001, 3, suite, ROOT_KEY, 7, GROUP_KEY)


def private(suite: Suite, key: bytes) -> bytes | None:
    return key if suite is Suite.SHARED_KEY_X25519 else None


def a_hello(suite: Suite) -> bytes:
    return signon.hello(identity(suite), SESSION, b"n" * 10, b"m" * 16, private(suite, MINE))


def a_welcome(suite: Suite) -> tuple[bytes, signon.SessionKeys]:
    return signon.welcome(a_hello(suite), identity(suite).root, TERMS, b"s" * 16, private(suite, THEIRS))


def flips(data: bytes) -> list[bytes]:
    number = int.from_bytes(data)
    return [(number ^ 1 << bit).to_bytes(len(data)) for bit in range(8 * len(data))]


@SUITES
def test_both_ends_agree(suite: Suite) -> None:
    """The module reads the terms that the switch wrote, and holds the same keys."""
    frame, keys = a_welcome(suite)
    assert signon.open_welcome(a_hello(suite), frame, identity(suite).root, private(suite, MINE)) == (TERMS, keys)
    assert (keys.next_root is None) == (suite is Suite.SHARED_KEY)
    own = {keys.to_switch, keys.to_module, keys.access_code, keys.iv_to_switch, keys.iv_to_module, keys.next_root}
    assert len(own) == 6


@SUITES
def test_hello_names_and_proves(suite: Suite) -> None:
    """The switch finds group, module, generation and suite in a HELLO, and checks its MAC."""
    frame = a_hello(suite)
    assert len(frame) == 104
    assert signon.hello_group(frame) == 7
    assert signon.hello_name(frame, GROUP_KEY) == signon.Named(1001, 3, suite.value)
    signon.check_hello(frame, ROOT_KEY)
    with pytest.raises(ForgeryError):
        signon.check_hello(frame, bytes(32))


@SUITES
def test_hello_hides_its_sender(suite: Suite) -> None:
    """The module number is not in the clear, and two HELLOs of one module show nothing alike but the group."""
    frame = a_hello(suite)
    other = signon.hello(identity(suite), b"SESSIONS", b"N" * 10, b"M" * 16, private(suite, b"\x03" * 32))
    assert (1001).to_bytes(4) not in frame
    assert frame[24:40] != other[24:40]
    assert frame[88:] != other[88:]


@SUITES
def test_every_flipped_bit_of_a_hello(suite: Suite) -> None:
    """No bit of the 104 bytes can change: the MAC covers the 88 before it."""
    for frame in flips(a_hello(suite)):
        with pytest.raises(ForgeryError):
            signon.check_hello(frame, ROOT_KEY)


@SUITES
def test_every_flipped_bit_of_a_welcome(suite: Suite) -> None:
    """No bit of the 116 bytes can change, clear or sealed, header too."""
    frame, _ = a_welcome(suite)
    for changed in flips(frame):
        with pytest.raises(ForgeryError):
            signon.open_welcome(a_hello(suite), changed, identity(suite).root, private(suite, MINE))


@SUITES
def test_welcome_answers_one_hello(suite: Suite) -> None:
    """A WELCOME to another HELLO of the same module does not open: it would be a replay."""
    frame, _ = a_welcome(suite)
    other = signon.hello(identity(suite), SESSION, b"n" * 10, b"x" * 16, private(suite, MINE))
    with pytest.raises(ForgeryError):
        signon.open_welcome(other, frame, identity(suite).root, private(suite, MINE))


@SUITES
def test_welcome_needs_the_root_key(suite: Suite) -> None:
    """Who does not know the root key cannot answer a HELLO."""
    frame, _ = signon.welcome(a_hello(suite), RootKey(suite, bytes(32)), TERMS, b"s" * 16, private(suite, THEIRS))
    with pytest.raises(ForgeryError):
        signon.open_welcome(a_hello(suite), frame, identity(suite).root, private(suite, MINE))


def test_unused_bytes_of_the_terms_are_checked() -> None:
    """A WELCOME whose eight unused bytes are not zero is refused, though its tag is right."""
    frame, keys = a_welcome(Suite.SHARED_KEY)
    clear = frame[:68]
    cipher, first = signon.Gcm(keys.to_module), nonce(keys.iv_to_module, 0)
    plain = cipher.open(first, frame[68:], clear)
    forged = clear + cipher.seal(first, plain[:-1] + b"\x01", clear)
    with pytest.raises(ForgeryError):
        signon.open_welcome(a_hello(Suite.SHARED_KEY), forged, identity(Suite.SHARED_KEY).root, None)


def test_a_share_belongs_to_suite_2() -> None:
    """A share in suite 1 is refused, and one that would agree on zero in suite 2."""
    root = identity(Suite.SHARED_KEY).root
    with_share = signon.hello(identity(Suite.SHARED_KEY), SESSION, b"n" * 10, b"m" * 16, MINE)
    with pytest.raises(ForgeryError):
        signon.welcome(with_share, root, TERMS, b"s" * 16, None)
    without = signon.hello(identity(Suite.SHARED_KEY_X25519), SESSION, b"n" * 10, b"m" * 16, None)
    with pytest.raises(ForgeryError):
        signon.welcome(without, identity(Suite.SHARED_KEY_X25519).root, TERMS, b"s" * 16, THEIRS)
    assert with_share[56:88] == x25519_public(MINE)


def test_nonce() -> None:
    """The counter changes the nonce's last eight bytes alone."""
    iv = bytes.fromhex("0102030405060708090a0b0c")
    assert nonce(iv, 0) == iv
    assert nonce(iv, 0x0100000000000001).hex() == "0102030404060708090a0b0d"


def test_kit() -> None:
    """An identity goes to a kit file and comes back, and shows no key."""
    one = identity(Suite.SHARED_KEY_X25519)
    kit = one.to_json()
    assert kit == {
        "module": 1001,
        "generation": 3,
        "suite": 2,
        "root_key": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "group": 7,
        "group_key": "000102030405060708090a0b0c0d0e0f",
    }
    assert ModuleIdentity.from_json(kit | {"branch": "Centre"}) == one
    _, keys = a_welcome(Suite.SHARED_KEY_X25519)
    shown = repr(one) + repr(one.root) + repr(keys)
    assert "\\x" not in shown
    assert "0c0d" not in shown


@pytest.mark.parametrize("wrong", [{"root_key": "00"}, {"group_key": "00" * 15}, {"suite": 3}])
def test_bad_kit(wrong: dict[str, object]) -> None:
    """A kit with a short key or an unknown suite is an error."""
    with pytest.raises(ValueError, match=r"bytes|Suite"):
        ModuleIdentity.from_json(identity(Suite.SHARED_KEY).to_json() | wrong)
