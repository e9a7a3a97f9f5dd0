"""Schedules in the bridge's API server in memory, and requests to their endpoints."""

from typing import Any

from pipeline_core.api_keys import Scope
from pipeline_core.identifiers import schedule_id
from pipeline_core.kube.api import Json
from support.bridge import Bridge

SPEC = {"provider": "gcp", "domain": "cost", "pipeline": "billing", "cronExpression": "0 */6 * * *"}
BODY = {"provider": "gcp", "domain": "cost", "pipeline": "billing", "cron_expression": "0 */6 * * *"}


def put_schedule(bridge: Bridge, *, org: str = "acme", name: str = "nightly", **more: Any) -> Json:
    """A schedule as kubectl would have made it; `more` is further fields of its spec, or its whole metadata."""
    metadata = {"name": name, **more.pop("metadata", {})}
    status = more.pop("status", {})
    body = {"metadata": metadata, "spec": {"org": org, **SPEC, "enabled": True, **more}, "status": status}
    return bridge.kubernetes.put("pipelineschedules", body)


def id_of(schedule: Json) -> str:
    """Its id for clients."""
    return schedule_id(schedule["metadata"]["uid"])


def stored(bridge: Bridge, plural: str = "pipelineschedules") -> list[Json]:
    """The objects of the kind that are there."""
    return [body for (kind, _, _), body in bridge.kubernetes.objects.items() if kind == plural]


def runs(bridge: Bridge) -> list[Json]:
    """The PipelineRuns that are there."""
    return stored(bridge, "pipelineruns")


async def ask(bridge: Bridge, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and body of the answer to acme, whose key may do everything; `path` is below /api/v1/scheduler/."""
    async with bridge.client(bridge.key(Scope.ADMIN)) as client:
        answer = await client.request(method, f"/api/v1/scheduler/{path}", json=body, headers=headers)
        return answer.status_code, answer.json()


async def refused(bridge: Bridge, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
    """Status, type and detail of the problem that is the answer."""
    status, problem = await ask(bridge, method, path, body)
    return status, problem["type"].removeprefix("urn:pipelines:problem:"), problem["detail"]
