"""The day that spending counts on, and the horizon of late totals."""

from ledger.shell.migrate import run_sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Ask what was spent by the day of the decision, and drop the view of all late totals ever."""
    run_sql("0011_day_of_decision.sql")
