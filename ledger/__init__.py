"""Units, accounts and postings as values; `ledger.shell` keeps them in PostgreSQL."""
