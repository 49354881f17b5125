"""A module's root key in two components, each for one person: neither of them alone knows anything of the key.

The first component is random and the second is the key XOR the first, so that each by itself is as random as the other.
Both carry the key's check value: who joins them learns whether they belong together, and whether both were typed right.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from protocol.crypto import check_value
from protocol.numbers import Suite
from protocol.signon import GROUP_KEY_BYTES, ROOT_KEY_BYTES, ModuleIdentity

COMPONENTS: Final = 2


class ComponentError(Exception):
    """Two components do not make a key; the message says why, and shows neither."""


@dataclass(frozen=True, slots=True, repr=False)
class Component:
    """One of the two; `place` is 1 or 2."""

    module: int
    generation: int
    suite: Suite
    group: int
    group_key: bytes
    place: int
    share: bytes
    check_value: bytes

    def __post_init__(self) -> None:
        if len(self.share) != ROOT_KEY_BYTES or len(self.group_key) != GROUP_KEY_BYTES:
            raise ValueError("a component has 32 bytes, a group key 16")
        if not 1 <= self.place <= COMPONENTS:
            raise ValueError("a component is the first or the second")

    def __repr__(self) -> str:
        return f"<Component {self.place} of {self.module} generation {self.generation}>"

    def to_json(self) -> dict[str, Any]:
        """The component as a kit file holds it, in the place of a whole key."""
        return {
            "module": self.module,
            "generation": self.generation,
            "suite": self.suite.value,
            "component": self.place,
            "share": self.share.hex(),
            "check_value": self.check_value.hex(),
            "group": self.group,
            "group_key": self.group_key.hex(),
        }

    @classmethod
    def from_json(cls, kit: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote; other members are ignored. Raises KeyError and ValueError."""
        return cls(
            int(kit["module"]),
            int(kit["generation"]),
            Suite(kit["suite"]),
            int(kit["group"]),
            bytes.fromhex(kit["group_key"]),
            int(kit["component"]),
            bytes.fromhex(kit["share"]),
            bytes.fromhex(kit["check_value"]),
        )


def split(identity: ModuleIdentity, random: bytes) -> tuple[Component, Component]:
    """The two components of a module's root key; `random` is 32 unpredictable bytes."""
    check = check_value(identity.root_key)

    def component(place: int, share: bytes) -> Component:
        return Component(
            identity.module, identity.generation, identity.suite, identity.group, identity.group_key,
            place, share, check,
        )  # fmt: skip

    return component(1, random), component(2, _xor(identity.root_key, random))


def join(one: Component, other: Component) -> ModuleIdentity:
    """The module that both were made of, in either order; raises ComponentError where they are not of one key."""
    if one.place == other.place:
        raise ComponentError(f"both are component {one.place}; the other one is missing")
    alike = (one.module, one.generation, one.suite, one.group, one.check_value)
    if alike != (other.module, other.generation, other.suite, other.group, other.check_value):
        raise ComponentError("the components are not of the same module and key")
    root_key = _xor(one.share, other.share)
    if not hmac.compare_digest(check_value(root_key), one.check_value):
        raise ComponentError("the components do not make the key whose check value they carry: one of them is wrong")
    group_key = max(one, other, key=lambda each: each.place).group_key  # the one that was handed out later
    return ModuleIdentity(one.module, one.generation, one.suite, root_key, one.group, group_key)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
