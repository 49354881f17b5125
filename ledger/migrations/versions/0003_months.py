"""Several processes may start at once: one makes the months, the others find them made."""

from ledger.shell.migrate import run_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Replace one function; no row changes."""
    run_sql("0003_months.sql")
