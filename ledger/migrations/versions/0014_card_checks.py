"""What a card may hold is checked by its row."""

from ledger.shell.migrate import run_sql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the checks; a row that breaks one stops it by that check's name."""
    run_sql("0014_card_checks.sql")
