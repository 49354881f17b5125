"""Keys that change while the switch works."""

from ledger.shell.migrate import run_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add what a change of keys keeps, and the functions of those who change them."""
    run_sql("0008_keys.sql")
