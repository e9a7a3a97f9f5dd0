"""Runs whose object and pods are gone, of which only the target can tell whether they had published."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column, and the index by which the few such runs are found."""
    op.add_column("run_record", sa.Column("undecided_since", sa.DateTime(timezone=True)))
    op.create_index(
        "run_record_undecided",
        "run_record",
        ["run_id"],
        postgresql_where=sa.text("undecided_since IS NOT NULL"),
    )
