"""The hot path plans once a connection, not once a batch."""

from ledger.shell.migrate import run_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Set two functions; no row changes."""
    run_sql("0004_plans.sql")
