"""The keys of the HTTP API, and those with which its clients repeat a request."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0006"
down_revision = "0005"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables. No foreign keys on `organizations`: it may be replaced by a view on another system's table."""
    op.create_table(
        "api_key",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("org_slug", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scopes", ARRAY(sa.Text), nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", _TIME),
        sa.Column("revoked_at", _TIME),
        sa.Column("last_used_at", _TIME),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("replaced_by", sa.Text),
        sa.CheckConstraint(
            "cardinality(scopes) > 0 AND scopes <@ ARRAY['run', 'read', 'schedule', 'admin']", name="api_key_scopes"
        ),
        sa.CheckConstraint("octet_length(digest) = 32", name="api_key_digest"),
        sa.CheckConstraint("requests_per_minute > 0", name="api_key_requests_per_minute"),
    )
    op.create_index("api_key_organization", "api_key", ["org_slug", "created_at", "key_id"])
    op.create_table(
        "idempotency_key",
        sa.Column("org_slug", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("char_length(key) BETWEEN 1 AND 255", name="idempotency_key_length"),
    )
    op.create_index("idempotency_key_retention", "idempotency_key", ["created_at"])
    for table in ("api_key", "idempotency_key"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
