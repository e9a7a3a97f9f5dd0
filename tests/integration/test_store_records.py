"""Records in the real PostgreSQL: begun once, ended once, seen by their organization, listed page by page."""

import asyncio
import os
import signal
from datetime import UTC, timedelta, timezone

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.engine import create_engine, transaction
from pipeline_core.store.errors import RunIdTakenError, RunNotRecordedError, StoreUnavailableError
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import StoredRun
from pipeline_core.store.views import HistoryFilter
from pipeline_local.services.processes import free_port
from support.runs import T0, after, new_run
from support.waiting import eventually


@pytest.fixture
def records(engine: AsyncEngine) -> RunRecords:
    return RunRecords(engine)


async def test_beginning_twice_is_the_same_run(records: RunRecords) -> None:
    first = await records.begin(new_run(parameters={"date": "2026-11-02", "n": 5, "b": True, "text": "{{x}} ü\n"}))
    again = await records.begin(new_run(parameters={"other": 1}, created_by="somebody"))
    assert again == first
    assert (first.phase, first.parameters["n"], first.parameters["text"]) == (Phase.PENDING, 5, "{{x}} ü\n")
    assert first.created_at == T0
    assert first.created_at.tzinfo is UTC


@pytest.mark.parametrize("values", [{"org_slug": "globex"}, {"object_uid": "another"}])
async def test_another_owner_of_the_id_is_refused_without_saying_whose_it_is(
    records: RunRecords, values: dict[str, object]
) -> None:
    await records.begin(new_run())
    with pytest.raises(RunIdTakenError, match=r"^run id run_1 belongs to another run$"):
        await records.begin(new_run(**values))


async def test_a_run_without_an_object_is_bound_to_the_first_that_claims_it(records: RunRecords) -> None:
    await records.begin(new_run(object_namespace=None, object_name=None, object_uid=None))
    bound = await records.begin(new_run(object_uid="first"))
    assert (bound.object_uid, bound.object_name) == ("first", "run-1")
    assert (await records.begin(new_run(object_uid=None))).object_uid == "first"
    with pytest.raises(RunIdTakenError):
        await records.begin(new_run(object_uid="second"))


async def test_a_life_is_recorded(records: RunRecords) -> None:
    await records.begin(new_run())
    assert await records.advance("run_1", phase=Phase.VALIDATING, at=after(1), job_name="run-1")
    assert await records.advance("run_1", phase=Phase.RUNNING, at=after(3), started_at=after(2), attempts=1, progress=5)
    assert not await records.advance("run_1", phase=Phase.VALIDATING, at=after(4))
    assert await records.advance("run_1", phase=Phase.PROCESSING, at=after(5), progress=50, message="loading")
    ended = await records.finish("run_1", phase=Phase.COMPLETED, at=after(8), records_processed=12, message="done")
    assert ended == await records.get("run_1")
    assert [(entry.phase, entry.at) for entry in ended.transitions] == [
        (Phase.PENDING, T0),
        (Phase.VALIDATING, after(1)),
        (Phase.RUNNING, after(2)),
        (Phase.PROCESSING, after(5)),
        (Phase.COMPLETED, after(8)),
    ]
    assert (ended.started_at, ended.completed_at) == (after(2), after(8))
    assert (ended.records_processed, ended.progress, ended.attempts, ended.job_name) == (12, 100, 1, "run-1")


async def test_the_first_end_stands(records: RunRecords) -> None:
    await records.begin(new_run())
    first = await records.finish("run_1", phase=Phase.FAILED, at=after(1), error_message="ExternalBQExtractor: x")
    assert await records.finish("run_1", phase=Phase.COMPLETED, at=after(2), records_processed=1) == first
    assert not await records.advance("run_1", phase=Phase.RUNNING, at=after(3))


async def test_of_many_ends_at_once_one_stands(records: RunRecords, engine: AsyncEngine) -> None:
    await records.begin(new_run())
    waiting = text("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
    phases = [Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED]
    async with transaction(engine) as holder:
        await holder.execute(text("SELECT 1 FROM run_record FOR UPDATE"))
        ends = [
            asyncio.create_task(records.finish("run_1", phase=phase, at=after(i), message=str(i)))
            for i, phase in enumerate(phases)
        ]

        async def all_wait() -> bool:
            return await holder.scalar(waiting) == len(phases)

        await eventually(all_wait)
    first, *others = await asyncio.gather(*ends)
    assert others == [first] * 2


async def test_of_many_beginnings_at_once_one_owner_wins(records: RunRecords) -> None:
    begun = await asyncio.gather(
        *(records.begin(new_run(object_uid=f"uid-{i % 2}")) for i in range(8)), return_exceptions=True
    )
    winners = [run.object_uid for run in begun if isinstance(run, StoredRun)]
    assert len(winners) == 4
    assert len(set(winners)) == 1
    assert sum(isinstance(error, RunIdTakenError) for error in begun) == 4


async def test_a_run_that_was_never_begun_is_an_error(records: RunRecords) -> None:
    with pytest.raises(RunNotRecordedError, match="run_9"):
        await records.advance("run_9", phase=Phase.RUNNING, at=T0)
    with pytest.raises(RunNotRecordedError, match="run_9"):
        await records.finish("run_9", phase=Phase.FAILED, at=T0)
    assert await records.get("run_9") is None


async def test_an_organization_sees_its_own_runs_only(records: RunRecords) -> None:
    await records.begin(new_run("run_1"))
    await records.begin(new_run("run_2", org_slug="globex"))
    assert await records.get("run_2", org_slug="acme") is None
    assert (await records.get("run_2", org_slug="globex")) is not None
    assert [run.run_id for run in await records.history("acme")] == ["run_1"]


async def test_history_pages_meet_every_run_once_newest_first(records: RunRecords) -> None:
    # three runs each second: the cursor must tell runs of one moment apart
    for i in range(12):
        await records.begin(new_run(f"run_{i:02}", created_at=after(i // 3), provider="gcp" if i % 2 else "openai"))
    seen: list[str] = []
    page = await records.history("acme", limit=5)
    while page:
        seen += [run.run_id for run in page]
        await records.begin(new_run(f"run_new{len(seen)}", created_at=after(100)))  # what comes in between is no matter
        page = await records.history("acme", limit=5, before=page[-1].cursor)
    assert seen == [f"run_{i:02}" for i in reversed(range(12))]
    only = await records.history(
        "acme", HistoryFilter(provider="openai"), before=(await records.history("acme"))[1].cursor
    )
    assert [run.run_id for run in only] == [f"run_{i:02}" for i in reversed(range(0, 12, 2))]


async def test_the_sweep_meets_every_run_that_has_not_ended(records: RunRecords) -> None:
    for i in range(7):
        await records.begin(new_run(f"run_{i}", org_slug="acme" if i % 2 else "globex"))
    await records.finish("run_3", phase=Phase.CANCELLED, at=after(1))
    first = await records.unfinished(limit=4)
    rest = await records.unfinished(after=first[-1].run_id, limit=4)
    assert [run.run_id for run in first + rest] == ["run_0", "run_1", "run_2", "run_4", "run_5", "run_6"]


async def test_a_message_no_database_can_store_does_not_keep_a_run_from_ending(records: RunRecords) -> None:
    await records.begin(new_run(parameters={"a\x00": ["\ud800", "\x00"]}))
    ended = await records.finish(
        "run_1", phase=Phase.FAILED, at=after(1), error_message="\x00" * 10_000, records_processed=10**40
    )
    assert ended.phase is Phase.FAILED


async def test_why_a_run_was_refused_stays_on_its_record(records: RunRecords) -> None:
    for run_id in ("run_1", "run_2"):
        await records.begin(new_run(run_id))
    ended = await asyncio.gather(
        records.finish("run_1", phase=Phase.FAILED, at=after(1), reason="Rejected", refusal="DailyLimitReached"),
        records.finish("run_2", phase=Phase.FAILED, at=after(1), reason="JobRefused"),
    )
    assert [run.refusal for run in ended] == ["DailyLimitReached", None]
    assert await records.get("run_1") == ended[0]


async def test_times_of_any_zone_come_back_in_utc(records: RunRecords) -> None:
    zoned = T0.astimezone(timezone(timedelta(hours=-7)))
    run = await records.begin(new_run(created_at=zoned))
    assert run.created_at == T0
    assert run.created_at.tzinfo is UTC
    assert run.transitions[0].at.utcoffset() == timedelta(0)


async def test_a_server_that_is_away_is_one_kind_of_error_without_the_password() -> None:
    engine = create_engine(f"postgresql://someone:s3cret-word@127.0.0.1:{free_port()}/db")
    with pytest.raises(StoreUnavailableError) as caught:
        await RunRecords(engine).get("run_1")
    assert "s3cret-word" not in str(caught.value)
    await engine.dispose()


async def test_sessions_that_the_server_ended_between_two_calls_cost_nothing(
    records: RunRecords, database_url: str
) -> None:
    await records.begin(new_run())
    with psycopg.connect(database_url) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    assert ended == [(True,)]
    assert (await records.get("run_1")) is not None


async def test_a_session_ended_in_a_transaction_is_an_outage(engine: AsyncEngine, database_url: str) -> None:
    async def be_ended() -> None:
        async with transaction(engine) as victim:
            pid = await victim.scalar(text("SELECT pg_backend_pid()"))
            with psycopg.connect(database_url) as connection:
                connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            await victim.execute(text("SELECT 1"))

    with pytest.raises(StoreUnavailableError, match="terminating connection"):
        await be_ended()


async def test_a_lock_that_is_never_released_ends_in_time(records: RunRecords, engine: AsyncEngine) -> None:
    await records.begin(new_run())
    async with transaction(engine) as holder:
        await holder.execute(text("SELECT 1 FROM run_record FOR UPDATE"))
        with pytest.raises(StoreUnavailableError, match=r"within 0\.2 s"):
            async with transaction(engine, seconds=0.2) as waiter:
                await waiter.execute(text("SELECT 1 FROM run_record FOR UPDATE"))
    assert await records.advance("run_1", phase=Phase.RUNNING, at=after(1))


@pytest.mark.full
async def test_a_server_that_stops_answering_is_given_up_in_time(engine: AsyncEngine) -> None:
    async def hang() -> None:
        async with transaction(engine, seconds=0.2) as connection:
            pids.append(await connection.scalar(text("SELECT pg_backend_pid()")))
            os.kill(pids[0], signal.SIGSTOP)
            await connection.execute(text("SELECT 1"))

    pids: list[int] = []
    try:
        with pytest.raises(StoreUnavailableError, match="within"):
            await asyncio.wait_for(hang(), 60)
        assert await RunRecords(engine).get("run_1") is None  # on another connection
    finally:
        os.kill(pids[0], signal.SIGCONT)


async def test_a_defect_is_not_taken_for_an_outage(engine: AsyncEngine) -> None:
    with pytest.raises(IntegrityError):
        async with transaction(engine) as connection:
            await connection.execute(text("INSERT INTO export_job (id, job_id) VALUES (2, 'x')"))


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/d", "hunter2", "postgresql://u:hunter2@h:port/d", ""])
def test_an_address_of_something_else_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="postgresql://user") as caught:
        create_engine(url)
    assert "hunter2" not in str(caught.value)


async def test_a_run_left_undecided_is_found_until_it_ends(records: RunRecords) -> None:
    await records.begin(new_run())
    uid = new_run().object_uid or ""
    left = await records.leave_undecided("run_1", at=after(5), message="looking", object_uid=uid)
    again = await records.leave_undecided("run_1", at=after(9), message="later", object_uid=uid)
    assert (left.undecided_since, again.undecided_since, again.phase) == (after(5), after(5), Phase.PENDING)
    assert [run.run_id for run in await records.undecided()] == ["run_1"]
    ended = await records.finish("run_1", phase=Phase.CANCELLED, at=after(10), error_message="x")
    assert ended.undecided_since is None
    assert await records.undecided() == []


async def test_a_run_that_has_ended_is_not_left_undecided(records: RunRecords) -> None:
    await records.begin(new_run())
    await records.finish("run_1", phase=Phase.FAILED, at=after(3), error_message="x")
    uid = new_run().object_uid or ""
    assert (await records.leave_undecided("run_1", at=after(5), message="m", object_uid=uid)).undecided_since is None
