"""Organizations, their subscriptions, the quota ledger, and why a run was refused."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables, and the organizations that have integrations; each needs a subscription before its next run."""
    op.create_table(
        "organizations",
        sa.Column("org_slug", sa.Text, primary_key=True),
        sa.Column("display_name", sa.Text),
        sa.Column("time_zone", sa.Text, nullable=False, server_default=sa.text("'Etc/UTC'")),
        sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", _TIME, nullable=False, server_default=sa.func.now()),
    )
    # No foreign keys on these two: either may be replaced by a view on another system's tables.
    op.create_table(
        "org_subscriptions",
        sa.Column("org_slug", sa.Text, primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("plan", sa.Text),
        sa.Column("pipelines_per_day_limit", sa.Integer),
        sa.Column("pipelines_per_month_limit", sa.Integer),
        sa.Column("concurrent_pipelines_limit", sa.Integer),
        sa.Column("updated_at", _TIME, nullable=False, server_default=sa.func.now()),
    )
    op.add_column("org_integrations", sa.Column("credential_secret", sa.Text))
    op.add_column("run_record", sa.Column("refusal", sa.Text))
    _make_usage()
    _make_reservation()
    for table in ("organizations", "org_subscriptions", "quota_usage", "quota_reservation"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute("INSERT INTO organizations (org_slug) SELECT DISTINCT org_slug FROM org_integrations")


def _make_usage() -> None:
    counters = (
        "day_used", "day_succeeded", "day_failed", "month_used", "month_succeeded", "month_failed", "concurrent"
    )  # fmt: skip
    op.create_table(
        "quota_usage",
        sa.Column("org_slug", sa.Text, primary_key=True),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("month", sa.Date, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0")) for name in counters),
        *(sa.CheckConstraint(f"{name} >= 0", name=f"quota_usage_{name}") for name in counters),
        # Its row is the one that everybody changes: room for new versions beside the old keeps them off the index.
        postgresql_with={"fillfactor": "50"},
    )


def _make_reservation() -> None:
    op.create_table(
        "quota_reservation",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("org_slug", sa.Text, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("month", sa.Date, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'held'")),
        sa.Column("outcome", sa.Text),
        sa.Column("reserved_at", _TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("released_at", _TIME),
        sa.CheckConstraint("state IN ('held', 'released')", name="quota_reservation_state"),
        sa.CheckConstraint(
            "outcome IN ('succeeded', 'failed', 'cancelled', 'refunded')", name="quota_reservation_outcome"
        ),
        sa.CheckConstraint("(released_at IS NOT NULL) = (state = 'released')", name="quota_reservation_released"),
    )
    op.create_index(
        "quota_reservation_held",
        "quota_reservation",
        ["org_slug", "run_id"],
        postgresql_where=sa.text("state = 'held'"),
    )
    op.create_index("quota_reservation_month", "quota_reservation", ["org_slug", "month"])
    op.create_index("quota_reservation_retention", "quota_reservation", ["reserved_at"])
