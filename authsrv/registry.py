"""What every process keeps in memory of one issuer: the issuer, its modules and its programmes, as of one count of
changes.

It is a frozen snapshot. A batch reads the count under its locks; where that has moved on, nothing is decided: the
process loads a new snapshot and runs the batch again. So no process ever decides by an old rule (law 8).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from authsrv.facts import Issuer, Module
from loyalty.programme import Kind, Programme, version_on


@dataclass(frozen=True, slots=True)
class Registry:
    """A snapshot; programmes by number, each with its versions in order of their dates."""

    version: int
    issuer: Issuer
    modules: Mapping[int, Module]
    programmes: Mapping[int, Sequence[Programme]]
    watched: frozenset[int] = field(init=False)  # programmes of which some version limits what a card spends in a day

    def __post_init__(self) -> None:
        """Look the programmes through once, not for each batch."""
        watched = [number for number, each in self.programmes.items() if any(rules.watches_spending for rules in each)]
        object.__setattr__(self, "watched", frozenset(watched))

    def kind(self, number: int) -> Kind | None:
        """What cards of a programme hold, whichever version is in force, or none: no version changes that."""
        versions = self.programmes.get(number)
        return versions[0].kind if versions else None

    def programme(self, number: int, today: dt.date) -> Programme | None:
        """The version in force on the issuer's day `today`; None where there is none."""
        return version_on(self.programmes.get(number, ()), today)
