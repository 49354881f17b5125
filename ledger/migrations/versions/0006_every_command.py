"""Blocks, new numbers and codes, closed cards, holds."""

from ledger.shell.migrate import run_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add what the further commands keep, and put the functions of the hot path in place again."""
    run_sql("0006_every_command.sql")
