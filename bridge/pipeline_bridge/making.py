"""Makes the PipelineRun of a run that is recorded and holds its slot, or gives the slot back where it can't be made."""

import time

import structlog

from pipeline_bridge.parts import Parts
from pipeline_bridge.problems import RETRY_AFTER, Problem, problem_of
from pipeline_bridge.run_objects import is_object_of
from pipeline_core.kube.api import Json, KubeError, KubeNotReachedError, KubeUnavailableError
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.runs import StoredRun

_log = structlog.get_logger(__name__)

# A call that failed this soon is made once more: an API server that is replaced drops its connections.
_AGAIN_WITHIN_SECONDS = 1.0
_NOT_REACHED = "The Kubernetes API couldn't be reached"
_NAME_TAKEN = "The PipelineRun wasn't made: another object has its name"


async def make_object(parts: Parts, run: StoredRun, manifest: Json) -> None:
    """Make the PipelineRun of a run as `QuotaLedger.reserve` has returned it; that it is there already is as good.

    Where it certainly isn't made, the run is ended and its slot is free: a request that is refused again and again
    holds nothing. Unless another request with the same idempotency key has come meanwhile and renewed the slot: then it
    is left to that one. Where it isn't known, it is left to the next request, or to healing.

    Raises KubeError where the API server refuses, KubeNotReachedError where nothing is left of the run, and Problem 503
    with the run's id where it isn't known whether the object is made.
    """
    began, may_exist = time.monotonic(), False
    for is_last in (False, True):
        try:
            await parts.cluster.create_run(run.object_namespace or "", manifest)
        except KubeError as error:
            if await _is_made_nevertheless(parts, run, error, may_exist=may_exist):
                return
            is_taken = error.reason == "AlreadyExists"
            message = _NAME_TAKEN if is_taken else f"The PipelineRun wasn't made: {problem_of(error).detail}"
            await _give_back(parts, run, message)
            raise
        except KubeUnavailableError as error:
            may_exist = may_exist or not isinstance(error, KubeNotReachedError)
            if not is_last and time.monotonic() < began + _AGAIN_WITHIN_SECONDS:
                continue
            # An earlier request with the key may have made it, and the operator sees it when the API server is back.
            is_certain = run.took_slot and not may_exist
            if is_certain and await _give_back(parts, run, _NOT_REACHED):
                raise  # nothing is left of it
            raise _away(run.run_id) from error
        else:
            return


async def is_made(parts: Parts, run: StoredRun) -> bool:
    """Whether the run's own PipelineRun is there. Raises KubeError and KubeUnavailableError."""
    body = await _object_of(parts, run)
    return body is not None and is_object_of(body, run)


async def _object_of(parts: Parts, run: StoredRun) -> Json | None:
    return await parts.cluster.get_run(run.object_namespace or "", run.object_name or "")


async def _is_made_nevertheless(parts: Parts, run: StoredRun, error: KubeError, *, may_exist: bool) -> bool:
    """Whether the run's object is there though `error` refuses to make it. Raises Problem 503 where nobody can say."""
    is_taken = error.reason == "AlreadyExists"
    if not is_taken:
        if may_exist:  # a quota is asked before the name is, and what fills it may be the object
            raise _away(run.run_id) from error
        if run.took_slot and error.status < 500:
            return False  # nobody else can have made it
    try:
        body = await _object_of(parts, run)
    except (KubeError, KubeUnavailableError) as unread:
        raise _away(run.run_id) from unread
    if body is None and is_taken:
        raise _away(run.run_id) from error  # it is deleted again, whosever it was
    return body is not None and is_object_of(body, run)


async def _give_back(parts: Parts, run: StoredRun, message: str) -> bool:
    """End the run, whose object isn't made; False where it is another request's by now, or PostgreSQL is away."""
    try:
        return await parts.ledger.end_unmade(run, at=parts.now(), message=message)
    except StoreUnavailableError as error:
        _log.warning("slot left to be healed", run_id=run.run_id, org=run.org_slug, error=str(error))
        return False


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
