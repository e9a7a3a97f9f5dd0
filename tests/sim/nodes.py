"""Nodes that have room for pods, drain, fall silent or vanish.

A silent node's containers go on, though nobody hears of them; what was deleted there stays Terminating until the node
comes back or its Node object is removed.
"""

import asyncio
from typing import TYPE_CHECKING

from pipeline_core.kube.api import Json
from sim.api_server import Change, Key, is_terminal, key_of
from sim.kubelet import Kubelet

if TYPE_CHECKING:
    from sim.world import World

# Kubernetes waits five minutes; a shorter wait shows the same.
_EVICTS_AFTER = 60.0


class Node:
    """Where pods run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.exists = True
        self.running = True
        self.speaks = asyncio.Event()
        self.speaks.set()
        self.died = asyncio.Event()


class Nodes:
    """All nodes, and a task for each pod."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._made = 0
        self._nodes: list[Node] = []
        self._deleted: dict[str, asyncio.Event] = {}
        world.server.listeners.append(self._changed)

    def _changed(self, change: Change) -> None:
        if change.key[0] != "pods":
            return
        uid = change.body["metadata"]["uid"]
        if change.kind == "ADDED":
            self._deleted[uid] = asyncio.Event()
            self._world.spawn(Kubelet(self._world, self, change.key, change.body, self._deleted[uid]).live())
        elif change.kind == "DELETED" or "deletionTimestamp" in change.body["metadata"]:
            self._deleted[uid].set()

    def free(self) -> Node:
        """A node with room; a new one where there is none."""
        able = [node for node in self._nodes if node.exists and node.running and node.speaks.is_set()]
        if not able or (len(able) < 3 and self._world.random.random() < 0.3):
            self._made += 1
            able.append(Node(f"node-{self._made}"))
            self._nodes.append(able[-1])
        return self._world.random.choice(able)

    async def incident(self) -> None:
        """Something happens to a node that has pods."""
        random, server = self._world.random, self._world.server
        names = sorted({pod["spec"]["nodeName"] for pod in server.of("pods") if "nodeName" in pod["spec"]})
        nodes = [node for node in self._nodes if node.name in names and node.exists and node.speaks.is_set()]
        if not nodes:
            return
        node = random.choice(nodes)
        what = random.choice(("drain", "vanish", "silent", "silent for ever"))
        self._world.note("node", "", f"{node.name}: {what}")
        if what == "drain":
            self._mark(node, "EvictionByEvictionAPI")
            return
        node.speaks.clear()
        if what == "vanish":
            node.running = False
            node.died.set()
        await asyncio.sleep(random.choice((20.0, _EVICTS_AFTER)))
        self._mark(node, "DeletionByTaintManager")
        await asyncio.sleep(random.choice((5.0, 60.0, 200.0)))
        if what == "silent":
            self._world.note("node", "", f"{node.name}: is back")
            node.speaks.set()
        else:
            self._remove(node)

    def heal(self) -> None:
        """Nodes that may still come back do; the others' Node objects are removed."""
        for node in self._nodes:
            if node.running:
                node.speaks.set()
            elif node.exists:
                self._remove(node)

    def _mark(self, node: Node, why: str) -> None:
        for pod in self._pods(node):
            if not is_terminal(pod):
                self._disrupt(key_of("pods", pod), pod, why)
                self._world.server.delete(key_of("pods", pod))

    def _remove(self, node: Node) -> None:
        """The Node object is gone: the pod garbage collector fails its pods and removes them."""
        self._world.note("node", "", f"{node.name}: removed")
        node.exists = False
        for pod in self._pods(node):
            key = key_of("pods", pod)
            if not is_terminal(pod):
                self._disrupt(key, pod, "DeletionByPodGC", phase="Failed")
            self._world.server.remove(key)

    def _disrupt(self, key: Key, pod: Json, why: str, **status: str) -> None:
        others = [c for c in pod["status"].get("conditions") or () if c["type"] != "DisruptionTarget"]
        disrupted = {"type": "DisruptionTarget", "status": "True", "reason": why}
        self._world.server.update(key, status={**pod["status"], **status, "conditions": [*others, disrupted]})

    def _pods(self, node: Node) -> list[Json]:
        return [pod for pod in self._world.server.of("pods") if pod["spec"].get("nodeName") == node.name]
