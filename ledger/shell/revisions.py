"""The revisions of the schema that this program knows.

A revision is a file `NNNN_name.py` in `ledger/migrations/versions/`, in one line without branches, so that its number
alone says which is newer. Read from the folder's names, so that the switch can check its schema without loading the
migration libraries.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "migrations"
HEAD = max(file.name.partition("_")[0] for file in (FOLDER / "versions").glob("[0-9]*.py"))
