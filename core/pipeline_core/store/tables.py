"""The tables in PostgreSQL, as SQLAlchemy Core sees them; the migrations make them."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

_STATUSES = "'pending', 'validating', 'running', 'processing', 'completed', 'failed', 'cancelled'"
_FINAL_STATUSES = "'completed', 'failed', 'cancelled'"

# One row a run: the live view, and the outbox of the exporter. `revision` grows with each change of what is exported;
# `unexported_since` is when the oldest such change not yet in BigQuery was made, null when there is none.
run_record = Table(
    "run_record",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("org_slug", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("pipeline", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("started_at", DateTime(timezone=True)),
    Column("completed_at", DateTime(timezone=True)),
    Column("records_processed", BigInteger),
    Column("error_message", Text),
    Column("reason", Text),
    Column("parameters", JSONB, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("schedule_id", Text),
    Column("object_namespace", Text),
    Column("object_name", Text),
    Column("object_uid", Text),
    Column("job_name", Text),
    Column("progress", SmallInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("message", Text),
    Column("undecided_since", DateTime(timezone=True)),
    Column("transitions", JSONB, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("exported_revision", BigInteger, nullable=False, server_default=text("0")),
    Column("unexported_since", DateTime(timezone=True), server_default=func.now()),
    CheckConstraint(f"status IN ({_STATUSES})", name="run_record_status"),
    CheckConstraint(f"(completed_at IS NOT NULL) = (status IN ({_FINAL_STATUSES}))", name="run_record_completed"),
    CheckConstraint("progress BETWEEN 0 AND 100", name="run_record_progress"),
    CheckConstraint("(unexported_since IS NULL) = (exported_revision = revision)", name="run_record_exported"),
)

Index("run_record_history", run_record.c.org_slug, run_record.c.created_at.desc(), run_record.c.run_id.desc())
Index("run_record_outbox", run_record.c.unexported_since, postgresql_where=run_record.c.unexported_since.is_not(None))
Index("run_record_unfinished", run_record.c.run_id, postgresql_where=run_record.c.completed_at.is_(None))
Index("run_record_undecided", run_record.c.run_id, postgresql_where=run_record.c.undecided_since.is_not(None))
Index("run_record_retention", run_record.c.completed_at, postgresql_where=run_record.c.completed_at.is_not(None))

# The statement that the exporter is about to run or has run in BigQuery and not yet marked: at most one.
export_job = Table(
    "export_job",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("job_id", Text, nullable=False),
    Column("submitted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("id = 1", name="export_job_single"),
)

# What an organization set up for a provider; credentials are never here.
org_integrations = Table(
    "org_integrations",
    metadata,
    Column("org_slug", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("settings", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("status", Text, nullable=False, server_default=text("'ACTIVE'")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
