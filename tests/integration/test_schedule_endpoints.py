"""What a real API server makes of the schedule endpoints: selection, versions, merges, and each value let through."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from kubernetes import client
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config

from pipeline_bridge.cluster import BridgeCluster
from pipeline_bridge.placement import Placement
from pipeline_core.admission.subscription import Limits
from pipeline_core.api_keys import Scope
from pipeline_core.identifiers import schedule_id
from pipeline_core.kube.api import KubeApi
from pipeline_core.schedules.cron import CRON_NAMES, time_zones
from pipeline_local.paths import Paths
from support.bridge import Bridge, settings
from support.custom_resources import fresh_namespace
from support.local_cluster import api_client

pytestmark = pytest.mark.e2e

BODY = {"provider": "gcp", "domain": "cost", "pipeline": "billing", "cron_expression": "0 */6 * * *"}


@dataclass
class Endpoints:
    """The bridge over a real API server; keys, plans and records are in memory."""

    namespace: str
    bridge: Bridge

    async def ask(self, method: str, path: str, body: Any = None, *, org: str = "acme") -> tuple[int, Any]:
        async with self.bridge.client(self.bridge.key(Scope.ADMIN, org=org)) as http:
            answer = await http.request(method, f"/scheduler/{path}", json=body)
            return answer.status_code, answer.json()

    async def create(self, *, org: str = "acme", **changes: Any) -> str:
        status, answer = await self.ask("POST", "schedule", {**BODY, **changes}, org=org)
        assert status == 201, answer
        return str(answer["schedule_id"])

    def objects(self, plural: str = "pipelineschedules") -> list[dict[str, Any]]:
        api = client.CustomObjectsApi(api_client())
        found = api.list_namespaced_custom_object("pipelines.dev", "v1alpha1", self.namespace, plural)
        return list(found["items"])

    def unknown_org(self) -> str:
        """An organization of which the bridge knows, and no operator."""
        org = f"org{secrets.token_hex(4)}"
        self.bridge.plans.limits[org] = Limits(20, 500, 5)
        return org

    def annotate(self, name: str, count: int) -> None:
        api = client.CustomObjectsApi(api_client())
        where = ("pipelines.dev", "v1alpha1", self.namespace, "pipelineschedules", name)
        api.patch_namespaced_custom_object(*where, {"metadata": {"annotations": {"example.com/count": str(count)}}})


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    with fresh_namespace("test-schedules") as name:
        yield name


@pytest.fixture
async def endpoints(namespace: str) -> AsyncIterator[Endpoints]:
    configuration = Configuration()
    await load_kube_config(str(Paths.from_environment().kubeconfig), client_configuration=configuration)
    api = KubeApi(configuration)
    bridge = Bridge(settings=settings(namespaces=[namespace]))
    cluster = BridgeCluster(api)
    parts = replace(bridge.parts, cluster=cluster, placement=Placement(cluster, bridge.settings))
    bridge.parts = bridge.app.state.parts = parts
    found = Endpoints(namespace, bridge)
    yield found
    custom = client.CustomObjectsApi(api_client())
    custom.delete_collection_namespaced_custom_object("pipelines.dev", "v1alpha1", namespace, "pipelineschedules")
    await api.close()


async def test_a_schedule_from_its_making_to_its_end(endpoints: Endpoints) -> None:
    made = await endpoints.create(name="nightly", parameters={"date": "2026-11-01"}, starting_deadline_seconds=60)
    (stored,) = endpoints.objects()
    assert schedule_id(stored["metadata"]["uid"]) == made
    status, answer = await endpoints.ask("GET", "queue")
    assert (status, len(answer["schedules"]), answer["schedules"][0]["is_enabled"]) == (200, 1, True)
    change = {"is_enabled": False, "parameters": {"start_date": "2026-11-01"}, "starting_deadline_seconds": None}
    assert await endpoints.ask("PUT", f"schedule/{made}", change) == (200, {"success": True})
    (changed,) = endpoints.objects()
    assert changed["spec"] == {
        **{name: value for name, value in stored["spec"].items() if name != "startingDeadlineSeconds"},
        "enabled": False,
        "parameters": {"start_date": "2026-11-01"},
    }
    status, answer = await endpoints.ask("POST", "trigger", {"schedule_id": made})
    assert status == 200
    (run,) = (run for run in endpoints.objects("pipelineruns") if run["spec"]["runId"] == answer["run_id"])
    assert run["spec"]["scheduleRef"] == {"name": "nightly", "uid": stored["metadata"]["uid"]}
    assert run["metadata"]["labels"]["pipelines.dev/schedule"] == "nightly"
    assert await endpoints.ask("DELETE", f"schedule/{made}") == (200, {"success": True})
    assert endpoints.objects() == []
    assert (await endpoints.ask("DELETE", f"schedule/{made}"))[0] == 404


async def test_an_organization_sees_its_own_schedules_alone(endpoints: Endpoints) -> None:
    made = await endpoints.create()
    assert (await endpoints.ask("GET", "queue", org="globex"))[1] == {"schedules": []}
    status, problem = await endpoints.ask("PUT", f"schedule/{made}", {"is_enabled": False}, org="globex")
    assert (status, problem["detail"]) == (404, f"Schedule not found: {made}")


async def test_a_name_is_given_once(endpoints: Endpoints) -> None:
    await endpoints.create(name="nightly")
    status, problem = await endpoints.ask("POST", "schedule", {**BODY, "name": "nightly"})
    assert (status, problem["type"]) == (409, "urn:pipelines:problem:name-taken")


async def test_a_change_holds_its_own_against_another_writer(endpoints: Endpoints) -> None:
    made = await endpoints.create(name="nightly")

    async def write() -> None:
        for count in range(20):
            await asyncio.to_thread(endpoints.annotate, "nightly", count)

    async def change() -> list[int]:
        bodies = ({"cron_expression": f"{minute} * * * *"} for minute in range(10))
        return [(await endpoints.ask("PUT", f"schedule/{made}", body))[0] for body in bodies]

    _, answers = await asyncio.gather(write(), change())
    (stored,) = endpoints.objects()
    assert set(answers) <= {200, 409}
    assert answers[-1] == 409 or stored["spec"]["cronExpression"] == "9 * * * *"
    assert stored["metadata"]["annotations"]["example.com/count"] == "19"


async def test_what_the_bridge_lets_through_the_api_server_takes(endpoints: Endpoints) -> None:
    made = await endpoints.create(name="a.b-" + "c" * 48)
    expressions = (*CRON_NAMES, "0 */6 * * *", " 0  0\t1,15 JAN-mar mon ", "0 0 L * *", "*/5 0-6,22 * * 1#2")
    odd = [zone for zone in time_zones() if not zone.replace("/", "").replace("_", "").isalpha()]
    changes = [{"cron_expression": each} for each in expressions] + [{"time_zone": each} for each in odd]
    for change in changes:
        assert await endpoints.ask("PUT", f"schedule/{made}", change) == (200, {"success": True}), change


FIELDS = {
    "catch_up_limit": 1_000,
    "stagger_seconds": 3_600,
    "successful_runs_history_limit": 0,
    "failed_runs_history_limit": 100,
    "timeout_seconds": 86_400,
    "max_retries": 10,
    "priority": -1_000,
    "quota_policy": "Queue",
    "queue_timeout_seconds": 604_800,
}
NULLABLE = ("timeout_seconds", "max_retries", "priority", "queue_timeout_seconds")


async def test_every_field_is_one_of_the_object(endpoints: Endpoints) -> None:
    made = await endpoints.create(**FIELDS)
    (stored,) = endpoints.objects()
    values = {**stored["spec"], **stored["spec"]["runTemplate"]}
    assert [values[camel(name)] for name in FIELDS] == list(FIELDS.values())
    change = {**dict.fromkeys(NULLABLE), "quota_policy": "Reject", "stagger_seconds": 0}
    assert await endpoints.ask("PUT", f"schedule/{made}", change) == (200, {"success": True})
    (stored,) = endpoints.objects()
    assert stored["spec"]["runTemplate"] == {"quotaPolicy": "Reject"}
    assert stored["spec"]["staggerSeconds"] == 0


async def test_a_backfill_from_its_beginning_to_its_end(endpoints: Endpoints) -> None:
    # An operator may see it, too: nothing runs for an organization that it doesn't know.
    org = endpoints.unknown_org()
    path = f"backfill/{await endpoints.create(org=org, name='nightly')}"
    october = {"from": "2025-10-01", "to": "2025-10-02T23:59:59.123456+02:00", "id": "o" * 32}
    status, begun = await endpoints.ask("POST", path, october, org=org)
    assert (status, begun["runs"]) == (200, 8)
    (stored,) = endpoints.objects()
    assert stored["spec"]["backfill"] == {**october, "concurrency": 1, "paused": False}
    shown = (await endpoints.ask("GET", path, org=org))[1]
    assert {name: shown[name] for name in ("backfill_id", "from", "to")} == {
        "backfill_id": october["id"],
        "from": october["from"],
        "to": october["to"],
    }
    another = {"from": "2025-09-01", "to": "2025-09-02"}
    status, problem = await endpoints.ask("POST", path, another, org=org)
    assert (status, problem["type"]) == (409, "urn:pipelines:problem:backfill-under-way")
    assert await endpoints.ask("PUT", path, {"paused": True, "concurrency": 10}, org=org) == (200, {"success": True})
    assert await endpoints.ask("POST", path, october, org=org) == (200, begun)
    (stored,) = endpoints.objects()
    assert stored["spec"]["backfill"] == {**october, "concurrency": 10, "paused": True}
    assert await endpoints.ask("DELETE", path, org=org) == (200, {"success": True})
    (stored,) = endpoints.objects()
    assert "backfill" not in stored["spec"]
    assert (await endpoints.ask("DELETE", path, org=org))[0] == 404


async def test_of_many_backfills_that_are_begun_at_once_one_is(endpoints: Endpoints) -> None:
    org = endpoints.unknown_org()
    path = f"backfill/{await endpoints.create(org=org)}"
    bodies = [{"from": "2025-10-01", "to": "2025-10-02", "id": f"b{number}"} for number in range(5)]
    answers = await asyncio.gather(*(endpoints.ask("POST", path, body, org=org) for body in bodies))
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409, 409]
    (begun,) = (answer["backfill_id"] for status, answer in answers if status == 200)
    assert (await endpoints.ask("GET", path, org=org))[1]["backfill_id"] == begun


async def test_parameters_that_follow_the_time_are_those_of_a_triggered_run(endpoints: Endpoints) -> None:
    made = await endpoints.create(parameters={"date": "{{yesterday}}"})
    (stored,) = endpoints.objects()
    assert stored["spec"]["parameters"] == {"date": "{{yesterday}}"}
    _, answer = await endpoints.ask("POST", "trigger", {"schedule_id": made})
    (run,) = (run for run in endpoints.objects("pipelineruns") if run["spec"]["runId"] == answer["run_id"])
    day = datetime.fromisoformat(run["spec"]["logicalTime"]).date()
    assert run["spec"]["parameters"] == {"date": str(day - timedelta(days=1))}
    assert run["metadata"]["annotations"]["pipelines.dev/cause"] == "trigger"


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(each.capitalize() for each in others)
