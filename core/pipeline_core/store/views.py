"""What readers see of runs: where one stands, and a page of an organization's history, newest first.

Each reads the columns that it shows and no others, and never a run of another organization.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, Select, literal, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.engine import reading
from pipeline_core.store.runs import HistoryCursor, phase_of
from pipeline_core.store.tables import run_record


class RunStatus(NamedTuple):
    """Where a run stands. `progress` is 0 to 100; times are in UTC; `revision` grows with all but the progress."""

    run_id: str
    phase: Phase
    progress: int
    records_processed: int | None
    error_message: str | None
    started_at: datetime | None
    completed_at: datetime | None
    revision: int


class RunSummary(NamedTuple):
    """A run in its organization's history; times are in UTC."""

    run_id: str
    org_slug: str
    provider: str
    domain: str
    pipeline: str
    phase: Phase
    started_at: datetime | None
    completed_at: datetime | None
    records_processed: int | None
    error_message: str | None
    parameters: dict[str, Any]
    created_at: datetime

    @property
    def cursor(self) -> HistoryCursor:
        """Where this run stands in the history."""
        return HistoryCursor(self.created_at, self.run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFilter:
    """Which runs of an organization: all of them, but for what is given.

    A run was created at `since` or later, before `until`, and is in one of `phases`, unless there are none.
    """

    provider: str | None = None
    phases: Collection[Phase] = ()
    since: datetime | None = None
    until: datetime | None = None


EVERY_RUN = HistoryFilter()

# Each run is looked up by its key; that of another organization isn't there.
_STATUSES = text(
    """
    SELECT r.run_id, r.org_slug, r.status, r.progress, r.records_processed, r.error_message,
        r.started_at, r.completed_at, r.revision
    FROM unnest(cast(:ids AS text[]), cast(:orgs AS text[])) AS asked (run_id, org_slug)
    JOIN run_record r ON r.run_id = asked.run_id AND r.org_slug = asked.org_slug
    """
)
_SUMMARY = tuple(run_record.c["status" if name == "phase" else name] for name in RunSummary._fields)


async def read_statuses(engine: AsyncEngine, keys: Sequence[tuple[str, str]]) -> list[RunStatus | None]:
    """The statuses of these runs, each asked for by its id and its organization; None where there is no such run.

    Raises StoreUnavailableError when PostgreSQL is away.
    """
    asked = set(keys)
    given = {"ids": [run_id for run_id, _ in asked], "orgs": [org_slug for _, org_slug in asked]}
    async with reading(engine) as connection:
        rows = (await connection.execute(_STATUSES, given)).all()
    found = {(row[0], row[1]): _status(row) for row in rows}
    return [found.get(key) for key in keys]


async def read_history(
    engine: AsyncEngine, org_slug: str, wanted: HistoryFilter, *, limit: int, before: HistoryCursor | None
) -> list[RunSummary]:
    """At most `limit` of an organization's runs, newest first, those of one moment by their ids.

    Raises StoreUnavailableError when PostgreSQL is away.
    """
    query = history_query(org_slug, wanted, limit=limit, before=before)
    async with reading(engine) as connection:
        rows = (await connection.execute(query)).all()
    return [_summary(row) for row in rows]


def history_query(
    org_slug: str, wanted: HistoryFilter, *, limit: int, before: HistoryCursor | None
) -> Select[tuple[Any, ...]]:
    """The query for a page: one stretch of the index on (org_slug, created_at, run_id)."""
    runs = run_record.c
    query = select(*_SUMMARY).where(runs.org_slug == org_slug)
    if wanted.provider is not None:
        query = query.where(runs.provider == wanted.provider)
    if wanted.phases:
        query = query.where(runs.status.in_(sorted(phase.word for phase in wanted.phases)))
    if wanted.since is not None:
        query = query.where(runs.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(runs.created_at < wanted.until)
    if before is not None:
        position = tuple_(runs.created_at, runs.run_id)
        query = query.where(position < tuple_(literal(before.created_at), literal(before.run_id)))
    return query.order_by(runs.created_at.desc(), runs.run_id.desc()).limit(limit)


def _status(row: Row[*tuple[Any, ...]]) -> RunStatus:
    run_id, _, status, progress, records, error, started, completed, revision = row
    return RunStatus(run_id, phase_of(status), progress, records, error, _utc(started), _utc(completed), revision)


def _summary(row: Row[*tuple[Any, ...]]) -> RunSummary:
    read = RunSummary._make(row)
    return read._replace(
        phase=phase_of(read.phase),
        started_at=_utc(read.started_at),
        completed_at=_utc(read.completed_at),
        created_at=read.created_at.astimezone(UTC),
    )


def _utc(moment: datetime | None) -> datetime | None:
    return moment and moment.astimezone(UTC)
