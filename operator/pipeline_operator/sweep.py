"""Looks at everything again from time to time: objects that the watch lost, and records without an object."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence

import structlog

from pipeline_core.errors import PipelinesError
from pipeline_core.kube import names
from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from pipeline_core.store.records import RunRecords
from pipeline_operator import metrics
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.entry import Vanished
from pipeline_operator.namespaces import Namespaces
from pipeline_operator.queue import WorkQueue

_log = structlog.get_logger(__name__)

# A look at all schedules, of the namespaces that can be worked in, beside those that are gone.
SchedulesRound = Callable[[Sequence[str | None], Sequence[str | None]], Awaitable[None]]

_PAGE = 500
_RETRY_SECONDS = 5.0


class Sweep:
    """One round lists the runs in chunks and the records in pages, and wakes whatever doesn't fit together.

    Schedules, which come after the runs that are made of them, have a round of their own within it. `waits` is asked
    with a run's UID whether it waits for a slot: nothing of it is alive.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        queue: WorkQueue,
        records: RunRecords,
        namespaces: Namespaces,
        waits: Callable[[str], bool] = lambda _uid: False,
        schedules: SchedulesRound | None = None,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._queue = queue
        self._records = records
        self._namespaces = namespaces
        self._waits = waits
        self._schedules = schedules
        self._out_of_reach: frozenset[str] = frozenset()
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
                pause, retry = retry, self._next_retry(retry, interval)
            except Exception:
                _log.exception("sweep failed", retry_in=retry)
                pause, retry = retry, self._next_retry(retry, interval)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load

    def _next_retry(self, retry: float, interval: float) -> float:
        return min(2 * retry, interval) if self.rounds else retry  # who waits for a slot waits for the first round

    async def round(self) -> None:
        """Compare the API server, the records and the memory once.

        Of runs that are finished, or wait for a slot, only those are touched that are new or gone: the others wait for
        nothing but their expiry or their turn.
        """
        finished = {run.uid for run in self._cache.runs() if run.is_over}
        listed: set[str] = set()
        gone: set[str | None] = set()
        refused: set[str | None] = set()
        for namespace in self._namespaces.watched:
            if await self._namespaces.is_gone(namespace):
                gone.add(namespace)
            elif not await self._list(namespace, listed):
                refused.add(namespace)
        for run in self._cache.runs():
            if run.namespace in refused:
                continue  # what has become of it can't be read; the process starts anew when it can
            if run.is_over:
                if run.uid in finished and run.uid not in listed:
                    # Its deletion's event was lost: nothing else would forget it, nor free the slot that it may hold.
                    self._cache.drop_run(run.uid)
                    self._queue.add(run.uid)
                continue
            if run.namespace in gone:
                self._cache.drop_run(run.uid)  # with its namespace
            elif run.uid in listed and self._waits(run.uid):
                continue
            else:
                # Its own deletion, its Job's or its pods' events may have been lost.
                self._cache.doubt(run.uid)
            self._queue.add(run.uid)
        if self._schedules is not None:
            served = [each for each in self._namespaces.watched if each not in gone | refused]
            await self._schedules(served, sorted(filter(None, gone)))
        await self._find_records_without_object(refused)
        self.rounds += 1
        metrics.SWEEP_SUCCEEDED.set_to_current_time()

    async def _list(self, namespace: str | None, listed: set[str]) -> bool:
        """Put what is there into the memory, and its UIDs into `listed`; False where that is refused."""
        try:
            async for body in self._cluster.list_runs(namespace):
                listed.add(body["metadata"]["uid"])
                if self._put(body):
                    self._queue.add(body["metadata"]["uid"])  # the watch, which shows it next, says nothing new
        except KubeError as error:
            if error.status != 403 or namespace is None:
                raise
            _log.error("runs can't be listed", namespace=namespace, error=error.message)
            return False
        return True

    def _put(self, body: Json) -> bool:
        try:
            return self._cache.put_run(body)
        except (KeyError, TypeError, ValueError):
            _log.exception("object not understood", kind=names.RUN_KIND, uid=body["metadata"]["uid"])
            return False

    async def _find_records_without_object(self, refused: Collection[str | None]) -> None:
        """Wake them; those of a namespace that is there, but isn't this process's to work in, can only be counted."""
        reached: dict[str, bool] = {}
        left = 0
        after: str | None = None
        while page := await self._records.unfinished(after=after, limit=_PAGE):
            for record in page:
                uid, namespace, name = record.object_uid, record.object_namespace, record.object_name
                if not (uid and namespace and name) or self._cache.get(uid).run is not None:
                    continue
                if namespace not in reached:
                    reached[namespace] = namespace not in refused and (
                        self._namespaces.is_watched(namespace) or await self._namespaces.is_gone(namespace)
                    )
                if reached[namespace]:
                    self._cache.put_vanished(Vanished(uid, record.run_id, namespace, name))
                    self._queue.add(uid)
                elif record.undecided_since is None:  # or the exporter ends it
                    left += 1
            after = page[-1].run_id
        self._tell_left(left, frozenset(each for each, is_reached in reached.items() if not is_reached))

    def _tell_left(self, left: int, namespaces: frozenset[str]) -> None:
        metrics.RECORDS_OUT_OF_REACH.set(left)
        if namespaces - self._out_of_reach:  # said once of each
            _log.error("records can't be ended, for lack of rights", records=left, namespaces=sorted(namespaces))
        self._out_of_reach = namespaces
