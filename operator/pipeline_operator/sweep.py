"""Looks at everything again from time to time: objects that the watch lost, and records without an object."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import structlog

from pipeline_core.errors import PipelinesError
from pipeline_core.store.records import RunRecords
from pipeline_operator import metrics, names
from pipeline_operator.cache import Cache, Vanished
from pipeline_operator.cluster import Cluster
from pipeline_operator.kube import Json, KubeError, KubeUnavailableError
from pipeline_operator.queue import WorkQueue

_log = structlog.get_logger(__name__)

_PAGE = 500
_RETRY_SECONDS = 5.0


class Sweep:
    """One round lists the runs in chunks and the records in pages, and wakes whatever doesn't fit together."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        queue: WorkQueue,
        records: RunRecords,
        namespaces: Sequence[str],
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._queue = queue
        self._records = records
        self._namespaces: Sequence[str | None] = namespaces or [None]
        self.rounds = 0

    async def run_forever(self, interval: float) -> None:
        """A round at once, then one every `interval` seconds, spread so that restarts don't fall together."""
        retry = _RETRY_SECONDS
        while True:
            try:
                await self.round()
                pause, retry = interval, _RETRY_SECONDS
            except (KubeUnavailableError, PipelinesError) as error:
                _log.warning("sweep waits for a service", error=str(error), retry_in=retry)
                pause, retry = retry, min(2 * retry, interval)
            except Exception:
                _log.exception("sweep failed", retry_in=retry)
                pause, retry = retry, min(2 * retry, interval)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load

    async def until_served(self) -> None:
        """Wait until the API server knows PipelineRuns: without the CRDs a watch would stay silent for ever."""
        while True:
            try:
                async for _ in self._objects():
                    break
            except KubeError as error:
                _log.error("PipelineRuns can't be listed: are the CRDs installed?", error=error.message)
            except KubeUnavailableError as error:
                _log.warning("the API server isn't reached", error=str(error))
            else:
                return
            await asyncio.sleep(_RETRY_SECONDS)

    async def round(self) -> None:
        """Compare the API server, the records and the memory once.

        Of finished runs only those are touched that are new or gone: the others wait for nothing but their expiry.
        """
        finished = {run.uid for run in self._cache.runs() if run.is_over}
        async for body in self._objects():
            finished.discard(body["metadata"]["uid"])
            if self._put(body):
                self._queue.add(body["metadata"]["uid"])  # the watch, which shows it next, says nothing new
        for uid in finished:
            self._cache.drop_run(uid)  # the event that told of its deletion was lost: nothing else would forget it
        for run in self._cache.runs():
            if not run.is_over:
                # Its own deletion, its Job's or its pods' events may have been lost.
                self._cache.doubt(run.uid)
                self._queue.add(run.uid)
        await self._find_records_without_object()
        self.rounds += 1
        metrics.SWEEP_SUCCEEDED.set_to_current_time()

    def _put(self, body: Json) -> bool:
        try:
            return self._cache.put_run(body)
        except (KeyError, TypeError, ValueError):
            _log.exception("object not understood", kind=names.RUN_KIND, uid=body["metadata"]["uid"])
            return False

    async def _objects(self) -> AsyncIterator[Json]:
        for namespace in self._namespaces:
            async for body in self._cluster.list_runs(namespace):
                yield body

    async def _find_records_without_object(self) -> None:
        after: str | None = None
        while page := await self._records.unfinished(after=after, limit=_PAGE):
            for record in page:
                uid, namespace, name = record.object_uid, record.object_namespace, record.object_name
                if uid and namespace and name and self._watched(namespace) and self._cache.get(uid).run is None:
                    self._cache.put_vanished(Vanished(uid, record.run_id, namespace, name))
                    self._queue.add(uid)
            after = page[-1].run_id

    def _watched(self, namespace: str) -> bool:
        return self._namespaces == [None] or namespace in self._namespaces
