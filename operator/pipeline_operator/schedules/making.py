"""Makes the runs that were decided on: one call each, whose repetition finds the run that it made before."""

from collections.abc import Callable
from datetime import datetime

import structlog

from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from pipeline_core.schedules.decision import Make, Missed
from pipeline_core.schedules.observed import Cause, MissedReason, Schedule
from pipeline_operator import metrics
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.schedules.manifest import build_run

_log = structlog.get_logger(__name__)

# The API server's answers to an object that it won't ever take as it is.
_NEVER = frozenset({400, 413, 422})
# What policies and webhooks say with 403; RBAC and quotas, which may allow it in a moment, say so otherwise, and an
# object that is named in their words has no space in its name.
_DENIED = ("denied the request", "denied request")


class Making:
    """`runs` and `wake` are the runs' cache and queue, `now` is the wall clock in UTC."""

    def __init__(
        self,
        cluster: Cluster,
        runs: Cache,
        wake: Callable[[str], None],
        env: str,
        now: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._runs = runs
        self._wake = wake
        self._env = env
        self._now = now

    async def make(self, schedule: Schedule, make: Make) -> Missed | None:
        """Make the run, unless it is there; returns why there can't be one.

        Raises KubeError or KubeUnavailableError where it has to be tried again.
        """
        try:
            body = await self._cluster.create_run(schedule.namespace, build_run(schedule, make, self._env))
        except KubeError as error:
            if error.reason == "AlreadyExists":
                return await self._adopt(schedule, make)
            if error.status in _NEVER or (error.status == 403 and any(words in error.message for words in _DENIED)):
                return _missed(make, MissedReason.REFUSED, f"The API server refuses the run: {error.message}")
            raise
        # crash here: the next pass is answered AlreadyExists and finds its own run.
        self._take(body)
        metrics.SCHEDULE_TICKS.labels(make.cause.value).inc()
        if make.cause is Cause.TICK:
            metrics.skew_seen("run", make.due_at, self._now())
        _log.info(
            "run made", schedule=schedule.name, org=schedule.spec.org, run_id=make.run_id, cause=make.cause.value,
            tick=make.logical_time.isoformat(),
        )  # fmt: skip
        return None

    async def _adopt(self, schedule: Schedule, make: Make) -> Missed | None:
        """The run's name is taken: by this very run (a lost answer, another process), or by something else."""
        body = await self._cluster.get_run(schedule.namespace, make.name)
        if body is None:
            raise KubeUnavailableError(f"the run {make.name} was there and is gone again")
        spec = body.get("spec") or {}
        if (spec.get("runId"), spec.get("org")) == (make.run_id, schedule.spec.org):
            self._take(body)
            return None
        return _missed(
            make,
            MissedReason.NAME_TAKEN,
            f"Another PipelineRun has the name {make.name}; delete it, or give the schedule another name",
        )

    def _take(self, body: Json) -> None:
        """Know of it before the watch shows it, which then has no news to wake anybody with."""
        if self._runs.put_run(body):
            self._wake(body["metadata"]["uid"])


def _missed(make: Make, reason: MissedReason, message: str) -> Missed:
    return Missed(reason, 1, make.logical_time, message)
