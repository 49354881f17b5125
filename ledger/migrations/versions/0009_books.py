"""What finance reads."""

from ledger.shell.migrate import run_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the views of differences and of reports."""
    run_sql("0009_books.sql")
