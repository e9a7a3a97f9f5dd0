"""The work: takes due runs, or schedules, from their queue and reconciles them, a bounded number at a time."""

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


async def _at_once() -> None:
    """Hold nothing back."""


async def work_forever(
    queue: WorkQueue,
    reconcile: Reconcile,
    concurrency: int,
    *,
    kind: str = "run",
    may_begin: Callable[[], Awaitable[None]] = _at_once,
) -> None:
    """Reconcile at most `concurrency` keys at a time until cancelled; no error of one ends the others.

    `may_begin` is waited for before each pass: something else may go first. `kind` is what a key is called in the log.
    """
    free = asyncio.Semaphore(concurrency)
    said: dict[str, str] = {}

    async def work(uid: str) -> None:
        try:
            with metrics.RECONCILE_SECONDS.time():
                outcome = await _one(queue, reconcile, uid, said, kind)
            metrics.RECONCILES.labels(outcome).inc()
        finally:
            free.release()

    async with asyncio.TaskGroup() as group:
        while True:
            await free.acquire()
            uid = await queue.get()
            await may_begin()
            group.create_task(work(uid))


async def _one(queue: WorkQueue, reconcile: Reconcile, uid: str, said: dict[str, str], kind: str = "run") -> str:
    """One pass; `said` has what was last logged of each key that waits, which isn't said again with each try."""
    try:
        async with asyncio.timeout(_PASS_SECONDS) as limit:
            again_in = await reconcile(uid)
    except (KubeError, KubeUnavailableError, PipelinesError) as error:
        backoff = queue.failed(uid)
        if said.get(uid) != str(error):
            _log.warning(f"{kind} waits", uid=uid, error=str(error), retry_in=round(backoff, 1))
        said[uid] = str(error)
        return "unavailable"
    except Exception:
        backoff = queue.failed(uid, given_up=limit.expired())
        _log.exception("reconcile failed", uid=uid, retry_in=round(backoff, 1))
        return "failed"
    if said.pop(uid, None) is not None:
        _log.info(f"{kind} goes on", uid=uid)
    queue.done(uid, again_in)
    return "ok"
