"""Schedules on the real cluster: every tick has its run though the operator is killed at one; backfills; a run now."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud import bigquery

from pipeline_core import identifiers
from pipeline_core.schedules.ids import tick_run_id, tick_run_name
from support.installation import Installation, noop
from support.victims import embedded_node

_MINUTE = timedelta(minutes=1)
# A new process waits for the dead one's Lease to run out, and then for the watches: the tick's run is as late as that.
_WITHIN_SECONDS = 90.0


@contextmanager
def schedule(installation: Installation, name: str, **spec: Any) -> Iterator[dict[str, Any]]:
    """A schedule of the trivial pipeline; deleted at the end, and its runs with it. Yields the object."""
    runs_of_it = f"--selector=pipelines.dev/schedule={name}"
    document = {
        "apiVersion": "pipelines.dev/v1alpha1",
        "kind": "PipelineSchedule",
        "metadata": {"name": name},
        "spec": {"org": "acme", **noop(), "cronExpression": "0 0 1 1 *", **spec},
    }
    try:
        installation.apply(document)
        yield installation.kubectl.read("pls", name)
    finally:
        installation.kubectl("delete", "pls", name, "--ignore-not-found", "--wait", "--timeout=60s")
        installation.kubectl("delete", "plr", runs_of_it, "--wait", "--timeout=60s")


def runs_of(installation: Installation, name: str) -> dict[str, dict[str, Any]]:
    found = installation.kubectl.read("plr", f"--selector=pipelines.dev/schedule={name}")["items"]
    return {body["metadata"]["name"]: body for body in found}


def status_of(installation: Installation, name: str) -> dict[str, Any]:
    status: dict[str, Any] = installation.kubectl.read("pls", name).get("status") or {}
    return status


def completed(installation: Installation, name: str, many: int) -> dict[str, dict[str, Any]]:
    """So many completed runs of the schedule, if there are as many by now; fails where one has failed."""
    runs = runs_of(installation, name)
    phases = {run: (body.get("status") or {}).get("phase") for run, body in runs.items()}
    assert "Failed" not in phases.values(), runs
    return runs if list(phases.values()).count("Completed") >= many else {}


@pytest.mark.timeout(400, func_only=True)
def test_every_minute_has_its_run_though_the_operator_is_killed_at_a_tick(installation: Installation) -> None:
    node = embedded_node(installation)
    spec = {"cronExpression": "* * * * *", "concurrencyPolicy": "Allow", "successfulRunsHistoryLimit": 100}
    with schedule(installation, "every-minute", **spec) as made:
        uid = made["metadata"]["uid"]
        status = installation.eventually(lambda: status_of(installation, "every-minute").get("nextRunAt"))
        tick = datetime.fromisoformat(status)
        operator = node.container("app.kubernetes.io/component=operator")
        assert operator.note()
        installation.eventually(lambda: time.time() >= tick.timestamp() - 0.05, 70)
        operator.kill()
        ticks = [tick, tick + _MINUTE]
        runs = installation.eventually(lambda: completed(installation, "every-minute", 2), 60 + _WITHIN_SECONDS)
        node.await_health()
        for each in ticks:
            body = runs[tick_run_name("every-minute", each)]
            assert body["spec"]["runId"] == tick_run_id(uid, each)
            assert datetime.fromisoformat(body["spec"]["logicalTime"]) == each
            assert len(installation.leftovers(body["spec"]["runId"])) == 2, "one Job, one pod"
        first, last = min(runs), max(runs)
        assert first == tick_run_name("every-minute", ticks[0]), "the first tick after it was made"
        between = (_tick(last) - _tick(first)) // _MINUTE + 1
        assert len(runs) == between, f"a run for each minute: {sorted(runs)}"
        told = status_of(installation, "every-minute")
        assert told["missed"] == 0
        assert _mirrored(installation, uid)["cron_expression"] == "* * * * *"


def _tick(run: str) -> datetime:
    return datetime.strptime(run.rpartition("-")[2], "%Y%m%dt%H%Mz").replace(tzinfo=UTC)


def _mirrored(installation: Installation, uid: str) -> dict[str, Any]:
    """The schedule's row of organizations.pipeline_schedules."""
    client = installation.client
    query = f"SELECT * FROM `{client.project}.organizations.pipeline_schedules` WHERE schedule_id = @id"
    parameter = bigquery.ScalarQueryParameter("id", "STRING", identifiers.schedule_id(uid))
    config = bigquery.QueryJobConfig(query_parameters=[parameter])

    def read() -> dict[str, Any] | None:
        return next((dict(row) for row in client.query_and_wait(query, job_config=config)), None)

    row: dict[str, Any] = installation.eventually(read, 60)
    return row


def test_a_backfill_makes_a_run_for_each_day_and_says_how_far_it_is(installation: Installation) -> None:
    backfill = {"id": "october", "from": "2026-10-01", "to": "2026-10-03", "concurrency": 2}
    with schedule(installation, "days", cronExpression="0 6 * * *", enabled=False, backfill=backfill):
        progress = installation.eventually(
            lambda: _state(status_of(installation, "days").get("backfill"), "Completed"), 120
        )
        assert (progress["total"], progress["succeeded"], progress["failed"]) == (3, 3, 0)
        runs = runs_of(installation, "days")
        ids = {name.rpartition("-")[0]: body["spec"]["runId"] for name, body in sorted(runs.items())}
        assert list(ids) == [f"days-october-2026100{day}t0600z" for day in (1, 2, 3)]
        assert set(runs) == {f"{name}-{run_id[4:8]}" for name, run_id in ids.items()}
        assert {body["metadata"]["labels"]["pipelines.dev/backfill"] for body in runs.values()} == {"october"}
        assert "nextRunAt" not in status_of(installation, "days")


def _state(backfill: dict[str, Any] | None, state: str) -> dict[str, Any] | None:
    return backfill if backfill and backfill["state"] == state else None


def test_an_annotation_asks_for_one_run_now(installation: Installation) -> None:
    with schedule(installation, "asked"):
        installation.kubectl("wait", "pls/asked", "--for=condition=Ready", "--timeout=60s")
        installation.kubectl("annotate", "pls", "asked", "pipelines.dev/trigger=1")
        (run,) = installation.eventually(lambda: completed(installation, "asked", 1), 60).values()
        assert run["spec"]["scheduleRef"]["name"] == "asked"
        told = installation.eventually(
            lambda: next((s for s in [status_of(installation, "asked")] if s.get("lastOutcome")), None)
        )
        assert (told["lastOutcome"], told["active"], told["missed"]) == ("Completed", 0, 0)


def test_a_schedule_of_nothing_says_so(installation: Installation) -> None:
    with schedule(installation, "nothing", pipeline="nosuch"):
        installation.kubectl("wait", "pls/nothing", "--for=condition=Stalled", "--timeout=60s")
        ready = next(each for each in status_of(installation, "nothing")["conditions"] if each["type"] == "Ready")
        expected = ("False", "PipelineNotFound", "Pipeline not found: demo/test/nosuch")
        assert (ready["status"], ready["reason"], ready["message"]) == expected
