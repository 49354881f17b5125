"""Profiles: what a run does, as data.

A module never has two requests in flight, like a till with one queue. So what is in flight in all is at most the number
of modules, and a profile with more in flight is one with more modules.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from importlib.resources import files
from typing import Any, Final, Self

FOLDER: Final = files("loadtest").joinpath("profiles")


class ProfileError(Exception):
    """A profile cannot be used; the message says why."""


class Load(StrEnum):
    """What makes a module ask."""

    CLOSED = "closed"  # its last answer: the switch sets the pace
    OPEN = "open"  # a customer: arrivals at a rate, whatever the switch does


class Act(StrEnum):
    """What a module may do next."""

    SALE = "sale"
    BALANCE = "balance"
    RELOAD = "reload"
    ACTIVATE = "activate"
    REFUND = "refund"
    REVERSE = "reverse"
    REPRINT = "reprint"
    ECHO = "echo"
    PAGE = "page"
    WRONG_CODE = "wrong_code"
    UNKNOWN_CARD = "unknown_card"
    REPEAT = "repeat"
    NOT_SERVED = "not_served"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of load; rates in requests a second, times in seconds."""

    name: str
    load: Load
    connections: int
    modules_per_connection: int
    cards: int
    mix: Mapping[Act, float]
    duration_s: float = 15.0
    warm_up_s: float = 2.0
    rate_per_s: float = 0.0  # open load: at the curve's 1.0
    curve: tuple[float, ...] = (1.0,)  # open load: the rate's course over the run, in equal steps
    storm_modules: int = 0  # that sign on together in the midst of the run

    def __post_init__(self) -> None:
        if min(self.connections, self.modules_per_connection, self.cards, self.duration_s) <= 0:
            raise ProfileError(f"{self.name}: connections, modules_per_connection, cards and duration_s are above 0")
        if self.load is Load.OPEN and self.rate_per_s <= 0:
            raise ProfileError(f"{self.name}: an open load needs a rate_per_s above 0")
        if not self.mix or min(self.mix.values()) < 0 or not sum(self.mix.values()):
            raise ProfileError(f"{self.name}: the mix needs a weight above 0")

    @property
    def modules(self) -> int:
        """How many modules work all the time."""
        return self.connections * self.modules_per_connection

    def changed(self, *, duration_s: float | None = None, rate_per_s: float | None = None) -> Self:
        """The same for another duration; with a rate, under open load at that rate."""
        longer = self if duration_s is None else replace(self, duration_s=duration_s)
        return longer if rate_per_s is None else replace(longer, load=Load.OPEN, rate_per_s=rate_per_s)


def names() -> list[str]:
    """The profiles that come along."""
    return sorted(file.name.removesuffix(".toml") for file in FOLDER.iterdir() if file.name.endswith(".toml"))


def load_profile(name: str) -> Profile:
    """The profile of that name. Raises `ProfileError`."""
    if name not in names():
        raise ProfileError(f"there is no profile {name}; give one of {', '.join(names())}")
    return parse_profile(FOLDER.joinpath(f"{name}.toml").read_text("utf-8"))


def parse_profile(text: str) -> Profile:
    """Read a profile from TOML. Raises `ProfileError`."""
    try:
        raw: dict[str, Any] = tomllib.loads(text)
        unknown = raw.keys() - {field.name for field in fields(Profile)}
        if unknown:
            raise ProfileError(f"a profile has no {', '.join(sorted(unknown))}")
        raw["load"] = Load(raw["load"])
        raw["mix"] = {Act(act): weight for act, weight in raw["mix"].items()}
        return Profile(**raw | {"curve": tuple(raw.get("curve", (1.0,)))})
    except (KeyError, TypeError, ValueError) as error:
        raise ProfileError(f"not a profile: {error}") from None
