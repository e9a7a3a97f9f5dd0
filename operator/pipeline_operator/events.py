"""Events: told on a PipelineRun, once per run and reason, and read where Kubernetes says something nowhere else.

The name is a function of run and reason, so a repeated step makes no second Event. An Event that can't be written is
dropped: it informs, the status is the truth.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Literal

import structlog

from pipeline_core.lifecycle.observed import Run
from pipeline_operator import names
from pipeline_operator.cluster import Cluster
from pipeline_operator.kube import Json, KubeError, KubeUnavailableError
from pipeline_operator.status import format_time

_log = structlog.get_logger(__name__)

# Kubernetes' own bound on an Event's message.
_MESSAGE_MAX = 1024


class Events:
    """Writes and reads Events; `now` is the wall clock in UTC."""

    def __init__(self, cluster: Cluster, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._now = now

    async def emit(self, run: Run, reason: str, message: str, kind: Literal["Normal", "Warning"] = "Normal") -> None:
        """Tell `message` on the run."""
        try:
            await self._cluster.create_event(run.namespace, build_event(run, reason, message, kind, self._now()))
        except KubeError as error:
            if error.reason != "AlreadyExists":
                _log.warning("event not written", run_id=run.run_id, about=reason, error=error.message)
        except KubeUnavailableError as error:
            _log.warning("event not written", run_id=run.run_id, about=reason, error=str(error))

    async def newest_warning(self, namespace: str, uid: str) -> str | None:
        """What Kubernetes warned of last about the object of this UID: `{reason}: {message}`, or None."""
        events = await self._cluster.list_warnings(namespace, uid)
        newest = max(events, key=_told_at, default=None)
        if newest is None:
            return None
        return f"{newest.get('reason', '')}: {newest.get('message', '')}"[:_MESSAGE_MAX]


def _told_at(event: Json) -> str:
    """RFC 3339, which sorts as text; which field has it depends on the component that wrote the Event."""
    series = event.get("series") or {}
    told = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(told or event["metadata"]["creationTimestamp"])


def build_event(run: Run, reason: str, message: str, kind: str, now: datetime) -> Json:
    """The core/v1 Event."""
    suffix = hashlib.sha256(f"{run.uid}/{reason}".encode()).hexdigest()[:16]
    at = format_time(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{run.name[:200]}.{suffix}", "namespace": run.namespace},
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.RUN_KIND,
            "namespace": run.namespace,
            "name": run.name,
            "uid": run.uid,
        },
        "type": kind,
        "reason": reason,
        "message": message[:_MESSAGE_MAX],
        "source": {"component": names.FIELD_MANAGER},
        "reportingComponent": names.FIELD_MANAGER,
        "reportingInstance": "",
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
