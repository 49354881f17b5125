"""The kit file: where the switch listens, which modules may be played, and the cards that they are shown.

It holds keys, numbers and codes in plain, so it belongs to tests, demos and the person who sets a module up.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeVar

from protocol.components import Component, ComponentError, join
from protocol.signon import ModuleIdentity
from receipts.catalogue import SOURCE_LANGUAGE

PLACE_DIGITS_MAX: Final = 7  # longer than this is a card number
T = TypeVar("T")


HALF: Final = "this kit holds one component of a key: put it together with the other by `authsrv-terminal join`"


class KitError(Exception):
    """The kit file cannot be used; the message says why."""


@dataclass(frozen=True, slots=True, repr=False)
class KitCard:
    """A card and the code that its holder knows, if it has one."""

    number: str
    access_code: str | None


@dataclass(frozen=True, slots=True, repr=False)
class Kit:
    """What a kit file says."""

    host: str
    port: int
    currency: int
    exponent: int
    modules: tuple[ModuleIdentity, ...]
    cards: tuple[KitCard, ...]
    languages: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Self:
        """Read the text of a kit file; raises KitError."""
        try:
            raw = json.loads(text)
            if any("component" in each for each in raw["modules"]):
                raise KitError(HALF)
            return cls(
                str(raw["host"]),
                int(raw["port"]),
                int(raw["currency"]),
                int(raw["exponent"]),
                tuple(ModuleIdentity.from_json(each) for each in raw["modules"]),
                tuple(KitCard(str(each["number"]), each["access_code"]) for each in raw["cards"]),
                tuple(str(each.get("language", SOURCE_LANGUAGE)) for each in raw["modules"]),
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise KitError(f"this is no kit file: {type(error).__name__} while reading it") from None

    def till(self, place: int) -> ModuleIdentity:
        """The module at a place, counted from 1; raises KitError."""
        return _at(self.modules, place, "modules")

    def language(self, place: int) -> str:
        """The language of that module's receipts; raises KitError."""
        return _at(self.languages or (SOURCE_LANGUAGE,) * len(self.modules), place, "modules")

    def card(self, place_or_number: str) -> KitCard:
        """A card by its place, counted from 1, or by its number, which the kit need not know; raises KitError."""
        if not place_or_number.isascii() or not place_or_number.isdigit():
            raise KitError("a card is given by its number, or by its place in the kit")
        for card in self.cards:
            if card.number == place_or_number:
                return card
        if len(place_or_number) > PLACE_DIGITS_MAX:
            return KitCard(place_or_number, None)
        return _at(self.cards, int(place_or_number), "cards")


def joined(one: str, other: str) -> str:
    """The text of a kit, made of the texts of two kits with one component each; raises KitError."""
    try:
        raw, beside = json.loads(one), json.loads(other)
        [first], [second] = raw["modules"], beside["modules"]
        identity = join(Component.from_json(first), Component.from_json(second))
    except ComponentError as error:
        raise KitError(str(error)) from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise KitError(f"these are no kits with a component each: {type(error).__name__} while reading them") from None
    return json.dumps(raw | {"modules": [identity.to_json() | {"branch": first.get("branch")}]}) + "\n"


def _at(items: Sequence[T], place: int, what: str) -> T:
    if not 1 <= place <= len(items):
        raise KitError(f"the kit has {len(items)} {what}; there is none at place {place}")
    return items[place - 1]
