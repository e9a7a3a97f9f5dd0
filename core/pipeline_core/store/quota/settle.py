"""Gives slots back and settles what became of runs: in the ledger and in the counters, in one statement.

A release and a settlement are two things: a run that has published is over, and holds its slot until its pod has
stopped. Either does nothing the second time, as the counters follow only rows of the ledger that change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.engine import fetch
from pipeline_core.store.runs import StoredRun

_OUTCOMES = {Phase.COMPLETED: "succeeded", Phase.FAILED: "failed", Phase.CANCELLED: "cancelled"}


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is known of a run's reservation now: its outcome (None: not yet), and whether its slot is free."""

    run_id: str
    outcome: str | None
    frees: bool


def of_run(run: StoredRun, *, frees: bool) -> Settlement | None:
    """What a run's record says of its reservation; None where that is nothing.

    A run whose container never started gives its unit of the day and of the month back.
    """
    outcome = _OUTCOMES.get(run.phase)
    if outcome is not None and outcome != "succeeded" and run.started_at is None:
        outcome = "refunded"
    return Settlement(run.run_id, outcome, frees) if outcome or frees else None


# A counter that somebody has set too low stays at 0, and differs from the ledger: no run may be kept from ending by it.
# The rows of the ledger are locked and read as they are after the wait for others; the counters' rows then, in the
# order of their keys, as everybody does, so that no two transactions wait for each other in a circle. Of a day or
# month that is past nothing is counted any more.
_SETTLE = """
    WITH given AS (
        SELECT * FROM unnest(%(run_ids)s::text[], %(outcomes)s::text[], %(frees)s::boolean[])
            AS g (run_id, outcome, frees)
    ), before AS MATERIALIZED (
        SELECT r.run_id, r.org_slug, r.day, r.month,
            g.frees AND r.state = 'held' AS frees,
            CASE WHEN r.outcome IS NULL THEN g.outcome END AS outcome
        FROM quota_reservation r JOIN given g ON g.run_id = r.run_id
        ORDER BY r.run_id FOR UPDATE OF r
    ), news AS (
        SELECT * FROM before WHERE frees OR outcome IS NOT NULL
    ), locked AS MATERIALIZED (
        SELECT u.org_slug, u.day, u.month FROM quota_usage u WHERE u.org_slug IN (SELECT org_slug FROM news)
        ORDER BY u.org_slug FOR UPDATE
    ), ledger AS (
        UPDATE quota_reservation r SET
            state = CASE WHEN n.frees THEN 'released' ELSE r.state END,
            released_at = CASE WHEN n.frees THEN clock_timestamp() ELSE r.released_at END,
            outcome = coalesce(r.outcome, n.outcome)
        FROM news n WHERE n.run_id = r.run_id
        RETURNING r.run_id, r.org_slug, n.frees
    ), sums AS (
        SELECT n.org_slug,
            count(*) FILTER (WHERE n.frees) AS freed,
            count(*) FILTER (WHERE n.day = l.day AND n.outcome = 'refunded') AS day_refunded,
            count(*) FILTER (WHERE n.day = l.day AND n.outcome = 'succeeded') AS day_succeeded,
            count(*) FILTER (WHERE n.day = l.day AND n.outcome = 'failed') AS day_failed,
            count(*) FILTER (WHERE n.month = l.month AND n.outcome = 'refunded') AS month_refunded,
            count(*) FILTER (WHERE n.month = l.month AND n.outcome = 'succeeded') AS month_succeeded,
            count(*) FILTER (WHERE n.month = l.month AND n.outcome = 'failed') AS month_failed
        FROM news n JOIN locked l ON l.org_slug = n.org_slug
        GROUP BY n.org_slug
    ), usage AS (
        UPDATE quota_usage u SET
            concurrent = greatest(u.concurrent - s.freed, 0),
            day_used = greatest(u.day_used - s.day_refunded, 0),
            day_succeeded = u.day_succeeded + s.day_succeeded,
            day_failed = u.day_failed + s.day_failed,
            month_used = greatest(u.month_used - s.month_refunded, 0),
            month_succeeded = u.month_succeeded + s.month_succeeded,
            month_failed = u.month_failed + s.month_failed
        FROM sums s WHERE u.org_slug = s.org_slug
    )
    SELECT run_id FROM ledger WHERE frees
    """


async def settle_within(connection: AsyncConnection, settlements: Sequence[Settlement]) -> set[str]:
    """Bring ledger and counters to what is known, in this transaction; returns the runs whose slots it has freed.

    A run without a reservation is left out.
    """
    given = {
        "run_ids": [each.run_id for each in settlements],
        "outcomes": [each.outcome for each in settlements],
        "frees": [each.frees for each in settlements],
    }
    return {row["run_id"] for row in await fetch(connection, _SETTLE, given)}
