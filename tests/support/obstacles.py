"""Puts something in the way of runs in the local cluster, and takes it away again whatever the test did."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from pipeline_local.images_content import checkout
from pipeline_local.install import RELEASE, helm
from pipeline_local.kubeconfig import NAMESPACE
from pipeline_local.kubectl import Kubectl
from support.installation import Installation, Manifest

_OPERATOR = "deployment/pipelines-operator"
_TEMPLATE = "pipelines-runner"
_TEMPLATE_PATH = "/etc/pipelines/runner/runner.yaml"
_LABELS = {"pipelines.dev/test": "obstacle"}
_KINDS = (
    "resourcequotas",
    "validatingadmissionpolicybindings",
    "validatingadmissionpolicies",
    "validatingwebhookconfigurations",
)
_numbers = itertools.count()


@contextmanager
def installed_with(installation: Installation, *values: str) -> Iterator[None]:
    """Have the release upgraded to these values of the chart (`operator.replicas=1`); at the end it is as before."""
    try:
        _upgrade(installation, *(f"--set={value}" for value in values))
        yield
    finally:
        _upgrade(installation)


def _upgrade(installation: Installation, *changes: str) -> None:
    chart, values = checkout() / "charts" / "pipelines", installation.paths.state / "values.yaml"
    done = helm(installation.paths, "upgrade", RELEASE, str(chart), f"--values={values}", "--wait", *changes)
    assert done.returncode == 0, done.stderr


@contextmanager
def runner_template(installation: Installation, **changes: Any) -> Iterator[None]:
    """Have the operator make runner pods from its template with these changes (fields of RunnerTemplate)."""
    original: str = installation.kubectl.read("configmap", _TEMPLATE)["data"]["runner.yaml"]
    try:
        _write_template(installation, yaml.safe_dump({**yaml.safe_load(original), **changes}))
        yield
    finally:
        _write_template(installation, original)


def _write_template(installation: Installation, text: str) -> None:
    kubectl = installation.kubectl
    found = kubectl.read("configmap", _TEMPLATE)
    kept = {name: found["metadata"].get(name, {}) for name in ("name", "labels", "annotations")}
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": kept, "data": {"runner.yaml": text}}
    # in Helm's name: an upgrade would be refused where a field had become another's
    apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=helm", "--filename=-")
    kubectl(*apply, manifest=document)
    version = kubectl.read("configmap", _TEMPLATE)["metadata"]["resourceVersion"]

    def arrived() -> bool:
        # The kubelet brings a changed ConfigMap into a pod when it next looks at that pod: at once if the pod changes.
        pods = ("pods", "--selector=app.kubernetes.io/component=operator")
        kubectl("annotate", *pods, "--overwrite", f"pipelines.dev/template-version={version}-{next(_numbers)}")
        return str(kubectl.attempt("exec", _OPERATOR, "--", "cat", _TEMPLATE_PATH).stdout) == text

    installation.eventually(arrived)


def clear(installation: Installation) -> None:
    """Take away what a test process left standing that was killed: it would be in the way of every run."""
    selector = ",".join(f"{name}={value}" for name, value in _LABELS.items())
    installation.kubectl("delete", ",".join(_KINDS), f"--selector={selector}", "--ignore-not-found")
    for run in installation.kubectl.read("plr")["items"]:
        if run["metadata"]["name"].startswith("e2e-"):
            installation.remove(run["metadata"]["name"])


@contextmanager
def watched(installation: Installation, namespace: str) -> Iterator[Kubectl]:
    """Have the release watch another namespace too, made for this and removed at the end. Yields kubectl in it."""
    kubectl = Kubectl(installation.paths, namespace)
    kubectl("create", "namespace", namespace)
    try:
        with installed_with(installation, f"watch.namespaces={{{NAMESPACE},{namespace}}}"):
            yield kubectl
    finally:
        kubectl("delete", "namespace", namespace, "--ignore-not-found", "--timeout=120s")


@contextmanager
def standing(installation: Installation, *documents: Manifest) -> Iterator[None]:
    """Have these objects exist: quotas, policies, webhooks."""
    items = [{**each, "metadata": {**each["metadata"], "labels": _LABELS}} for each in documents]
    document = {"apiVersion": "v1", "kind": "List", "items": items}
    try:
        installation.apply(document)
        yield
    finally:
        installation.kubectl("delete", "--filename=-", "--ignore-not-found", manifest=document)
