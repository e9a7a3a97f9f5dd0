"""What breaks, when: every draw of a fault is made here, from the seed, and none once the faults have stopped."""

import asyncio
from random import Random
from typing import TYPE_CHECKING

from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from sim.api_server import Key
from sim.dials import Dials
from sim.faults import CallFaults
from sim.kubelet import STUCK
from sim.runner import TROUBLES
from sim.truth import RunTruth, run_uid_of

if TYPE_CHECKING:
    from sim.world import World

_REFUSALS = (
    KubeError(403, "Forbidden", "exceeded quota: q, requested: count/jobs.batch=1, used: 5, limited: 5"),
    KubeError(400, "Forbidden", "admission webhook denied the request"),
    KubeUnavailableError("POST: HTTP 500: failed calling webhook"),
)


class Chaos(CallFaults):
    """See `CallFaults`."""

    refusals = ("429", "500", "503")
    conflicting = frozenset({"PATCH", "PUT"})

    def __init__(self, world: "World", dials: Dials, random: Random) -> None:
        super().__init__(world, dials, random)
        self.refuses_pods = False
        self._refusal: Exception | None = None
        # Runs whose Job the server never takes: found out when it is first tried.
        self._never: dict[str, KubeError | None] = {}
        self._refused: set[str] = set()

    def admit(self, method: str, key: Key, body: Json, fault: str | None) -> None:
        """Raises what the server answers instead of doing what it is asked for."""
        if fault in self.refusals:
            raise KubeUnavailableError(f"{method} {key[0]}: HTTP {fault}")
        if fault == "409":
            raise KubeError(409, "Conflict", "the object has been modified")
        if method == "POST" and key[0] == "jobs":
            self._admit_job(run_uid_of(body))

    def _admit_job(self, uid: str) -> None:
        if uid not in self._never:
            never = self.on and self._random.random() < self._dials.api_refused / 2
            code = self._random.choice((413, 422))
            self._never[uid] = KubeError(code, "Invalid", "the Job is too large") if never else None
        refused = self._never[uid] or self._refusal
        if refused is not None:
            self._refused.add(uid)
            raise refused

    def job_was_refused(self, run: RunTruth) -> bool:
        """Whether the server has ever refused this run's Job, or a stranger's stands in its place."""
        return run.uid in self._refused or run.uid in self._world.users.name_taken

    def of_store_call(self) -> str | None:
        """What happens to this call to PostgreSQL."""
        if self.store_away:
            return "before"
        if not self.on:
            return None
        dials, drawn = self._dials, self._random.random()
        for fault, probability in (
            ("before", dials.store_fails_before),
            ("after", dials.store_fails_after),
            ("slow", dials.store_slow),
        ):
            if drawn < probability:
                return fault
            drawn -= probability
        return None

    def expire_list(self) -> None:
        """Raises KubeError 410 where the rest of a list isn't to be had any more."""
        if self._drawn(self._dials.watch_expires):
            raise KubeError(410, "Expired", "The provided continue parameter is too old")

    def list_version(self, plural: str) -> int:
        """How new the list is that a watch begins with: a replica of the API server may be behind."""
        version = self._world.server.version
        if self._drawn(self._dials.list_stale):
            log = self._world.server.log.get(plural, [])
            return log[-min(len(log), self._random.randint(1, 10))].version if log else version
        return version

    def watch_expires(self) -> bool:
        """Whether the server has forgotten where the watch stood."""
        return self._drawn(self._dials.watch_expires)

    def event_delay(self) -> float:
        """How late an event is."""
        if self._drawn(self._dials.event_late):
            return self._random.choice((0.5, 2.0, 10.0, 45.0))
        return self._random.uniform(0.002, 0.05)

    def event_copies(self) -> int:
        """How often an event comes."""
        if self._drawn(self._dials.event_lost):
            return 0
        return 2 if self._drawn(self._dials.event_twice) else 1

    def progress_lost(self) -> bool:
        """Whether a runner's message doesn't arrive."""
        return self._drawn(self._dials.progress_lost)

    def garbage_delay(self) -> float:
        """How long the garbage collector takes."""
        if self._drawn(self._dials.garbage_late):
            return self._random.choice((20.0, 90.0))
        return self._random.uniform(0.1, 1.0)

    def fate_of_pod(self, pod: Json) -> str | None:
        """What becomes of a pod, if it isn't to work as it should."""
        calm = self._dials.calm
        if not (self.on or calm) or self._random.random() >= self._dials.runner_trouble:
            return None
        return self._random.choice(sorted({*TROUBLES, *STUCK, "unschedulable"}))

    async def run(self) -> None:
        """The faults that have a time of their own, spread over the time that there is for them."""
        dials, world = self._dials, self._world
        planned = [
            *[self._api_outage] * dials.api_outages,
            *[self._store_outage] * dials.store_outages,
            *[self._refuse_jobs] * dials.refusals,
            *[world.nodes.incident] * dials.node_incidents,
        ]
        times = sorted(self._random.uniform(0, dials.chaos_seconds * 0.8) for _ in planned)
        self._random.shuffle(planned)
        for at, incident in zip(times, planned, strict=True):
            await asyncio.sleep(at - world.loop.time())
            world.spawn(incident())

    async def _api_outage(self) -> None:
        self._world.note("chaos", "", "API server away")
        self.api_away = True
        await asyncio.sleep(self._random.choice((5.0, 40.0)))
        self.api_away = False
        self._world.note("chaos", "", "API server back")

    async def _store_outage(self) -> None:
        self._world.note("chaos", "", "PostgreSQL away")
        self.store_away = True
        await asyncio.sleep(self._random.choice((5.0, 60.0)))
        self.store_away = False
        self._world.note("chaos", "", "PostgreSQL back")

    async def _refuse_jobs(self) -> None:
        if self._random.random() < 0.3:
            self.refuses_pods = True
        else:
            self._refusal = self._random.choice(_REFUSALS)
        self._world.note("chaos", "", f"refused from now on: {self._refusal or 'pods'}")
        await asyncio.sleep(self._random.choice((10.0, 200.0)))
        self._refusal, self.refuses_pods = None, False
        self._world.note("chaos", "", "nothing is refused any more")

    def stop(self) -> None:
        """The faults are over."""
        self.on = self.api_away = self.store_away = self.refuses_pods = False
        self._refusal = None

    def _drawn(self, probability: float) -> bool:
        return self.on and probability > 0 and self._random.random() < probability
