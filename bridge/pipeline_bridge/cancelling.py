"""Cancels a run: asks the operator to, on the run's PipelineRun, which is made for that if nobody has made it yet."""

from typing import NamedTuple

from pipeline_bridge.auth import Principal
from pipeline_bridge.parts import Parts
from pipeline_bridge.problems import Problem
from pipeline_bridge.run_objects import Trace, build_run, is_object_of, object_parameters
from pipeline_core import identifiers
from pipeline_core.kube.api import Json, KubeError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.runs import StoredRun

# The object may be made, or deleted, between two questions: as often does it take another look.
_TRIES = 3
# What the API server answers where the object of this name has another UID than the patch.
_OTHER_UID = frozenset({409, 422})


class Cancelled(NamedTuple):
    """Whether the run will be cancelled, and where it stands now."""

    success: bool
    phase: Phase


class Cancelling:
    """Cancels runs with the parts of the process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def cancel(self, who: Principal, run_id: str, trace: Trace) -> Cancelled:
        """Cancel the organization's run; asking again is the same answer, and one that is over stays as it is.

        Raises Problem 404 `RunNotFound`, StoreUnavailableError, KubeError and KubeUnavailableError.
        """
        for _ in range(_TRIES):
            run = await self._get(who, run_id)
            if run.phase.is_final:
                return Cancelled(False, run.phase)
            if (body := await self._patch(run)) is not None:
                return _seen(run, body)
            if run.object_uid is not None:
                return Cancelled(True, run.phase)  # its object is deleted: it ends by that
            if await self._make_cancelled(run, trace):
                return Cancelled(True, run.phase)
        raise KubeError(409, "Conflict", f"the PipelineRun of {run_id} is made and deleted again and again")

    async def _get(self, who: Principal, run_id: str) -> StoredRun:
        run = None
        if identifiers.RUN_ID.fullmatch(run_id):  # PostgreSQL can't be asked about every text
            run = await self._parts.records.get(run_id, org_slug=who.org)
        if run is None:
            raise Problem(404, "RunNotFound", f"Run not found: {run_id[:64]}")
        return run

    async def _patch(self, run: StoredRun) -> Json | None:
        """The run's object, asked to cancel; None where it isn't there."""
        namespace, name = run.object_namespace or "", run.object_name or ""
        uid = run.object_uid or await self._uid_of(run)
        if uid is None:
            return None
        try:
            return await self._parts.cluster.cancel_run(namespace, name, uid)
        except KubeError as error:
            if error.status == 404:
                return None
            if error.status in _OTHER_UID:
                there = await self._parts.cluster.get_run(namespace, name)
                if there is None or there["metadata"]["uid"] != uid:
                    return None  # another object has taken the name
            raise

    async def _uid_of(self, run: StoredRun) -> str | None:
        """The UID of the object that the operator hasn't seen yet; None where it isn't made.

        Raises KubeError 409 where the name is another object's: then it never will be, and healing ends the run.
        """
        there = await self._parts.cluster.get_run(run.object_namespace or "", run.object_name or "")
        if there is None:
            return None
        if not is_object_of(there, run):
            raise KubeError(409, "Conflict", f"another object has the name of the PipelineRun of {run.run_id}")
        uid: str = there["metadata"]["uid"]
        return uid

    async def _make_cancelled(self, run: StoredRun, trace: Trace) -> bool:
        """Make the object that nobody has made, cancelled; False where somebody has made it meanwhile.

        Its name is the lock: whoever is about to make it finds it, and the run starts nothing.
        """
        manifest = build_run(run, object_parameters(run.parameters), trace, cancel=True)
        try:
            await self._parts.cluster.create_run(run.object_namespace or "", manifest)
        except KubeError as error:
            if error.reason == "AlreadyExists":
                return False
            raise
        # crash here: the operator finds the object, and ends the run.
        return True


def _seen(run: StoredRun, body: Json) -> Cancelled:
    """What the object says, which may be ahead of the record."""
    word = (body.get("status") or {}).get("phase")
    phase = max(run.phase, Phase(word) if word else run.phase, key=lambda each: each.rank)
    return Cancelled(not phase.is_final, phase)
