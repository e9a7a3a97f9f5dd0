"""At INFO the log tells a run's story in a few lines, each with the run's id and organization."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from pipeline_core.kube import names
from pipeline_core.lifecycle.observed import Progress
from pipeline_core.logging import configure_logging
from pipeline_core.outcome import Outcome
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_operator.queue import WorkQueue
from pipeline_operator.work import _one
from support.operator_world import World

GOOD = Outcome(status="succeeded", records_processed=42)
BAD = Outcome(status="failed", error="ExternalBQExtractor: table not found")
# A runner adds four at most (started, extracting, staged, succeeded; one that is stopped, three): under ten in all.
LINES_MAX = 6


class Log:
    """The lines as the process writes them."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def story(self) -> list[tuple[str, ...]]:
        """Event, phase and reason of each line, each checked for what every line must have."""
        lines = self.lines()
        for line in lines:
            assert line["run_id"].startswith("run_"), line
            assert line["org"] == "acme", line
        assert len(lines) <= LINES_MAX
        return [(line["event"], *(line[key] for key in ("phase", "reason") if key in line)) for line in lines]


@pytest.fixture
def log() -> Iterator[Log]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging("info", "operator")
    structlog.configure(cache_logger_on_first_use=False)
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    log = Log()
    handler.setStream(log.stream)
    yield log
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def world() -> World:
    return World()


def report(world: World, uid: str, stage: str, percent: int) -> None:
    (pod,) = world.cache.get(uid).pods.values()
    run = world.cache.get(uid).run
    assert run is not None
    world.cache.put_progress(run.run_id, Progress(pod.uid, stage, percent, 7 * percent, world.now()))


async def test_a_success_with_much_progress(world: World, log: Log) -> None:
    uid = await world.running()
    for percent in range(5, 100, 5):
        world.pass_time(10)
        report(world, uid, "extract" if percent < 50 else "load", percent)
        await world.reconcile(uid)
    world.end_pods(GOOD)
    for _ in range(5):
        await world.reconcile(uid)
    assert log.story() == [
        ("job created",),
        ("run advanced", "Validating", "Starting"),
        ("run advanced", "Running", "Running"),
        ("run advanced", "Processing", "Running"),
        ("run ended", "Completed", "Completed"),
    ]


async def test_a_failure_after_a_retry_says_why_each_attempt_failed(world: World, log: Log) -> None:
    uid = await world.running()
    world.end_pods(None, exit_code=137, reason="OOMKilled")
    await world.reconcile(uid)
    world.pass_time(10)
    second_pod(world)
    await world.reconcile(uid)
    world.end_pods(BAD, exit_code=75, reason="Error")
    world.fail_jobs()
    for _ in range(3):
        await world.reconcile(uid)
    assert log.story() == [
        ("job created",),
        ("run advanced", "Validating", "Starting"),
        ("run advanced", "Running", "Running"),
        ("run tried again", "OutOfMemory"),
        ("run ended", "Failed", "ProcessorFailed"),
    ]


def second_pod(world: World) -> None:
    """The Job's next attempt."""
    (job_name,) = (name for plural, _, name in world.kubernetes.objects if plural == "jobs")
    first = world.kubernetes.objects["pods", "default", f"{job_name}-a"]
    running = {"running": {"startedAt": world.now().strftime("%Y-%m-%dT%H:%M:%SZ")}}
    metadata = {key: first["metadata"][key] for key in ("labels", "annotations")}
    status = {"phase": "Running", "containerStatuses": [{"name": "runner", "state": running}]}
    world.kubernetes.put("pods", {"metadata": {"name": f"{job_name}-b", **metadata}, "status": status})


async def test_a_cancel(world: World, log: Log) -> None:
    uid = await world.running()
    world.run()["spec"]["cancel"] = True
    world.kubernetes.put("pipelineruns", world.run())
    await world.reconcile(uid)
    world.collect_garbage()
    for _ in range(3):
        await world.reconcile(uid)
    assert log.story() == [
        ("job created",),
        ("run advanced", "Validating", "Starting"),
        ("run advanced", "Running", "Running"),
        ("job deleted",),
        ("pod deleted, as its Job is gone",),
        ("run ended", "Cancelled", "Cancelled"),
    ]


async def test_a_refusal(world: World, log: Log) -> None:
    await world.reconcile(world.apply(provider="azure"))
    (line,) = log.lines()
    assert (line["event"], line["phase"], line["reason"]) == ("run ended", "Failed", "Rejected")
    assert (line["org"], line["message"]) == ("acme", "Unknown provider: azure")


async def test_waiting_is_said_once_not_with_each_try(world: World, log: Log) -> None:
    uid = world.apply()
    queue, said = WorkQueue(), dict[str, str]()

    def away(_method: str) -> None:
        raise StoreUnavailableError("PostgreSQL is unavailable: connection refused")

    world.records.fault = away
    world.watch()
    for _ in range(20):
        await _one(queue, world.reconciler.reconcile, uid, said)
    world.records.fault = lambda _method: None
    for _ in range(2):
        await _one(queue, world.reconciler.reconcile, uid, said)
    assert log.story() == [
        ("run waits",),
        ("job created",),
        ("run advanced", "Validating", "Starting"),
        ("run goes on",),
    ]
    assert said == {}


async def test_a_run_by_http_is_told_with_its_request(world: World, log: Log) -> None:
    request = {"pipelines.dev/request-id": "req-1"}
    uid: str = world.kubernetes.put(
        names.RUNS,
        {
            "metadata": {"name": "billing", "annotations": request},
            "spec": {"org": "acme", "provider": "gcp", "domain": "cost", "pipeline": "billing"},
        },
    )["metadata"]["uid"]
    await world.reconcile(uid)
    assert log.story()[0] == ("job created",)
    assert {line["request_id"] for line in log.lines()} == {"req-1"}


async def test_nothing_secret_is_told(world: World, log: Log) -> None:
    uid = world.apply(parameters={"date": "2026-11-20"})
    await world.reconcile(uid)
    world.start_pods()
    world.end_pods(GOOD)
    await world.reconcile(uid)
    text = log.stream.getvalue()
    assert "run ended" in text
    (job,) = (body for (plural, _, _), body in world.kubernetes.objects.items() if plural == "jobs")
    environment = {each["name"]: each.get("value") for each in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    token = environment["PIPELINES_PROGRESS_TOKEN"]
    assert token
    assert token not in text
    assert "acme-billing" not in text, "the customer's settings"
