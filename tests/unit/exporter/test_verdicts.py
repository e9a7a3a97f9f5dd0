"""A run that was deleted while nobody looked ends as its target says: completed if it had published, else cancelled."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from google.api_core.exceptions import Forbidden, RetryError
from google.auth.exceptions import RefreshError
from prometheus_client import CollectorRegistry

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.runs import NewRun
from pipeline_operator.entry import Vanished
from pipeline_operator.exporter.metrics import ExporterMetrics
from pipeline_operator.exporter.verdicts import Verdicts
from support.operator_world import World
from support.waiting import eventually


class Markers:
    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.error: Exception | None = None
        self.refuses: set[str] = set()
        self.asked: list[str] = []

    async def published(self, org_slug: str, run_ids: Sequence[str], since: datetime) -> dict[str, int]:
        self.asked.append(org_slug)
        if self.error is not None:
            raise self.error
        if org_slug in self.refuses:
            raise Forbidden("no")
        return {run_id: self.rows[run_id] for run_id in run_ids if run_id in self.rows}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def markers() -> Markers:
    return Markers()


def verdicts(world: World, markers: Markers) -> Verdicts:
    return Verdicts(world.records, markers, world.now, 1.0)  # type: ignore[arg-type]


async def left_undecided(world: World) -> str:
    """A run that was started, and deleted with all it had while the operator was away; its UID."""
    uid = world.apply()
    await world.reconcile(uid)
    world.kubernetes.remove("pipelineruns", "default", "billing")
    world.collect_garbage()
    world.start_operator()
    record = world.record(uid)
    world.cache.put_vanished(Vanished(uid, record.run_id, "default", "billing"))
    await world.reconcile(uid)
    assert world.record(uid).undecided_since == world.now()
    assert not world.record(uid).phase.is_final
    return uid


async def test_with_a_marker_it_has_completed(world: World, markers: Markers) -> None:
    uid = await left_undecided(world)
    markers.rows[world.record(uid).run_id] = 42
    await verdicts(world, markers).decide_once()
    record = world.record(uid)
    assert (record.phase, record.records_processed, record.error_message) == (Phase.COMPLETED, 42, None)
    assert record.undecided_since is None


async def test_without_one_it_is_cancelled(world: World, markers: Markers) -> None:
    uid = await left_undecided(world)
    await verdicts(world, markers).decide_once()
    assert (world.record(uid).phase, world.record(uid).reason) == (Phase.CANCELLED, "Cancelled")


async def test_a_target_that_is_away_is_asked_again(world: World, markers: Markers) -> None:
    uid = await left_undecided(world)
    markers.error = Forbidden("no")
    deciding = verdicts(world, markers)
    await deciding.decide_once()
    assert not world.record(uid).phase.is_final
    markers.error = None
    world.pass_time(1)
    await deciding.decide_once()
    assert world.record(uid).phase is Phase.CANCELLED


async def test_but_not_for_ever(world: World, markers: Markers) -> None:
    uid = await left_undecided(world)
    markers.error = Forbidden("no")
    world.pass_time(timedelta(days=1, seconds=1).total_seconds())
    await verdicts(world, markers).decide_once()
    assert "can't be asked" in (world.record(uid).message or "")


async def undecided_of(world: World, org_slug: str, count: int) -> list[str]:
    """That many runs of an organization, undecided; their ids, in the order in which they are asked for."""
    run_ids = [f"run_{org_slug}_{number:03}" for number in range(count)]
    for run_id in run_ids:
        new = NewRun(
            run_id=run_id, org_slug=org_slug, provider="gcp", domain="cost", pipeline="billing", parameters={},
            created_by="test", created_at=world.now(),
            object_namespace="default", object_name=run_id, object_uid=f"uid_{run_id}",
        )  # fmt: skip
        await world.records.begin(new)
        await world.records.leave_undecided(run_id, at=world.now(), message="", object_uid=f"uid_{run_id}")
    return run_ids


async def test_many_runs_of_one_target_that_refuses_do_not_keep_others_waiting(world: World, markers: Markers) -> None:
    await undecided_of(world, "first", 250)
    (other,) = await undecided_of(world, "second", 1)
    markers.refuses = {"first"}
    deciding = verdicts(world, markers)
    for _ in range(3):
        await deciding.decide_once()
        world.pass_time(1)
    assert world.records.rows[other]["completed_at"] is not None


async def test_a_target_that_refuses_is_asked_ever_less_often(world: World, markers: Markers) -> None:
    await undecided_of(world, "first", 1)
    markers.refuses = {"first"}
    deciding = verdicts(world, markers)
    for _ in range(600):
        await deciding.decide_once()
        world.pass_time(1)
    assert 10 < len(markers.asked) < 20
    markers.refuses = set()
    world.pass_time(60)
    await deciding.decide_once()
    assert await world.records.undecided() == []


@pytest.mark.parametrize(
    "error", [RetryError("gave up after 30 s", None), TimeoutError(), RefreshError("no token"), KeyError("a defect")]
)
async def test_no_error_ends_the_loop(world: World, markers: Markers, error: Exception) -> None:
    """The exporter would end with it."""
    uid = await left_undecided(world)
    markers.error = error
    stop = asyncio.Event()
    task = asyncio.create_task(Verdicts(world.records, markers, world.now, 0.001).run(stop))  # type: ignore[arg-type]

    async def asked() -> bool:
        return len(markers.asked) > 0

    async def ended() -> bool:
        world.pass_time(1)
        return world.record(uid).phase.is_final

    try:
        await eventually(asked)
        markers.error = None
        await eventually(ended)
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


async def test_a_target_that_never_answers_is_told_and_so_are_those_that_wait(world: World, markers: Markers) -> None:
    await undecided_of(world, "first", 3)
    markers.refuses = {"first"}
    registry, clock = CollectorRegistry(), iter([0.0, 10.0, 611.0])
    deciding = Verdicts(world.records, markers, world.now, 1.0, ExporterMetrics(registry), clock.__next__)  # type: ignore[arg-type]
    await deciding.decide_once()
    assert registry.get_sample_value("pipelines_undecided_runs") == 3
    assert registry.get_sample_value("pipelines_verdict_failures_total") == 1
    assert deciding.unhealthy() == "undecided runs haven't been looked at for 601 s"


async def test_a_run_that_never_had_a_job_is_cancelled_at_once(world: World) -> None:
    uid = world.apply(cancel=True)
    world.watch()
    world.kubernetes.remove("pipelineruns", "default", "billing")
    await world.reconcile(uid)
    assert world.records.rows == {}


async def test_the_sweep_leaves_it_to_the_exporter(world: World, markers: Markers) -> None:
    uid = await left_undecided(world)
    since = world.record(uid).undecided_since
    world.pass_time(300)
    world.cache.put_vanished(Vanished(uid, world.record(uid).run_id, "default", "billing"))
    assert await world.reconcile(uid) is None
    assert world.record(uid).undecided_since == since
