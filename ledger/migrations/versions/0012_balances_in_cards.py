"""A card's balances in its own row."""

from ledger.shell.migrate import run_sql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Carry the balances of all cards over, and put a view in the place of the table of accounts."""
    run_sql("0012_balances_in_cards.sql")
