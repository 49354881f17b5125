"""The page of a firm's first day is what happens when its commands are given."""

from __future__ import annotations

import difflib
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from transcript import ROOT, played

PAGE = ROOT / "deploy" / "FIRST-DAY.md"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_first_day(database_folder: Path) -> None:
    """Install, keys, issuer, programme, branch, module, cards, first sale, end of day."""
    page = PAGE.read_text("utf-8")
    now = played(page, database_folder)
    assert now == page, "\n".join(difflib.unified_diff(page.splitlines(), now.splitlines(), lineterm=""))


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp(prefix="authsrv-"))
    folder.chmod(0o711)
    try:
        PAGE.write_text(played(PAGE.read_text("utf-8"), folder), "utf-8")
    finally:
        shutil.rmtree(folder)
    sys.stdout.write(f"{PAGE} is written\n")
