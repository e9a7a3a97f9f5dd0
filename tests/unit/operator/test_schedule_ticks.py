"""A schedule's ticks have their runs, once and in time, and its status says so in few writes; or why there is none."""

from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from pipeline_core.kube import names
from pipeline_core.kube.api import KubeError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.ids import tick_run_id
from pipeline_core.store.errors import StoreUnavailableError
from support.operator_world import T0
from support.schedule_operator import NAMESPACE, ScheduleOperator

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
FOUR = "nightly-20261122t0400z"


@pytest.fixture
def world() -> ScheduleOperator:
    """A new world, at three o'clock."""
    return ScheduleOperator()


async def fired(world: ScheduleOperator, **spec: Any) -> str:
    """A schedule whose tick at four has had its run; returns its UID."""
    uid = world.schedule(**spec)
    await world.until(T0 + HOUR)
    return uid


def raising(error: Exception, method: str, part: str) -> Any:
    def fault(called: str, path: str) -> None:
        if called == method and part in path:
            raise error

    return fault


async def test_a_tick_has_its_run_at_its_time_and_once(world: ScheduleOperator) -> None:
    uid = world.schedule()
    await world.until(T0 + HOUR - SECOND, timedelta(minutes=7))
    assert world.runs() == {}
    assert world.of()["nextRunAt"] == "2026-11-22T04:00:00Z"
    assert world.of()["active"] == 0
    world.pass_time(1)
    for _ in range(3):
        await world.turn()
        world.pass_time(5)
    (run,) = world.runs().values()
    assert run["metadata"]["name"] == FOUR
    assert run["metadata"]["labels"]["pipelines.dev/schedule"] == "nightly"
    assert run["metadata"]["annotations"] == {
        "pipelines.dev/cause": "tick",
        "pipelines.dev/tick": "2026-11-22T04:00:00Z",
        "pipelines.dev/due-at": "2026-11-22T04:00:00Z",
    }
    assert "ownerReferences" not in run["metadata"]
    assert run["spec"] == {
        "org": "acme",
        "provider": "gcp",
        "domain": "cost",
        "pipeline": "billing",
        "parameters": {"date": "2026-11-21"},
        "logicalTime": "2026-11-22T04:00:00Z",
        "scheduleRef": {"name": "nightly", "uid": uid},
        "createdBy": f"schedule:sch_{uid.replace('-', '')}",
        "runId": tick_run_id(uid, T0 + HOUR),
        "quotaPolicy": "Queue",
        "priority": 0,
    }
    assert world.runs_woken == [run["metadata"]["uid"]]
    assert world.of()["lastRunAt"] == "2026-11-22T04:00:00Z"
    assert world.of()["nextRunAt"] == "2026-11-22T05:00:00Z"
    assert world.of()["handledUntil"] == "2026-11-22T04:00:00Z"
    assert world.of()["active"] == 1
    assert world.condition("Ready")[:2] == ("True", "Scheduled")


async def test_a_tick_costs_one_creation_and_its_run_two_writes_of_the_status(world: ScheduleOperator) -> None:
    await world.until(T0 + MINUTE)  # nothing yet
    uid = world.schedule()
    await world.turn()
    assert world.writes() == [("PATCH", "pipelineschedules/nightly/status")]
    world.kubernetes.calls.clear()
    await world.until(T0 + HOUR + MINUTE)
    world.end(FOUR)
    await world.until(T0 + HOUR + 30 * MINUTE)
    status = ("PATCH", "pipelineschedules/nightly/status")
    assert world.writes() == [("POST", "pipelineruns"), status, status]
    assert (world.of()["active"], world.of()["lastOutcome"]) == (0, "Completed")
    assert world.of()["lastEndedAt"] == "2026-11-22T04:01:00Z"
    # A new process, and whatever wakes a schedule, brings no more.
    world.start_operator()
    for _ in range(3):
        await world.turn()
        world.parts.wake(uid)
    assert len(world.writes()) == 3
    assert [method for method, _ in world.kubernetes.calls if method == "GET"] == []


async def test_the_time_of_a_condition_stays_where_its_status_does(world: ScheduleOperator) -> None:
    await fired(world)
    (before,) = {each["lastTransitionTime"] for each in world.of()["conditions"]}
    world.edit(cronExpression="30 * * * *")
    await world.until(T0 + 2 * HOUR)
    assert {each["lastTransitionTime"] for each in world.of()["conditions"]} == {before}
    world.edit(enabled=False)
    await world.until(T0 + 3 * HOUR)
    times = {each["type"]: each["lastTransitionTime"] for each in world.of()["conditions"]}
    assert times["Suspended"] == "2026-11-22T05:00:00Z"
    assert times["Ready"] == before


async def test_what_is_no_more_is_taken_from_the_status(world: ScheduleOperator) -> None:
    await fired(world, backfill={"id": "a", "from": "2026-11-20", "to": "2026-11-20", "paused": True})
    assert world.of()["backfill"]["state"] == "Paused"
    assert "nextRunAt" in world.of()
    world.edit(enabled=False, backfill={"id": "b", "from": "2026-11-22", "to": "2026-11-20"})
    await world.turn()
    assert "nextRunAt" not in world.of()
    assert world.of()["backfill"]["state"] == "Invalid"
    assert world.condition("Suspended")[:2] == ("True", "Disabled")


async def test_enabled_again_it_goes_on_from_then(world: ScheduleOperator) -> None:
    world.schedule(enabled=False, catchUp="All")
    await world.until(T0 + 3 * HOUR + MINUTE, timedelta(minutes=17))
    world.edit(enabled=True)
    await world.until(T0 + 4 * HOUR)
    assert list(world.runs()) == ["nightly-20261122t0700z"]
    assert world.of()["missed"] == 0


async def test_a_trigger_makes_one_run_and_leaves_the_ticks_alone(world: ScheduleOperator) -> None:
    await fired(world)
    world.pass_time(61.5)
    world.edit(annotations={names.ANNOTATION_TRIGGER: "monday"})
    for _ in range(3):
        await world.turn()
    (name,) = set(world.runs()) - {FOUR}
    run = world.runs()[name]
    assert run["spec"]["logicalTime"] == "2026-11-22T04:01:01Z"
    assert run["metadata"]["annotations"] == {"pipelines.dev/cause": "trigger"}
    assert world.of()["handledTrigger"] == "monday"
    assert world.of()["nextRunAt"] == "2026-11-22T05:00:00Z"
    world.start_operator()
    await world.turn()
    assert len(world.runs()) == 2


async def test_a_run_that_somebody_asked_for_counts_as_triggered(world: ScheduleOperator) -> None:
    world.schedule()
    await world.turn()
    world.apply("by-hand", scheduleRef={"name": "nightly"})
    world.apply("of-another-org", org="globex", scheduleRef={"name": "nightly"})
    await world.turn()
    assert world.of()["active"] == 1
    await world.until(T0 + HOUR)  # Forbid doesn't mind it
    assert FOUR in world.runs()


async def test_forbid_says_which_tick_has_no_run_and_why(world: ScheduleOperator) -> None:
    await fired(world)
    await world.until(T0 + 3 * HOUR)
    assert list(world.runs()) == [FOUR]
    assert world.of()["missed"] == 2
    assert world.of()["lastMissed"]["reason"] == "StillRunning"
    assert world.of()["lastMissed"]["tick"] == "2026-11-22T06:00:00Z"
    assert {reason for reason, _ in world.told()} == {"StillRunning"}


async def test_replace_cancels_the_earlier_run(world: ScheduleOperator) -> None:
    await fired(world, concurrencyPolicy="Replace")
    await world.until(T0 + 2 * HOUR)
    assert world.runs()[FOUR]["spec"]["cancel"] is True
    assert "cancel" not in world.runs()["nightly-20261122t0500z"]["spec"]


async def test_the_history_keeps_as_many_as_it_says(world: ScheduleOperator) -> None:
    world.schedule(successfulRunsHistoryLimit=1, failedRunsHistoryLimit=1)
    for hour, phase in enumerate((Phase.COMPLETED, Phase.FAILED, Phase.COMPLETED, Phase.FAILED, Phase.COMPLETED), 1):
        await world.until(T0 + hour * HOUR, timedelta(minutes=20))
        (running,) = [name for name, body in world.runs().items() if "status" not in body]
        world.pass_time(30)
        world.end(running, phase)
        await world.turn()
    assert sorted(world.runs()) == ["nightly-20261122t0700z", "nightly-20261122t0800z"]
    deletions = [what for method, what in world.writes() if method == "DELETE"]
    assert len(deletions) == len(set(deletions)) == 3


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"cronExpression": "0 25 * * *"}, "InvalidCron", "hour"),
        ({"timeZone": "Europe/Nowhere"}, "InvalidTimeZone", "IANA"),
        ({"pipeline": "nothing"}, "PipelineNotFound", "gcp/cost/nothing"),
        ({"provider": "nobody"}, "UnknownProvider", "nobody"),
        ({"parameters": {"nonsense": 1}}, "ParametersInvalid", "nonsense"),
        ({"parameters": {"date": "{{tomorrow}}"}}, "ParametersInvalid", "tomorrow"),
    ],
)
async def test_one_that_cannot_work_says_so(
    world: ScheduleOperator, spec: dict[str, Any], reason: str, words: str
) -> None:
    world.schedule(**spec)
    await world.until(T0 + 2 * HOUR, timedelta(minutes=30))
    for kind, status in (("Ready", "False"), ("Stalled", "True")):
        assert world.condition(kind)[:2] == (status, reason)
        assert words in world.condition(kind)[2]
    assert world.runs() == {}
    assert "nextRunAt" not in world.of()


async def test_it_works_as_soon_as_it_can(world: ScheduleOperator) -> None:
    world.schedule(pipeline="nothing")
    await world.turn()
    world.edit(pipeline="billing")
    await world.until(T0 + HOUR)
    assert world.condition("Ready")[0] == "True"
    assert FOUR in world.runs()


async def test_an_inactive_organization_runs_nothing_and_begins_anew_without_the_past(world: ScheduleOperator) -> None:
    world.plans.status["acme"] = "SUSPENDED"
    await fired(world, catchUp="All")
    assert world.runs() == {}
    assert world.condition("Suspended") == (
        "True",
        "OrganizationInactive",
        "Pipeline execution not allowed for SUSPENDED organizations",
    )
    assert world.of()["lastMissed"]["reason"] == "OrganizationInactive"
    world.plans.status["acme"] = "ACTIVE"
    await world.until(T0 + 2 * HOUR)
    assert list(world.runs()) == ["nightly-20261122t0500z"]
    assert world.condition("Suspended")[0] == "False"


async def test_a_database_that_is_away_holds_up_no_tick(world: ScheduleOperator) -> None:
    world.schedule()
    await world.turn()
    world.records.fault = raising_store
    world.parts.lookup._facts = Away()  # type: ignore[assignment]
    await world.until(T0 + HOUR)
    assert FOUR in world.runs()


def raising_store(_method: str) -> None:
    raise StoreUnavailableError("connection refused")


class Away:
    """AdmissionFacts while PostgreSQL is away."""

    async def get(self, _org: str, _provider: str) -> None:
        raise StoreUnavailableError("connection refused")


async def test_a_late_tick_waits_for_the_database_that_knows_whether_it_had_its_run(world: ScheduleOperator) -> None:
    await fired(world)
    world.end(FOUR)
    await world.turn()
    # Of the run at five only the record is left: the process died before it could tell, and the object is gone.
    uid = world.object()["metadata"]["uid"]
    world.pass_time(3600)
    world.records.rows[tick_run_id(uid, T0 + 2 * HOUR)] = {
        **world.records.rows[tick_run_id(uid, T0 + HOUR)],
        "run_id": tick_run_id(uid, T0 + 2 * HOUR),
    }
    world.start_operator()
    world.records.fault = raising_store
    await world.turn()
    assert list(world.runs()) == [FOUR]
    world.records.fault = lambda _method: None
    await world.survive()
    assert list(world.runs()) == [FOUR]
    assert world.of()["handledUntil"] == "2026-11-22T05:00:00Z"
    assert world.of()["missed"] == 0


async def test_the_run_that_is_there_already_is_the_ticks_own(world: ScheduleOperator) -> None:
    uid = world.schedule()
    await world.turn()
    made = {"runId": tick_run_id(uid, T0 + HOUR), "logicalTime": "2026-11-22T04:00:00Z"}
    world.apply(FOUR, **made, scheduleRef={"name": "nightly", "uid": uid})
    world.watch = lambda: None  # type: ignore[method-assign] - which hasn't shown it yet
    await world.until(T0 + HOUR)
    assert list(world.runs()) == [FOUR]
    assert (world.of()["active"], world.of()["missed"]) == (1, 0)
    assert world.told() == []


async def test_a_name_that_is_taken_is_told_and_the_next_tick_has_its_run(world: ScheduleOperator) -> None:
    world.apply(FOUR)
    await fired(world)
    assert world.of()["missed"] == 1
    assert world.of()["lastMissed"]["reason"] == "NameTaken"
    assert FOUR in world.of()["lastMissed"]["message"]
    assert "lastRunAt" not in world.of()
    await world.until(T0 + 2 * HOUR)
    assert "nightly-20261122t0500z" in world.runs()
    assert (world.of()["missed"], world.of()["active"]) == (1, 1)
    assert [reason for reason, _ in world.told()] == ["NameTaken"]


@pytest.mark.parametrize(
    "error",
    [
        KubeError(422, "Invalid", "spec.parameters: too long"),
        KubeError(403, "Forbidden", "ValidatingAdmissionPolicy 'x' denied request: no"),
    ],
    ids=["invalid", "denied"],
)
async def test_a_run_that_is_refused_for_good_is_told(world: ScheduleOperator, error: KubeError) -> None:
    world.schedule()
    await world.turn()
    world.kubernetes.before = raising(error, "POST", "/pipelineruns")
    await world.until(T0 + HOUR + MINUTE)
    assert world.of()["lastMissed"] == {
        "tick": "2026-11-22T04:00:00Z",
        "reason": "Refused",
        "message": f"The API server refuses the run: {error.message}",
    }
    assert (world.of()["missed"], world.of()["active"]) == (1, 0)


async def test_a_right_that_is_missing_is_waited_for(world: ScheduleOperator) -> None:
    world.schedule()
    await world.turn()
    error = KubeError(403, "Forbidden", 'User "operator" cannot create resource "pipelineruns"')
    world.kubernetes.before = raising(error, "POST", "/pipelineruns")
    await world.until(T0 + HOUR + MINUTE)
    assert world.of()["missed"] == 0
    world.kubernetes.before = lambda _method, _path: None
    await world.survive()
    assert FOUR in world.runs()


async def test_a_conflict_is_decided_anew_from_what_is_there(world: ScheduleOperator) -> None:
    await fired(world)
    world.end(FOUR)
    world.pass_time(1800)
    await world.turn()
    world.pass_time(1800)

    def edited(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/pipelineruns"):
            world.kubernetes.before = lambda _method, _path: None
            world.edit(cronExpression="15 * * * *")

    world.kubernetes.before = edited
    await world.turn()
    assert sorted(world.runs()) == [FOUR, "nightly-20261122t0500z"]
    assert world.of()["observedSchedule"] == "15 * * * * Etc/UTC"
    assert world.of()["observedGeneration"] == 2
    assert world.of()["nextRunAt"] == "2026-11-22T05:15:00Z"
    assert (world.of()["missed"], world.of()["active"]) == (0, 1)


async def test_two_operators_make_one_run_and_agree(world: ScheduleOperator) -> None:
    world.schedule()
    await world.turn()
    first = world.parts, world.cache
    world.start_operator()
    await world.turn()
    second = world.parts, world.cache
    for hour in (1, 2, 3):
        world.pass_time(3600)
        for world.parts, world.cache in (first, second, first):
            await world.turn()
        world.end(f"nightly-20261122t0{3 + hour}00z")
        for world.parts, world.cache in (second, first):
            await world.turn()
    assert len(world.runs()) == 3
    assert (world.of()["missed"], world.of()["active"]) == (0, 0)


async def test_a_clock_that_is_set_forward_brings_what_is_due_and_back_nothing_twice(world: ScheduleOperator) -> None:
    await fired(world, concurrencyPolicy="Allow")
    world.set_clock(T0 + 2 * HOUR)
    await world.turn()
    assert sorted(world.runs()) == [FOUR, "nightly-20261122t0500z"]
    world.set_clock(T0 + HOUR + 30 * MINUTE)
    for _ in range(20):  # all are looked at again within seconds
        world.monotonic += 1
        await world.turn()
    assert world.of()["nextRunAt"] == "2026-11-22T05:00:00Z"
    await world.until(T0 + 3 * HOUR)
    assert len(world.runs()) == 3
    assert world.of()["missed"] == 0


async def test_nothing_is_done_for_a_schedule_that_goes(world: ScheduleOperator) -> None:
    await fired(world)
    world.kubernetes.remove(names.SCHEDULES, NAMESPACE, "nightly")
    await world.until(T0 + 3 * HOUR)
    assert list(world.runs()) == [FOUR]
    other = ScheduleOperator()
    other.schedule()
    other.object()["metadata"]["deletionTimestamp"] = "2026-11-22T03:00:00Z"
    await other.until(T0 + HOUR)
    assert other.writes() == []


async def test_how_late_a_run_and_its_job_are_made_is_measured(world: ScheduleOperator) -> None:
    def seen(step: str) -> float:
        return REGISTRY.get_sample_value("pipelines_schedule_skew_seconds_count", {"step": step}) or 0.0

    before = seen("run"), seen("job")
    ticks = REGISTRY.get_sample_value("pipelines_schedule_ticks_total", {"cause": "tick"}) or 0.0
    await fired(world)
    await world.reconcile(world.runs()[FOUR]["metadata"]["uid"])
    assert (seen("run"), seen("job")) == (before[0] + 1, before[1] + 1)
    assert REGISTRY.get_sample_value("pipelines_schedule_ticks_total", {"cause": "tick"}) == ticks + 1
    assert REGISTRY.get_sample_value("pipelines_schedules", {"state": "scheduled"}) == 1
