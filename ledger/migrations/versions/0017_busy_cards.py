"""A batch goes on without the cards that others hold, and has those who asked for them wait for its next one."""

from ledger.shell.migrate import run_sql

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Put the function in place of the one before; no row is touched."""
    run_sql("0017_busy_cards.sql")
