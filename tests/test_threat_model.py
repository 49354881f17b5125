"""The threat model names the tests that hold it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_cannot_names_a_test() -> None:
    """Each test that the page names is in the file that it names; each thing that somebody cannot do names one."""
    page = (ROOT / "THREAT-MODEL.md").read_text("utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) > 40
    missing = [
        f"{file}::{test}" for file, test in named if not re.search(rf"def {test}\(", (ROOT / file).read_text("utf-8"))
    ]
    assert missing == []
    items = re.findall(r"^\* (Cannot .*?)(?=^\* |^$)", page, re.MULTILINE | re.DOTALL)
    unnamed = [
        item for item in items if "tests/" not in item and "as above" not in item and "need the keys" not in item
    ]
    assert unnamed == []
