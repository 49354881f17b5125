"""The snapshot of the rules: which version of a programme is in force on a day."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from zoneinfo import ZoneInfo

from shop import GIFT

from authsrv.facts import Issuer
from authsrv.registry import Registry
from loyalty.source import parse_programme


def test_the_version_in_force() -> None:
    """Before its first day a version counts for nothing, and a later one takes over on its own first day."""
    first = replace(parse_programme(GIFT.read_text(), "gift.toml"), effective_from=dt.date(2026, 1, 1))
    second = replace(first, version=2, effective_from=dt.date(2026, 7, 1))
    issuer = Issuer(41, "Kafija SIA", 978, "EUR", 2, 7, ZoneInfo("Europe/Riga"))
    registry = Registry(1, issuer, {}, {5: (first, second)})
    assert registry.programme(5, dt.date(2025, 12, 31)) is None
    assert registry.programme(5, dt.date(2026, 1, 1)) is first
    assert registry.programme(5, dt.date(2026, 6, 30)) is first
    assert registry.programme(5, dt.date(2026, 7, 1)) is second
    assert registry.programme(6, dt.date(2026, 7, 1)) is None
