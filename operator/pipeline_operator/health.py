"""Says whether this process still does its work: the event loop, the queue, and the watches."""

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable

import structlog

from pipeline_core.kube import names
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_operator import metrics
from pipeline_operator.cluster import Cluster
from pipeline_operator.expectations import WATCHED, Expectation, Expectations
from pipeline_operator.queue import WorkQueue

_log = structlog.get_logger(__name__)

_TICK_SECONDS = 1.0
_LOOK_SECONDS = 10.0
_LATE_MAX_SECONDS = 30.0
_QUEUE_AGE_MAX_SECONDS = 300.0


class Health:
    """Made in the thread of the event loop that it judges; `now` is a monotonic clock in seconds.

    `schedules_stand_still_for` says for how many seconds schedules are due and none has been worked on.
    """

    def __init__(
        self,
        queue: WorkQueue,
        expectations: Expectations,
        ready: Callable[[], bool],
        now: Callable[[], float],
        schedules_stand_still_for: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._queue = queue
        self._expectations = expectations
        self._ready = ready
        self._schedules_stand_still_for = schedules_stand_still_for
        self._now = now
        self._thread = threading.get_ident()
        self._ticked = now()
        self._stuck = False
        self._wrong: str | None = None

    async def tick_forever(self) -> None:
        """Judge every second, and measure how late the event loop runs."""
        while True:
            before = self._now()
            await asyncio.sleep(_TICK_SECONDS)
            self._ticked, self._stuck = self._now(), False
            metrics.LOOP_LAG_SECONDS.set(max(0.0, self._ticked - before - _TICK_SECONDS))
            metrics.QUEUE_OLDEST_SECONDS.set(self._queue.oldest_age())
            metrics.QUEUE_DEPTH.set(self._queue.depth())
            for plural in WATCHED:
                metrics.WATCH_BEHIND_SECONDS.labels(plural).set(self._expectations.behind(plural))
            self._judge()

    async def look_forever(self, cluster: Cluster) -> None:
        """Read what a watch has owed for long: it may be gone, and its end may have been between two watches."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for expectation in self._expectations.late():
                await _look(cluster, expectation)

    def healthy(self) -> str | None:
        """None, or what is wrong: then the kubelet restarts the process. Called from any thread."""
        late = self._now() - self._ticked
        if late <= _LATE_MAX_SECONDS:
            return self._wrong
        wrong = f"the event loop has not run for {late:.0f}s"
        if not self._stuck:
            self._stuck = True
            frame = sys._current_frames().get(self._thread)
            _log.error("unhealthy", why=wrong, at="".join(traceback.format_stack(frame)) if frame else "")
        return wrong

    def ready(self) -> str | None:
        """None, or why no work is taken."""
        return None if self._ready() else "the watches have not started"

    def _judge(self) -> None:
        wrong = self._find()
        if (wrong is None) != (self._wrong is None):
            _log.error("unhealthy", why=wrong) if wrong else _log.info("healthy again", after=self._wrong)
        self._wrong = wrong
        metrics.UNHEALTHY.set(wrong is not None)

    def _find(self) -> str | None:
        # A long queue that moves is no fault of this process (a slow database, a burst): one that stands still is.
        if (age := self._queue.stands_still_for()) > _QUEUE_AGE_MAX_SECONDS:
            return f"no run has been worked on for {age:.0f}s, though one is due"
        if (age := self._schedules_stand_still_for()) > _QUEUE_AGE_MAX_SECONDS:
            return f"no schedule has been worked on for {age:.0f}s, though one is due"
        return self._expectations.blind()


async def _look(cluster: Cluster, expectation: Expectation) -> None:
    """One read, whose answer the expectations hear of."""
    try:
        try:
            await _read(cluster, expectation)
        except KubeError as error:
            # That its namespace is gone is an answer as well.
            if not await cluster.went_with_namespace(expectation.namespace, error):
                raise
    except (KubeError, KubeUnavailableError) as error:
        _log.warning("not read", kind=expectation.plural, name=expectation.name, error=str(error))


async def _read(cluster: Cluster, expectation: Expectation) -> None:
    namespace, name = expectation.namespace, expectation.name
    if expectation.plural == names.RUNS:
        await cluster.get_run(namespace, name)
    elif expectation.plural == names.SCHEDULES:
        await cluster.get_schedule(namespace, name)
    elif expectation.plural == "jobs":
        await cluster.get_job(namespace, name)
    else:
        await cluster.list_pods(namespace, expectation.run_id)
