"""What schedules need of the runs' reconciler: a new process looks at each run before it counts as going on.

What ended while no operator was there has its end told by the first process that looks at it.
"""

from random import Random
from typing import TYPE_CHECKING

from pipeline_core.lifecycle.observed import Run
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.queue import WorkQueue
from pipeline_operator.work import work_forever
from sim.virtual_time import stamp

if TYPE_CHECKING:
    from sim_schedules.postgres import Records
    from sim_schedules.world import World

_CONCURRENCY = 8
# How long a run may wait for its first pass, in seconds: each in its turn.
_TURN = (0.02, 2.0)


class Runs:
    """Of one process: `wake` hears of each run that has news. Each is seen to once; the actor plays what follows."""

    def __init__(self, world: "World", cache: Cache, cluster: Cluster, records: "Records") -> None:
        self._world = world
        self._cache = cache
        self._cluster = cluster
        self._records = records
        self._random = Random(f"turns {world.random.random()}")
        self._queue = WorkQueue(world.loop.time)

    def wake(self, uid: str) -> None:
        """The run of this UID has news."""
        if not self._cache.get(uid).seen_to:
            self._queue.add(uid, self._random.uniform(*_TURN))

    async def run(self) -> None:
        """Until the process ends."""
        await work_forever(self._queue, self._see_to, _CONCURRENCY)

    async def _see_to(self, uid: str) -> None:
        run = self._cache.get(uid).run
        if run is not None and not run.is_over:
            await self._tell_end(run)
        self._cache.get(uid).seen_to = True

    async def _tell_end(self, run: Run) -> None:
        """Raises StoreUnavailableError, KubeError and KubeUnavailableError: then it is seen to again."""
        record = await self._records.status(run.run_id, run.spec.org)
        found = self._world.truth.of_run(run.uid)
        if record is None or not record.phase.is_final or found is None or found[1].over is None:
            return
        said = {
            "phase": record.phase.value,
            "runId": run.run_id,
            "completedAt": stamp(self._world.loop.moment(found[1].over)),
        }
        body = await self._cluster.patch_run_status(run.namespace, run.name, run.resource_version, said)
        self._cache.put_run(body)
