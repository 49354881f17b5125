"""What Alembic runs for each command: connection, transaction and schema come from `ledger.shell.migrate`."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    version_table_schema=context.config.attributes["schema"],
)
context.run_migrations()
