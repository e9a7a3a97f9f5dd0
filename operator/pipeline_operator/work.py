"""The work: takes due runs from the queue and reconcile them, a bounded number at a time."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from pipeline_core.errors import PipelinesError
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_operator import metrics
from pipeline_operator.queue import WorkQueue

_log = structlog.get_logger(__name__)

Reconcile = Callable[[str], Awaitable[float | None]]

# Each call has a time limit of its own; a pass that hangs all the same is given up, as if the process had died there.
_PASS_SECONDS = 300.0


async def work_forever(queue: WorkQueue, reconcile: Reconcile, concurrency: int) -> None:
    """Reconcile at most `concurrency` runs at a time until cancelled; no error of one run ends the others."""
    free = asyncio.Semaphore(concurrency)
    said: dict[str, str] = {}

    async def work(uid: str) -> None:
        try:
            with metrics.RECONCILE_SECONDS.time():
                outcome = await _one(queue, reconcile, uid, said)
            metrics.RECONCILES.labels(outcome).inc()
        finally:
            free.release()

    async with asyncio.TaskGroup() as group:
        while True:
            await free.acquire()
            group.create_task(work(await queue.get()))


async def _one(queue: WorkQueue, reconcile: Reconcile, uid: str, said: dict[str, str]) -> str:
    """One pass; `said` has what was last logged of each run that waits, which isn't said again with each try."""
    try:
        async with asyncio.timeout(_PASS_SECONDS) as limit:
            again_in = await reconcile(uid)
    except (KubeError, KubeUnavailableError, PipelinesError) as error:
        backoff = queue.failed(uid)
        if said.get(uid) != str(error):
            _log.warning("run waits", uid=uid, error=str(error), retry_in=round(backoff, 1))
        said[uid] = str(error)
        return "unavailable"
    except Exception:
        backoff = queue.failed(uid, given_up=limit.expired())
        _log.exception("reconcile failed", uid=uid, retry_in=round(backoff, 1))
        return "failed"
    if said.pop(uid, None) is not None:
        _log.info("run goes on", uid=uid)
    queue.done(uid, again_in)
    return "ok"
