"""What a real API server makes of the schedule endpoints: selection, versions, merges, and each value let through."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from kubernetes import client
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config

from pipeline_bridge.cluster import BridgeCluster
from pipeline_bridge.placement import Placement
from pipeline_bridge.schedule_fields import CRON_NAMES, TIME_ZONES
from pipeline_core.api_keys import Scope
from pipeline_core.identifiers import schedule_id
from pipeline_core.kube.api import KubeApi
from pipeline_local.paths import Paths
from support.bridge import Bridge, settings
from support.local_cluster import api_client, install_crds

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

    async def create(self, **changes: Any) -> str:
        status, answer = await self.ask("POST", "schedule", {**BODY, **changes})
        assert status == 201, answer
        return str(answer["schedule_id"])

    def objects(self, plural: str = "pipelineschedules") -> list[dict[str, Any]]:
        api = client.CustomObjectsApi(api_client())
        found = api.list_namespaced_custom_object("pipelines.dev", "v1alpha1", self.namespace, plural)
        return list(found["items"])

    def write_status(self, name: str, status: dict[str, Any]) -> None:
        api = client.CustomObjectsApi(api_client())
        where = ("pipelines.dev", "v1alpha1", self.namespace, "pipelineschedules", name)
        api.patch_namespaced_custom_object_status(*where, {"status": status})


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A namespace of its own in a cluster that has the CRDs of this checkout."""
    install_crds()
    core = client.CoreV1Api(api_client())
    name = f"test-schedules-{secrets.token_hex(4)}"
    core.create_namespace({"metadata": {"name": name}})
    yield name
    core.delete_namespace(name)


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
            await asyncio.to_thread(endpoints.write_status, "nightly", {"active": count})

    async def change() -> list[int]:
        bodies = ({"cron_expression": f"{minute} * * * *"} for minute in range(10))
        return [(await endpoints.ask("PUT", f"schedule/{made}", body))[0] for body in bodies]

    _, answers = await asyncio.gather(write(), change())
    (stored,) = endpoints.objects()
    assert set(answers) <= {200, 409}
    assert answers[-1] == 409 or stored["spec"]["cronExpression"] == "9 * * * *"
    assert stored["status"]["active"] == 19


async def test_what_the_bridge_lets_through_the_api_server_takes(endpoints: Endpoints) -> None:
    made = await endpoints.create(name="a.b-" + "c" * 48)
    expressions = (*CRON_NAMES, "0 */6 * * *", " 0  0\t1,15 JAN-mar mon ", "0 0 L * *", "*/5 0-6,22 * * 1#2")
    odd = [zone for zone in TIME_ZONES if not zone.replace("/", "").replace("_", "").isalpha()]
    changes = [{"cron_expression": each} for each in expressions] + [{"time_zone": each} for each in odd]
    for change in changes:
        assert await endpoints.ask("PUT", f"schedule/{made}", change) == (200, {"success": True}), change
