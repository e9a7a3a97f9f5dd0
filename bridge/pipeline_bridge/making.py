"""Makes the PipelineRun of a run that is recorded and holds its slot, and says what is known where that fails."""

import time

import structlog

from pipeline_bridge.parts import Parts
from pipeline_bridge.problems import RETRY_AFTER, Problem, problem_of
from pipeline_core.kube.api import Json, KubeError, KubeNotReachedError, KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.runs import StoredRun

_log = structlog.get_logger(__name__)

# A call that failed this soon is made once more: an API server that is replaced drops its connections.
_AGAIN_WITHIN_SECONDS = 1.0
_NOT_REACHED = "The Kubernetes API couldn't be reached"


async def make_object(parts: Parts, run: StoredRun, manifest: Json, *, is_shared: bool) -> None:
    """Make the run's PipelineRun; that it is there already is as good.

    With an idempotency key the run `is_shared`: another request may be making the object in this moment, and a later
    one goes on with the slot, so that it is left to that, or to healing. Else it is given back where the object
    certainly isn't made.

    Raises KubeError where the API server refuses, KubeNotReachedError where nothing is left of the run, and Problem 503
    with the run's id where it isn't known whether the object is made.
    """
    began, may_exist = time.monotonic(), False
    for is_last in (False, True):
        try:
            await parts.cluster.create_run(run.object_namespace or "", manifest)
        except KubeError as error:
            if error.reason == "AlreadyExists":
                return
            if may_exist:  # a quota is asked before the name is, and the object may be what fills it
                raise _away(run.run_id) from error
            if error.status < 500 and not is_shared:
                await _give_back(parts, run, f"The PipelineRun wasn't made: {problem_of(error).detail}")
            raise
        except KubeUnavailableError as error:
            may_exist = may_exist or not isinstance(error, KubeNotReachedError)
            if not is_last and time.monotonic() < began + _AGAIN_WITHIN_SECONDS:
                continue
            if not (may_exist or is_shared) and await _give_back(parts, run, _NOT_REACHED):
                raise  # certainly not made, and nothing is left of it
            raise _away(run.run_id) from error
        else:
            return


async def _give_back(parts: Parts, run: StoredRun, message: str) -> bool:
    """End the run, whose object isn't made; False where that is left to healing, as PostgreSQL is away."""
    try:
        await parts.records.finish(
            run.run_id,
            phase=Phase.FAILED,
            at=parts.now(),
            error_message=message,
            message=message,
            reason=Reason.REJECTED,
            frees=True,
        )
    except StoreUnavailableError as error:
        _log.warning("slot left to be healed", run_id=run.run_id, org=run.org_slug, error=str(error))
        return False
    return True


def _away(run_id: str) -> Problem:
    """Whether the run is made isn't known: its id is told, by which that can be seen."""
    return Problem(
        503,
        "KubernetesUnavailable",
        f"The Kubernetes API didn't say whether run {run_id} was made: ask for its status, or send the request again "
        "with the same Idempotency-Key",
        title="Kubernetes is unavailable",
        headers=RETRY_AFTER,
        members={"run_id": run_id},
    )
