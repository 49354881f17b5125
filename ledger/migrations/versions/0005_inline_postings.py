"""Postings stand in the rows of their authorizations."""

from ledger.shell.migrate import run_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Carry the postings over, drop their table, and put the functions of the hot path in place again."""
    run_sql("0005_inline_postings.sql")
