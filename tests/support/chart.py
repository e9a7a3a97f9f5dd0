"""The chart as `helm template` renders it."""

import base64
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from support.local_cluster import program

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "pipelines"
NAMESPACE = "etl"

# What has to be said where charts are rendered without a cluster.
_WITHOUT_CLUSTER: Mapping[str, Any] = {"bridge": {"pepper": {"allowEphemeral": True}}}
# The least that an installation has to say.
REQUIRED: Mapping[str, Any] = {
    "env": "dev",
    "bigquery": {"project": "demo"},
    "database": {"existingSecret": "postgres"},
}
# As on the bare node: no service network, everything on loopback, the dev services beside the operator.
LOCAL: Mapping[str, Any] = {
    "env": "dev",
    "bigquery": {"project": "demo"},
    "hostNetwork": True,
    "kubernetesService": {"host": "127.0.0.1", "port": 6443},
    "devServices": {"enabled": True},
}

Manifest = dict[str, Any]


class Rendering:
    """The objects of one rendering, found by kind and name."""

    def __init__(self, text: str) -> None:
        self.objects: list[Manifest] = [document for document in yaml.safe_load_all(text) if document]

    def of_kind(self, kind: str) -> list[Manifest]:
        return [manifest for manifest in self.objects if manifest["kind"] == kind]

    def get(self, kind: str, name: str) -> Manifest:
        found = [manifest for manifest in self.of_kind(kind) if manifest["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} objects {kind}/{name} in {[_id(m) for m in self.objects]}"
        return found[0]

    @property
    def pods(self) -> dict[str, Manifest]:
        """Every pod of the rendering, those of Deployments included, by the workload's name."""
        pods = {m["metadata"]["name"]: m for m in self.of_kind("Pod")}
        for deployment in self.of_kind("Deployment"):
            template = deployment["spec"]["template"]
            name = deployment["metadata"]["name"]
            metadata = {**template["metadata"], "name": name}
            pods[name] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        return pods

    def runner_template(self) -> Manifest:
        template: Manifest = yaml.safe_load(self.get("ConfigMap", "pipelines-runner")["data"]["runner.yaml"])
        return template


def render(values: Mapping[str, Any], *, release: str = "pipelines") -> Rendering:
    """The chart rendered with `values`; fails the test with helm's message if it can't be."""
    result = _template(values, release)
    assert result.returncode == 0, result.stderr
    return Rendering(result.stdout)


def render_error(values: Mapping[str, Any]) -> str:
    """What helm says about wrong `values`; fails the test if it finds nothing wrong."""
    result = _template(values, "pipelines")
    assert result.returncode != 0, "helm accepted the values"
    return result.stderr


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes` laid over them, as helm does with several values files."""
    result = dict(values)
    for key, change in changes.items():
        below = result.get(key)
        result[key] = merged(below, change) if isinstance(below, Mapping) and isinstance(change, Mapping) else change
    return result


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod, those that run first included."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(container: Manifest) -> dict[str, Any]:
    """A container's variables: the value, or where it is taken from."""
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}


def labels_of(deployment: Manifest) -> dict[str, str]:
    """The labels of a Deployment's pods."""
    return dict(deployment["spec"]["template"]["metadata"]["labels"])


def name_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def selecting(*namespaces: str) -> Manifest:
    """What selects these namespaces; every one where none is named."""
    if not namespaces:
        return {}
    expression = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(namespaces)}
    return {"matchExpressions": [expression]}


def bound(rendering: Rendering, kind: str) -> set[tuple[str, str]]:
    """Which role each ServiceAccount has."""
    bindings = rendering.of_kind(kind)
    return {(binding["roleRef"]["name"], subject["name"]) for binding in bindings for subject in binding["subjects"]}


def environment_of_operator(rendering: Rendering) -> dict[str, Any]:
    """The variables of the operator's container."""
    return environment(rendering.pods["pipelines-operator"]["spec"]["containers"][0])


def environment_of_exporter(rendering: Rendering) -> dict[str, Any]:
    """The variables of the exporter's container."""
    return environment(rendering.pods["pipelines-exporter"]["spec"]["containers"][0])


def secret_data(rendering: Rendering, name: str) -> dict[str, str]:
    """What a Secret holds, decoded."""
    data = rendering.get("Secret", name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def grants(rules: list[Manifest]) -> dict[str, set[str]]:
    """What rules allow: group/resource to verbs."""
    allowed: dict[str, set[str]] = {}
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                allowed.setdefault(f"{group}/{resource}", set()).update(rule["verbs"])
    return allowed


def _template(values: Mapping[str, Any], release: str) -> subprocess.CompletedProcess[str]:
    command = [program("helm"), "template", release, str(CHART), "--namespace", NAMESPACE, "--values", "-"]
    # without the user's own helm settings, and without a cluster
    environment = {"HOME": "/nonexistent", "KUBECONFIG": "/dev/null"}
    said = json.dumps(merged(_WITHOUT_CLUSTER, values))
    return subprocess.run(command, input=said, env=environment, capture_output=True, text=True, timeout=60, check=False)


def _id(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"
