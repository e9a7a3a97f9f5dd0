"""The calls that the operator makes, by name: each is one request, and each can be repeated."""

from collections.abc import AsyncIterator
from urllib.parse import quote

from pipeline_core.kube import names
from pipeline_core.kube.api import Api, Json, KubeError
from pipeline_core.kube.objects import delete_object, get_object, list_objects
from pipeline_core.kube.paths import BATCH, COORDINATION, CORE, PIPELINES, resource_path

FIELD_MANAGER = "pipelines-operator"
_MANAGER = {"fieldManager": FIELD_MANAGER}


class Cluster:
    """Kubernetes, as far as runs and schedules are concerned."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def get_run(self, namespace: str, name: str) -> Json | None:
        """The PipelineRun, or None."""
        return await get_object(self._api, resource_path(PIPELINES, namespace, names.RUNS, name))

    async def create_run(self, namespace: str, manifest: Json) -> Json:
        """Create the PipelineRun; raises KubeError 409 `AlreadyExists`."""
        return await self._api.request(
            "POST", resource_path(PIPELINES, namespace, names.RUNS), query=_MANAGER, body=manifest
        )

    async def cancel_run(self, namespace: str, name: str, uid: str) -> None:
        """Ask for the PipelineRun of this UID to be cancelled; its absence is success."""
        body = {"metadata": {"uid": uid}, "spec": {"cancel": True}}
        path = resource_path(PIPELINES, namespace, names.RUNS, name)
        try:
            await self._api.request("PATCH", path, query=_MANAGER, body=body)
        except KubeError as error:
            # With 409 or 422 another object has taken the name: a UID can't be changed.
            if error.status not in {404, 409, 422}:
                raise

    async def patch_run_status(self, namespace: str, name: str, resource_version: str, status: Json) -> Json:
        """Merge `status` in, if the object still is at `resource_version`; raises KubeError 409 if it isn't."""
        body = {"metadata": {"resourceVersion": resource_version}, "status": status}
        path = resource_path(PIPELINES, namespace, names.RUNS, name) + "/status"
        return await self._api.request("PATCH", path, query=_MANAGER, body=body)

    async def delete_run(self, namespace: str, name: str, uid: str) -> None:
        """Delete the PipelineRun of this UID; its absence is success."""
        await delete_object(self._api, resource_path(PIPELINES, namespace, names.RUNS, name), uid)

    async def list_schedules(self, namespace: str | None) -> AsyncIterator[Json]:
        """Every PipelineSchedule of a namespace (None: of all), read in chunks."""
        async for schedule in list_objects(self._api, resource_path(PIPELINES, namespace, names.SCHEDULES)):
            yield schedule

    async def get_schedule(self, namespace: str, name: str) -> Json | None:
        """The PipelineSchedule, or None."""
        return await get_object(self._api, resource_path(PIPELINES, namespace, names.SCHEDULES, name))

    async def patch_schedule_status(self, namespace: str, name: str, resource_version: str, status: Json) -> Json:
        """Merge `status` in, if the object still is at `resource_version`; raises KubeError 409 if it isn't."""
        body = {"metadata": {"resourceVersion": resource_version}, "status": status}
        path = resource_path(PIPELINES, namespace, names.SCHEDULES, name) + "/status"
        return await self._api.request("PATCH", path, query=_MANAGER, body=body)

    async def create_job(self, namespace: str, manifest: Json) -> Json:
        """Create the Job; raises KubeError 409 `AlreadyExists`."""
        return await self._api.request("POST", resource_path(BATCH, namespace, "jobs"), query=_MANAGER, body=manifest)

    async def get_job(self, namespace: str, name: str) -> Json | None:
        """The Job, or None."""
        return await get_object(self._api, resource_path(BATCH, namespace, "jobs", name))

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """Delete the Job of this UID and its pods; its absence is success."""
        await delete_object(self._api, resource_path(BATCH, namespace, "jobs", name), uid)

    async def list_pods(self, namespace: str, run_id: str) -> tuple[list[Json], int]:
        """The pods with this run id, and the version of the list."""
        query = {"labelSelector": f"{names.LABEL_RUN_ID}={run_id}"}
        answer = await self._api.request("GET", resource_path(CORE, namespace, "pods"), query=query)
        return list(answer["items"]), int(answer["metadata"]["resourceVersion"])

    async def delete_pod(self, namespace: str, name: str, uid: str) -> None:
        """Delete the pod of this UID; its absence is success."""
        await delete_object(self._api, resource_path(CORE, namespace, "pods", name), uid)

    async def list_runs(self, namespace: str | None) -> AsyncIterator[Json]:
        """Every PipelineRun of a namespace (None: of all), read in chunks."""
        async for run in list_objects(self._api, resource_path(PIPELINES, namespace, names.RUNS)):
            yield run

    async def namespace_exists(self, namespace: str) -> bool:
        """Whether the namespace is there, terminating or not."""
        return await self.namespace_labels(namespace) is not None

    async def namespace_labels(self, namespace: str) -> dict[str, str] | None:
        """The labels of the namespace, or None where it isn't there."""
        body = await get_object(self._api, f"{CORE}/namespaces/{quote(namespace)}")
        return None if body is None else dict(body["metadata"].get("labels") or {})

    async def went_with_namespace(self, namespace: str, error: KubeError) -> bool:
        """Whether it was refused because the namespace is gone: the rights in it, and all else, went with it."""
        return error.status == 403 and not await self.namespace_exists(namespace)

    async def create_event(self, namespace: str, event: Json) -> None:
        """Create an Event (core/v1)."""
        await self._api.request("POST", resource_path(CORE, namespace, "events"), body=event)

    async def list_warnings(self, namespace: str) -> AsyncIterator[Json]:
        """The Events of type Warning of a namespace, read in chunks."""
        async for event in list_objects(
            self._api, resource_path(CORE, namespace, "events"), {"fieldSelector": "type=Warning"}
        ):
            yield event

    async def get_lease(self, namespace: str, name: str) -> Json | None:
        """The Lease, or None."""
        return await get_object(self._api, resource_path(COORDINATION, namespace, "leases", name))

    async def create_lease(self, namespace: str, lease: Json) -> Json:
        """Create the Lease; raises KubeError 409 `AlreadyExists`."""
        return await self._api.request("POST", resource_path(COORDINATION, namespace, "leases"), body=lease)

    async def replace_lease(self, namespace: str, name: str, lease: Json) -> Json:
        """Replace the Lease at its resourceVersion; raises KubeError 409 `Conflict`."""
        return await self._api.request("PUT", resource_path(COORDINATION, namespace, "leases", name), body=lease)
