"""The reason of a run's end, so that its object can be told the same after a crash."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; records from before have none."""
    op.add_column("run_record", sa.Column("reason", sa.Text))
