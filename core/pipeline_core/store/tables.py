"""The tables in PostgreSQL, as SQLAlchemy Core sees them; the migrations make them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

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
    Column("refusal", Text),
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

# The statement that the exporter announced last, which it is about to run or has run in BigQuery; `ended_job_id` is the
# same once its end is known. The row stays: an announcement replaces the one that its turn knows of, and no other.
export_job = Table(
    "export_job",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("job_id", Text, nullable=False),
    Column("submitted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("ended_job_id", Text),
    CheckConstraint("id = 1", name="export_job_single"),
)

# One row a PipelineSchedule: its mirror, and the outbox of the exporter, as in `run_record`. A row with `deleted_at` is
# there until BigQuery's is gone.
schedule_record = Table(
    "schedule_record",
    metadata,
    Column("schedule_id", Text, primary_key=True),
    Column("org_slug", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("pipeline", Text, nullable=False),
    Column("cron_expression", Text, nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    Column("last_run_at", DateTime(timezone=True)),
    Column("next_run_at", DateTime(timezone=True)),
    Column("parameters", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("object_namespace", Text, nullable=False),
    Column("object_name", Text, nullable=False),
    Column("deleted_at", DateTime(timezone=True)),
    Column("revision", BigInteger, nullable=False, server_default=text("1")),
    Column("exported_revision", BigInteger, nullable=False, server_default=text("0")),
    Column("unexported_since", DateTime(timezone=True), server_default=func.now()),
    CheckConstraint("(unexported_since IS NULL) = (exported_revision = revision)", name="schedule_record_exported"),
)
Index(
    "schedule_record_outbox",
    schedule_record.c.unexported_since,
    postgresql_where=schedule_record.c.unexported_since.is_not(None),
)

organizations = Table(
    "organizations",
    metadata,
    Column("org_slug", Text, primary_key=True),
    Column("display_name", Text),
    # An IANA name: the zone of the organization's days and months.
    Column("time_zone", Text, nullable=False, server_default=text("'Etc/UTC'")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# Only read, but for `pipelines subscription set`; it may be a view on another system's table.
org_subscriptions = Table(
    "org_subscriptions",
    metadata,
    Column("org_slug", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("plan", Text),
    Column("pipelines_per_day_limit", Integer),
    Column("pipelines_per_month_limit", Integer),
    Column("concurrent_pipelines_limit", Integer),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# What an organization set up for a provider; credentials are never here, but for the name of the Secret with them.
org_integrations = Table(
    "org_integrations",
    metadata,
    Column("org_slug", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("settings", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("status", Text, nullable=False, server_default=text("'ACTIVE'")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("credential_secret", Text),
)

_COUNTERS = (
    "day_used", "day_succeeded", "day_failed", "month_used", "month_succeeded", "month_failed", "concurrent"
)  # fmt: skip

# One row an organization: the sums of its reservations, changed in the transactions that change those.
quota_usage = Table(
    "quota_usage",
    metadata,
    Column("org_slug", Text, primary_key=True),
    Column("day", Date, nullable=False),
    Column("month", Date, nullable=False),
    *(Column(name, Integer, nullable=False, server_default=text("0")) for name in _COUNTERS),
    *(CheckConstraint(f"{name} >= 0", name=f"quota_usage_{name}") for name in _COUNTERS),
)

# The ledger: one row a run that was admitted. Its slot is held until none of its pods is alive; its outcome is known
# when its record ends, before or after that. `day` and `month` are the periods that it counts in.
quota_reservation = Table(
    "quota_reservation",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("org_slug", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("month", Date, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'held'")),
    Column("outcome", Text),
    Column("reserved_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("released_at", DateTime(timezone=True)),
    CheckConstraint("state IN ('held', 'released')", name="quota_reservation_state"),
    CheckConstraint("outcome IN ('succeeded', 'failed', 'cancelled', 'refunded')", name="quota_reservation_outcome"),
    CheckConstraint("(released_at IS NOT NULL) = (state = 'released')", name="quota_reservation_released"),
)
_held = quota_reservation.c.state == text("'held'")
Index("quota_reservation_held", quota_reservation.c.org_slug, quota_reservation.c.run_id, postgresql_where=_held)
Index("quota_reservation_month", quota_reservation.c.org_slug, quota_reservation.c.month)
Index("quota_reservation_retention", quota_reservation.c.reserved_at)

# Keys of the HTTP API. Of a key's secret there is only a digest, which opens nothing.
api_key = Table(
    "api_key",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("org_slug", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    Column("requests_per_minute", Integer),
    # The key that this one was rotated to.
    Column("replaced_by", Text),
    CheckConstraint(
        "cardinality(scopes) > 0 AND scopes <@ ARRAY['run', 'read', 'schedule', 'admin']", name="api_key_scopes"
    ),
    CheckConstraint("octet_length(digest) = 32", name="api_key_digest"),
    CheckConstraint("requests_per_minute > 0", name="api_key_requests_per_minute"),
)
Index("api_key_organization", api_key.c.org_slug, api_key.c.created_at, api_key.c.key_id)

# Which run a client's key for repeating a request stands for, for 24 hours; after that its row is deleted some time.
idempotency_key = Table(
    "idempotency_key",
    metadata,
    Column("org_slug", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("char_length(key) BETWEEN 1 AND 255", name="idempotency_key_length"),
)
Index("idempotency_key_retention", idempotency_key.c.created_at)
