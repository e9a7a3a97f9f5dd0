"""Writes the status of a PipelineRun: one patch where something changed, none where nothing did.

The patch is bound to the version of the object that the decision was made from, so a process that knows less than the
object says (a second operator, a late watch) is refused by the API server and looks again.
"""

from collections.abc import Callable
from datetime import datetime

from pipeline_core.kube.api import KubeError
from pipeline_core.lifecycle.observed import Run
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.status import Status, build_status, merge, succeeded


class ConflictError(Exception):
    """The object has changed since it was read: read it again and decide anew."""


class StatusWriter:
    """`now` is the wall clock in UTC."""

    def __init__(self, cluster: Cluster, cache: Cache, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._cache = cache
        self._now = now

    def difference(self, run: Run, wanted: Status) -> Status | None:
        """What would be written."""
        return merge(self._cache.get(run.uid).status, wanted, self._now())

    async def write_wait(self, run: Run, phase: Phase, reason: Reason, message: str, admitted: Status) -> None:
        """Say that the run waits, and for what: in this phase, or in a later one that it has come to before.

        `admitted` is its condition of that name. Raises ConflictError as `write` does.
        """
        phase = max(phase, run.status.phase or phase, key=lambda each: each.rank)
        conditions = [admitted, succeeded(run, phase, reason, message)]
        await self.write(run, build_status(run, phase, conditions, message=message))

    async def write(self, run: Run, wanted: Status) -> None:
        """Make the object's status say what is wanted.

        Raises ConflictError where the object has changed; its absence is no error, for then nobody reads it.
        """
        patch = self.difference(run, wanted)
        if patch is None:
            return
        try:
            body = await self._cluster.patch_run_status(run.namespace, run.name, run.resource_version, patch)
        except KubeError as error:
            if error.status == 404:
                self._cache.drop_run(run.uid)
                return
            if error.status == 409:
                raise ConflictError(error.message) from error
            raise
        if body["metadata"]["uid"] == run.uid:
            self._cache.put_run(body)
