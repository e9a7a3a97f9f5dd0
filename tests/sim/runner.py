"""A runner's container: works for a while, reports on the way, publishes at most once per run, ends in its manner."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_core.kube.api import Json
from pipeline_core.kube.names import LABEL_RUN_ID
from pipeline_core.outcome import ExitCode, Outcome

if TYPE_CHECKING:
    from sim.world import World


@dataclass(frozen=True, slots=True)
class End:
    """How a container ended: exit code, Kubernetes' reason, termination message."""

    code: int
    reason: str = "Error"
    message: str | None = None


KILLED = End(137)

# What becomes of an attempt, by name; those with a code end on their own.
TROUBLES: dict[str, End | None] = {
    "transient": End(75, message=Outcome(status="failed", error="Extractor: throttled").to_message()),
    "data": End(65, message=Outcome(status="failed", error="Extractor: bad rows").to_message()),
    "defect": End(70, message=Outcome(status="failed", error="Extractor: KeyError").to_message()),
    "config": End(78, message=Outcome(status="failed", error="Extractor: no such table").to_message()),
    "memory": End(137, "OOMKilled"),
    "sigkill": KILLED,
    "sigkill after publish": KILLED,
    "silent": End(0, "Completed"),
    "hangs": None,
}


class Runner:
    """One attempt. `run` returns its end; `stop` is SIGTERM."""

    def __init__(self, world: "World", pod: Json, trouble: str | None) -> None:
        self._world = world
        self._pod = pod
        self._trouble = trouble
        self._stop = asyncio.Event()
        self.run_id: str = pod["metadata"]["labels"][LABEL_RUN_ID]
        self.uid: str = pod["metadata"]["uid"]

    def stop(self) -> None:
        """SIGTERM: what is published stays, what isn't never will be."""
        self._stop.set()

    async def run(self) -> End:
        """Work until the end."""
        random = self._world.random
        # The last is longer than the operator waits for a first pod.
        seconds = random.choice((0.5, 2.0, 10.0, 30.0, 150.0))
        fails_at = random.randint(0, 3)
        for part, stage in enumerate(("extract", "transform", "load", "load")):
            if self._trouble not in {None, "silent", "sigkill after publish"} and part == fails_at:
                return await self._fail()
            self._report(stage=stage, progress=20 * (part + 1), records=100 * part)
            if await self._stopped_within(seconds / 4):
                await asyncio.sleep(random.uniform(0.0, 3.0))
                return End(ExitCode.TERMINATED, message=Outcome(status="terminated").to_message())
        # The publish is one transaction with a commit marker: an attempt that finds it has nothing left to do.
        records = self._world.truth.publish(self.run_id, self.uid, random.randint(1, 10**6))
        if self._trouble == "sigkill after publish":
            return KILLED
        if self._trouble == "silent":
            return End(0, "Completed")
        self._report(stage="load", progress=100, records=records, published_after=seconds)
        await asyncio.sleep(random.uniform(0.0, 0.5))
        return End(0, "Completed", Outcome(status="succeeded", records_processed=records).to_message())

    async def _fail(self) -> End:
        end = TROUBLES[str(self._trouble)]
        if end is not None:
            return end
        await self._world.loop.create_future()  # hangs, and doesn't hear SIGTERM either
        raise AssertionError

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True

    def _report(self, **message: Any) -> None:
        self._world.operators.take_progress({"run_id": self.run_id, "pod_uid": self.uid, **message})
