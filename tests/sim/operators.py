"""The operator's processes: the production parts as `Operator` wires them, killed, frozen, doubled, started again."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pipeline_core.kube.api import Json
from pipeline_operator.lease import LeaseLostError
from pipeline_operator.parts import Operator
from pipeline_operator.progress import progress_token
from pipeline_operator.settings import OperatorSettings
from sim.base import BaseInstance
from sim.connection import Connection
from sim.postgres import AdmissionFacts, Ledger, Records
from sim.processes import Process
from sim.watches import informer
from support.fake_schedule_records import FakeScheduleRecords

if TYPE_CHECKING:
    from sim.world import World

_CONFIGS = Path(__file__).parents[2] / "configs"
_TEMPLATE = Path(__file__).with_name("runner.yaml")
_KEY = "progress"
RESYNC = 60


class SimulatedOperator(Operator):
    """Without its HTTP server: a network is no part of this world."""

    async def _serve(self) -> None:
        await asyncio.get_running_loop().create_future()


class Instance(BaseInstance):
    """One process and the operator in it."""

    def __init__(self, world: "World", name: str, *, with_lease: bool) -> None:
        super().__init__(world, Process(name))
        settings = OperatorSettings(
            env="dev",
            catalog_dir=_CONFIGS,
            runner_template=_TEMPLATE,
            progress_url="http://operator/progress",
            progress_key=_KEY,
            resync_seconds=RESYNC,
            schedule_deadline_seconds=120,
            start_deadline_seconds=60,
            # Without a common Lease two processes never hear of each other.
            lease="pipelines-operator" if with_lease else name,
            POD_NAME=name,
        )
        connection = Connection(world, self.process)
        self.operator = SimulatedOperator(
            settings,
            connection,
            Records(world, self.process, world.records),
            Ledger(world, self.process, world.ledger),
            AdmissionFacts(world, self.process),
            FakeScheduleRecords(),  # type: ignore[arg-type]
            now=world.loop.now,
            informer=informer(world, name),
        )
        self.operator.reconciler.reconcile = self._counted(self.operator.reconciler.reconcile)

    async def work(self) -> None:
        """See `BaseInstance.work`."""
        await self.operator.run()

    def _counted(self, reconcile: Callable[[str], Awaitable[float | None]]) -> Callable[[str], Awaitable[float | None]]:
        async def counted(uid: str) -> float | None:
            self._world.oracle.begins(self.process.name, uid)
            self._world.reconciles[uid] = self._world.reconciles.get(uid, 0) + 1
            return await reconcile(uid)

        return counted


class Operators:
    """The Deployment: keeps one process running (two where the seed says so), and probes its liveness."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._made = 0
        self.instances: list[Instance] = []
        self.buried: list[Process] = []
        # When the newest process was started.
        self.begun_at = 0.0

    async def keep_one(self) -> None:
        """Start one; start it again whenever it ends."""
        world, random = self._world, self._world.random
        while True:
            self._made += 1
            self.begun_at = world.loop.time()
            instance = Instance(world, f"operator-{self._made}", with_lease=world.dials.with_lease)
            self.instances.append(instance)
            instance.process.doomed_by_giving_up = world.chaos.on and random.random() < 0.15 * world.dials.kills
            instance.start()
            probe = world.spawn(self._probe(instance))
            try:
                error = await instance.ended
            finally:
                probe.cancel()
                self.instances.remove(instance)
                self.buried.append(instance.process)
                instance.process.kill()
            if error is not None and not _lost_the_lease(error):
                world.oracle.violated("the operator goes on", "", f"{error!r}")
            await asyncio.sleep(random.uniform(0.5, 15.0))

    async def _probe(self, instance: Instance) -> None:
        """The kubelet: three failures in a row, ten seconds apart, and the container is restarted."""
        failures = 0
        while True:
            await asyncio.sleep(10.0)
            wrong = "no answer" if instance.process.frozen else instance.operator.health.healthy()
            failures = failures + 1 if wrong else 0
            if failures >= 3 and not instance.process.frozen:
                self._world.note("kubelet", "", f"{instance.process.name} isn't healthy: {wrong}")
                instance.process.kill()

    async def suffer(self) -> None:
        """The kills and freezes of the seed, and the second process."""
        world, random, dials = self._world, self._world.random, self._world.dials
        deeds: list[Callable[[], Awaitable[None]]] = [self._kill] * dials.kills + [self._freeze] * dials.freezes
        random.shuffle(deeds)
        second = world.spawn(self.keep_one()) if dials.two_operators else None
        times = sorted(random.uniform(1.0, dials.chaos_seconds * 0.9) for _ in deeds)
        for at, deed in zip(times, deeds, strict=True):
            await asyncio.sleep(max(0.0, at - world.loop.time()))
            world.spawn(deed())
        await asyncio.sleep(max(0.0, dials.chaos_seconds - world.loop.time()))
        if second is not None:
            second.cancel()
            world.note("chaos", "", "the second operator goes")

    async def _kill(self) -> None:
        """At a random moment, or at one of its next calls, whose answer nobody hears."""
        random = self._world.random
        if self.instances:
            process = random.choice(self.instances).process
            if random.random() < 0.2:
                process.kill()
            else:
                process.doom = (random.randint(1, 12), random.random() < 0.5)

    async def _freeze(self) -> None:
        random = self._world.random
        if self.instances:
            process = random.choice(self.instances).process
            seconds = random.choice((5.0, 30.0, 90.0))
            self._world.note("chaos", "", f"{process.name} is frozen for {seconds}s")
            process.freeze()
            await asyncio.sleep(seconds)
            process.thaw()

    def take_progress(self, message: Json) -> None:
        """A runner's POST /progress: to any process that answers; it may be lost, late, repeated, or a forgery."""
        world, random = self._world, self._world.random
        able = [instance for instance in self.instances if instance.process.alive]
        if not able or world.chaos.progress_lost():
            return
        receiver, process = (chosen := random.choice(able)).operator.receiver, chosen.process
        token = progress_token(_KEY, message["run_id"] if random.random() > 0.02 else "run_another")
        request = _Request(message, token)
        delay = 0.01 if random.random() > 0.05 else random.choice((5.0, 60.0))
        for _ in range(1 if random.random() > 0.05 else 2):
            world.later(delay, lambda: process.spawn(receiver.route().handler(request)))


class _Request(SimpleNamespace):
    """As much of aiohttp's request as the receiver reads."""

    def __init__(self, message: Json, token: str) -> None:
        super().__init__(headers={"Authorization": f"Bearer {token}"}, body=json.dumps(message).encode())

    async def read(self) -> Any:
        return self.body


def _lost_the_lease(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_lost_the_lease(each) for each in error.exceptions)
    return isinstance(error, LeaseLostError)
