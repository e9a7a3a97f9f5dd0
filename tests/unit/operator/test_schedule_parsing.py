"""Reading a PipelineSchedule, and what a run was made for: whatever anyone has written in annotations."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.ids import backfill_run_id, tick_run_id, trigger_run_id
from pipeline_core.schedules.observed import (
    BackfillProgress,
    BackfillSpec,
    Backlog,
    CatchUp,
    Cause,
    ConcurrencyPolicy,
    ConditionValue,
    LastMissed,
    ScheduleSpec,
    ScheduleStatus,
)
from pipeline_operator.parsing import parse_run
from pipeline_operator.schedules.parsing import TRIGGERED, MadeFor, parse_made_for, parse_schedule
from pipeline_operator.schedules.status import build_status, difference

UID = "0a1b2c3d-0000-4000-8000-000000000000"
TICK = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
AT = "2026-11-22T06:00:00Z"


def schedule(spec: Any = (), status: Any = None, **metadata: Any) -> dict[str, Any]:
    least = {"org": "acme", "provider": "gcp", "domain": "cost", "pipeline": "billing", "cronExpression": "@daily"}
    named = {"name": "nightly", "namespace": "runs", "uid": UID, "resourceVersion": "7"}
    created = {"creationTimestamp": "2026-11-22T03:00:00Z", "generation": 2}
    body = {"metadata": {**named, **created, **metadata}, "spec": {**least, **dict(spec)}}
    return body if status is None else {**body, "status": status}


def run(run_id: str, annotations: Any = None, labels: Any = None, **spec: Any) -> dict[str, Any]:
    metadata = {
        "name": "one", "namespace": "runs", "uid": UID[::-1], "resourceVersion": "1", "creationTimestamp": AT,
        "annotations": annotations, "labels": labels,
    }  # fmt: skip
    given = {"runId": run_id, "org": "acme", "logicalTime": AT, "scheduleRef": {"name": "nightly", "uid": UID}, **spec}
    return {"metadata": metadata, "spec": given}


def made_for(body: dict[str, Any]) -> MadeFor:
    return parse_made_for(body, parse_run(body))


def test_defaults_are_the_crds() -> None:
    read = parse_schedule(schedule())
    assert read.spec == ScheduleSpec("acme", "gcp", "cost", "billing", "@daily")
    assert (read.generation, read.resource_version, read.trigger, read.deleting) == (2, "7", None, False)


def test_every_field_is_read() -> None:
    spec = {
        "timeZone": "Europe/Madrid",
        "enabled": False,
        "parameters": {"days": 3},
        "concurrencyPolicy": "Replace",
        "startingDeadlineSeconds": 90,
        "catchUp": "All",
        "catchUpLimit": 5,
        "staggerSeconds": 60,
        "successfulRunsHistoryLimit": 0,
        "failedRunsHistoryLimit": 1,
        "runTemplate": {"priority": 5},
        "backfill": {"from": "2026-10-01", "to": "2026-10-31", "concurrency": 3, "paused": True},
    }
    read = parse_schedule(schedule(spec, annotations={"pipelines.dev/trigger": "now"})).spec
    assert read == ScheduleSpec(
        "acme", "gcp", "cost", "billing", "@daily", "Europe/Madrid", enabled=False, parameters={"days": 3},
        concurrency_policy=ConcurrencyPolicy.REPLACE, starting_deadline=timedelta(seconds=90), catch_up=CatchUp.ALL,
        catch_up_limit=5, stagger_seconds=60, keep_successful=0, keep_failed=1, run_template={"priority": 5},
        backfill=BackfillSpec("20261001-20261031", "2026-10-01", "2026-10-31", 3, paused=True),
    )  # fmt: skip


FULL = ScheduleStatus(
    observed_generation=2,
    observed_schedule="@daily Etc/UTC",
    handled_until=TICK,
    last_run_at=TICK,
    next_run_at=TICK + timedelta(days=1),
    active=2,
    last_outcome=Phase.FAILED,
    last_ended_at=TICK,
    missed=7,
    last_missed=LastMissed(TICK, "StillRunning", "words"),
    backlog=Backlog(TICK, TICK + timedelta(hours=3)),
    backfill=BackfillProgress("october", "Running", 31, 3, 1, 2, TICK, "words", TICK, TICK),
    handled_trigger="now",
    conditions=(ConditionValue("Ready", True, "Scheduled", "words"),),
)


@pytest.mark.parametrize("status", [ScheduleStatus(), FULL], ids=["empty", "full"])
def test_a_status_that_is_written_is_read_as_it_was(status: ScheduleStatus) -> None:
    read = parse_schedule(schedule())
    wanted = {name: value for name, value in build_status(read, status).items() if value is not None}
    patch = difference({}, wanted, TICK) or {}
    assert parse_schedule(schedule(status=patch)).status == status
    assert difference(patch, build_status(read, status), TICK + timedelta(hours=1)) is None


def test_what_goes_is_taken_away_within_fields_too() -> None:
    read = parse_schedule(schedule())
    before = difference({}, build_status(read, FULL), TICK) or {}
    after = ScheduleStatus(2, conditions=FULL.conditions, backfill=BackfillProgress("october", "Waiting", 31))
    patch = difference(before, build_status(read, after), TICK) or {}
    assert patch["backlog"] is None
    assert patch["backfill"] == {
        "id": "october", "state": "Waiting", "total": 31, "succeeded": 0, "failed": 0, "active": 0,
        "doneUntil": None, "message": None, "startedAt": None, "completedAt": None,
    }  # fmt: skip
    assert "conditions" not in patch
    assert "observedGeneration" not in patch


@pytest.mark.parametrize(
    ("fields", "edited_at"),
    [
        (None, "03:00:00"),
        ([], "03:00:00"),
        ([{"time": "2026-11-22T04:00:00Z"}, {"time": "2026-11-22T03:30:00Z"}], "04:00:00"),
        ([{"time": "2026-11-22T04:00:00Z", "subresource": "status"}], "03:00:00"),
        ([{"manager": "of an old version"}, {"time": "2026-11-22T03:10:00Z", "subresource": ""}], "03:10:00"),
    ],
)
def test_an_edit_is_what_was_not_written_by_status(fields: Any, edited_at: str) -> None:
    read = parse_schedule(schedule(managedFields=fields))
    assert read.edited_at.isoformat() == f"2026-11-22T{edited_at}+00:00"


def test_a_run_of_a_tick() -> None:
    annotations = {"pipelines.dev/cause": "tick", "pipelines.dev/due-at": "2026-11-22T06:00:30Z"}
    assert made_for(run(tick_run_id(UID, TICK), annotations)) == MadeFor(Cause.TICK, TICK, TICK + timedelta(seconds=30))


def test_a_run_that_caught_up_and_one_of_a_backfill() -> None:
    assert made_for(run(tick_run_id(UID, TICK), {"pipelines.dev/cause": "catch-up"})) == MadeFor(Cause.CATCH_UP, TICK)
    body = run(backfill_run_id(UID, "october", TICK), None, {"pipelines.dev/backfill": "october"})
    assert made_for(body) == MadeFor(Cause.BACKFILL, TICK, backfill_id="october")


@pytest.mark.parametrize(
    "annotations",
    [
        None,
        {"pipelines.dev/cause": "nonsense", "pipelines.dev/due-at": "nonsense"},
        {"pipelines.dev/due-at": "2026-11-22T06:00:00"},
        {"pipelines.dev/due-at": "2026-11-22T05:59:59Z"},
        {"pipelines.dev/due-at": "0001-01-01T00:00:00+14:00"},
        {"pipelines.dev/due-at": "2027-11-22T06:00:00Z"},
        {"pipelines.dev/cause": "backfill", "pipelines.dev/tick": "nonsense"},
    ],
)
def test_mangled_annotations_change_nothing_but_what_they_alone_tell(annotations: Any) -> None:
    assert made_for(run(tick_run_id(UID, TICK), annotations)) == MadeFor(Cause.TICK, TICK)


@pytest.mark.parametrize(
    "body",
    [
        run(trigger_run_id(UID, "now"), {"pipelines.dev/cause": "trigger"}),
        run("run_forged", {"pipelines.dev/cause": "tick", "pipelines.dev/tick": AT, "pipelines.dev/due-at": AT}),
        run(tick_run_id(UID, TICK), logicalTime="2026-11-22T06:00:01Z"),
        run(tick_run_id(UID, TICK), logicalTime="0001-01-01T00:00:00+14:00"),
        run(tick_run_id(UID, TICK), logicalTime="nonsense"),
        run(tick_run_id(UID, TICK), logicalTime=None),
        run(tick_run_id(UID, TICK), scheduleRef={"name": "nightly"}),
        run(backfill_run_id(UID, "october", TICK), {"pipelines.dev/cause": "backfill"}),
    ],
)
def test_whatever_else_names_the_schedule_was_triggered(body: dict[str, Any]) -> None:
    assert made_for(body) == TRIGGERED
