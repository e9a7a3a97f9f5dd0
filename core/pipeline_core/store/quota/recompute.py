"""Takes the counters anew from the ledger, and tells where the two differ.

Every change of the ledger and of the counters is one transaction under the lock of the counters' row, so they differ
only where somebody has changed a table by hand, or restored one of them.
"""

from dataclasses import dataclass, fields, replace
from datetime import date

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pipeline_core.admission.quota import Usage
from pipeline_core.admission.subscription import OrganizationNotFoundError
from pipeline_core.store.engine import transaction

COUNTERS = tuple(field.name for field in fields(Usage) if field.name not in ("day", "month"))


@dataclass(frozen=True, slots=True)
class Recomputed:
    """An organization's counters as they stood, and as the ledger has them, both as of the same day."""

    org_slug: str
    before: Usage
    after: Usage

    @property
    def drifts(self) -> "list[Drift]":
        """The counters that differed."""
        pairs = ((name, getattr(self.before, name), getattr(self.after, name)) for name in COUNTERS)
        return [Drift(self.org_slug, name, counted, there) for name, counted, there in pairs if counted != there]


@dataclass(frozen=True, slots=True)
class Drift:
    """A counter that isn't what the ledger adds up to."""

    org_slug: str
    counter: str
    counted: int
    in_ledger: int


# The counters of each organization, which are null before its first run, and the ledger's sums, as of today: of a day
# or a month that is over the ledger may not have all rows any more. One index finds what is held, of whatever month,
# another the rows of the month, which those of the day are among.
_SUMS = """
    SELECT o.org_slug, p.day, p.month, s.*,
        u.day AS counted_day, u.month AS counted_month, u.concurrent AS counted_concurrent,
        u.day_used AS counted_day_used, u.day_succeeded AS counted_day_succeeded, u.day_failed AS counted_day_failed,
        u.month_used AS counted_month_used, u.month_succeeded AS counted_month_succeeded,
        u.month_failed AS counted_month_failed
    FROM organizations o LEFT JOIN quota_usage u ON u.org_slug = o.org_slug
    CROSS JOIN LATERAL (
        SELECT greatest(u.day, (clock_timestamp() AT TIME ZONE coalesce(o.time_zone, 'Etc/UTC'))::date) AS day
    ) d
    CROSS JOIN LATERAL (SELECT d.day, date_trunc('month', d.day::timestamp)::date AS month) p
    CROSS JOIN LATERAL (
        SELECT
            count(*) FILTER (WHERE r.state = 'held') AS concurrent,
            count(*) FILTER (WHERE r.day = p.day AND r.outcome IS DISTINCT FROM 'refunded') AS day_used,
            count(*) FILTER (WHERE r.day = p.day AND r.outcome = 'succeeded') AS day_succeeded,
            count(*) FILTER (WHERE r.day = p.day AND r.outcome = 'failed') AS day_failed,
            count(*) FILTER (WHERE r.month = p.month AND r.outcome IS DISTINCT FROM 'refunded') AS month_used,
            count(*) FILTER (WHERE r.month = p.month AND r.outcome = 'succeeded') AS month_succeeded,
            count(*) FILTER (WHERE r.month = p.month AND r.outcome = 'failed') AS month_failed
        FROM quota_reservation r WHERE r.org_slug = o.org_slug AND (r.state = 'held' OR r.month = p.month)
    ) s
"""
_OF_ONE = text(f"{_SUMS} WHERE o.org_slug = :org")
_OF_ALL = text(f"{_SUMS} ORDER BY o.org_slug")
_LOCK = text("SELECT FROM quota_usage WHERE org_slug = :org FOR UPDATE")
_BEGIN = text(
    """
    INSERT INTO quota_usage (org_slug, day, month)
    SELECT o.org_slug, d.day, date_trunc('month', d.day::timestamp)::date
    FROM organizations o CROSS JOIN LATERAL (
        SELECT (clock_timestamp() AT TIME ZONE coalesce(o.time_zone, 'Etc/UTC'))::date AS day
    ) d
    WHERE o.org_slug = :org ON CONFLICT DO NOTHING
    """
)
_WRITE = text(
    f"UPDATE quota_usage SET {', '.join(f'{name} = :{name}' for name in ('day', 'month', *COUNTERS))} "  # noqa: S608
    "WHERE org_slug = :org"
)


async def recompute(engine: AsyncEngine, org_slug: str, *, dry_run: bool = False) -> Recomputed:
    """Set the organization's counters to the ledger's sums, as of today; with `dry_run` nothing is written.

    Others may reserve and settle meanwhile: they wait for the lock, or have committed before the sums are taken.
    Raises OrganizationNotFoundError, StoreUnavailableError when PostgreSQL is away.
    """
    async with transaction(engine) as connection:
        if not dry_run:
            await connection.execute(_BEGIN, {"org": org_slug})
        await connection.execute(_LOCK, {"org": org_slug})
        # A statement of its own, whose snapshot is taken once the lock is held: one that waited for the lock would add
        # up the ledger as it was before the wait.
        row = (await connection.execute(_OF_ONE, {"org": org_slug})).mappings().one_or_none()
        if row is None:
            raise OrganizationNotFoundError(org_slug)
        recomputed = _recomputed(row)
        if not dry_run:
            await _write(connection, recomputed)
    return recomputed


async def drift(engine: AsyncEngine) -> list[Drift]:
    """Every counter of every organization that isn't what the ledger adds up to, as of today.

    One statement and so one snapshot: what is being reserved and settled meanwhile is in both or in neither.
    Raises StoreUnavailableError when PostgreSQL is away.
    """
    async with transaction(engine) as connection:
        rows = (await connection.execute(_OF_ALL)).mappings()
        return [each for row in rows for each in _recomputed(row).drifts]


async def _write(connection: AsyncConnection, recomputed: Recomputed) -> None:
    after = recomputed.after
    values = {name: getattr(after, name) for name in ("day", "month", *COUNTERS)}
    await connection.execute(_WRITE, {"org": recomputed.org_slug, **values})


def _recomputed(row: RowMapping) -> Recomputed:
    day: date = row["day"]
    after = Usage(day=day, month=row["month"], **{name: row[name] for name in COUNTERS})
    if row["counted_day"] is None:
        return Recomputed(row["org_slug"], Usage(day=day, month=after.month), after)
    before = replace(after, **{name: row[f"counted_{name}"] for name in ("day", "month", *COUNTERS)})
    return Recomputed(row["org_slug"], before.on(day), after)
