"""The waiting room in time: how soon a free slot is taken, what it costs to look, and who is called when calls fail."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from pipeline_core.store.errors import StoreUnavailableError
from pipeline_operator.cache import Cache
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
        self.room = WaitingRoom(self.free, self.cache, self._wake, lambda: self.knows_all, self.loop.time)

    def _wake(self, uid: str) -> None:
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
        scene.enter("young")
        await asyncio.sleep(30.0)
        assert scene.called == []
        # One that this process has seen, and hasn't looked at yet.
        scene.cache.put_run(World().kubernetes.put("pipelineruns", _manifest("a-first-one", "acme")))
        scene.knows_all = True
        await asyncio.sleep(0.5)
        assert [name for name, _ in scene.called] == ["a-first-one"]

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
