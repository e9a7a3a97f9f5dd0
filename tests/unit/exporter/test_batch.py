"""A batch goes in one statement; a row that BigQuery refuses is found without holding up all others for ever."""

import math
from collections.abc import Callable, Sequence

import pytest
from google.api_core.exceptions import BadRequest, ServiceUnavailable

from pipeline_core.store.runs import StoredRun
from pipeline_operator.exporter.batch import MAX_BATCH_CHARACTERS, Sent, send, within_size
from pipeline_operator.exporter.lanes import RunsLane, SchedulesLane
from support.runs import stored_run
from support.schedules import unexported_schedule
from support.targets import MemoryTarget

RUNS_LANE = RunsLane(MemoryTarget())
RUNS = [stored_run(f"run_{i:03}") for i in range(100)]


class Announcements:
    """Stands for the turn: notes what is announced."""

    def __init__(self) -> None:
        self.jobs: list[str] = []

    async def announce(self, job_id: str) -> None:
        self.jobs.append(job_id)


def refusing(*run_ids: str) -> Callable[[Sequence[StoredRun]], None]:
    def refuse(runs: Sequence[StoredRun]) -> None:
        if any(run.run_id in run_ids for run in runs):
            raise BadRequest("no such type")

    return refuse


async def sent_to(target: MemoryTarget, runs: Sequence[StoredRun]) -> tuple[Sent[StoredRun], list[str]]:
    turn = Announcements()
    return await send(turn, RunsLane(target), runs), turn.jobs  # type: ignore[arg-type]


async def test_one_statement_announced_before_it_is_submitted() -> None:
    target, turn = MemoryTarget(), Announcements()

    def announced(_: Sequence[StoredRun]) -> None:
        assert len(turn.jobs) == 1

    target.before = announced
    assert await send(turn, RunsLane(target), RUNS) == Sent(RUNS)  # type: ignore[arg-type]
    assert len(target.merges) == 1


@pytest.mark.parametrize("index", [0, 1, 49, 50, 98, 99])
async def test_the_refused_row_is_found_and_what_was_merged_is_known(index: int) -> None:
    target = MemoryTarget()
    target.before = refusing(RUNS[index].run_id)
    sent, jobs = await sent_to(target, RUNS)
    assert sent.refused == RUNS[index]
    assert "no such type" in sent.reason
    assert [run.run_id for run in sent.merged] == [run_id for merge in target.merges for run_id in merge]
    assert len(jobs) == len(set(jobs)) <= 2 * math.ceil(math.log2(len(RUNS))) + 2


async def test_where_every_row_is_refused_it_stops_at_the_first() -> None:
    target = MemoryTarget()
    target.before = refusing(*(run.run_id for run in RUNS))
    sent, jobs = await sent_to(target, RUNS)
    assert (sent.refused, list(sent.merged)) == (RUNS[0], [])
    assert len(jobs) <= 2 * math.ceil(math.log2(len(RUNS))) + 2


@pytest.mark.parametrize(
    "message",
    [
        "Could not serialize access to table p:organizations.pipeline_runs due to concurrent update",
        "Transaction is aborted due to concurrent update against table p:organizations.pipeline_runs",
        "Resources exceeded: Too many DML statements outstanding against table p:organizations.pipeline_runs",
    ],
)
@pytest.mark.parametrize("runs", [RUNS, RUNS[:1]], ids=len)
async def test_a_conflict_of_statements_is_not_taken_for_a_refusal(message: str, runs: Sequence[StoredRun]) -> None:
    target, turn = MemoryTarget(), Announcements()

    def conflict(_: Sequence[StoredRun]) -> None:
        raise BadRequest(message)

    target.before = conflict
    with pytest.raises(BadRequest):
        await send(turn, RunsLane(target), runs)  # type: ignore[arg-type]
    assert len(turn.jobs) == 1


async def test_a_row_refused_only_once_is_merged() -> None:
    target = MemoryTarget()
    refusals = iter([BadRequest("for a moment")])

    def refuse_once(_: Sequence[StoredRun]) -> None:
        for refusal in refusals:
            raise refusal

    target.before = refuse_once
    sent, jobs = await sent_to(target, RUNS[:1])
    assert sent == Sent(RUNS[:1])
    assert len(set(jobs)) == 2


async def test_an_outage_is_not_taken_for_a_refusal() -> None:
    target = MemoryTarget()

    def away(_: Sequence[StoredRun]) -> None:
        raise ServiceUnavailable("away")

    target.before = away
    with pytest.raises(ServiceUnavailable):
        await sent_to(target, RUNS)


def test_a_batch_keeps_to_the_size_of_a_request() -> None:
    big = {"text": "x" * (MAX_BATCH_CHARACTERS // 3)}
    runs = [stored_run(f"run_{i}", parameters=big) for i in range(5)]
    assert within_size(RUNS_LANE, runs) == runs[:2]
    assert within_size(RUNS_LANE, [stored_run(parameters={"text": "x" * 2 * MAX_BATCH_CHARACTERS})] * 2) != []
    assert within_size(RUNS_LANE, RUNS) == RUNS
    assert within_size(RUNS_LANE, []) == []


def test_so_does_one_of_schedules() -> None:
    big = {"text": "x" * (MAX_BATCH_CHARACTERS // 3)}
    schedules = [unexported_schedule(f"sch_{i}", parameters=big) for i in range(5)]
    assert within_size(SchedulesLane(MemoryTarget()), schedules) == schedules[:2]
