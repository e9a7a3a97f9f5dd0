"""Takes what a watch shows, one event at a time: an entry in the cache and a key in the queue."""

from collections.abc import Callable
from dataclasses import replace

import structlog

from pipeline_core.kube import names
from pipeline_core.kube.api import Json
from pipeline_core.lifecycle.observed import Run
from pipeline_operator import metrics
from pipeline_operator.cache import Cache
from pipeline_operator.expectations import Expectations

_log = structlog.get_logger(__name__)


class Intake:
    """`wake` is called with the UID of a run that has news, `schedule` with a schedule and whether it is gone."""

    def __init__(
        self,
        cache: Cache,
        wake: Callable[[str], None],
        expectations: Expectations,
        schedule: Callable[[Json, bool], None] = lambda _body, _gone: None,
    ) -> None:
        self._cache = cache
        self._wake = wake
        self._expectations = expectations
        self._handlers = {names.RUNS: self._run, names.SCHEDULES: schedule, "jobs": self._job, "pods": self._pod}

    def take(self, plural: str, body: Json, *, gone: bool) -> None:
        """One event of the watch of `plural`: the object as it is now, or as it was when it went."""
        metrics.WATCH_EVENTS.labels(plural).inc()
        try:
            self._expectations.seen(plural, body, gone=gone)
            self._handlers[plural](body, gone)
        except (KeyError, TypeError, ValueError):
            # One object that can't be read must not keep the others from being seen.
            metadata = body.get("metadata") or {}
            _log.exception("object not understood", kind=body.get("kind"), uid=metadata.get("uid"))

    def _run(self, body: Json, gone: bool) -> None:
        uid = body["metadata"]["uid"]
        before = self._cache.get(uid).run
        if gone:
            self._cache.drop_run(uid)
        elif not self._cache.put_run(body) or _only_status(before, self._cache.get(uid).run):
            return  # an echo of the operator's own write, which mustn't cut a backoff short
        self._wake(uid)

    def _job(self, body: Json, gone: bool) -> None:
        if uid := self._cache.put_job(body, gone=gone):
            self._wake(uid)

    def _pod(self, body: Json, gone: bool) -> None:
        if uid := self._cache.put_pod(body, gone=gone):
            self._wake(uid)


def _only_status(before: Run | None, after: Run | None) -> bool:
    """Whether nothing has changed but the status, which is the operator's own; its end may be another process' word."""
    if before is None or after is None or before.is_over != after.is_over:
        return False
    return replace(before, status=after.status, resource_version=after.resource_version) == after
