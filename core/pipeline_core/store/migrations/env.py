"""Alembic's entry: upgrades on the connection, and in the transaction, that `pipeline_core.store.migrate` opened."""

from alembic import context

from pipeline_core.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
)
with context.begin_transaction():
    context.run_migrations()
