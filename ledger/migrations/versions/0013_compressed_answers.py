"""Answers compressed before they are sealed."""

from ledger.shell.migrate import run_sql

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Say so, and by that keep out programs that cannot read them."""
    run_sql("0013_compressed_answers.sql")
