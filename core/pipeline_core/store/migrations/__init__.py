"""The history of the database's schema, for Alembic; `pipeline_core.store.migrate` applies it."""
