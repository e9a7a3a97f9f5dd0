"""The workers: take due runs from the queue and reconcile them, a bounded number at a time."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from pipeline_core.store.errors import StoreUnavailableError
from pipeline_operator import metrics
from pipeline_operator.kube import KubeError, KubeUnavailableError
from pipeline_operator.queue import WorkQueue

_log = structlog.get_logger(__name__)

Reconcile = Callable[[str], Awaitable[float | None]]


async def work_forever(queue: WorkQueue, reconcile: Reconcile, concurrency: int) -> None:
    """Run `concurrency` workers until cancelled; no error of one run ends them."""
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(_worker(queue, reconcile))


async def _worker(queue: WorkQueue, reconcile: Reconcile) -> None:
    while True:
        uid = await queue.get()
        metrics.QUEUE_DEPTH.set(len(queue))
        with metrics.RECONCILE_SECONDS.time():
            outcome = await _one(queue, reconcile, uid)
        metrics.RECONCILES.labels(outcome).inc()


async def _one(queue: WorkQueue, reconcile: Reconcile, uid: str) -> str:
    try:
        again_in = await reconcile(uid)
    except (KubeError, KubeUnavailableError, StoreUnavailableError) as error:
        backoff = queue.failed(uid)
        _log.warning("run waits for a service", uid=uid, error=str(error), retry_in=round(backoff, 1))
        return "unavailable"
    except Exception:
        backoff = queue.failed(uid)
        _log.exception("reconcile failed", uid=uid, retry_in=round(backoff, 1))
        return "failed"
    queue.done(uid, again_in)
    return "ok"
