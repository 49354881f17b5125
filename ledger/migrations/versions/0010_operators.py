"""Operators: their desks, and the trail of what they do."""

from ledger.shell.migrate import run_sql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the audit trail, and desks that have no key."""
    run_sql("0010_operators.sql")
