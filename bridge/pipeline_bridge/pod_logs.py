"""The lines that a run's containers wrote: of one attempt after the other, followed until the run has ended.

What is read can break off, or end too soon, whenever a node, a kubelet or an API server restarts. An attempt is
therefore over when it was read to its end after its container had ended, and is read again from the last line before.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from pipeline_bridge.cluster import BridgeCluster
from pipeline_bridge.log_lines import StampedLines
from pipeline_bridge.status_events import tick
from pipeline_core.kube import names
from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.views import RunStatus

POLL_SECONDS = 1.0
# From one list of the pods to the next where the record says nothing new of the run.
LIST_SECONDS = 5.0
# For so long Kubernetes and PostgreSQL may be away while a stream goes on.
PATIENCE_SECONDS = 60.0

_AWAY = (StoreUnavailableError, KubeUnavailableError, KubeError)


class RunLogs:
    """The logs of a run whose pods are in `namespace`; `read_status` says where it stands."""

    def __init__(
        self,
        cluster: BridgeCluster,
        namespace: str,
        run_id: str,
        read_status: Callable[[], Awaitable[RunStatus | None]],
        *,
        poll_seconds: float = POLL_SECONDS,
        list_seconds: float = LIST_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._run_id = run_id
        self._read_status = read_status
        self._poll_seconds = poll_seconds
        self._list_seconds = list_seconds
        self._patience_seconds = patience_seconds
        self._lines: dict[str, StampedLines] = {}  # by the pod's UID
        self._over: set[str] = set()
        self._listed_at = float("-inf")
        self._listed_for: int | None = None  # the record's revision

    async def attempts(self) -> list[Json]:
        """The run's pods whose container has started, in the order of their creation."""
        pods = await self._cluster.list_pods(self._namespace, self._run_id)
        pods.sort(key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
        return [pod for pod in pods if _state(pod).keys() & {"running", "terminated"}]

    async def read(self, *, follow: bool, tail: int | None) -> AsyncGenerator[bytes, None]:
        """The lines; with `tail` those of the latest attempt alone, its last so many, and what follows.

        Raises what Kubernetes or PostgreSQL raise, where it doesn't follow at once, else when they are away too long.
        """
        well_at = _time()
        while True:
            try:
                # In this order: no attempt begins after a run has ended.
                status = await self._read_status()
                attempts = await self._new_attempts(status) if follow else await self.attempts()
                if tail is not None and not self._lines:
                    self._over.update(pod["metadata"]["uid"] for pod in attempts[:-1])
                for pod in attempts:
                    if pod["metadata"]["uid"] not in self._over:
                        async with aclosing(self._attempt(pod, follow, tail)) as chunks:
                            async for chunk in chunks:
                                yield chunk
                well_at = _time()
            except _AWAY as error:
                if not (follow and _may_pass(error)) or _time() - well_at > self._patience_seconds:
                    raise
            else:
                is_read = self._over.issuperset(pod["metadata"]["uid"] for pod in attempts)
                if not follow or ((status is None or status.phase.is_final) and is_read):
                    return
            await tick(self._poll_seconds)

    async def _new_attempts(self, status: RunStatus | None) -> list[Json]:
        """The attempts; none where none can be new, since a list of pods costs the API server more than a status us."""
        if not self._may_be_new(status):
            return []
        attempts = await self.attempts()
        self._listed_at, self._listed_for = _time(), None if status is None else status.revision
        return attempts

    def _may_be_new(self, status: RunStatus | None) -> bool:
        if status is None or status.phase.is_final or self._lines.keys() - self._over:
            return True  # to see whether all is read, or whether the container of what broke off still runs
        if status.started_at is None:
            return False  # no container has started
        return status.revision != self._listed_for or _time() - self._listed_at >= self._list_seconds

    async def _attempt(self, pod: Json, follow: bool, tail: int | None) -> AsyncGenerator[bytes, None]:
        """What is new of an attempt, as far as it can be read in one go."""
        uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
        lines = self._lines.setdefault(uid, StampedLines())
        lines.resume()
        try:
            async with self._cluster.open_pod_log(
                self._namespace,
                name,
                names.RUNNER_CONTAINER,
                follow=follow,
                tail_lines=None if lines.since else tail,
                since=lines.since,
            ) as chunks:
                async for chunk in chunks:
                    if fresh := lines.read(chunk):
                        yield fresh
        except KubeError as error:
            if error.status != 404:
                raise
            self._over.add(uid)  # deleted since it was listed
        else:
            if not follow or "terminated" in _state(pod):
                self._over.add(uid)
        if uid in self._over and lines.is_mid_line:
            yield b"\n"  # or the next attempt would begin in the middle of a line


def _state(pod: Json) -> dict[str, Any]:
    containers = (pod.get("status") or {}).get("containerStatuses") or ()
    return next((each.get("state") or {} for each in containers if each["name"] == names.RUNNER_CONTAINER), {})


def _may_pass(error: Exception) -> bool:
    """Whether it is a state of the cluster (a kubelet that doesn't answer), and not a refusal."""
    return not isinstance(error, KubeError) or error.status == 400 or error.status >= 500


def _time() -> float:
    return asyncio.get_running_loop().time()
