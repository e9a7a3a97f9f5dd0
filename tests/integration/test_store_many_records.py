"""Many records at a time in the real PostgreSQL: few transactions, and nobody waits for a row that isn't its own."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.engine import create_engine, transaction
from pipeline_core.store.errors import RunIdTakenError, RunNotRecordedError, StoreUnavailableError
from pipeline_core.store.integrations import Integrations
from pipeline_core.store.organizations import Organizations
from pipeline_core.store.records import RunRecords
from pipeline_local.services.processes import free_port
from support.runs import T0, after, new_run

MANY = 60
IDS = [f"run_{number}" for number in range(MANY)]


@pytest.fixture
def records(engine: AsyncEngine) -> RunRecords:
    return RunRecords(engine)


@contextmanager
def counted(engine: AsyncEngine) -> Iterator[Callable[[], int]]:
    """How many transactions are begun within."""
    begun = []

    def note(_connection: object) -> None:
        begun.append(1)

    event.listen(engine.sync_engine, "begin", note)
    try:
        yield lambda: len(begun)
    finally:
        event.remove(engine.sync_engine, "begin", note)


async def begin_all(records: RunRecords) -> None:
    await asyncio.gather(*(records.begin(new_run(run_id=run_id, object_uid=f"uid-{run_id}")) for run_id in IDS))


async def test_a_burst_costs_few_transactions_and_each_run_gets_its_own_life(
    engine: AsyncEngine, records: RunRecords
) -> None:
    with counted(engine) as transactions:
        await begin_all(records)
        changed = await asyncio.gather(
            *(records.advance(each, phase=Phase.RUNNING, at=after(2), started_at=after(1), attempts=1) for each in IDS)
        )
        ended = await asyncio.gather(
            *(
                records.finish(each, phase=Phase.COMPLETED, at=after(3), records_processed=number, message=f"é {each}")
                for number, each in enumerate(IDS)
            )
        )
        assert transactions() < 10
    assert all(changed)
    assert [(run.run_id, run.records_processed, run.message) for run in ended] == [
        (each, number, f"é {each}") for number, each in enumerate(IDS)
    ]
    assert ended == [await records.get(each) for each in IDS]
    assert [entry.at for entry in ended[7].transitions] == [T0, after(1), after(1), after(3), after(3)]


async def test_the_outbox_waits_since_the_first_change_of_what_is_exported(
    engine: AsyncEngine, records: RunRecords
) -> None:
    await begin_all(records)
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE run_record SET exported_revision = revision, unexported_since = NULL"))
    await asyncio.gather(
        records.advance("run_1", phase=Phase.PENDING, at=after(1), message="only words"),
        records.advance("run_2", phase=Phase.RUNNING, at=after(1)),
    )
    async with transaction(engine) as connection:
        query = text("SELECT run_id FROM run_record WHERE unexported_since IS NOT NULL")
        assert list(await connection.scalars(query)) == ["run_2"]


async def test_two_changes_of_one_run_at_a_time_both_count(records: RunRecords) -> None:
    await records.begin(new_run())
    await asyncio.gather(
        records.advance("run_1", phase=Phase.RUNNING, at=after(1)),
        records.advance("run_1", phase=Phase.PROCESSING, at=after(2), progress=40),
        records.finish("run_1", phase=Phase.FAILED, at=after(3), error_message="x"),
    )
    stored = await records.get("run_1")
    assert stored is not None
    assert (stored.phase, stored.progress) == (Phase.FAILED, 40)


async def test_a_row_that_somebody_holds_keeps_only_its_own_run_waiting(
    engine: AsyncEngine, records: RunRecords
) -> None:
    await begin_all(records)
    async with transaction(engine) as connection:
        await connection.execute(text("SELECT 1 FROM run_record WHERE run_id = 'run_5' FOR UPDATE"))
        held = asyncio.create_task(records.advance("run_5", phase=Phase.RUNNING, at=after(1)))
        others = (records.advance(each, phase=Phase.RUNNING, at=after(1)) for each in IDS if each != "run_5")
        async with asyncio.timeout(10):
            assert all(await asyncio.gather(*others))
        assert not held.done()
    assert await held


async def test_one_that_cannot_be_written_fails_alone(records: RunRecords) -> None:
    await begin_all(records)
    outcomes = await asyncio.gather(
        records.advance("run_1", phase=Phase.RUNNING, at=after(1)),
        records.advance("run_2", phase=Phase.COMPLETED, at=after(1)),
        records.advance("run_unknown", phase=Phase.RUNNING, at=after(1)),
        records.advance("run_3", phase=Phase.RUNNING, at=after(1), object_uid="another"),
        records.advance("run_4", phase=Phase.RUNNING, at=after(1), attempts=2**40),
        records.begin(new_run(run_id="run_5", object_uid="another")),
        records.begin(new_run(run_id="run_new", object_uid="new")),
        return_exceptions=True,
    )
    assert outcomes[0] is True
    kinds = [type(each).__name__ for each in outcomes[1:6]]
    assert kinds == [
        "ValueError",
        RunNotRecordedError.__name__,
        RunIdTakenError.__name__,
        "DataError",
        RunIdTakenError.__name__,
    ]
    assert getattr(outcomes[6], "run_id", None) == "run_new"


async def test_everybody_hears_that_it_is_away() -> None:
    engine = create_engine(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    records = RunRecords(engine)
    changes = (records.advance(each, phase=Phase.RUNNING, at=after(1)) for each in IDS)
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    assert {type(each) for each in outcomes} == {StoreUnavailableError}


async def test_integrations_that_are_asked_for_together_are_read_together(engine: AsyncEngine) -> None:
    integrations = Integrations(engine)
    for org in ("acme", "globex"):
        await Organizations(engine).create(org)
    await integrations.set("acme", "gcp", {"project": "one"})
    await integrations.set("globex", "gcp", {"project": "two"})
    keys = [("acme", "gcp"), ("globex", "gcp"), ("acme", "openai")] * 20
    with counted(engine) as transactions:
        found = await asyncio.gather(*(integrations.get(*key) for key in keys))
        assert transactions() <= 2
    assert [each and each.settings["project"] for each in found] == ["one", "two", None] * 20
