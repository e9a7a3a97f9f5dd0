"""Leadership by a Lease, as Kubernetes' own controllers do it: compare-and-swap on one object, judged by our own clock.

A holder counts as dead when its Lease hasn't changed for the Lease's duration on *this* process's monotonic clock, so
clocks that differ between nodes do no harm. A leader that can't renew in time gives up before another may take over.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from pipeline_operator.cluster import Cluster

_log = structlog.get_logger(__name__)

DURATION_SECONDS = 15
_RENEW_DEADLINE_SECONDS = 10.0
_RETRY_SECONDS = 2.0


class LeaseLostError(Exception):
    """Another process may lead by now: this one must stop."""


class Lease:
    """One candidate for leadership; `now` is a monotonic clock in seconds."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, identity: str, now: Callable[[], float]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._now = now
        self._seen: tuple[str, float] = ("", now())
        self._held: Json | None = None

    async def acquire(self) -> None:
        """Wait until this process leads."""
        _log.info("waiting for leadership", lease=self._name, identity=self._identity)
        while not await self._try():  # noqa: ASYNC110 - another process can't set an event of ours
            await asyncio.sleep(_RETRY_SECONDS)
        _log.info("leading", lease=self._name, identity=self._identity)

    async def keep(self) -> None:
        """Renew until that fails for too long. Raises LeaseLostError, and returns in no other way."""
        renewed = self._now()
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            # Others count from the renewal's arrival, which can't be before this.
            before = self._now()
            if await self._try(within=renewed + _RENEW_DEADLINE_SECONDS - before):
                renewed = before
            elif self._held is None:
                raise LeaseLostError(f"lease {self._name} was taken by another process")
            elif self._now() - renewed >= _RENEW_DEADLINE_SECONDS:
                self._held = None  # there is nothing to give up any more, and nobody may be there to hear of it
                raise LeaseLostError(f"lease {self._name} could not be renewed for {_RENEW_DEADLINE_SECONDS:.0f}s")

    async def release(self) -> None:
        """Give leadership up, so that the next process needn't wait for the Lease to run out."""
        if self._held is None:
            return
        lease = {**self._held, "spec": {**self._held["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}}
        try:
            await self._cluster.replace_lease(self._namespace, self._name, lease)
        except (KubeError, KubeUnavailableError) as error:
            _log.warning("lease not released", error=str(error))
        self._held = None

    async def _try(self, within: float = _RENEW_DEADLINE_SECONDS) -> bool:
        """One attempt to take or renew; `_held` is None afterwards if another process is known to hold it."""
        try:
            async with asyncio.timeout(max(0.0, within)):
                self._held = await self._attempt()
        except TimeoutError:
            _log.warning("lease not reached", error=f"no answer within {within:.0f}s")
            return False
        except KubeError as error:
            if error.status != 409:  # 409: somebody else was faster; look again
                _log.warning("lease refused", error=error.message)
            return False
        except KubeUnavailableError as error:
            _log.warning("lease not reached", error=str(error))
            return False
        return self._held is not None

    async def _attempt(self) -> Json | None:
        current = await self._cluster.get_lease(self._namespace, self._name)
        if current is None:
            return await self._cluster.create_lease(self._namespace, self._claim(None))
        if not self._free(current):
            return None
        return await self._cluster.replace_lease(self._namespace, self._name, self._claim(current))

    def _free(self, lease: Json) -> bool:
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, self._now())
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity")
        if not holder or holder == self._identity:
            return True
        return self._now() - self._seen[1] > (spec.get("leaseDurationSeconds") or DURATION_SECONDS)

    def _claim(self, current: Json | None) -> Json:
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = (current or {}).get("spec") or {}
        mine = before.get("holderIdentity") == self._identity
        metadata = current["metadata"] if current else {"name": self._name, "namespace": self._namespace}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": DURATION_SECONDS,
                "acquireTime": before.get("acquireTime", at) if mine else at,
                "renewTime": at,
                "leaseTransitions": (before.get("leaseTransitions") or 0) + (0 if mine or not current else 1),
            },
        }
