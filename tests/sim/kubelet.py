"""Scheduler and kubelet: one pod's way from Pending to its end and its removal."""

import asyncio
from typing import TYPE_CHECKING, Any

from pipeline_core.kube.api import Json
from pipeline_core.kube.names import RUNNER_CONTAINER
from sim.api_server import Key, is_terminal
from sim.runner import KILLED, TROUBLES, End, Runner
from sim.virtual_time import stamp

if TYPE_CHECKING:
    from sim.nodes import Node, Nodes
    from sim.world import World

# Waiting reasons that stay, and the pair that alternates.
STUCK: dict[str, tuple[str, ...]] = {
    "image": ("ErrImagePull", "ImagePullBackOff"),
    "config": ("CreateContainerConfigError",),
    "volume": ("ContainerCreating",),
}


class Kubelet:
    """One pod's life, from the scheduler to its removal."""

    def __init__(self, world: "World", nodes: "Nodes", key: Key, pod: Json, deleted: asyncio.Event) -> None:
        self._world = world
        self._nodes = nodes
        self._key = key
        self._uid: str = pod["metadata"]["uid"]
        self._pod = pod
        self._deleted = deleted
        self._started: str | None = None

    async def live(self) -> None:
        """Schedule, create, run, report."""
        random, fate = self._world.random, self._world.chaos.fate_of_pod(self._pod)
        if fate == "unschedulable":
            unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}
            self._post(conditions=[unschedulable])
        if await self._deleted_within(random.choice((20.0, 1e9)) if fate == "unschedulable" else 0.05):
            return None  # nobody has bound it: it went at once
        node = self._bind()
        if fate in STUCK:
            if not await self._stuck(node, STUCK[fate]):
                return await self._stop_before_start(node)
        elif await self._deleted_within(random.choice((0.3, 1.0, 3.0)), node):
            return await self._stop_before_start(node)
        await node.speaks.wait()
        self._started = stamp(self._world.loop.now())
        self._post(phase="Running", containerStatuses=_container("running", {"startedAt": self._started}))
        end = await self._run(node, Runner(self._world, self._pod, fate if fate in TROUBLES else None))
        return await self._finish(node, end) if end is not None else None

    def _bind(self) -> "Node":
        node = self._nodes.free()
        current = self._world.server.get(self._key)
        at = stamp(self._world.loop.now())
        self._world.server.update(
            self._key,
            spec={**current["spec"], "nodeName": node.name},
            status={
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": at}],
                "containerStatuses": _container("waiting", {"reason": "ContainerCreating"}),
            },
        )
        return node

    async def _stuck(self, node: "Node", reasons: tuple[str, ...]) -> bool:
        """Whether it got on after all."""
        rounds = self._world.random.choice((2, 10**6))
        for number in range(rounds):
            await node.speaks.wait()
            waiting = {"reason": reasons[number % len(reasons)], "message": "no luck"}
            self._post(containerStatuses=_container("waiting", waiting))
            if await self._deleted_within(20.0, node):
                return False
        return True

    async def _run(self, node: "Node", runner: Runner) -> End | None:
        """The container's end; None if the node died with it."""
        work = self._world.spawn(runner.run())
        died = self._world.spawn(node.died.wait())
        told = self._world.spawn(self._told_to_stop(node))
        await asyncio.wait({work, died, told}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done() and not died.done():
            runner.stop()
            await asyncio.wait({work, died}, timeout=30.0, return_when=asyncio.FIRST_COMPLETED)
        end: End | None = work.result() if work.done() else KILLED
        if died.done() and not work.done():
            end = None
        for task in (work, died, told):
            task.cancel()
        return end

    async def _told_to_stop(self, node: "Node") -> None:
        await self._deleted.wait()
        await node.speaks.wait()

    async def _finish(self, node: "Node", end: End) -> None:
        await asyncio.sleep(self._world.random.uniform(0.0, 1.0))  # the kubelet looks once a second
        await node.speaks.wait()
        at = stamp(self._world.loop.now())
        terminated = {"exitCode": end.code, "reason": end.reason, "startedAt": self._started, "finishedAt": at}
        if end.message is not None:
            terminated["message"] = end.message
        phase = "Succeeded" if end.code == 0 else "Failed"
        self._post(phase=phase, containerStatuses=_container("terminated", terminated))
        await self._deleted.wait()
        self._remove()

    async def _stop_before_start(self, node: "Node") -> None:
        await node.speaks.wait()
        self._post(phase="Failed")
        self._remove()

    async def _deleted_within(self, seconds: float, node: "Node | None" = None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await (self._deleted.wait() if node is None else self._told_to_stop(node))
        except TimeoutError:
            return False
        return True

    def _current(self) -> Json | None:
        pod = self._world.server.objects.get(self._key)
        return pod if pod is not None and pod["metadata"]["uid"] == self._uid else None

    def _post(self, **status: Any) -> None:
        if (pod := self._current()) is not None and not is_terminal(pod):
            self._world.server.update(self._key, status={**pod["status"], **status})

    def _remove(self) -> None:
        if self._current() is not None:
            self._world.server.remove(self._key)


def _container(state: str, details: Json) -> list[Json]:
    return [{"name": RUNNER_CONTAINER, "state": {state: details}}]
