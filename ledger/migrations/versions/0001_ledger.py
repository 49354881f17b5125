"""The ledger: accounts, authorizations, postings; functions that write and views that read."""

from ledger.shell.migrate import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all of it."""
    run_sql("0001_ledger.sql")
    run_sql("0001_enrolment.sql")
