"""The table of the schema's version is closed to other roles, like all others."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Turn row security on; the owner, who migrates, is exempt."""
    op.execute(f"ALTER TABLE {op.get_context().version_table} ENABLE ROW LEVEL SECURITY")
