"""The cards of a load test: numbers and codes that follow from a serial, so that millions of them need no list.

Easy to guess, which is right here and wrong for cards that are sold. Every second card has an access code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, overload

from authsrv.card_number import card_number

PREFIX: Final = "637113"
_CODE_STEP: Final = 7919  # a prime: neighbours have codes far apart


@dataclass(frozen=True, slots=True)
class Plastic:
    """A card as its holder has it."""

    number: str
    access_code: str | None

    def __repr__(self) -> str:
        return "<Plastic>"


def plastic(serial: int) -> Plastic:
    """The card of a serial."""
    return Plastic(card_number(PREFIX, serial), f"{serial * _CODE_STEP % 10_000:04d}" if serial % 2 else None)


def access_code_of(number: str) -> str | None:
    """The access code of one of our cards; None for one without, and for a foreign one."""
    return plastic(int(number[len(PREFIX) : -1])).access_code if number.startswith(PREFIX) else None


class Cards(Sequence[Plastic]):
    """The cards of a range of serials."""

    def __init__(self, serials: range) -> None:
        """Stand for these serials."""
        self._serials = serials

    @overload
    def __getitem__(self, place: int) -> Plastic: ...
    @overload
    def __getitem__(self, place: slice) -> "Cards": ...
    def __getitem__(self, place: int | slice) -> "Plastic | Cards":
        """One card, or fewer of them."""
        return Cards(self._serials[place]) if isinstance(place, slice) else plastic(self._serials[place])

    def __len__(self) -> int:
        return len(self._serials)
