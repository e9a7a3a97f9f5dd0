"""The published contract, row by row: endpoints, interfaces and error messages that clients are written against.

The bridge and the operator work on the same API server and records, in memory: a run that a test asks for over HTTP is
one that the operator runs to its end.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from pipeline_core.admission.subscription import Limits
from pipeline_core.api_keys import Scope
from pipeline_core.identifiers import schedule_id
from pipeline_core.kube import names
from pipeline_core.lifecycle.observed import Progress
from pipeline_core.outcome import Outcome
from support.bridge import Bridge, FakeCluster, FakeRunRecords
from support.operator_world import World

RUN = "pipelines/run/acme/gcp/cost/billing"
LOADED = Outcome(status="succeeded", records_processed=48_211)
BROKEN = Outcome(status="failed", error="ExternalBQExtractor: table acme-billing.billing.export not found")

# Field: whether it may be absent, and what it is where it is there.
Interface = Mapping[str, tuple[bool, type]]
PIPELINE_RUN: Interface = {
    "run_id": (False, str),
    "org_slug": (False, str),
    "provider": (False, str),
    "domain": (False, str),
    "pipeline": (False, str),
    "status": (False, str),
    "started_at": (True, str),
    "completed_at": (True, str),
    "records_processed": (True, int),
    "error_message": (True, str),
    "parameters": (True, dict),
    "created_at": (False, str),
}
PIPELINE_RUN_STATUS: Interface = {
    "run_id": (False, str),
    "status": (False, str),
    "progress": (True, int),
    "records_processed": (True, int),
    "error_message": (True, str),
    "started_at": (True, str),
    "completed_at": (True, str),
}
PIPELINE_SCHEDULE: Interface = {
    "schedule_id": (False, str),
    "provider": (False, str),
    "domain": (False, str),
    "pipeline": (False, str),
    "cron_expression": (False, str),
    "is_enabled": (False, bool),
    "last_run_at": (True, str),
    "next_run_at": (True, str),
}
PIPELINE_CONFIG: Interface = {
    "name": (False, str),
    "display_name": (False, str),
    "provider": (False, str),
    "domain": (False, str),
    "description": (True, str),
    "parameters": (True, list),
}
INTERFACES = {
    "PipelineRun": PIPELINE_RUN,
    "PipelineRunStatus": PIPELINE_RUN_STATUS,
    "PipelineSchedule": PIPELINE_SCHEDULE,
    "PipelineConfig": PIPELINE_CONFIG,
}
JSON_TYPES = {str: "string", int: "integer", bool: "boolean", dict: "object", list: "array"}

ENDPOINTS = [
    ("post", "/api/v1/pipelines/run/{org}/{provider}/{domain}/{pipeline}"),
    ("get", "/api/v1/pipelines/status/{org}/{run_id}"),
    ("get", "/api/v1/pipelines/history/{org}"),
    ("post", "/api/v1/pipelines/cancel/{org}/{run_id}"),
    ("get", "/api/v1/scheduler/queue"),
    ("post", "/api/v1/scheduler/trigger"),
    ("put", "/api/v1/scheduler/schedule/{schedule_id}"),
    ("get", "/api/v1/validator/pipelines"),
    ("get", "/api/v1/validator/pipelines/{provider}"),
]
WITHOUT_KEY = {path for _, path in ENDPOINTS if "/validator/" in path}


class Service:
    """The bridge with an operator behind it."""

    def __init__(self) -> None:
        self.world = World()
        cluster, records = FakeCluster(self.world.now), FakeRunRecords()
        self.bridge = Bridge(kubernetes=cluster, records=records, plans=self.world.plans)
        self.world.kubernetes, self.world.records, self.world.ledger = cluster, records, self.bridge.ledger
        self.world.start_operator()
        self.key = self.bridge.key(Scope.ADMIN)

    async def ask(self, method: str, path: str, body: Any = None, *, prefix: str = "/api/v1/") -> tuple[int, Any]:
        async with self.bridge.client(self.key) as client:
            answer = await client.request(method, prefix + path, json=body)
            return answer.status_code, answer.json()

    async def start(self) -> str:
        """A run that was asked for over HTTP."""
        status, answer = await self.ask("POST", RUN, {"date": "2026-11-01"})
        assert status == 200, answer
        return str(answer["run_id"])

    async def status(self, run_id: str) -> Any:
        return (await self.ask("GET", f"pipelines/status/acme/{run_id}"))[1]

    async def reconcile(self, times: int = 1) -> None:
        """So many passes of the operator over every run."""
        for _ in range(times):
            for (plural, _, _), body in list(self.world.kubernetes.objects.items()):
                if plural == names.RUNS:
                    await self.world.reconcile(body["metadata"]["uid"])

    async def reach_running(self) -> str:
        """A run whose container has started."""
        run_id = await self.start()
        await self.reconcile()
        self.world.start_pods()
        self.pass_time(2)
        await self.reconcile()
        return run_id

    async def end(self, outcome: Outcome | None, exit_code: int = 0, reason: str = "BackoffLimitExceeded") -> None:
        """The container ends; where it failed, the Job is given up for `reason`."""
        self.pass_time(40)
        self.world.end_pods(outcome, exit_code, "Error" if exit_code else "Completed")
        if exit_code:
            self.world.fail_jobs(reason)
        await self.reconcile(5)
        self.world.collect_garbage()
        await self.reconcile(2)

    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        self.bridge.time = self.world.time

    def report(self, stage: str, percent: int) -> None:
        """The runner tells how far it is."""
        (pod,) = (body for (plural, _, _), body in self.world.kubernetes.objects.items() if plural == "pods")
        progress = Progress(pod["metadata"]["uid"], stage, percent, 0, self.world.time)
        self.world.cache.put_progress(pod["metadata"]["labels"][names.LABEL_RUN_ID], progress)

    def put_schedule(self, **status: str) -> str:
        """A schedule that was made by kubectl; returns its id."""
        spec = {"org": "acme", "provider": "gcp", "domain": "cost", "pipeline": "billing"}
        body = {
            "metadata": {"name": "nightly"},
            "spec": {**spec, "cronExpression": "0 */6 * * *", "enabled": True},
            "status": status,
        }
        made = self.world.kubernetes.put(names.SCHEDULES, body)
        return schedule_id(made["metadata"]["uid"])


@pytest.fixture
def service() -> Service:
    return Service()


def check(answer: Mapping[str, Any], interface: Interface, *absent: str) -> None:
    """The answer has the interface's fields, but for those `absent`, of the right types, and no others."""
    assert answer.keys() == interface.keys() - set(absent)
    for field, value in answer.items():
        assert type(value) is interface[field][1], field
    assert all(interface[field][0] for field in absent)


# The endpoints


async def test_run_executes_a_pipeline_and_returns_its_id(service: Service) -> None:
    body = {"start_date": "2026-11-01", "end_date": "2026-11-03"}
    status, answer = await service.ask("POST", RUN, body)
    assert (status, answer) == (200, {"run_id": answer["run_id"], "status": "pending"})
    (run,) = (body for (plural, _, _), body in service.world.kubernetes.objects.items() if plural == names.RUNS)
    assert run["spec"]["parameters"] == body
    assert (await service.ask("POST", RUN))[1]["status"] == "pending"


async def test_status_returns_where_the_run_stands(service: Service) -> None:
    run_id = await service.start()
    status, answer = await service.ask("GET", f"pipelines/status/acme/{run_id}")
    assert (status, answer["run_id"]) == (200, run_id)
    check(answer, PIPELINE_RUN_STATUS, "records_processed", "error_message", "started_at", "completed_at")


async def test_history_lists_recent_runs_of_a_provider(service: Service) -> None:
    first = await service.start()
    service.pass_time(1)
    second = await service.start()
    status, answer = await service.ask("GET", "pipelines/history/acme?provider=gcp&limit=50")
    assert status == 200
    assert answer.keys() == {"runs"}
    assert [run["run_id"] for run in answer["runs"]] == [second, first]
    assert (await service.ask("GET", "pipelines/history/acme?provider=openai&limit=50"))[1] == {"runs": []}
    assert len((await service.ask("GET", "pipelines/history/acme?limit=1"))[1]["runs"]) == 1


async def test_cancel_cancels_a_running_pipeline(service: Service) -> None:
    run_id = await service.reach_running()
    assert await service.ask("POST", f"pipelines/cancel/acme/{run_id}") == (
        200,
        {"success": True, "status": "running"},
    )
    await service.reconcile(2)
    service.world.collect_garbage()
    await service.reconcile(2)
    assert (await service.status(run_id))["status"] == "cancelled"
    answer = await service.ask("POST", f"pipelines/cancel/acme/{run_id}")
    assert answer == (200, {"success": False, "status": "cancelled"})


async def test_queue_lists_scheduled_pipelines(service: Service) -> None:
    made = service.put_schedule()
    status, answer = await service.ask("GET", "scheduler/queue")
    assert status == 200
    assert answer.keys() == {"schedules"}
    assert [schedule["schedule_id"] for schedule in answer["schedules"]] == [made]


async def test_trigger_runs_a_scheduled_pipeline(service: Service) -> None:
    made = service.put_schedule()
    status, answer = await service.ask("POST", "scheduler/trigger", {"schedule_id": made})
    assert status == 200
    assert answer.keys() == {"run_id"}
    assert (await service.status(answer["run_id"]))["status"] == "pending"


@pytest.mark.parametrize("body", [{"cron_expression": "@daily"}, {"is_enabled": False}])
async def test_schedule_updates_a_schedule(service: Service, body: dict[str, Any]) -> None:
    made = service.put_schedule()
    assert await service.ask("PUT", f"scheduler/schedule/{made}", body) == (200, {"success": True})
    _, answer = await service.ask("GET", "scheduler/queue")
    assert answer["schedules"][0].items() >= body.items()


GCP = ("gcp_billing", "gcp_detailed_billing")
PIPELINES = {
    "validator/pipelines": ("anthropic_usage_cost", *GCP, "openai_usage_cost"),
    "validator/pipelines/gcp": GCP,
}


@pytest.mark.parametrize("path", PIPELINES)
async def test_validator_lists_pipelines_without_a_key(service: Service, path: str) -> None:
    service.key = ""
    status, answer = await service.ask("GET", path)
    assert status == 200
    assert answer.keys() == {"pipelines"}
    assert tuple(pipeline["name"] for pipeline in answer["pipelines"]) == PIPELINES[path]


async def test_the_endpoints_are_there_without_the_prefix_too(service: Service) -> None:
    status, answer = await service.ask("POST", RUN, prefix="/")
    assert status == 200
    run_id = answer["run_id"]
    assert (await service.ask("GET", f"pipelines/status/acme/{run_id}", prefix="/"))[1]["run_id"] == run_id
    _, answer = await service.ask("GET", "pipelines/history/acme", prefix="/")
    assert [run["run_id"] for run in answer["runs"]] == [run_id]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_each_endpoint_is_documented(service: Service, method: str, path: str) -> None:
    operation = service.bridge.app.openapi()["paths"][path][method]
    assert bool(operation.get("security")) != (path in WITHOUT_KEY)


# The lifecycle


async def test_a_run_goes_through_every_status_of_the_lifecycle(service: Service) -> None:
    run_id = await service.start()
    seen = [(await service.status(run_id))["status"]]
    await service.reconcile()
    seen.append((await service.status(run_id))["status"])
    service.world.start_pods()
    service.pass_time(2)
    await service.reconcile()
    seen.append((await service.status(run_id))["status"])
    service.report("load", 60)
    service.pass_time(10)
    await service.reconcile()
    processing = await service.status(run_id)
    await service.end(LOADED)
    completed = await service.status(run_id)
    assert seen == ["pending", "validating", "running"]
    assert (processing["status"], processing["progress"]) == ("processing", 60)
    assert (completed["status"], completed["progress"]) == ("completed", 100)


# The interfaces


async def test_a_run_that_is_asked_for_shows_what_it_has(service: Service) -> None:
    await service.start()
    _, answer = await service.ask("GET", "pipelines/history/acme")
    check(answer["runs"][0], PIPELINE_RUN, "started_at", "completed_at", "records_processed", "error_message")
    assert answer["runs"][0]["parameters"] == {"date": "2026-11-01"}


async def test_a_run_that_has_ended_shows_how_it_ended(service: Service) -> None:
    run_id = await service.reach_running()
    await service.end(LOADED)
    _, answer = await service.ask("GET", "pipelines/history/acme")
    check(answer["runs"][0], PIPELINE_RUN, "error_message")
    check(await service.status(run_id), PIPELINE_RUN_STATUS, "error_message")
    assert answer["runs"][0]["records_processed"] == 48_211
    for field in ("started_at", "completed_at", "created_at"):
        assert answer["runs"][0][field].endswith("Z"), field


async def test_a_run_that_has_failed_shows_why(service: Service) -> None:
    run_id = await service.reach_running()
    await service.end(BROKEN, exit_code=65)
    _, answer = await service.ask("GET", "pipelines/history/acme")
    for shown in (answer["runs"][0], await service.status(run_id)):
        assert (shown["status"], shown["error_message"]) == ("failed", BROKEN.error)


async def test_a_schedule_shows_what_it_has(service: Service) -> None:
    service.put_schedule()
    _, answer = await service.ask("GET", "scheduler/queue")
    check(answer["schedules"][0], PIPELINE_SCHEDULE, "last_run_at", "next_run_at")


async def test_a_schedule_that_has_run_shows_when(service: Service) -> None:
    service.put_schedule(lastRunAt="2026-11-22T00:00:00Z", nextRunAt="2026-11-22T06:00:00Z")
    _, answer = await service.ask("GET", "scheduler/queue")
    check(answer["schedules"][0], PIPELINE_SCHEDULE)


async def test_a_pipeline_shows_its_config(service: Service) -> None:
    _, answer = await service.ask("GET", "validator/pipelines")
    check(answer["pipelines"][0], PIPELINE_CONFIG)


@pytest.mark.parametrize("name", INTERFACES)
def test_each_interface_is_documented_field_for_field(service: Service, name: str) -> None:
    schema = service.bridge.app.openapi()["components"]["schemas"][name]
    interface = INTERFACES[name]
    assert schema["properties"].keys() == interface.keys()
    assert set(schema["required"]) == {field for field, (is_optional, _) in interface.items() if not is_optional}
    for field, (_, kind) in interface.items():
        assert schema["properties"][field]["type"] == JSON_TYPES[kind], field


# The errors


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("pipelines/run/acme/azure/cost/billing", 404, "Unknown provider: azure"),
        ("pipelines/run/acme/gcp/cost/invoices", 404, "Pipeline not found: gcp/cost/invoices"),
        ("pipelines/run/acme/gcp/usage/billing", 404, "Pipeline not found: gcp/usage/billing"),
    ],
)
async def test_an_invalid_provider_or_pipeline(service: Service, path: str, status: int, message: str) -> None:
    found, problem = await service.ask("POST", path)
    assert (found, problem["status"], problem["title"], problem["detail"]) == (status, status, message, message)


@pytest.mark.parametrize(
    ("limits", "name", "title", "detail"),
    [
        (Limits(1, 9, 9), "daily", "Daily pipeline limit reached", "Daily pipeline limit (1) reached"),
        (Limits(9, 1, 9), "monthly", "Monthly pipeline limit reached", "Monthly pipeline limit (1) reached"),
        (Limits(9, 9, 1), "concurrent", "Concurrent pipeline limit reached", "Concurrent pipeline limit (1) reached"),
    ],
)
async def test_quota_exceeded(service: Service, limits: Limits, name: str, title: str, detail: str) -> None:
    service.bridge.plans.limits["acme"] = limits
    await service.start()
    status, problem = await service.ask("POST", RUN)
    assert (status, problem["title"], problem["detail"]) == (429, title, detail)
    assert problem["limit"] == {"name": name, "limit": 1, "used": 1, "remaining": 0}


async def test_integration_not_active(service: Service) -> None:
    service.bridge.plans.integrated.clear()
    status, problem = await service.ask("POST", RUN)
    assert (status, problem["title"]) == (409, "gcp integration not active")


@pytest.mark.parametrize("word", ["SUSPENDED", "CANCELLED", "EXPIRED"])
async def test_subscription_inactive(service: Service, word: str) -> None:
    service.bridge.plans.status["acme"] = word
    status, problem = await service.ask("POST", RUN)
    assert (status, problem["title"]) == (403, f"Organization subscription is {word}")
    assert problem["detail"] == f"Pipeline execution not allowed for {word} organizations"


@pytest.mark.parametrize("word", ["ACTIVE", "TRIAL"])
async def test_only_active_and_trial_organizations_run_pipelines(service: Service, word: str) -> None:
    service.bridge.plans.status["acme"] = word
    assert (await service.ask("POST", RUN))[0] == 200


async def test_processor_error(service: Service) -> None:
    run_id = await service.reach_running()
    await service.end(BROKEN, exit_code=65)
    message = "ExternalBQExtractor: table acme-billing.billing.export not found"
    assert (await service.status(run_id))["error_message"] == message


async def test_timeout(service: Service) -> None:
    run_id = await service.reach_running()
    await service.end(None, exit_code=143, reason="DeadlineExceeded")
    assert (await service.status(run_id))["error_message"] == "Pipeline execution timed out after 3600s"


async def test_no_refusal_by_the_bridge_leaves_a_run_behind(service: Service) -> None:
    service.bridge.plans.limits["acme"] = Limits(0, 9, 9)
    for path in (RUN, "pipelines/run/acme/azure/cost/billing"):
        await service.ask("POST", path)
    assert (await service.ask("GET", "pipelines/history/acme"))[1] == {"runs": []}
