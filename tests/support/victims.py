"""What can be killed or frozen of the local cluster: each process by the number that the cluster's own state gives.

Nothing is looked for by name on the machine: a component is what its supervisor has recorded, a container is what
containerd lists, and what runs in a container is found below its first process.
"""

import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline_local import processes
from pipeline_local.embedded import EmbeddedBackend
from pipeline_local.nodeconfig import NODE_NAME
from pipeline_local.processes import Identity
from pipeline_local.state import State
from support.installation import Installation

_DEPLOYMENTS = ("operator", "exporter", "dev-services")
_LEASE = "pipelines-operator"
_LEASE_SECONDS = 15.0
# A machine that does other work too takes a while to bring back what had been killed.
HEALTHY_WITHIN = 180.0


@dataclass
class Victim:
    """Processes that die, or stand still, together. `start` is what the machine's init does once they are dead."""

    find: Callable[[], list[Identity]]
    start: Callable[[], None] = lambda: None
    hit: list[Identity] = field(default_factory=list)
    frozen: bool = False

    def note(self) -> bool:
        """Find the processes as they are now; later ones don't count. False if there are none."""
        self.hit = self.find()
        return bool(self.hit)

    def freeze(self) -> None:
        """Stop them in the middle of whatever they do."""
        assert self.hit or self.note(), "there is no such process to freeze"
        self._send(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        """Let what was frozen go on."""
        self._send(signal.SIGCONT)
        self.frozen = False

    def kill(self) -> None:
        """Kill them, frozen or not, and wait until they are gone."""
        assert self.hit or self.note(), "there is no such process to kill"
        self._send(signal.SIGKILL)
        processes.end(self.hit, grace=0)

    def has_ended(self) -> bool:
        """Whether all that were found are gone."""
        return not any(processes.is_running(identity) for identity in self.hit)

    def _send(self, number: signal.Signals) -> None:
        for identity in self.hit:
            processes.send(identity, number)


class Node:
    """The one node of the embedded cluster, and the installation that runs on it."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self._backend = EmbeddedBackend(installation.paths, State(installation.paths.state))
        self._supervisor, self._components = self._backend.supervised()

    def component(self, name: str) -> Victim:
        """A process of the cluster itself; only this one is started again."""
        component = next(each for each in self._components if each.name == name)

        def find() -> list[Identity]:
            identity = self._supervisor.identity(name)
            return [identity] if identity else []

        return Victim(find, lambda: self._supervisor.bring_up([component]))

    def container(self, selector: str) -> Victim:
        """The first process of a pod's container, which the kubelet starts again if it is to go on."""
        return Victim(lambda: self.first_processes(selector))

    def service(self, program: str) -> Victim:
        """One of the two dev services, `postgres` or `bqemulator`, with all its processes."""

        def find() -> list[Identity]:
            roots = self.first_processes("app.kubernetes.io/component=dev-services")
            services = [child for root in roots for child in processes.children(root)]
            return [each for one in services if _runs(one, program) for each in (one, *processes.children(one))]

        return Victim(find)

    def condition(self) -> str:
        """What the API server thinks of the node: True (ready), False or Unknown."""
        conditions = self.installation.kubectl.read("node", NODE_NAME)["status"]["conditions"]
        return next(str(each["status"]) for each in conditions if each["type"] == "Ready")

    def lease(self) -> dict[str, Any]:
        """The operator's Lease."""
        spec: dict[str, Any] = self.installation.kubectl.read("lease", _LEASE)["spec"]
        return spec

    def problem_of(self, name: str) -> str | None:
        """What a component's own health page says is wrong."""
        return next(each for each in self._components if each.name == name).probe()

    def cordon(self) -> Callable[[], object]:
        """Keep new pods from being placed, until what it returns is called."""
        kubectl = self.installation.kubectl
        kubectl("cordon", NODE_NAME)
        return lambda: kubectl("uncordon", NODE_NAME)

    def read(self, *arguments: str) -> dict[str, Any]:
        """What `kubectl get …` answers; empty while the API server doesn't."""
        told = self.installation.kubectl.attempt("get", *arguments, "--output=json", "--request-timeout=10s")
        found: dict[str, Any] = json.loads(told.stdout) if told.returncode == 0 else {}
        return found

    def recover(self) -> None:
        """Let all go on that stands still, start what doesn't run: also after a test that was killed in its middle."""
        for component in self._components:
            if identity := self._supervisor.identity(component.name):
                processes.send(identity, signal.SIGCONT)
        self._supervisor.bring_up(self._components)
        for first in self._backend.container_processes().values():
            for identity in (first, *_below(first)):
                processes.send(identity, signal.SIGCONT)
        self.installation.kubectl("uncordon", NODE_NAME)

    def await_health(self) -> None:
        """Return when all works again; fails saying what doesn't when the time is over."""
        deadline = time.monotonic() + HEALTHY_WITHIN
        while problems := list(self._problems()):
            assert time.monotonic() < deadline, f"not healthy within {HEALTHY_WITHIN:g} s: {'; '.join(problems)}"
            time.sleep(0.5)

    def _problems(self) -> Iterator[str]:
        yield from (f"{each.name}: {each.problem}" for each in self._backend.status() if not each.is_well)
        read = self.installation.kubectl.attempt
        ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        if (told := read("get", "node", NODE_NAME, "--output", ready)).stdout != "True":
            yield f"node: {told.stdout or told.stderr}"
            return
        for name in _DEPLOYMENTS:
            available = "jsonpath={.status.readyReplicas} of {.spec.replicas}"
            told = read("get", "deployment", f"pipelines-{name}", "--output", available)
            if told.stdout != "1 of 1":
                yield f"{name}: {told.stdout or told.stderr} ready"
        yield from self._leadership()

    def _leadership(self) -> Iterator[str]:
        operators = self._pods("app.kubernetes.io/component=operator")
        lease = self.lease()
        if lease["holderIdentity"] not in {pod["metadata"]["name"] for pod in operators}:
            yield f"nobody leads: {lease}"
        elif (age := lease_age(lease)) > _LEASE_SECONDS:
            yield f"the operator doesn't lead: it renewed its lease {age:.0f} s ago"

    def first_processes(self, selector: str) -> list[Identity]:
        """Those of the running containers of these pods."""
        running = self._backend.container_processes()
        found = (
            running.get(status.get("containerID", "").removeprefix("containerd://"))
            for pod in self._pods(selector)
            for status in pod["status"].get("containerStatuses", ())
        )
        return [identity for identity in found if identity is not None]

    def _pods(self, selector: str) -> list[dict[str, Any]]:
        pods: list[dict[str, Any]] = self.installation.kubectl.read("pods", f"--selector={selector}")["items"]
        return pods


def embedded_node(installation: Installation) -> Node:
    """The node, with all going on in it; skips the test where the cluster isn't this machine's own processes."""
    choice = State(installation.paths.state).backend
    if choice is None or choice.name != "embedded":
        pytest.skip("only the embedded cluster's processes can be signalled")
    node = Node(installation)
    node.recover()
    return node


def lease_age(lease: dict[str, Any]) -> float:
    """How many seconds ago a Lease was renewed."""
    return (datetime.now(UTC) - datetime.fromisoformat(lease["renewTime"])).total_seconds()


def _runs(identity: Identity, program: str) -> bool:
    return any(word.rpartition("/")[2] == program for word in processes.program(identity))


def _below(identity: Identity) -> Iterator[Identity]:
    for child in processes.children(identity):
        yield child
        yield from _below(child)
