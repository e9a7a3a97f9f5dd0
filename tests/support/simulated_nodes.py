"""Nodes that are only said to be there: kwok plays their kubelets, so that a thousand pods fit on one machine.

It marks each pod as running and then as succeeded, with the termination message that a runner would have left. Both
take no time, so what is measured on such nodes is the control plane and the operator.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline_core.outcome import Outcome
from pipeline_local import builds, progress
from pipeline_local.kubectl import Kubectl
from pipeline_local.paths import Paths

NODES = 10
_KEY = "kwok.x-k8s.io/node"
SELECTOR = {_KEY: "simulated"}
TOLERATIONS = [{"key": _KEY, "operator": "Exists", "effect": "NoSchedule"}]

_NOW = "{{ Now | Quote }}"
_READY = f"""
conditions:
{{{{ range NodeConditions }}}}
- type: {{{{ .type | Quote }}}}
  status: {{{{ .status | Quote }}}}
  reason: {{{{ .reason | Quote }}}}
  message: {{{{ .message | Quote }}}}
  lastHeartbeatTime: {_NOW}
  lastTransitionTime: {_NOW}
{{{{ end }}}}
allocatable: {{cpu: 1k, memory: 16Ti, pods: 10k}}
capacity: {{cpu: 1k, memory: 16Ti, pods: 10k}}
phase: Running
"""
_CONDITIONS = "\n".join(
    f'- {{type: {kind}, status: "True", lastTransitionTime: {_NOW}}}'
    for kind in ("Initialized", "Ready", "ContainersReady")
)
_RUNNING = f"""
phase: Running
startTime: {_NOW}
conditions:
{_CONDITIONS}
containerStatuses:
{{{{ range .spec.containers }}}}
- name: {{{{ .name | Quote }}}}
  image: {{{{ .image | Quote }}}}
  ready: true
  restartCount: 0
  state: {{running: {{startedAt: {_NOW}}}}}
{{{{ end }}}}
"""
_MESSAGE = json.dumps(Outcome(status="succeeded").to_message())
_SUCCEEDED = f"""
phase: Succeeded
containerStatuses:
{{{{ range .spec.containers }}}}
- name: {{{{ .name | Quote }}}}
  image: {{{{ .image | Quote }}}}
  ready: false
  restartCount: 0
  state:
    terminated: {{exitCode: 0, reason: Completed, startedAt: {_NOW}, finishedAt: {_NOW}, message: {_MESSAGE}}}
{{{{ end }}}}
"""


_NOT_READY = {
    "key": '.status.conditions.[] | select( .type == "Ready" ) | .status',
    "operator": "NotIn",
    "values": ["True"],
}


def _stage(name: str, kind: str, selector: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """What kwok does to an object that the selector fits."""
    deleted = {"key": ".metadata.deletionTimestamp", "operator": "Exists" if then.get("delete") else "DoesNotExist"}
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": [deleted, *([selector] if selector else [])]},
            "next": then,
        },
    }


def _phase(phase: str) -> dict[str, Any]:
    return {"key": ".status.phase", "operator": "In", "values": [phase]}


_STAGES = (
    _stage("node-ready", "Node", _NOT_READY, {"statusTemplate": _READY}),
    _stage("pod-runs", "Pod", _phase("Pending"), {"statusTemplate": _RUNNING}),
    _stage("pod-succeeds", "Pod", _phase("Running"), {"statusTemplate": _SUCCEEDED}),
    _stage("pod-goes", "Pod", {}, {"delete": True}),
)


@contextmanager
def simulated_nodes(paths: Paths, kubectl: Kubectl, folder: Path) -> Iterator[None]:
    """kwok and its nodes, gone at the end. Pods reach them by `SELECTOR` and `TOLERATIONS` alone."""
    with progress.reporter(Console(stderr=True)) as reporter:
        program = builds.ensure(builds.KWOK, paths, reporter) / "kwok"
    config = folder / "stages.json"
    config.write_text("\n---\n".join(json.dumps(stage) for stage in _STAGES))
    kubectl("apply", "--filename=-", manifest={"apiVersion": "v1", "kind": "List", "items": _nodes()})
    command = [program, f"--kubeconfig={paths.kubeconfig}", f"--config={config}"]
    command += [
        "--enable-crds=",
        "--node-lease-duration-seconds=40",
        f"--manage-nodes-with-label-selector={_KEY}=simulated",
    ]
    log = folder / "kwok.log"
    with log.open("wb") as output:
        kwok = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        kubectl("wait", "node", "--selector", f"{_KEY}=simulated", "--for=condition=Ready", "--timeout=60s")
        yield
        assert kwok.poll() is None, log.read_text()[-2000:]
    finally:
        kubectl("delete", "node", "--selector", f"{_KEY}=simulated", "--wait=false")
        kwok.terminate()
        kwok.wait(10)


def _nodes() -> list[dict[str, Any]]:
    taint = {"key": _KEY, "value": "simulated", "effect": "NoSchedule"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": f"simulated-{number}", "labels": SELECTOR},
            "spec": {"taints": [taint]},
        }
        for number in range(NODES)
    ]
