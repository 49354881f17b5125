"""What finance reads."""

from ledger.shell.migrate import run_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the views of differences and of reports."""
    run_sql("0008_books.sql")
