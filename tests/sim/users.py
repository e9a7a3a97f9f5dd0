"""What people do: apply, cancel, delete, apply again, and meddle with what the operator has made."""

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

from pipeline_core import identifiers
from pipeline_core.kube import names
from pipeline_core.kube.api import Json, KubeError
from sim.api_server import Key, key_of
from sim.truth import run_uid_of

if TYPE_CHECKING:
    from sim.world import World

_DEEDS = (
    "cancel",
    "cancel",
    "delete",
    "delete",
    "delete, held by a finalizer",
    "delete, orphaning its job",
    "delete and apply again",
    "delete job",
    "delete job, orphaning its pods",
    "delete pod",
    "suspend job",
    "suspend job for a while",
)


# Longer than the world lasts: no deadline of a Job's own tidies up after the operator.
_LONG = 3600
# For a run with such a timeout whose runner hangs.
_PATIENCE = 600.0


class Users:
    """Each run has a life of its own, from its manifest on."""

    def __init__(self, world: "World", random: Random) -> None:
        self._world = world
        self._random = random
        # Runs in whose Job's place a stranger's stands, by UID.
        self.name_taken: set[str] = set()

    async def run(self) -> None:
        """Every run is applied in the first half of the time that there is for trouble."""
        dials = self._world.dials
        for number in range(dials.runs):
            self._world.spawn(self._life(number, self._random.uniform(0.0, dials.chaos_seconds / 2)))

    async def lose_patience(self) -> None:
        """Cancel the runs that could go on for longer than the world lasts."""
        await asyncio.sleep(_PATIENCE)
        for body in self._world.server.of(names.RUNS):
            spec, key = body["spec"], key_of(names.RUNS, body)
            if spec["timeoutSeconds"] == _LONG and not spec.get("cancel") and "completedAt" not in body["status"]:
                self._world.note("user", self._uid(key), "loses patience")
                self._world.server.update(key, spec={**spec, "cancel": True})

    async def _life(self, number: int, begins: float) -> None:
        random, dials = self._random, self._world.dials
        spec = self._spec(number)
        await asyncio.sleep(begins)
        if "runId" in spec and random.random() < 0.2:
            self._take_the_name(spec["runId"])
        key = self._apply(f"billing-{number}", spec)
        if not dials.calm and "runId" in spec and random.random() < 0.5:
            # A stranger claims the same id, elsewhere or here.
            await asyncio.sleep(random.choice((0.0, 0.1, 5.0)))
            self._apply(f"stranger-{number}", {**spec, "org": random.choice(("acme", "globex"))})
        while random.random() < dials.meddling and self._world.chaos.on:
            await asyncio.sleep(random.choice((0.0, 0.02, 0.1, 0.5, 2.0, 10.0, 40.0)))
            deed = random.choice(_DEEDS)
            if self._world.server.objects.get(key) is not None and self._world.chaos.on:
                self._world.note("user", self._uid(key), deed)
                await self._do(deed, key)

    def _spec(self, number: int) -> Json:
        random, dials = self._random, self._world.dials
        what = {"provider": "gcp", "domain": "cost", "pipeline": "billing"}
        spec: dict[str, Any] = {**what, **self._world.tenants.spec()}
        spec["timeoutSeconds"] = random.choice((60, 120, 300, _LONG))
        spec["maxRetries"] = random.choice((0, 1, 2))
        if random.random() < 0.2:
            spec["ttlSecondsAfterFinished"] = random.choice((0, 30, 120))
        if random.random() < 0.1:
            spec |= random.choice(({"provider": "azure"}, {"org": "globex"}))
        if not dials.calm and random.random() < 0.3:
            spec["runId"] = f"run_given{number}"
        return spec

    async def _do(self, deed: str, key: Key) -> None:
        server, random = self._world.server, self._random
        body = server.objects[key]
        job = next((job for job in server.of("jobs") if run_uid_of(job) == body["metadata"]["uid"]), None)
        if deed == "cancel":
            server.update(key, spec={**body["spec"], "cancel": True})
        elif deed == "delete":
            server.delete(key)
        elif deed == "delete, held by a finalizer":
            server.update(key, metadata={"finalizers": ["someone/else"]})
            server.delete(key)
            await asyncio.sleep(random.choice((1.0, 60.0)))
            server.remove(key)
        elif deed == "delete, orphaning its job":
            self._world.garbage.orphan(key)
        elif deed == "delete and apply again":
            server.delete(key)
            await asyncio.sleep(random.choice((0.0, 0.05, 3.0)))
            self._apply(key[2], body["spec"])
        elif job is not None:
            await self._do_to_job(deed, key_of("jobs", job), job)

    async def _do_to_job(self, deed: str, key: Key, job: Json) -> None:
        server = self._world.server
        if deed == "delete job":
            server.delete(key)
        elif deed == "delete job, orphaning its pods":
            self._world.garbage.orphan(key)
        elif deed == "delete pod":
            for pod in server.of("pods"):
                if run_uid_of(pod) == run_uid_of(job):
                    server.delete(key_of("pods", pod))
        elif deed.startswith("suspend job"):
            server.update(key, spec={**job["spec"], "suspend": True})
            if deed.endswith("for a while"):
                await asyncio.sleep(30.0)
                if key in server.objects:
                    server.update(key, spec={**server.objects[key]["spec"], "suspend": False})

    def _apply(self, name: str, spec: Json) -> Key:
        key = (names.RUNS, "default", name)
        if key not in self._world.server.objects:
            body = self._world.server.create(names.RUNS, "default", {"metadata": {"name": name}, "spec": spec})
            self._world.note("user", body["metadata"]["uid"], f"applies {name} {spec}")
            if ("jobs", "default", spec.get("runId", "-").replace("_", "-")) in self._foreign:
                self.name_taken.add(body["metadata"]["uid"])
        return key

    def _take_the_name(self, run_id: str) -> None:
        """Something else has the name of the run's Job."""
        body = {"metadata": {"name": identifiers.object_name(run_id)}, "spec": {"suspend": True}, "status": {}}
        try:
            self._world.server.create("jobs", "default", body)
        except KubeError:
            return

    @property
    def _foreign(self) -> set[Key]:
        return {key_of("jobs", job) for job in self._world.server.of("jobs") if not run_uid_of(job)}

    def _uid(self, key: Key) -> str:
        return str(self._world.server.objects[key]["metadata"]["uid"])
