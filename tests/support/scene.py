"""A run that is hit: how its moments are reached and held, and how long a victim stays away. By conditions alone."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from pipeline_core.identifiers import run_id_from_uid
from support.installation import Manifest, manifest
from support.victims import Node, Victim, lease_age

# For each step and for the run's end. It takes seconds, on a machine that does other work too, a minute.
WITHIN = 240.0
# The operator's Lease: after it another process may lead.
_LEASE_SECONDS = 15.0
_COMPONENTS = {"API server": "kube-apiserver", "etcd": "etcd", "containerd": "containerd", "kubelet": "kubelet"}


class Moment(Enum):
    """When a run is hit."""

    CREATED = "created, its container not running"
    WORKING = "at work (staging)"
    ENDING = "publishing and ending"


class Scene:
    """One run of the billing pipeline, and the part of the cluster that is hit during it."""

    def __init__(self, node: Node, victim: str, name: str, spec: dict[str, Any]) -> None:
        self.node = node
        self.name = name
        self.run_id = ""
        self.seconds = 0.0
        self._spec = spec
        self._installation = node.installation
        self._struck_at = 0.0
        self._release: Callable[[], object] = lambda: None
        self.operator = node.container("app.kubernetes.io/component=operator")
        self.runner = Victim(lambda: node.first_processes(f"pipelines.dev/run-id={self.run_id}"))
        self._bigquery = node.service("bqemulator")
        self._victim = self._find(victim)

    def _find(self, victim: str) -> Victim:
        match victim:
            case "operator":
                return self.operator
            case "runner":
                return self.runner
            case "BigQuery":
                return self._bigquery
            case "PostgreSQL":
                return self.node.service("postgres")
            case _:
                return self.node.component(_COMPONENTS[victim])

    @contextmanager
    def played(self) -> Iterator["Scene"]:
        """Whatever happens within, all goes on afterwards, and the run is removed."""
        self._installation.remove(self.name)
        try:
            yield self
        finally:
            self.node.recover()
            self.node.await_health()
            self._installation.remove(self.name)

    def reach(self, moment: Moment, *, frozen: bool) -> None:
        """Make the run, and return when it stands at its moment; it is held there where it would go on.

        `frozen`: the victim stands still before the run is made.
        """
        self.operator.note()
        if moment is not Moment.CREATED:
            self._apply()
            prefix = "_staging_" if moment is Moment.WORKING else "gcp_billing_costs"
            self._bigquery.note()
            self.wait(lambda _: self._has_table(prefix))
            self._bigquery.freeze()
            self._release = self._bigquery.thaw
            self.runner.note()
            assert self.runner.hit, "the run was over before it was hit"
        elif frozen:
            self._victim.freeze()
            self._apply()
        elif self._victim is self.runner:
            self._apply()
            self.wait(lambda _: self.runner.note())
        else:
            self._release = self.node.cordon()
            self._apply()
            self.wait(pod_is_unschedulable)

    def strike(self, how: str) -> None:
        """Hit the victim, unless it stands still already."""
        self._struck_at = time.monotonic()
        if how == "killed":
            self._victim.kill()
        elif not self._victim.frozen:
            self._victim.freeze()

    def restore(self, how: str) -> None:
        """Kill what was frozen to be killed; bring the victim back."""
        if how == "frozen":
            self._victim.thaw()
            return
        if self._victim.frozen:
            self._victim.kill()
        self._victim.start()

    def release(self) -> None:
        """Let the run go on from its moment."""
        self._release()
        self._release = lambda: None

    def wait(self, condition: Callable[["Scene"], object]) -> None:
        """Return when that is so."""
        self._installation.eventually(lambda: condition(self), WITHIN)

    def end(self) -> Manifest:
        """The run once it has ended; `seconds` is how long that took from the hit."""
        self.wait(lambda _: (self.status() or {}).get("completedAt"))
        self.seconds = time.monotonic() - self._struck_at
        return self._installation.get(self.name)

    def status(self) -> dict[str, Any] | None:
        """The run's status; None while it can't be read."""
        return self.node.read("plr", self.name).get("status")

    def pod(self) -> dict[str, Any]:
        """The run's only pod; empty while there is none."""
        found = self.node.read("pods", f"--selector=pipelines.dev/run-id={self.run_id}").get("items", [])
        return found[0] if found else {}

    def _apply(self) -> None:
        self._installation.apply(manifest(self.name, **self._spec))
        self.run_id = run_id_from_uid(self._installation.get(self.name)["metadata"]["uid"])

    def _has_table(self, prefix: str) -> bool:
        dataset = f"{self._spec['org']}_dev"
        return any(table.table_id.startswith(prefix) for table in self._installation.client.list_tables(dataset))


def at_once(scene: Scene) -> bool:
    """No longer than it takes."""
    return True


def runner_has_ended(scene: Scene) -> bool:
    """Its process is gone; whether anybody has noticed is another thing."""
    return scene.runner.has_ended()


def operator_has_ended(scene: Scene) -> bool:
    """By itself, as it can't know any more that it leads."""
    return scene.operator.has_ended()


def lease_has_run_out(scene: Scene) -> bool:
    """Another process may lead."""
    return lease_age(scene.node.lease()) > _LEASE_SECONDS


def api_server_is_unwell(scene: Scene) -> bool:
    """By its own account."""
    return scene.node.problem_of("kube-apiserver") is not None


def node_is_lost(scene: Scene) -> bool:
    """Nobody has heard of the node for so long that its pods count as gone."""
    return runner_has_ended(scene) and scene.node.condition() == "Unknown"


def run_waits_for_postgresql(scene: Scene) -> bool:
    """And says so."""
    return "PostgreSQL" in (scene.status() or {}).get("message", "")


def pod_is_unschedulable(scene: Scene) -> bool:
    """Its node takes no pods now."""
    conditions = scene.pod().get("status", {}).get("conditions", [])
    return any(each.get("reason") == "Unschedulable" for each in conditions)


def pod_has_been_placed(scene: Scene) -> bool:
    """On the node, whose kubelet may not know of it."""
    return "nodeName" in scene.pod().get("spec", {})


def pod_has_been_taken(scene: Scene) -> bool:
    """By the kubelet, which now wants a sandbox for it."""
    return "startTime" in scene.pod().get("status", {})
