"""A root key in two components."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.components import Component, ComponentError, join, split
from protocol.numbers import Suite
from protocol.signon import ModuleIdentity

KEY, RANDOM = bytes(range(32)), b"\x5a" * 32
IDENTITY = ModuleIdentity(1001, 1, Suite.SHARED_KEY, KEY, 7, bytes(16))


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_two_components_make_the_key(key: bytes, random: bytes) -> None:
    """In either order, also through a kit file; the first is the random bytes alone."""
    identity = replace(IDENTITY, root_key=key)
    first, second = split(identity, random)
    assert first.share == random
    read = [Component.from_json(each.to_json()) for each in (first, second)]
    assert join(*read) == join(second, first) == identity


def test_by_hand() -> None:
    """00 01 02 03 XOR 5a is 5a 5b 58 59."""
    assert split(IDENTITY, RANDOM)[1].share[:4].hex() == "5a5b5859"


def test_what_does_not_belong_together() -> None:
    """The same half twice, a half of another module or generation, one wrong digit: said, and no key is made."""
    first, second = split(IDENTITY, RANDOM)
    with pytest.raises(ComponentError, match="both are component 1"):
        join(first, first)
    for other in (replace(IDENTITY, module=1002), replace(IDENTITY, generation=2), replace(IDENTITY, root_key=RANDOM)):
        with pytest.raises(ComponentError, match="not of the same"):
            join(first, split(other, RANDOM)[1])
    with pytest.raises(ComponentError, match="one of them is wrong"):
        join(first, replace(second, share=second.share[:-1] + b"\0"))


def test_the_group_key_may_change_between_them() -> None:
    """The module gets the one that was handed out later."""
    first, second = split(IDENTITY, RANDOM)
    assert join(replace(second, group_key=b"n" * 16), first) == replace(IDENTITY, group_key=b"n" * 16)


def test_nothing_shows() -> None:
    """No share stands in a repr, and a component of another size is none."""
    first, _ = split(IDENTITY, RANDOM)
    assert repr(first) == "<Component 1 of 1001 generation 1>"
    with pytest.raises(ValueError, match="32 bytes"):
        replace(first, share=b"")
    with pytest.raises(ValueError, match="first or the second"):
        replace(first, place=3)
