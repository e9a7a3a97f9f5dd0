"""What a real API server accepts and refuses of schedules, and the words it refuses with."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from kubernetes import client

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.observed import (
    BackfillProgress,
    Backlog,
    ConditionValue,
    LastMissed,
    ScheduleStatus,
)
from pipeline_operator.schedules.parsing import parse_schedule
from pipeline_operator.schedules.status import build_status, difference
from support.custom_resources import ABSENT, CRON, Resource, assert_refused, fresh_namespace, with_spec
from support.local_cluster import kubectl

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    with fresh_namespace("test-crds") as name:
        yield name


@pytest.fixture(scope="module")
def schedules(namespace: str) -> Resource:
    return Resource(namespace, "PipelineSchedule")


def test_the_least_schedule_gets_its_defaults(schedules: Resource) -> None:
    assert schedules.create(CRON)["spec"] == {
        **CRON,
        "timeZone": "Etc/UTC",
        "enabled": True,
        "concurrencyPolicy": "Forbid",
        "catchUp": "Latest",
        "catchUpLimit": 100,
        "staggerSeconds": 0,
        "successfulRunsHistoryLimit": 3,
        "failedRunsHistoryLimit": 3,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"cronExpression": "@hourly"},
        {"cronExpression": "*/5 0-6,22 1,15 jan-mar mon"},
        {"timeZone": "Europe/Madrid"},
        {"timeZone": "America/Argentina/Buenos_Aires"},
        {"timeZone": "Etc/GMT+12"},
        {"catchUp": "None"},
        {"enabled": False, "concurrencyPolicy": "Replace", "startingDeadlineSeconds": 300},
        {"parameters": {"days": 3}},
        {"staggerSeconds": 3600, "catchUp": "All", "catchUpLimit": 1000},
        {"backfill": {"from": "2026-10-01", "to": "2026-10-31", "concurrency": 1, "paused": False}},
        {
            "backfill": {
                "id": "october",
                "from": "2026-10-01T00:00:00Z",
                "to": "2026-10-31T23:59:59.5+02:00",
                "concurrency": 10,
                "paused": True,
            }
        },
        {"runTemplate": {"quotaPolicy": "Queue", "queueTimeoutSeconds": 60, "timeoutSeconds": 60, "maxRetries": 0}},
    ],
)
def test_schedule_is_accepted(schedules: Resource, changes: Mapping[str, Any]) -> None:
    created = schedules.create({**CRON, **changes})["spec"]
    assert {name: created[name] for name in changes} == changes


def test_runs_of_a_schedule_wait_for_quota_by_default(schedules: Resource) -> None:
    created = schedules.create({**CRON, "runTemplate": {"queueTimeoutSeconds": 60}})["spec"]
    assert created["runTemplate"] == {"queueTimeoutSeconds": 60, "quotaPolicy": "Queue"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cronExpression": ABSENT}, ["spec.cronExpression: Required value"]),
        ({"cronExpression": "0 0 */6 * * *"}, ["spec.cronExpression: must be five fields", "seconds aren't supported"]),
        ({"cronExpression": "0 */6 * *"}, ["spec.cronExpression: must be five fields"]),
        ({"cronExpression": "@fortnightly"}, ["spec.cronExpression: must be five fields"]),
        ({"cronExpression": "@every 5m"}, ["spec.cronExpression: must be five fields"]),
        ({"timeZone": "Local"}, ["spec.timeZone: must be a name of the IANA time zone database"]),
        ({"timeZone": "../etc/passwd"}, ["spec.timeZone: must be"]),
        ({"timeZone": "UTC+2 hours"}, ["spec.timeZone: must be"]),
        ({"concurrencyPolicy": "Skip"}, ["spec.concurrencyPolicy", "Allow", "Forbid", "Replace"]),
        ({"catchUp": "Some"}, ["spec.catchUp", "None", "Latest", "All"]),
        ({"startingDeadlineSeconds": 0}, ["spec.startingDeadlineSeconds"]),
        ({"successfulRunsHistoryLimit": -1}, ["spec.successfulRunsHistoryLimit"]),
        ({"failedRunsHistoryLimit": 101}, ["spec.failedRunsHistoryLimit"]),
        ({"runTemplate": {"org": "other"}}, ['unknown field "spec.runTemplate.org"']),
        (
            {"runTemplate": {"quotaPolicy": "Reject", "queueTimeoutSeconds": 60}},
            ["spec.runTemplate.queueTimeoutSeconds: only allowed with spec.runTemplate.quotaPolicy Queue"],
        ),
        ({"org": "Acme"}, ["spec.org"]),
        ({"parameters": {"Days": 3}}, ["spec.parameters: each name must be"]),
        ({"suspend": True}, ['unknown field "spec.suspend"']),
        ({"staggerSeconds": 3601}, ["spec.staggerSeconds"]),
        ({"catchUpLimit": 0}, ["spec.catchUpLimit"]),
        ({"backfill": {"from": "2026-10-01"}}, ["spec.backfill.to: Required value"]),
        ({"backfill": {"from": "yesterday", "to": "2026-10-01"}}, ["spec.backfill.from"]),
        ({"backfill": {"from": "2026-10-01", "to": "2026-10-01T00:00:00"}}, ["spec.backfill.to"]),
        ({"backfill": {"from": "2026-10-01", "to": "2026-10-02", "id": "October"}}, ["spec.backfill.id"]),
        ({"backfill": {"from": "2026-10-01", "to": "2026-10-02", "concurrency": 11}}, ["spec.backfill.concurrency"]),
    ],
)
def test_schedule_is_refused(schedules: Resource, changes: Mapping[str, Any], words: list[str]) -> None:
    with pytest.raises(client.ApiException) as caught:
        schedules.create(with_spec(CRON, changes))
    assert_refused(caught.value, words)


def test_a_long_name_of_a_schedule_is_refused(schedules: Resource) -> None:
    assert schedules.create(CRON, name="s" * 52)
    with pytest.raises(client.ApiException) as caught:
        schedules.create(CRON, name="s" * 53)
    assert_refused(caught.value, ["metadata.name: Too long: may not be more than 52 bytes"])


def test_of_a_schedule_all_but_the_organization_can_be_changed(schedules: Resource) -> None:
    # disabled, so that an operator has nothing to do with it
    schedules.create({**CRON, "enabled": False}, name="kept", keep=True)
    assert schedules.change("kept", {"cronExpression": "@daily", "parameters": {"days": 1}})
    with pytest.raises(client.ApiException) as caught:
        schedules.change("kept", {"org": "other"})
    assert_refused(caught.value, ["spec.org: immutable, expected the value that the schedule was created with"])


def test_columns_of_schedules(schedules: Resource, namespace: str) -> None:
    schedules.create({**CRON, "enabled": False}, name="shown", keep=True)
    lines = kubectl("get", "pls", "shown", "--namespace", namespace).splitlines()
    assert lines[0].split() == [
        *("NAME", "ORG", "PROVIDER", "DOMAIN", "PIPELINE", "CRON", "ZONE"),
        *("ENABLED", "LAST", "NEXT", "ACTIVE", "OUTCOME", "AGE"),
    ]
    assert "0 */6 * * *" in lines[1]


def test_every_field_of_a_schedules_status_is_taken(schedules: Resource) -> None:
    schedules.create({**CRON, "enabled": False}, name="told", keep=True)
    tick = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
    wanted = ScheduleStatus(
        observed_generation=1,
        observed_schedule="0 */6 * * * Etc/UTC",
        handled_until=tick,
        last_run_at=tick,
        next_run_at=tick,
        active=1,
        last_outcome=Phase.FAILED,
        last_ended_at=tick,
        missed=2,
        last_missed=LastMissed(tick, "StillRunning", "words"),
        backlog=Backlog(tick, tick),
        backfill=BackfillProgress("october", "Running", 31, 3, 1, 2, tick, "words", tick, tick),
        handled_trigger="now",
        conditions=(ConditionValue("Ready", True, "Scheduled", "words"),),
    )
    before = schedules.change_status("told", {})
    status = build_status(parse_schedule(before), wanted)
    patch = difference({}, status, tick)
    assert patch is not None
    after = schedules.change_status("told", patch)  # strictly: an unknown field is refused
    assert parse_schedule(after).status == wanted
