"""The waiting room in time: how soon a free slot is taken, what it costs to look, and who is called when calls fail."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import pairwise

import pytest

from pipeline_core.kube.api import KubeUnavailableError
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.namespaces import Namespaces
from pipeline_operator.queue import WorkQueue
from pipeline_operator.sweep import Sweep
from pipeline_operator.waiting_room import WaitingRoom
from sim.virtual_time import VirtualLoop
from support.operator_world import T0, World


class Free:
    """How many slots each organization has free, as the ledger would say; counts how often it is asked."""

    def __init__(self) -> None:
        self.slots: dict[str, int] = {}
        self.asked = 0
        self.away = False

    async def room(self, orgs: list[str]) -> Mapping[str, int]:
        self.asked += 1
        if self.away:
            raise StoreUnavailableError("connection refused")
        return {org: self.slots[org] for org in orgs if self.slots.get(org)}


class Scene:
    """A waiting room whose runs never ask, in virtual time: who was called, and when."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.free = Free()
        self.knows_all = True
        self.called: list[tuple[str, float]] = []
        self.cache = Cache()
        self.woken: list[str] = []
        self.room = WaitingRoom(
            self.free, self.cache, self.woken.append, lambda: self.knows_all, self.loop.time, call=self._call
        )

    def _call(self, uid: str) -> None:
        run = self.cache.get(uid).run
        assert run is not None
        self.called.append((run.name, self.loop.time()))

    def enter(self, name: str, org: str = "acme") -> str:
        """A run comes to wait."""
        world = World()
        body = world.kubernetes.put("pipelineruns", _manifest(name, org))
        self.cache.put_run(body)
        run = self.cache.get(body["metadata"]["uid"]).run
        assert run is not None
        self.room.enter(run)
        return run.uid

    def play(self, story: Callable[[], Awaitable[None]]) -> None:
        """Tell the story while the room calls."""

        async def both() -> None:
            calling = asyncio.create_task(self.room.call_forever())
            await story()
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)

        self.loop.run_until_complete(both())
        self.loop.close()


def _manifest(name: str, org: str) -> dict[str, object]:
    spec = {"org": org, "provider": "gcp", "domain": "cost", "pipeline": "billing", "quotaPolicy": "Queue"}
    return {"metadata": {"name": name, "creationTimestamp": T0.isoformat()}, "spec": spec}


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_slot_that_another_process_gives_back_is_seen_within_a_second(scene: Scene) -> None:
    async def story() -> None:
        scene.enter("first")
        await asyncio.sleep(60.35)
        scene.free.slots["acme"] = 1
        await asyncio.sleep(5.0)

    scene.play(story)
    ((name, at),) = scene.called
    assert name == "first"
    assert 60.35 < at <= 60.35 + 1.0


def test_one_that_this_process_gives_back_is_seen_at_once(scene: Scene) -> None:
    async def story() -> None:
        scene.enter("first")
        await asyncio.sleep(60.35)
        scene.free.slots["acme"] = 1
        scene.room.slot_freed()
        await asyncio.sleep(5.0)

    scene.play(story)
    assert scene.called[0][1] <= 60.35 + 0.1


def test_a_burst_of_slots_costs_few_questions(scene: Scene) -> None:
    async def story() -> None:
        scene.enter("first")
        for _ in range(1_000):
            scene.room.slot_freed()
            await asyncio.sleep(0.001)

    scene.play(story)
    assert scene.free.asked <= 12


def test_an_empty_room_asks_nothing(scene: Scene) -> None:
    async def story() -> None:
        uid = scene.enter("first")
        await asyncio.sleep(10.0)
        scene.room.leave(uid)
        before = scene.free.asked
        await asyncio.sleep(600.0)
        assert scene.free.asked <= before + 1

    scene.play(story)


def test_nobody_is_called_before_all_are_known(scene: Scene) -> None:
    async def story() -> None:
        scene.knows_all = False
        scene.free.slots["acme"] = 1
        young = scene.enter("young")
        await asyncio.sleep(30.0)
        assert scene.called == []
        # One that this process has seen, and hasn't looked at yet.
        scene.cache.put_run(World().kubernetes.put("pipelineruns", _manifest("a-first-one", "acme")))
        scene.knows_all = True
        await asyncio.sleep(0.5)
        assert [name for name, _ in scene.called] == ["a-first-one"]
        assert scene.woken == [young]  # to say where it stands; the other one's first look is to come

    scene.play(story)


def test_postgresql_is_asked_again_until_it_answers(scene: Scene) -> None:
    async def story() -> None:
        scene.free.slots["acme"] = 1
        scene.free.away = True
        scene.enter("first")
        await asyncio.sleep(100.0)
        assert scene.called == []
        scene.free.away = False
        await asyncio.sleep(5.5)
        assert [name for name, _ in scene.called] == ["first"]
        assert scene.free.asked < 30

    scene.play(story)


def test_one_that_is_called_and_never_asks_lets_others_go_first(scene: Scene) -> None:
    async def story() -> None:
        scene.free.slots["acme"] = 1
        scene.enter("a")
        scene.enter("b")
        await asyncio.sleep(15.0)
        assert [name for name, _ in scene.called] == ["a"]
        await asyncio.sleep(10.0)
        assert [name for name, _ in scene.called] == ["a", "b"]
        await asyncio.sleep(20.0)
        assert [name for name, _ in scene.called] == ["a", "b", "a"]

    scene.play(story)


def test_one_that_never_asks_stays_behind_the_others_whatever_passes_it_has(scene: Scene) -> None:
    """It can't reach the ledger for a slot, and goes on telling that it waits."""

    async def story() -> None:
        scene.free.slots["acme"] = 1
        scene.enter("a")
        run = next(scene.cache.runs())
        for name in ("b", "c", "d"):
            scene.enter(name)
        await asyncio.sleep(21.0)
        scene.room.enter(run)
        await asyncio.sleep(45.0)
        scene.room.enter(run)
        assert [name for name, _ in scene.called] == ["a", "b", "c", "d"]

    scene.play(story)


def test_it_is_in_its_place_again_once_it_has_asked_or_after_some_minutes(scene: Scene) -> None:
    async def story() -> None:
        scene.free.slots["acme"] = 1
        scene.enter("a")
        run = next(scene.cache.runs())
        await asyncio.sleep(30.0)  # called twice
        scene.room.enter(run)
        scene.enter("b")
        assert "position 1 of 2" in scene.room.words(run)
        await asyncio.sleep(22.0)  # in vain, and now it is b's turn
        scene.free.slots.clear()
        scene.room.enter(run)
        assert "position 2 of 2" in scene.room.words(run)
        await asyncio.sleep(300.0)
        scene.room.enter(run)
        assert "position 1 of 2" in scene.room.words(run)

    scene.play(story)


def test_one_that_leaves_without_its_slot_has_the_next_one_called_at_once(scene: Scene) -> None:
    async def story() -> None:
        scene.free.slots["acme"] = 1
        first = scene.enter("a")
        scene.enter("b")
        await asyncio.sleep(0.45)
        scene.room.leave(first)
        await asyncio.sleep(0.2)
        assert [name for name, _ in scene.called] == ["a", "b"]

    scene.play(story)


def test_organizations_are_called_in_turn(scene: Scene) -> None:
    async def story() -> None:
        scene.free.slots.update(acme=3, globex=3)
        for number in range(3):
            scene.enter(f"acme-{number}", "acme")
        for number in range(3):
            scene.enter(f"globex-{number}", "globex")
        await asyncio.sleep(0.5)
        assert [name for name, _ in scene.called] == [f"{org}-{n}" for n in range(3) for org in ("acme", "globex")]

    scene.play(story)


def test_the_first_sweep_without_which_nobody_is_called_is_tried_every_few_seconds(scene: Scene) -> None:
    world = World()
    cluster = Cluster(world.kubernetes)
    tried: list[float] = []

    def away(_method: str, _path: str) -> None:
        tried.append(scene.loop.time())
        raise KubeUnavailableError("connection refused")

    async def story() -> None:
        everywhere = Namespaces(cluster, [], "pipelines")
        sweep = Sweep(cluster, world.cache, WorkQueue(), world.records, everywhere)  # type: ignore[arg-type]
        sweeping = asyncio.create_task(sweep.run_forever(300.0))
        world.kubernetes.before = away
        await asyncio.sleep(600.0)
        assert max(after - before for before, after in pairwise(tried)) <= 6.0
        world.kubernetes.before = lambda _method, _path: None
        await asyncio.sleep(6.0)
        assert sweep.rounds == 1
        tried.clear()
        world.kubernetes.before = away
        await asyncio.sleep(3_600.0)
        assert 10 <= len(tried) <= 30
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)

    scene.play(story)
