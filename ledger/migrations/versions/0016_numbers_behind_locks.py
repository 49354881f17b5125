"""Numbers are reserved behind the locks, and only for names that can be recorded."""

from ledger.shell.migrate import run_sql

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Put the function in place of the one before; no row is touched."""
    run_sql("0016_numbers_behind_locks.sql")
