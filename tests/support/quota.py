"""Organizations with plans, what the ledger adds up to, a clock that a test sets, and a witness of each increase."""

from datetime import datetime

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.admission.quota import Usage
from pipeline_core.store.engine import transaction
from pipeline_core.store.runs import NewRun
from support.runs import new_run

PLENTY = 1_000_000

_PLAN = text(
    """
    INSERT INTO org_subscriptions (org_slug, status, pipelines_per_day_limit, pipelines_per_month_limit,
        concurrent_pipelines_limit) VALUES (:org, :status, :per_day, :per_month, :concurrent)
    ON CONFLICT (org_slug) DO UPDATE SET status = excluded.status,
        pipelines_per_day_limit = excluded.pipelines_per_day_limit,
        pipelines_per_month_limit = excluded.pipelines_per_month_limit,
        concurrent_pipelines_limit = excluded.concurrent_pipelines_limit
    """
)
_ORGANIZATION = text(
    "INSERT INTO organizations (org_slug, time_zone) VALUES (:org, :zone) "
    "ON CONFLICT (org_slug) DO UPDATE SET time_zone = excluded.time_zone"
)
_COUNTERS = (
    "day_used", "day_succeeded", "day_failed", "month_used", "month_succeeded", "month_failed", "concurrent"
)  # fmt: skip
_COUNTED = text(
    f"""
    SELECT u.org_slug, u.day, u.month, {", ".join(f"u.{name}" for name in _COUNTERS)},
        count(r.run_id) FILTER (WHERE r.day = u.day AND r.outcome IS DISTINCT FROM 'refunded') AS ledger_day_used,
        count(r.run_id) FILTER (WHERE r.day = u.day AND r.outcome = 'succeeded') AS ledger_day_succeeded,
        count(r.run_id) FILTER (WHERE r.day = u.day AND r.outcome = 'failed') AS ledger_day_failed,
        count(r.run_id) FILTER (WHERE r.month = u.month AND r.outcome IS DISTINCT FROM 'refunded') AS ledger_month_used,
        count(r.run_id) FILTER (WHERE r.month = u.month AND r.outcome = 'succeeded') AS ledger_month_succeeded,
        count(r.run_id) FILTER (WHERE r.month = u.month AND r.outcome = 'failed') AS ledger_month_failed,
        count(r.run_id) FILTER (WHERE r.state = 'held') AS ledger_concurrent
    FROM quota_usage u LEFT JOIN quota_reservation r ON r.org_slug = u.org_slug
    GROUP BY u.org_slug
    """
)
# `clock_timestamp` of this schema hides PostgreSQL's own from statements that name none.
_CLOCK = """
    CREATE SCHEMA test_clock;
    CREATE TABLE test_clock.reading (moment timestamptz NOT NULL);
    INSERT INTO test_clock.reading VALUES (pg_catalog.clock_timestamp());
    CREATE FUNCTION test_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
        AS 'SELECT moment FROM test_clock.reading';
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET search_path = test_clock, pg_catalog, public', current_database());
    END $$;
"""
_WITNESS = """
    CREATE TABLE increase (org_slug text, was integer, became integer, allowed integer);
    CREATE FUNCTION note_increase() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO increase SELECT NEW.org_slug, OLD.concurrent, NEW.concurrent, s.concurrent_pipelines_limit
            FROM org_subscriptions s WHERE s.org_slug = NEW.org_slug;
        RETURN NULL;
    END $$;
    CREATE TRIGGER witness AFTER UPDATE ON quota_usage FOR EACH ROW
        WHEN (NEW.concurrent > OLD.concurrent) EXECUTE FUNCTION note_increase();
"""


def run_of(org: str, run_id: str) -> NewRun:
    """A run of an organization, that may start a Job."""
    return new_run(run_id, org_slug=org, job_name=f"job-{run_id}")


async def plan(
    engine: AsyncEngine,
    org: str,
    *,
    concurrent: int | None = PLENTY,
    per_day: int | None = PLENTY,
    per_month: int | None = PLENTY,
    status: str = "ACTIVE",
) -> None:
    """Give the organization this subscription."""
    values = {"org": org, "status": status, "per_day": per_day, "per_month": per_month, "concurrent": concurrent}
    async with transaction(engine) as connection:
        await connection.execute(_PLAN, values)


async def organization(engine: AsyncEngine, org: str, *, zone: str = "Etc/UTC", **limits: int | None) -> None:
    """Make the organization, with a subscription that is active and has these limits."""
    async with transaction(engine) as connection:
        await connection.execute(_ORGANIZATION, {"org": org, "zone": zone})
    await plan(engine, org, **limits)  # type: ignore[arg-type]


async def counted(engine: AsyncEngine) -> dict[str, Usage]:
    """The counters of each organization, which are what the ledger adds up to, seen at one moment."""
    async with transaction(engine) as connection:
        rows = (await connection.execute(_COUNTED)).mappings().all()
    found = {}
    for row in rows:
        written = {name: row[name] for name in _COUNTERS}
        assert written == {name: row[f"ledger_{name}"] for name in _COUNTERS}, row["org_slug"]
        assert min(written.values()) >= 0, row["org_slug"]
        found[row["org_slug"]] = Usage(day=row["day"], month=row["month"], **written)
    return found


def give_clock(database_url: str) -> None:
    """Have the statements of this database read a clock that `set_clock` sets: production's own, unchanged."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_CLOCK)


async def set_clock(engine: AsyncEngine, moment: datetime) -> None:
    """Set the database's clock; it stands still."""
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE test_clock.reading SET moment = :moment"), {"moment": moment})


def give_witness(database_url: str) -> None:
    """Have the database itself note each increase of held slots with the limit at that moment, for `over_limit`."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_WITNESS)


async def over_limit(engine: AsyncEngine) -> int:
    """How many increases have ended above the limit."""
    async with transaction(engine) as connection:
        query = text("SELECT count(*) FROM increase WHERE became > coalesce(allowed, 0)")
        return int((await connection.execute(query)).scalar_one())
