"""Where an organization stands: its plan and what it has used of it, at one moment."""

from dataclasses import dataclass, fields
from datetime import date, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline_core.admission.quota import Usage
from pipeline_core.admission.subscription import Limits


@dataclass(frozen=True, slots=True)
class Standing:
    """`usage` is as it was written last, None before the first run; `today` is the organization's own day.

    `day_ends_in` and `month_ends_in` are the time until what is used of the day and of the month begins at 0 again: to
    midnight, and to that before the first of the month, in the organization's time zone.
    """

    org_slug: str
    is_known: bool
    status: str | None
    plan: str | None
    limits: Limits
    usage: Usage | None
    today: date
    day_ends_in: timedelta
    month_ends_in: timedelta

    @property
    def used_today(self) -> Usage:
        """What is used as of today, before the first run too."""
        return (self.usage or Usage(day=self.today, month=self.today.replace(day=1))).on(self.today)


# The counted day never moves backwards: where it is ahead of today, as the organization has moved west, it is the one
# that has to end.
_STANDING = text(
    """
    SELECT g.org_slug, o.org_slug IS NOT NULL AS is_known, s.status, s.plan,
        s.pipelines_per_day_limit, s.pipelines_per_month_limit, s.concurrent_pipelines_limit,
        n.today, (c.day + 1)::timestamp AT TIME ZONE n.zone - n.moment AS day_ends_in,
        (date_trunc('month', c.day::timestamp) + interval '1 month') AT TIME ZONE n.zone - n.moment AS month_ends_in,
        u.day, u.month, u.day_used, u.day_succeeded, u.day_failed,
        u.month_used, u.month_succeeded, u.month_failed, u.concurrent
    FROM (SELECT cast(:org AS text) AS org_slug, clock_timestamp() AS moment) g
    LEFT JOIN organizations o ON o.org_slug = g.org_slug
    LEFT JOIN org_subscriptions s ON s.org_slug = g.org_slug
    LEFT JOIN quota_usage u ON u.org_slug = g.org_slug
    CROSS JOIN LATERAL (
        SELECT g.moment, z.zone, (g.moment AT TIME ZONE z.zone)::date AS today
        FROM (SELECT coalesce(o.time_zone, 'Etc/UTC') AS zone) z
    ) n
    CROSS JOIN LATERAL (SELECT greatest(u.day, n.today) AS day) c
    """
)


async def standing_within(connection: AsyncConnection, org_slug: str) -> Standing:
    """Where the organization stands, known or not."""
    row = (await connection.execute(_STANDING, {"org": org_slug})).mappings().one()
    return Standing(
        org_slug=row["org_slug"],
        is_known=row["is_known"],
        status=row["status"],
        plan=row["plan"],
        limits=Limits(
            row["pipelines_per_day_limit"], row["pipelines_per_month_limit"], row["concurrent_pipelines_limit"]
        ),
        usage=Usage(**{each.name: row[each.name] for each in fields(Usage)}) if row["day"] is not None else None,
        today=row["today"],
        day_ends_in=row["day_ends_in"],
        month_ends_in=row["month_ends_in"],
    )
