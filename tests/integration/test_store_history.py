"""History and statuses in the real PostgreSQL: every run on one page, filters, an index, and nothing of others."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.engine import reading, transaction
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import HistoryCursor
from pipeline_core.store.views import EVERY_RUN, HistoryFilter, RunStatus, history_query
from support.runs import T0, after, new_run
from support.waiting import eventually

NEWEST = datetime(2026, 11, 3, tzinfo=UTC)
FILL = text(
    """
    INSERT INTO run_record (run_id, org_slug, provider, domain, pipeline, status, created_at, completed_at, parameters,
        created_by, progress, attempts, transitions, revision, exported_revision, unexported_since)
    SELECT 'run_' || org || lpad(i::text, 6, '0'), org, (ARRAY['gcp', 'openai'])[1 + i % 2], 'cost', 'billing',
        CASE WHEN i % 1000 = 7 THEN 'failed' ELSE 'completed' END, created_at, created_at, '{}', 'key:k', 100, 1, '[]',
        1, 1, NULL
    FROM generate_series(1, cast(:runs AS int)) i, unnest(ARRAY['acme', 'globex']) org,
        LATERAL (SELECT cast(:newest AS timestamptz) - make_interval(secs => i / :same * 60) AS created_at) at
    """
)


@pytest.fixture
def records(engine: AsyncEngine) -> RunRecords:
    return RunRecords(engine)


async def fill(engine: AsyncEngine, *, runs: int, same: int) -> None:
    """Runs of two organizations, newest first, `same` of each in each moment."""
    async with transaction(engine, seconds=60) as connection:
        await connection.execute(FILL, {"runs": runs, "same": same, "newest": NEWEST})


async def test_pages_give_each_of_many_runs_once_in_order_while_new_ones_come(
    records: RunRecords, engine: AsyncEngine
) -> None:
    await fill(engine, runs=1_000, same=300)
    seen: list[HistoryCursor] = []
    page = await records.history("acme", limit=37)
    while page:
        assert {run.org_slug for run in page} == {"acme"}
        seen += [run.cursor for run in page]
        await records.begin(new_run(f"run_new{len(seen)}", created_at=NEWEST + timedelta(seconds=len(seen))))
        page = await records.history("acme", limit=37, before=page[-1].cursor)
    assert seen == sorted(seen, reverse=True)
    assert [run_id for _, run_id in sorted(seen, key=lambda each: each.run_id)] == [
        f"run_acme{i:06}" for i in range(1, 1_001)
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (EVERY_RUN, "543210"),
        (HistoryFilter(provider="openai"), "420"),
        (HistoryFilter(provider="aws"), ""),
        (HistoryFilter(phases={Phase.FAILED}), "3"),
        (HistoryFilter(phases={Phase.FAILED, Phase.PENDING}), "54320"),
        (HistoryFilter(since=after(3)), "543"),
        (HistoryFilter(until=after(3)), "210"),
        (HistoryFilter(since=after(1), until=after(2)), "1"),
        (HistoryFilter(since=after(2), until=after(1)), ""),
        (HistoryFilter(provider="gcp", phases={Phase.PENDING}, since=after(1), until=after(6)), "5"),
    ],
)
async def test_filters_combine(records: RunRecords, wanted: HistoryFilter, expected: str) -> None:
    for i in range(6):
        await records.begin(new_run(f"run_{i}", created_at=after(i), provider="gcp" if i % 2 else "openai"))
        await records.begin(new_run(f"run_{i}of2", created_at=after(i), org_slug="globex"))
    await records.finish("run_1", phase=Phase.CANCELLED, at=after(9))
    await records.finish("run_3", phase=Phase.FAILED, at=after(9), error_message="x")
    assert "".join(run.run_id.removeprefix("run_") for run in await records.history("acme", wanted)) == expected


async def test_a_run_in_history_is_as_it_was_recorded(records: RunRecords) -> None:
    run = await records.begin(new_run(parameters={"date": "2026-11-02", "n": 2**60}))
    await records.advance("run_1", phase=Phase.RUNNING, at=after(2), started_at=after(1), attempts=1)
    ended = await records.finish("run_1", phase=Phase.COMPLETED, at=after(8), records_processed=12)
    [seen] = await records.history("acme")
    assert seen._asdict() == {name: getattr(ended, name) for name in seen._fields}
    assert seen.parameters == run.parameters
    assert {at.tzinfo for at in (seen.created_at, seen.started_at, seen.completed_at) if at} == {UTC}


async def test_statuses_asked_for_together_are_read_together_and_each_for_its_organization(
    records: RunRecords,
) -> None:
    for i in range(5):
        await records.begin(new_run(f"run_{i}", org_slug="globex" if i == 3 else "acme"))
    await records.finish("run_1", phase=Phase.FAILED, at=after(8), error_message="no", started_at=after(1))
    asked = [*((f"run_{i}", "acme") for i in range(6)), ("run_3", "globex"), ("run_0", "acme"), ("run_0", "")]
    found = await asyncio.gather(*(records.status(*each) for each in asked))
    assert [status and status.run_id for status in found] == [
        "run_0", "run_1", "run_2", None, "run_4", None, "run_3", "run_0", None
    ]  # fmt: skip
    assert found[0] == RunStatus("run_0", Phase.PENDING, 0, None, None, None, None, 1)
    assert found[1] == RunStatus("run_1", Phase.FAILED, 0, None, "no", after(1), after(8), 2)
    assert found[1].started_at is not None
    assert found[1].started_at.tzinfo is UTC


async def test_one_revision_and_progress_is_one_status(records: RunRecords) -> None:
    await records.begin(new_run())
    before = await records.status("run_1", "acme")
    await records.advance("run_1", phase=Phase.PENDING, at=after(1), message="waiting for a slot")
    assert await records.status("run_1", "acme") == before
    await records.advance("run_1", phase=Phase.RUNNING, at=T0, progress=3)
    first = await records.status("run_1", "acme")
    await records.advance("run_1", phase=Phase.RUNNING, at=T0, progress=4)
    second = await records.status("run_1", "acme")
    assert first is not None
    assert second is not None
    assert (first.revision, second.revision, second.progress) == (2, 2, 4)


async def test_a_page_reads_a_stretch_of_the_index_in_a_long_history(engine: AsyncEngine) -> None:
    await fill(engine, runs=100_000, same=1)
    async with transaction(engine) as connection:
        await connection.execute(text("ANALYZE run_record"))
    month = HistoryFilter(since=NEWEST - timedelta(days=60), until=NEWEST - timedelta(days=30))
    for wanted in (EVERY_RUN, HistoryFilter(provider="openai"), HistoryFilter(phases={Phase.COMPLETED}), month):
        for before in (None, HistoryCursor(NEWEST - timedelta(days=31), "run_acme044640")):
            plan = await explain(engine, wanted, before)
            assert (plan["Node Type"], plan["Index Name"]) == ("Index Scan", "run_record_history")
            assert plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) <= 101


async def explain(engine: AsyncEngine, wanted: HistoryFilter, before: HistoryCursor | None) -> dict[str, Any]:
    """How a page is read: what stands below its limit."""
    query = history_query("acme", wanted, limit=50, before=before)
    statement = str(query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))  # type: ignore[no-untyped-call]
    async with transaction(engine) as connection:
        explained = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        [plan] = explained.scalar_one()
    return dict(plan["Plan"]["Plans"][0])


async def test_a_reading_that_is_cut_off_leaves_no_trace(engine: AsyncEngine, records: RunRecords) -> None:
    async def cut_off() -> None:
        async with reading(engine) as connection:
            await connection.execute(text("SELECT pg_sleep(60)"))

    async def ended_by_the_server() -> None:
        async with reading(engine) as connection:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    async def is_asleep() -> bool:
        async with transaction(engine) as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
            return bool(await connection.scalar(text(query)))

    await records.begin(new_run())
    sleeping = asyncio.create_task(cut_off())
    await eventually(is_asleep)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    with pytest.raises(StoreUnavailableError):
        await ended_by_the_server()
    for _ in range(10):
        assert await records.status("run_1", "acme")
        async with transaction(engine) as connection:
            await connection.execute(text("SAVEPOINT within_a_transaction"))
