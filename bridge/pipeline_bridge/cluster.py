"""The calls to Kubernetes that the bridge makes, by name: each is one request, and each can be repeated.

All raise KubeError where the API server refuses, KubeUnavailableError where it doesn't answer, and
KubeNotReachedError where there was no connection.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from pipeline_core.kube import names
from pipeline_core.kube.api import Json, StreamingApi
from pipeline_core.kube.objects import delete_object, get_object, list_objects
from pipeline_core.kube.paths import CORE, PIPELINES, resource_path

FIELD_MANAGER = "pipelines-bridge"
_MANAGER = {"fieldManager": FIELD_MANAGER}


class BridgeCluster:
    """Kubernetes, as far as the HTTP API is concerned: the two custom resources, pods' logs, namespaces' labels."""

    def __init__(self, api: StreamingApi) -> None:
        self._api = api

    async def create_run(self, namespace: str, manifest: Json) -> Json:
        """Create the PipelineRun; raises KubeError 409 `AlreadyExists`."""
        path = resource_path(PIPELINES, namespace, names.RUNS)
        return await self._api.request("POST", path, query=_MANAGER, body=manifest)

    async def get_run(self, namespace: str, name: str) -> Json | None:
        """The PipelineRun, or None."""
        return await get_object(self._api, resource_path(PIPELINES, namespace, names.RUNS, name))

    async def cancel_run(self, namespace: str, name: str, uid: str | None = None) -> Json:
        """Ask for the PipelineRun to be cancelled.

        Raises KubeError 404 where it isn't there, 409 or 422 where it isn't the one of this UID.
        """
        path = resource_path(PIPELINES, namespace, names.RUNS, name)
        patch: Json = {"spec": {"cancel": True}}
        if uid is not None:
            patch["metadata"] = {"uid": uid}
        return await self._api.request("PATCH", path, query=_MANAGER, body=patch)

    async def list_pods(self, namespace: str, run_id: str) -> list[Json]:
        """The pods of the run, in no order."""
        query = {"labelSelector": f"{names.LABEL_RUN_ID}={run_id}"}
        return [pod async for pod in list_objects(self._api, resource_path(CORE, namespace, "pods"), query)]

    def open_pod_log(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        follow: bool,
        tail_lines: int | None = None,
        since: str | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The container's log, each line stamped with its time; `follow` goes on until the container has ended.

        From its last `tail_lines`, or from the time `since` (RFC 3339, whole seconds). Raises KubeError 404 where the
        pod isn't there, 400 where the container hasn't started.
        """
        query = {"container": container, "follow": str(follow).lower(), "timestamps": "true"}
        if tail_lines is not None:
            query["tailLines"] = str(tail_lines)
        if since is not None:
            query["sinceTime"] = since
        return self._api.stream(f"{resource_path(CORE, namespace, 'pods', pod)}/log", query=query)

    async def list_schedules(self, namespace: str | None, org: str) -> AsyncIterator[Json]:
        """The organization's PipelineSchedules in a namespace (None: in all)."""
        path = resource_path(PIPELINES, namespace, names.SCHEDULES)
        async for schedule in list_objects(self._api, path, {"fieldSelector": f"spec.org={org}"}):
            yield schedule

    async def get_schedule(self, namespace: str, name: str) -> Json | None:
        """The PipelineSchedule, or None."""
        return await get_object(self._api, resource_path(PIPELINES, namespace, names.SCHEDULES, name))

    async def create_schedule(self, namespace: str, manifest: Json) -> Json:
        """Create the PipelineSchedule; raises KubeError 409 `AlreadyExists`."""
        path = resource_path(PIPELINES, namespace, names.SCHEDULES)
        return await self._api.request("POST", path, query=_MANAGER, body=manifest)

    async def patch_schedule(self, namespace: str, name: str, patch: Json) -> Json:
        """Merge `patch` into the PipelineSchedule.

        With a `metadata.resourceVersion` in it that isn't the object's any more it raises KubeError 409 `Conflict`.
        """
        path = resource_path(PIPELINES, namespace, names.SCHEDULES, name)
        return await self._api.request("PATCH", path, query=_MANAGER, body=patch)

    async def delete_schedule(self, namespace: str, name: str, uid: str) -> None:
        """Delete the PipelineSchedule of this UID; its absence is success."""
        await delete_object(self._api, resource_path(PIPELINES, namespace, names.SCHEDULES, name), uid)

    async def get_namespace(self, name: str) -> Json | None:
        """The namespace, or None."""
        return await get_object(self._api, resource_path(CORE, None, "namespaces", name))

    async def list_namespaces(self, label_selector: str) -> list[Json]:
        """The namespaces that the selector selects."""
        path = resource_path(CORE, None, "namespaces")
        return [each async for each in list_objects(self._api, path, {"labelSelector": label_selector})]
