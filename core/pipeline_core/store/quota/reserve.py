"""Reserves slots: a run's record, its row in the ledger and the counters, in one transaction or not at all.

What is allowed is checked by the UPDATE that takes it, on the row of counters as it is under its lock. A run that has a
reservation already keeps it: asking twice is the same answer.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import delete, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pipeline_core.admission.quota import ConcurrentLimitReachedError, exceeded
from pipeline_core.admission.subscription import check_subscription
from pipeline_core.errors import PipelinesError
from pipeline_core.store.engine import fetch, transaction
from pipeline_core.store.errors import RunIdTakenError
from pipeline_core.store.many_records import INSERT, OF_ONE, new_rows, stored_runs
from pipeline_core.store.quota.standing import Standing, standing_within
from pipeline_core.store.records import begin_within
from pipeline_core.store.runs import NewRun, StoredRun
from pipeline_core.store.tables import quota_usage, run_record

# How often a run asks again that was refused and then, when the reason was looked for, found to be allowed.
_TRIES = 5

# `asked` has one row an organization: the runs that have no reservation yet, in the order in which they were asked.
# `locked` has the counters as they are after the wait for others, in the order in which everybody locks them. `room` is
# how many of the runs are allowed; the first ones get it. A limit that is null is 0. What is read off a locked row is
# materialized: the UPDATE, which finds a newer version of the row than the statement's snapshot has, must not work it
# out anew. `reserved` has a row for each slot taken, unless the run has got one meanwhile: then the caller rolls back.
_ASKED = """
    SELECT g.org_slug, array_agg(g.run_id ORDER BY g.place) AS run_ids
    FROM unnest(%(run_ids)s::text[], %(orgs)s::text[]) WITH ORDINALITY AS g (run_id, org_slug, place)
    WHERE NOT EXISTS (SELECT FROM quota_reservation r WHERE r.run_id = g.run_id)
"""
_TAKEN = """
    locked AS MATERIALIZED (
        SELECT u.*, a.run_ids FROM asked a JOIN quota_usage u ON u.org_slug = a.org_slug
        ORDER BY u.org_slug FOR UPDATE OF u
    ), now_used AS MATERIALIZED (
        SELECT l.org_slug, l.run_ids, l.concurrent, p.day, p.month,
            p.day = l.day AS same_day, p.month = l.month AS same_month,
            CASE WHEN p.day = l.day THEN l.day_used ELSE 0 END AS day_used,
            CASE WHEN p.month = l.month THEN l.month_used ELSE 0 END AS month_used
        FROM locked l JOIN organizations o ON o.org_slug = l.org_slug
        CROSS JOIN LATERAL (
            SELECT greatest(l.day, (clock_timestamp() AT TIME ZONE coalesce(o.time_zone, 'Etc/UTC'))::date) AS day
        ) d
        CROSS JOIN LATERAL (SELECT d.day, date_trunc('month', d.day::timestamp)::date AS month) p
    ), room AS MATERIALIZED (
        SELECT n.*, least(
            cardinality(n.run_ids),
            coalesce(s.pipelines_per_day_limit, 0) - n.day_used,
            coalesce(s.pipelines_per_month_limit, 0) - n.month_used,
            coalesce(s.concurrent_pipelines_limit, 0) - n.concurrent
        ) AS runs
        FROM now_used n JOIN org_subscriptions s ON s.org_slug = n.org_slug
        WHERE upper(cast(s.status AS text)) IN ('ACTIVE', 'TRIAL')
    ), taken AS (
        UPDATE quota_usage u SET
            day = r.day, month = r.month, concurrent = u.concurrent + r.runs,
            day_used = r.day_used + r.runs, month_used = r.month_used + r.runs,
            day_succeeded = CASE WHEN r.same_day THEN u.day_succeeded ELSE 0 END,
            day_failed = CASE WHEN r.same_day THEN u.day_failed ELSE 0 END,
            month_succeeded = CASE WHEN r.same_month THEN u.month_succeeded ELSE 0 END,
            month_failed = CASE WHEN r.same_month THEN u.month_failed ELSE 0 END
        FROM room r WHERE u.org_slug = r.org_slug AND r.runs > 0
        RETURNING u.org_slug, u.day, u.month, r.run_ids[1:r.runs] AS run_ids
    ), reserved AS (
        INSERT INTO quota_reservation (run_id, org_slug, day, month)
        SELECT unnest(t.run_ids), t.org_slug, t.day, t.month FROM taken t
        ON CONFLICT DO NOTHING RETURNING run_id, reserved_at
    )
"""
_TAKE = f"""
    WITH asked AS ({_ASKED} GROUP BY g.org_slug), {_TAKEN}
    SELECT EXISTS (SELECT FROM asked) AS is_asked, EXISTS (SELECT FROM taken) AS is_taken,
        (SELECT reserved_at FROM reserved) AS reserved_at
"""  # noqa: S608 - constants alone
# The records and what is taken for those of them that weren't there, in one round trip. The aggregate has all of them
# written before any counter is locked: records first, then counters, as everybody does.
_BEGIN = f"""
    WITH begun AS ({INSERT}), asked AS (
        {_ASKED} AND g.run_id = ANY ((SELECT array_agg(run_id) FROM begun)::text[]) GROUP BY g.org_slug
    ), {_TAKEN}
    SELECT b.*, r.reserved_at, (SELECT sum(cardinality(run_ids)) FROM taken) AS taken
    FROM begun b LEFT JOIN reserved r ON r.run_id = b.run_id
"""  # noqa: S608 - constants alone
_RENEW = text(
    """
    UPDATE quota_reservation SET reserved_at = clock_timestamp() WHERE run_id = :run_id AND state = 'held'
    RETURNING reserved_at
    """
)
_RESERVED = text("SELECT org_slug, state = 'held' AS is_held FROM quota_reservation WHERE run_id = :run_id")


class _RefusedError(Exception):
    """Rolls the transaction back: nothing of a refused run stays."""


class _Taken(NamedTuple):
    """Whether the run had no slot, and when it has got one, if it has."""

    is_asked: bool
    at: datetime | None


async def reserve_many(engine: AsyncEngine, records: Sequence[NewRun]) -> list[StoredRun | None]:
    """The records of the new runs that got a slot, with it; None for a run that has to ask by itself.

    Raises StoreUnavailableError when PostgreSQL is away.
    """
    first: dict[str, NewRun] = {}
    for record in records:
        first.setdefault(record.run_id, record)
    try:
        given = {"given": new_rows(records), **_asked(first.values())}
        async with transaction(engine) as connection:
            rows = await fetch(connection, _BEGIN, given)
            reserved = [row for row in rows if row["reserved_at"] is not None]
            if not reserved or len(reserved) != rows[0]["taken"]:
                raise _RefusedError  # noqa: TRY301 - by which the transaction is rolled back
            if len(rows) > len(reserved):
                refused = [row["run_id"] for row in rows if row["reserved_at"] is None]
                await connection.execute(delete(run_record).where(run_record.c.run_id.in_(refused)))
    except (*OF_ONE, _RefusedError):
        return [None] * len(records)
    moments = {row["run_id"]: row["reserved_at"].astimezone(UTC) for row in reserved}
    took = {
        run_id: replace(stored, took_slot=True, reserved_at=moments[run_id])
        for run_id, stored in stored_runs(reserved).items()
    }
    return [took.pop(record.run_id, None) for record in records]


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
                # Whoever asks again doesn't wait for the counters.
                if stored.phase.is_final or (stored.was_there and await _has_one(connection, record)):
                    return await _renewed(connection, stored)
                taken = await _take(connection, record)
                if taken.at is not None:
                    return replace(stored, took_slot=True, reserved_at=taken.at)
                if not taken.is_asked and await _has_one(connection, record):
                    return await _renewed(connection, stored)
                raise _RefusedError  # noqa: TRY301 - by which the transaction is rolled back
        except _RefusedError:
            pass
        refusal = await _why(engine, record)
        if refusal is not None:
            raise refusal
    # Each time there was room when the reason was looked for, and others were faster: that is a limit that is reached.
    async with transaction(engine) as connection:
        standing = await standing_within(connection, record.org_slug)
    raise ConcurrentLimitReachedError(standing.limits.concurrent)


async def _has_one(connection: AsyncConnection, record: NewRun) -> bool:
    """Whether the run holds a slot.

    Raises RunIdTakenError where a run of this id has held one before: the ledger keeps it for longer than its record
    may be kept, and a slot that was given back isn't taken again for nothing.
    """
    row = (await connection.execute(_RESERVED, {"run_id": record.run_id})).one_or_none()
    if row is not None and (row.org_slug != record.org_slug or not row.is_held):
        raise RunIdTakenError(record.run_id)
    return row is not None


async def _renewed(connection: AsyncConnection, run: StoredRun) -> StoredRun:
    """The run, whose slot counts as just reserved if it has no object yet: whoever asks again is about to make it."""
    if run.object_uid is not None or run.phase.is_final:
        return run
    at = await connection.scalar(_RENEW, {"run_id": run.run_id})
    return replace(run, reserved_at=at and at.astimezone(UTC))


async def _take(connection: AsyncConnection, record: NewRun) -> _Taken:
    """Take a slot for the run, if it has none and is allowed one.

    Raises _RefusedError where it has got one from another process in the same moment.
    """
    (row,) = await fetch(connection, _TAKE, _asked([record]))
    if row["is_taken"] and row["reserved_at"] is None:
        raise _RefusedError
    return _Taken(row["is_asked"], row["reserved_at"] and row["reserved_at"].astimezone(UTC))


def _asked(records: Collection[NewRun]) -> dict[str, list[str]]:
    return {"run_ids": [record.run_id for record in records], "orgs": [record.org_slug for record in records]}


async def _why(engine: AsyncEngine, record: NewRun) -> PipelinesError | None:
    """Why the run got no slot; None where asking again would bring one: its organization hadn't any counters, or not
    the room, or the run has got a slot meanwhile by somebody else who asked for it.
    """
    async with transaction(engine) as connection:
        standing = await standing_within(connection, record.org_slug)
        try:
            check_subscription(record.org_slug, is_known=standing.is_known, status=standing.status)
        except PipelinesError as error:
            return error
        if standing.usage is None:
            await _begin_counting(connection, standing)
            return None
        refusal = exceeded(standing.limits, standing.used_today)
        if refusal is None or (await connection.execute(_RESERVED, {"run_id": record.run_id})).first() is not None:
            return None
    return refusal


async def _begin_counting(connection: AsyncConnection, standing: Standing) -> None:
    day = standing.today
    values = {"org_slug": standing.org_slug, "day": day, "month": day.replace(day=1)}
    await connection.execute(insert(quota_usage).values(values).on_conflict_do_nothing())
