"""A run that was deleted while nobody looked ends as its target says: completed if it had published, else cancelled."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from google.api_core.exceptions import Forbidden

from pipeline_core.lifecycle.phases import Phase
from pipeline_operator.cache import Vanished
from pipeline_operator.exporter.verdicts import Verdicts
from support.operator_world import World


class Markers:
    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.error: Exception | None = None

    async def published(self, org_slug: str, run_ids: Sequence[str], since: datetime) -> dict[str, int]:
        if self.error is not None:
            raise self.error
        assert org_slug == "acme"
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
    await verdicts(world, markers).decide_once()
    assert not world.record(uid).phase.is_final
    markers.error = None
    await verdicts(world, markers).decide_once()
    assert world.record(uid).phase is Phase.CANCELLED


async def test_but_not_for_ever(world: World, markers: Markers) -> None:
    uid = await left_undecided(world)
    markers.error = Forbidden("no")
    world.pass_time(timedelta(days=1, seconds=1).total_seconds())
    await verdicts(world, markers).decide_once()
    assert "can't be asked" in (world.record(uid).message or "")


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
