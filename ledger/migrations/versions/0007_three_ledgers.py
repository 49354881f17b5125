"""Passes, local credit, totals."""

from ledger.shell.migrate import run_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add what passes, credit and totals keep, and put the functions of the hot path in place again."""
    run_sql("0007_three_ledgers.sql")
