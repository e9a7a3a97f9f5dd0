"""The mirror of the schedules, and which announced statement of the exporter is known to have ended."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"

_TIME = sa.DateTime(timezone=True)
# Who has it is the exporter whose turn it is (`pipeline_core.store.outbox`).
_TURN = 0x706C657870


def upgrade() -> None:
    """Make the table. A statement that is announced isn't known to have ended: the next turn waits for it."""
    # A turn under way has read `export_job`, so the change of that table would wait for its end, and its announcements
    # would wait behind the change until they give up. Whoever waits for the turn itself is in nobody's way.
    op.execute(f"SELECT pg_advisory_xact_lock({_TURN})")
    op.create_table(
        "schedule_record",
        sa.Column("schedule_id", sa.Text, primary_key=True),
        sa.Column("org_slug", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("domain", sa.Text, nullable=False),
        sa.Column("pipeline", sa.Text, nullable=False),
        sa.Column("cron_expression", sa.Text, nullable=False),
        sa.Column("is_enabled", sa.Boolean, nullable=False),
        sa.Column("last_run_at", _TIME),
        sa.Column("next_run_at", _TIME),
        sa.Column("parameters", JSONB, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("object_namespace", sa.Text, nullable=False),
        sa.Column("object_name", sa.Text, nullable=False),
        sa.Column("deleted_at", _TIME),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default=sa.text("1")),
        sa.Column("exported_revision", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("unexported_since", _TIME, server_default=sa.func.now()),
        sa.CheckConstraint(
            "(unexported_since IS NULL) = (exported_revision = revision)", name="schedule_record_exported"
        ),
    )
    op.create_index(
        "schedule_record_outbox",
        "schedule_record",
        ["unexported_since"],
        postgresql_where=sa.text("unexported_since IS NOT NULL"),
    )
    op.execute("ALTER TABLE schedule_record ENABLE ROW LEVEL SECURITY")
    op.add_column("export_job", sa.Column("ended_job_id", sa.Text))
