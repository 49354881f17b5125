"""The page of a firm's first day is what happens when its commands are given."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING

import pytest
from transcript import ROOT, played

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "deploy" / "FIRST-DAY.md"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_first_day(database_folder: Path) -> None:
    """Install, keys, issuer, programme, branch, module, cards, first sale, end of day."""
    page = PAGE.read_text("utf-8")
    now = played(page, database_folder)
    if "AUTHSRV_RECORD" in os.environ:
        PAGE.write_text(now, "utf-8")
        page = now
    assert now == page, "\n".join(difflib.unified_diff(page.splitlines(), now.splitlines(), lineterm=""))
