"""Events: told on a PipelineRun or PipelineSchedule, and read where Kubernetes says something nowhere else.

Each is told once per run and reason, or per schedule, reason and tick: the name is a function of these, so a repeated
step makes no second Event. One that can't be written is dropped: it informs, the status is the truth.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import structlog

from pipeline_core.kube import names
from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from pipeline_core.lifecycle.observed import Run
from pipeline_core.schedules.observed import Schedule
from pipeline_operator.cluster import FIELD_MANAGER, Cluster
from pipeline_operator.status import format_time

_log = structlog.get_logger(__name__)

# Kubernetes' own bound on an Event's message.
_MESSAGE_MAX = 1024
# Untold ones that are kept, about 1 KiB each; then the newest are dropped, as client-go's recorder does.
_UNTOLD_MAX = 5_000
# While runs start and end, Events wait, but not for ever.
_PATIENCE = timedelta(seconds=30)
_BUSY_SECONDS = 0.2
_REST_SECONDS = 2.0
# Many runs may wait for something at the same time; they share what was read of their namespace.
_WARNINGS_KEPT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class About:
    """The object that an Event is about."""

    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class _Untold:
    # What log lines name the object by.
    named: dict[str, str]
    body: Json
    since: datetime


@dataclass(frozen=True, slots=True)
class _Warnings:
    """The words of the newest warning of each object of a namespace, by UID, as of `at`."""

    by_uid: dict[str, str]
    at: datetime


class Events:
    """Writes and reads Events; `now` is the wall clock in UTC, `busy` says whether there is more urgent work."""

    def __init__(self, cluster: Cluster, now: Callable[[], datetime], busy: Callable[[], bool] = lambda: False) -> None:
        self._cluster = cluster
        self._now = now
        self._busy = busy
        self._untold: deque[_Untold] = deque()
        self._wake = asyncio.Event()
        self._warnings: dict[str, _Warnings] = {}
        self._reading = asyncio.Lock()

    def tell(self, run: Run, reason: str, message: str, kind: Literal["Normal", "Warning"] = "Normal") -> None:
        """Have `message` told on the run, soon: nothing waits for it."""
        about = About(names.RUN_KIND, run.namespace, run.name, run.uid)
        self._tell({"run_id": run.run_id}, build_event(about, reason, message, kind, self._now()))

    def tell_of_schedule(self, schedule: Schedule, reason: str, message: str, tick: datetime) -> None:
        """Have a warning about this tick told on the schedule, soon."""
        about = About(names.SCHEDULE_KIND, schedule.namespace, schedule.name, schedule.uid)
        body = build_event(about, reason, message, "Warning", self._now(), of=format_time(tick))
        self._tell({"schedule": f"{schedule.namespace}/{schedule.name}"}, body)

    def _tell(self, named: dict[str, str], body: Json) -> None:
        if len(self._untold) >= _UNTOLD_MAX:
            _log.warning("event dropped, as too many wait", **named, about=body["reason"])
            return
        self._untold.append(_Untold(named, body, self._now()))
        self._wake.set()

    async def tell_forever(self) -> None:
        """Write them, one at a time, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._untold:
                if self._busy() and self._now() < self._untold[0].since + _PATIENCE:
                    await asyncio.sleep(_BUSY_SECONDS)
                    continue
                await self._write(self._untold.popleft())

    async def tell_rest(self) -> None:
        """Write now what is left to tell, as far as there is time: the process is about to end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_REST_SECONDS):
                while self._untold:
                    await self._write(self._untold.popleft())

    async def _write(self, event: _Untold) -> None:
        try:
            await self._cluster.create_event(event.body["metadata"]["namespace"], event.body)
        except KubeError as error:
            if error.reason != "AlreadyExists":
                _log.warning("event not written", **event.named, about=event.body["reason"], error=error.message)
        except KubeUnavailableError as error:
            _log.warning("event not written", **event.named, about=event.body["reason"], error=str(error))

    async def newest_warning(self, namespace: str, uid: str) -> str | None:
        """What Kubernetes warned of last about the object of this UID: `{reason}: {message}`, or None."""
        async with self._reading:
            known = self._warnings.get(namespace)
            if known is None or self._is_old(known):
                known = await self._read_warnings(namespace)
                # Those of namespaces that nobody asks about any more go.
                fresh = {name: each for name, each in self._warnings.items() if not self._is_old(each)}
                self._warnings = {**fresh, namespace: known}
        return known.by_uid.get(uid)

    def _is_old(self, warnings: _Warnings) -> bool:
        return self._now() >= warnings.at + _WARNINGS_KEPT

    async def _read_warnings(self, namespace: str) -> _Warnings:
        found: dict[str, Json] = {}
        try:
            async for event in self._cluster.list_warnings(namespace):
                uid = (event.get("involvedObject") or {}).get("uid", "")
                if uid not in found or _told_at(event) >= _told_at(found[uid]):
                    found[uid] = event
        except (KubeError, KubeUnavailableError) as error:
            # They only explain: a run's deadlines hold without them.
            _log.warning("warnings not read", namespace=namespace, error=str(error))
        return _Warnings({uid: _words(event) for uid, event in found.items()}, self._now())


def _words(event: Json) -> str:
    return f"{event.get('reason', '')}: {event.get('message', '')}"[:_MESSAGE_MAX]


def _told_at(event: Json) -> str:
    """RFC 3339, which sorts as text; which field has it depends on the component that wrote the Event."""
    series = event.get("series") or {}
    told = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(told or event["metadata"]["creationTimestamp"])


def build_event(about: About, reason: str, message: str, kind: str, now: datetime, *, of: str = "") -> Json:
    """The core/v1 Event; `of` tells it from another one of the same object and reason."""
    suffix = hashlib.sha256("/".join(filter(None, (about.uid, reason, of))).encode()).hexdigest()[:16]
    at = format_time(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about.name[:200]}.{suffix}", "namespace": about.namespace},
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        },
        "type": kind,
        "reason": reason,
        "message": message[:_MESSAGE_MAX],
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": "",
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
