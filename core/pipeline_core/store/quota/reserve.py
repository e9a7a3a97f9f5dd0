"""Reserves slots: a run's record, its row in the ledger and the counters, in one transaction or not at all.

What is allowed is checked by the UPDATE that takes it, on the row of counters as it is under its lock. A run that has a
reservation already keeps it: asking twice is the same answer.
"""

import json
from collections.abc import Sequence

from sqlalchemy import delete, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pipeline_core.admission.quota import ConcurrentLimitReachedError, exceeded
from pipeline_core.admission.subscription import check_subscription
from pipeline_core.errors import PipelinesError
from pipeline_core.store.engine import transaction
from pipeline_core.store.many_records import OF_ONE, insert_within
from pipeline_core.store.quota.standing import Standing, standing_within
from pipeline_core.store.records import begin_within
from pipeline_core.store.runs import NewRun, StoredRun
from pipeline_core.store.tables import quota_usage, run_record

# How often a run asks again that was refused and then, when the reason was looked for, found to be allowed.
_TRIES = 5

# `locked` has each organization's counters as they are after the wait for others, in the order in which everybody
# locks them. `room` is how many of the runs asked for are allowed; the first ones get it. A limit that is null is 0.
# The insert has a row for each slot taken, unless the run has got one meanwhile: then the caller rolls back.
_TAKE = text(
    """
    WITH asked AS (
        SELECT g.run_id, g.org_slug, row_number() OVER (PARTITION BY g.org_slug ORDER BY g.place) AS nth
        FROM jsonb_to_recordset(cast(:given AS jsonb)) AS g(run_id text, org_slug text, place integer)
        WHERE NOT EXISTS (SELECT FROM quota_reservation r WHERE r.run_id = g.run_id)
    ), locked AS MATERIALIZED (
        SELECT u.* FROM quota_usage u WHERE u.org_slug IN (SELECT org_slug FROM asked)
        ORDER BY u.org_slug FOR UPDATE
    ), now_used AS (
        SELECT l.org_slug, l.concurrent, p.day, p.month,
            p.day = l.day AS same_day, p.month = l.month AS same_month,
            CASE WHEN p.day = l.day THEN l.day_used ELSE 0 END AS day_used,
            CASE WHEN p.month = l.month THEN l.month_used ELSE 0 END AS month_used
        FROM locked l JOIN organizations o ON o.org_slug = l.org_slug
        CROSS JOIN LATERAL (SELECT greatest(l.day, (clock_timestamp() AT TIME ZONE o.time_zone)::date) AS day) d
        CROSS JOIN LATERAL (SELECT d.day, date_trunc('month', d.day)::date AS month) p
    ), room AS (
        SELECT n.*, least(
            (SELECT count(*) FROM asked a WHERE a.org_slug = n.org_slug),
            coalesce(s.pipelines_per_day_limit, 0) - n.day_used,
            coalesce(s.pipelines_per_month_limit, 0) - n.month_used,
            coalesce(s.concurrent_pipelines_limit, 0) - n.concurrent
        ) AS runs
        FROM now_used n JOIN org_subscriptions s ON s.org_slug = n.org_slug
        WHERE upper(s.status) IN ('ACTIVE', 'TRIAL')
    ), taken AS (
        UPDATE quota_usage u SET
            day = r.day, month = r.month, concurrent = u.concurrent + r.runs,
            day_used = r.day_used + r.runs, month_used = r.month_used + r.runs,
            day_succeeded = CASE WHEN r.same_day THEN u.day_succeeded ELSE 0 END,
            day_failed = CASE WHEN r.same_day THEN u.day_failed ELSE 0 END,
            month_succeeded = CASE WHEN r.same_month THEN u.month_succeeded ELSE 0 END,
            month_failed = CASE WHEN r.same_month THEN u.month_failed ELSE 0 END
        FROM room r WHERE u.org_slug = r.org_slug AND r.runs > 0
        RETURNING u.org_slug, u.day, u.month, r.runs
    ), reserved AS (
        INSERT INTO quota_reservation (run_id, org_slug, day, month)
        SELECT a.run_id, a.org_slug, t.day, t.month FROM asked a JOIN taken t ON t.org_slug = a.org_slug
        WHERE a.nth <= t.runs
        ON CONFLICT DO NOTHING RETURNING run_id
    )
    SELECT (SELECT array_agg(run_id) FROM reserved) AS reserved, (SELECT sum(runs) FROM taken) AS taken
    """
)
_RESERVED = text("SELECT EXISTS (SELECT FROM quota_reservation WHERE run_id = :run_id)")


class _RefusedError(Exception):
    """Rolls the transaction back: nothing of a refused run stays."""


async def reserve_many(engine: AsyncEngine, records: Sequence[NewRun]) -> list[StoredRun | None]:
    """The records of the new runs that got a slot, with it; None for a run that has to ask by itself.

    Raises StoreUnavailableError when PostgreSQL is away.
    """
    try:
        async with transaction(engine) as connection:
            stored = await insert_within(connection, records)
            reserved = await _take(connection, [record for record in records if record.run_id in stored])
            if refused := stored.keys() - reserved:
                await connection.execute(delete(run_record).where(run_record.c.run_id.in_(refused)))
    except (*OF_ONE, _RefusedError):
        return [None] * len(records)
    return [stored.pop(record.run_id, None) if record.run_id in reserved else None for record in records]


async def reserve_one(engine: AsyncEngine, record: NewRun) -> StoredRun:
    """The run's record, with a slot; a run that is over gets none.

    Raises QuotaExceededError, OrganizationNotFoundError, SubscriptionInactiveError, RunIdTakenError, and
    StoreUnavailableError when PostgreSQL is away; then nothing has changed.
    """
    refusal: PipelinesError | None = None
    for _ in range(_TRIES):
        try:
            async with transaction(engine) as connection:
                stored = await begin_within(connection, record)
                if stored.phase.is_final or await _take(connection, [record]) or await _has_one(connection, record):
                    return stored
                raise _RefusedError  # noqa: TRY301 - by which the transaction is rolled back
        except _RefusedError:
            pass
        refusal = await _why(engine, record.org_slug)
        if refusal is not None:
            raise refusal
    # Each time there was room when the reason was looked for, and others were faster: that is a limit that is reached.
    async with transaction(engine) as connection:
        standing = await standing_within(connection, record.org_slug)
    raise ConcurrentLimitReachedError(standing.limits.concurrent)


async def _has_one(connection: AsyncConnection, record: NewRun) -> bool:
    return bool(await connection.scalar(_RESERVED, {"run_id": record.run_id}))


async def _take(connection: AsyncConnection, records: Sequence[NewRun]) -> set[str]:
    """Take a slot for each of these runs that has none, as far as they are allowed; returns those that got one.

    Raises _RefusedError where a run has got one from another process in the same moment.
    """
    if not records:
        return set()
    asked = [
        {"run_id": record.run_id, "org_slug": record.org_slug, "place": place} for place, record in enumerate(records)
    ]
    row = (await connection.execute(_TAKE, {"given": json.dumps(asked)})).one()
    reserved = set(row.reserved or ())
    if len(reserved) != (row.taken or 0):
        raise _RefusedError
    return reserved


async def _why(engine: AsyncEngine, org_slug: str) -> PipelinesError | None:
    """Why the organization got no slot; None where it would get one now, as it hadn't any counters, or not the room."""
    async with transaction(engine) as connection:
        standing = await standing_within(connection, org_slug)
        try:
            check_subscription(org_slug, is_known=standing.is_known, status=standing.status)
        except PipelinesError as error:
            return error
        if standing.usage is None:
            await _begin_counting(connection, standing)
            return None
    return exceeded(standing.limits, standing.usage.on(standing.today))


async def _begin_counting(connection: AsyncConnection, standing: Standing) -> None:
    day = standing.today
    values = {"org_slug": standing.org_slug, "day": day, "month": day.replace(day=1)}
    await connection.execute(insert(quota_usage).values(values).on_conflict_do_nothing())
