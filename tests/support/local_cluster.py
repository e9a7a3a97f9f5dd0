"""The local cluster as tests reach it, and its programs: kubectl and helm of the very versions it runs."""

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from pipeline_local.paths import Paths

CRDS = Path(__file__).resolve().parents[2] / "crds"
_OWNED = {
    "labels": {"app.kubernetes.io/managed-by": "Helm"},
    "annotations": {"meta.helm.sh/release-name": "pipelines", "meta.helm.sh/release-namespace": "pipelines"},
}
_HINT = "start the local cluster with `.venv/bin/pipelines local up`, or leave these tests out with -m 'not e2e'"


def program(name: str) -> str:
    """The path of `kubectl` or `helm`; fails the test where the local cluster was never started."""
    path = Paths.from_environment().bin / name
    if not path.exists():
        pytest.fail(f"{path} is missing: {_HINT}")
    return str(path)


@cache
def api_client() -> client.ApiClient:
    """A client of the local cluster's API server, as its administrator."""
    path: Path = Paths.from_environment().kubeconfig
    if not path.exists():
        pytest.fail(f"{path} is missing: {_HINT}")
    return config.new_client_from_config(str(path))


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """What kubectl prints; raises CalledProcessError, with its message, if it fails."""
    paths = Paths.from_environment()
    # kubectl keeps a cache in HOME, and without one in the current folder
    environment = {"KUBECONFIG": str(paths.kubeconfig), "HOME": str(paths.state)}
    command = [program("kubectl"), *arguments]
    return subprocess.run(
        command, input=stdin, env=environment, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def install_crds() -> None:
    """Bring the CRDs of this checkout into the cluster, as `helm install pipelines --namespace pipelines` would.

    They are Helm's in the end: its labels and notes of ownership are kept, or made so that an installation of that name
    takes them over, and the changes are made in its name, so that an upgrade doesn't meet another's.
    """
    for path in sorted(CRDS.glob("*.yaml")):
        crd = yaml.safe_load(path.read_text())
        name = crd["metadata"]["name"]
        known = json.loads(kubectl("get", "crd", name, "--ignore-not-found", "--output", "json") or "{}")
        crd["metadata"] |= (
            {key: known["metadata"].get(key, {}) for key in ("labels", "annotations")} if known else _OWNED
        )
        apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=helm", "--filename", "-")
        kubectl(*apply, stdin=json.dumps(crd))
        kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/{name}")


def refusal(error: client.ApiException) -> str:
    """The message with which the API server refused a request."""
    body: dict[str, Any] = json.loads(error.body)
    return str(body["message"])
