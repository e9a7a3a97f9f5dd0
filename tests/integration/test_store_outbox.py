"""The outbox in the real PostgreSQL: what is due, whose turn it is, and what is marked as sent."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store import export_turn
from pipeline_core.store import outbox as outbox_module
from pipeline_core.store.engine import transaction
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.export_turn import ExportTurn
from pipeline_core.store.outbox import Outbox
from pipeline_core.store.records import RunRecords
from support.runs import T0, after, new_run
from support.waiting import eventually

NOW = timedelta(0)
NEVER = timedelta(days=1)


@pytest.fixture
def records(engine: AsyncEngine) -> RunRecords:
    return RunRecords(engine)


@pytest.fixture
def outbox(engine: AsyncEngine) -> Outbox:
    return Outbox(engine)


async def due(outbox: Outbox, interval: timedelta = NOW, limit: int = 100) -> list[tuple[str, Phase]]:
    async with outbox.turn() as turn:
        assert turn is not None
        return [(run.run_id, run.phase) for run in await turn.due(limit, interval=interval)]


async def export(outbox: Outbox) -> None:
    async with outbox.turn() as turn:
        assert turn is not None
        await turn.mark(await turn.due(1000, interval=NOW))


async def test_one_exporter_has_the_turn_until_its_transaction_ends(outbox: Outbox) -> None:
    async with outbox.turn() as first:
        assert first is not None
        async with outbox.turn() as second:
            assert second is None
    async with outbox.turn() as third:
        assert third is not None


async def test_ended_runs_are_due_at_once_live_ones_after_the_interval(records: RunRecords, outbox: Outbox) -> None:
    await records.begin(new_run("run_live"))
    await records.begin(new_run("run_ended"))
    await records.finish("run_ended", phase=Phase.FAILED, at=after(1))
    assert await due(outbox, NEVER) == [("run_ended", Phase.FAILED)]
    assert await due(outbox, NOW) == [("run_live", Phase.PENDING), ("run_ended", Phase.FAILED)]


async def test_changes_that_pile_up_are_one_row_and_wait_since_the_first(
    records: RunRecords, outbox: Outbox, engine: AsyncEngine
) -> None:
    await records.begin(new_run())
    await _age(engine, "run_1", seconds=50)
    await records.advance("run_1", phase=Phase.VALIDATING, at=after(1))
    await records.advance("run_1", phase=Phase.PROCESSING, at=after(2))
    assert await due(outbox, timedelta(seconds=40)) == [("run_1", Phase.PROCESSING)]
    assert 50 <= await outbox.lag_seconds() < 100


async def test_what_is_marked_is_no_longer_due_and_progress_does_not_make_it_so(
    records: RunRecords, outbox: Outbox
) -> None:
    await records.begin(new_run())
    assert await outbox.lag_seconds() > 0
    await export(outbox)
    assert await outbox.lag_seconds() == 0
    await records.advance("run_1", phase=Phase.PENDING, at=after(1), progress=7, message="waiting")
    assert await due(outbox) == []
    await records.advance("run_1", phase=Phase.RUNNING, at=after(2))
    assert await due(outbox) == [("run_1", Phase.RUNNING)]


async def test_a_change_made_while_a_batch_is_sent_stays_due(records: RunRecords, outbox: Outbox) -> None:
    await records.begin(new_run())
    async with outbox.turn() as turn:
        assert turn is not None
        batch = await turn.due(10, interval=NOW)
        await records.finish("run_1", phase=Phase.COMPLETED, at=after(3), records_processed=4)
        await turn.mark(batch)
    assert await due(outbox, NEVER) == [("run_1", Phase.COMPLETED)]
    assert await outbox.lag_seconds() > 0


async def test_an_older_mark_that_comes_late_takes_nothing_back(records: RunRecords, outbox: Outbox) -> None:
    await records.begin(new_run())
    old = await _read(outbox)
    await records.finish("run_1", phase=Phase.COMPLETED, at=after(3))
    await export(outbox)
    async with outbox.turn() as turn:
        assert turn is not None
        await turn.mark(old)
    assert await due(outbox) == []


async def test_a_turn_that_is_cut_off_marks_nothing(records: RunRecords, outbox: Outbox) -> None:
    await records.begin(new_run())

    async def cut_off() -> None:
        async with outbox.turn() as turn:
            assert turn is not None
            await turn.mark(await turn.due(10, interval=NOW))
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await cut_off()
    assert await due(outbox) == [("run_1", Phase.PENDING)]


async def test_an_announced_statement_outlives_its_exporter_until_the_next_mark(outbox: Outbox) -> None:
    async def announce(turn: ExportTurn | None) -> None:
        assert turn is not None
        await turn.announce("job_1")
        await turn.announce("job_2")
        raise ConnectionResetError

    async def cut_off() -> None:
        async with outbox.turn() as turn:
            await announce(turn)

    with pytest.raises(ConnectionResetError):
        await cut_off()
    async with outbox.turn() as turn:
        assert turn is not None
        assert await turn.announced_job() == "job_2"
        await turn.mark([])
    async with outbox.turn() as turn:
        assert turn is not None
        assert await turn.announced_job() is None


async def test_an_exporter_that_lost_its_turn_unawares_announces_nothing(outbox: Outbox, engine: AsyncEngine) -> None:
    """Its connection went while BigQuery worked: another has the turn by now, and has announced a statement."""

    async def lose() -> None:
        async with outbox.turn() as first:
            assert first is not None
            assert await first.announced_job() is None
            await first.announce("job_1")
            async with transaction(engine) as connection:
                held = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                await connection.execute(text(held))
            await eventually(lambda: taken_over(first))

    async def taken_over(first: ExportTurn) -> bool:
        async with outbox.turn() as second:
            if second is None:
                return False  # the server takes a moment to end a session
            assert await second.announced_job() == "job_1"
            await second.announce("job_2")
            with pytest.raises(StoreUnavailableError, match="another exporter"):
                await first.announce("job_3")
        return True

    with pytest.raises(StoreUnavailableError):
        await lose()
    async with outbox.turn() as turn:
        assert turn is not None
        assert await turn.announced_job() == "job_2"


async def test_a_turn_that_takes_too_long_is_not_postgresqls_fault(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "TURN_SECONDS", 0.1)

    async def wait() -> None:
        async with outbox.turn():
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await wait()
    async with outbox.turn() as turn:
        assert turn is not None


async def test_a_statement_of_a_turn_that_hangs_is(
    outbox: Outbox, records: RunRecords, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await records.begin(new_run())
    batch = await _read(outbox)
    monkeypatch.setattr(export_turn, "TRANSACTION_SECONDS", 0.2)

    async def mark_what_is_locked() -> None:
        async with transaction(engine) as other:
            await other.execute(text("SELECT 1 FROM run_record FOR UPDATE"))
            async with outbox.turn() as turn:
                assert turn is not None
                await turn.mark(batch)

    with pytest.raises(StoreUnavailableError, match=r"within 0\.2 s"):
        await mark_what_is_locked()


async def test_a_batch_is_the_longest_waiting_without_those_set_aside(records: RunRecords, outbox: Outbox) -> None:
    for i in range(5):
        await records.begin(new_run(f"run_{i}"))
    async with outbox.turn() as turn:
        assert turn is not None
        batch = await turn.due(2, interval=NOW, without={"run_0", "run_2"})
    assert [run.run_id for run in batch] == ["run_1", "run_3"]


async def test_only_old_ended_and_exported_records_are_deleted(records: RunRecords, outbox: Outbox) -> None:
    for run_id, seconds in (("run_old1", 1), ("run_old2", 2), ("run_recent", 500)):
        await records.begin(new_run(run_id))
        await records.finish(run_id, phase=Phase.COMPLETED, at=after(seconds))
    await records.begin(new_run("run_live"))
    await export(outbox)
    await records.begin(new_run("run_unsent"))
    await records.finish("run_unsent", phase=Phase.COMPLETED, at=T0)
    assert await outbox.prune(after(100), limit=1) == 1
    assert await outbox.prune(after(100)) == 1
    assert await outbox.prune(after(100)) == 0
    left = {run.run_id for run in await records.history("acme")}
    assert left == {"run_recent", "run_live", "run_unsent"}


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT 1 FROM run_record WHERE unexported_since IS NOT NULL ORDER BY unexported_since LIMIT 5", "outbox"),
        ("SELECT min(unexported_since) FROM run_record WHERE unexported_since IS NOT NULL", "outbox"),
        ("SELECT 1 FROM run_record WHERE completed_at IS NULL AND run_id > 'r' ORDER BY run_id LIMIT 5", "unfinished"),
        ("SELECT 1 FROM run_record WHERE org_slug = 'a' ORDER BY created_at DESC, run_id DESC LIMIT 5", "history"),
        ("SELECT 1 FROM run_record WHERE org_slug = 'a' AND (created_at, run_id) < (now(), 'r')", "history"),
    ],
)
async def test_what_is_asked_often_is_answered_from_its_index(engine: AsyncEngine, query: str, index: str) -> None:
    async with transaction(engine) as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join((await connection.scalars(text(f"EXPLAIN {query}"))).all())
    assert f"run_record_{index}" in plan
    assert "Sort" not in plan


async def _read(outbox: Outbox) -> list:  # type: ignore[type-arg]
    async with outbox.turn() as turn:
        assert turn is not None
        return await turn.due(10, interval=NOW)


async def _age(engine: AsyncEngine, run_id: str, seconds: int) -> None:
    """Make a record look as if its change had been waiting this long."""
    statement = text(
        "UPDATE run_record SET unexported_since = now() - make_interval(secs => :seconds) WHERE run_id = :run_id"
    )
    async with transaction(engine) as connection:
        await connection.execute(statement, {"seconds": seconds, "run_id": run_id})
