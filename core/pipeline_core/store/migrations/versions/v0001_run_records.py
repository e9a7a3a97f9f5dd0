"""Run records, the exporter's intent, and integrations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the three tables, reachable by their owner alone."""
    _make_run_record()
    op.create_table(
        "export_job",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("submitted_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("id = 1", name="export_job_single"),
    )
    op.create_table(
        "org_integrations",
        sa.Column("org_slug", sa.Text, primary_key=True),
        sa.Column("provider", sa.Text, primary_key=True),
        sa.Column("settings", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'ACTIVE'")),
        sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", _TIME, nullable=False, server_default=sa.func.now()),
    )
    # Supabase serves every table of `public` to its anonymous API unless row security is on; the owner, which the
    # operator connects as, is exempt.
    for table in ("run_record", "export_job", "org_integrations"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


def _make_run_record() -> None:
    final = "'completed', 'failed', 'cancelled'"
    op.create_table(
        "run_record",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("org_slug", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("domain", sa.Text, nullable=False),
        sa.Column("pipeline", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME),
        sa.Column("completed_at", _TIME),
        sa.Column("records_processed", sa.BigInteger),
        sa.Column("error_message", sa.Text),
        sa.Column("parameters", JSONB, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("schedule_id", sa.Text),
        sa.Column("object_namespace", sa.Text),
        sa.Column("object_name", sa.Text),
        sa.Column("object_uid", sa.Text),
        sa.Column("job_name", sa.Text),
        sa.Column("progress", sa.SmallInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("message", sa.Text),
        sa.Column("transitions", JSONB, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("exported_revision", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("unexported_since", _TIME, server_default=sa.func.now()),
        sa.CheckConstraint(
            f"status IN ('pending', 'validating', 'running', 'processing', {final})", name="run_record_status"
        ),
        sa.CheckConstraint(f"(completed_at IS NOT NULL) = (status IN ({final}))", name="run_record_completed"),
        sa.CheckConstraint("progress BETWEEN 0 AND 100", name="run_record_progress"),
        sa.CheckConstraint("(unexported_since IS NULL) = (exported_revision = revision)", name="run_record_exported"),
    )
    newest = [sa.text("created_at DESC"), sa.text("run_id DESC")]
    op.create_index("run_record_history", "run_record", ["org_slug", *newest])
    # Partial: the exporter's poll and the operator's sweep read only what waits for them.
    waiting, live = sa.text("unexported_since IS NOT NULL"), sa.text("completed_at IS NULL")
    op.create_index("run_record_outbox", "run_record", ["unexported_since"], postgresql_where=waiting)
    op.create_index("run_record_unfinished", "run_record", ["run_id"], postgresql_where=live)
    over = sa.text("completed_at IS NOT NULL")
    op.create_index("run_record_retention", "run_record", ["completed_at"], postgresql_where=over)
