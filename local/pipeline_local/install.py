"""Installs the chart into the local cluster, and remembers how what runs there is reached."""

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline_local import diagnosis
from pipeline_local.backends import Backend
from pipeline_local.catalog import local_files
from pipeline_local.errors import LocalError
from pipeline_local.images import Image
from pipeline_local.images_content import checkout
from pipeline_local.kubeconfig import NAMESPACE
from pipeline_local.kubectl import Kubectl
from pipeline_local.paths import Paths, private_folder, write_atomically
from pipeline_local.progress import Reporter
from pipeline_local.services.bigquery import PROJECT
from pipeline_local.services.processes import LOOPBACK
from pipeline_local.state import State, is_free

RELEASE = "pipelines"
ENV = "dev"
MARKER = {"installedBy": "pipelines local"}
"""In the values of a release made here. The chart takes any value under `global` and reads none."""
READY_WITHIN = 180
"""Seconds that Helm waits for all pods."""

# The user that the images run as.
_UID = 65532
_PORTS = ("postgres", "bigquery", "bigquery_grpc", "simulators", "operator", "exporter", "bridge", "bridge_metrics")
# Secrets of the chart, and what of them a shell needs.
_SECRETS = {"database": "password", "bridge": "pepper"}
# Values of the chart, and the images that they name.
_IMAGES = {"operator": "operator", "runner": "runner", "devServices": "dev-services"}


def import_images(backend: Backend, images: Mapping[str, Image], reporter: Reporter) -> None:
    """Make the images available to pods; those that the backend has already are passed over."""
    missing = [image for image in images.values() if not backend.has_image(image.reference)]
    if not missing:
        return
    with reporter.step(f"Loading the images ({', '.join(image.name for image in missing)})") as step:
        for done, image in enumerate(missing, start=1):
            backend.import_image(image.archive)
            step.update(done, len(missing))


def install(backend: Backend, images: Mapping[str, Image], paths: Paths, state: State, reporter: Reporter) -> None:
    """Load the images, install or upgrade the release, wait until all of it is ready. Repeating it is harmless.

    Raises LocalError that says what the pods did where they don't get ready, or whose release is in the way.
    """
    # one at a time from the loading on: another one's removal of old images would take these before they are used
    with state.exclusive():
        if backend.name == "context":
            refuse_strangers_release(helm(paths, "get", "values", RELEASE, "--output=json"))
        import_images(backend, images, reporter)
        _install_chart(backend, images, paths, state, reporter)
        # not before: until now the operator that ran made pods of the images of its own time
        backend.prune_images({image.reference for image in images.values()})


def _install_chart(
    backend: Backend, images: Mapping[str, Image], paths: Paths, state: State, reporter: Reporter
) -> None:
    kubectl = Kubectl(paths, NAMESPACE)
    with reporter.step("Installing the chart"):
        is_installed = _recover(paths)
        ports = _ports(state, is_installed)
        references = {name: backend.image_name(image.reference) for name, image in images.items()}
        values = local_values(backend.name, references, ports, _data_folder(paths))
        file = paths.state / "values.yaml"
        write_atomically(file, yaml.safe_dump(values, sort_keys=False))
        kubectl("apply", "--server-side", "--filename=-", manifest=_namespace(backend.name))
        chart = checkout() / "charts" / "pipelines"
        wait = ("--wait", f"--timeout={READY_WITHIN}s")
        # crash here, or while Helm works: the next call finds the release pending and clears it
        result = helm(paths, "upgrade", "--install", RELEASE, str(chart), f"--values={file}", *wait)
        if result.returncode != 0:
            raise LocalError(f"helm: {result.stderr.strip()[-1500:]}\n{diagnosis.of_pods(kubectl)}")
        # so that `kubectl get plr` and the examples mean this namespace
        kubectl("config", "set-context", "--current", f"--namespace={NAMESPACE}")
        state.set_exports(**exports(kubectl, ports))


def local_values(name: str, references: Mapping[str, str], ports: Mapping[str, int], data: Path) -> dict[str, Any]:
    """The chart's values for a backend of this name; without secrets.

    On the embedded node everything is on loopback, on ports that were free, with its data in a folder of the machine.
    """
    images = {key: _split(references[image]) for key, image in _IMAGES.items()}
    values = {
        "global": MARKER,
        "env": ENV,
        "bigquery": {"project": PROJECT},
        "catalog": {"files": local_files()},
        "image": {"registry": "", **images},
        "devServices": {"enabled": True, "persistence": {"type": "claim"}},
    }
    if name != "embedded":
        return values
    service_ports = {
        "postgres": "postgres",
        "bigquery": "bigquery",
        "bigqueryGrpc": "bigquery_grpc",
        "simulators": "simulators",
    }
    return {
        **values,
        "image": {"registry": "", "pullPolicy": "Never", **images},
        "hostNetwork": True,
        "kubernetesService": {"host": LOOPBACK, "port": ports["apiserver"]},
        "operator": {"port": ports["operator"]},
        "exporter": {"port": ports["exporter"]},
        "bridge": {"port": ports["bridge"], "metricsPort": ports["bridge_metrics"]},
        "devServices": {
            "enabled": True,
            "ports": {key: ports[port] for key, port in service_ports.items()},
            "persistence": {"type": "hostPath", "hostPath": str(data)},
        },
    }


def exports(kubectl: Kubectl, ports: Mapping[str, int]) -> dict[str, str]:
    """The variables that lead a shell on this machine to the dev services and the bridge, and let it make API keys.

    Raises LocalError where a Secret of the chart can't be read.
    """
    password, pepper = (_secret(kubectl, f"{RELEASE}-{name}", key) for name, key in _SECRETS.items())
    return {
        "BIGQUERY_EMULATOR_HOST": f"http://{LOOPBACK}:{ports['bigquery']}",
        "PIPELINES_BIGQUERY_PROJECT": PROJECT,
        "PIPELINES_BIGQUERY_CREDENTIALS": "anonymous",
        "PIPELINES_BIGQUERY_STORAGE_ENDPOINT": f"http://{LOOPBACK}:{ports['bigquery_grpc']}",
        "PIPELINES_DATABASE_URL": f"postgresql://pipelines:{password}@{LOOPBACK}:{ports['postgres']}/pipelines",
        "PIPELINES_SIMULATORS_URL": f"http://{LOOPBACK}:{ports['simulators']}",
        # the simulators beside the hosts that keys may be sent to anyway, for `pipelines run --local`
        "PIPELINES_API_HOSTS": f"api.anthropic.com,api.openai.com,http://{LOOPBACK}:{ports['simulators']}",
        "PIPELINES_BRIDGE_URL": f"http://{LOOPBACK}:{ports['bridge']}",
        "PIPELINES_API_KEY_PEPPER": pepper,
    }


def _secret(kubectl: Kubectl, name: str, key: str) -> str:
    return base64.b64decode(kubectl.read("secret", name)["data"][key]).decode()


def helm(paths: Paths, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Helm on the local cluster, in the release's namespace."""
    command = [str(paths.bin / "helm"), *arguments, f"--kubeconfig={paths.kubeconfig}", f"--namespace={NAMESPACE}"]
    # its own configuration and plugins only: what a person has set up for other clusters stays out of this
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HELM_")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def refuse_strangers_release(told: subprocess.CompletedProcess[str]) -> None:
    """Raises LocalError where Helm's answer about the values shows a release that was not made here."""
    if told.returncode != 0:
        if "not found" in told.stderr:
            return
        raise LocalError(f"helm can't tell the release's values: {told.stderr.strip()[-1500:]}")
    values = json.loads(told.stdout) or {}
    if values.get("global") != MARKER:
        raise LocalError(
            f"the cluster has a release {RELEASE} in namespace {NAMESPACE} that `pipelines` did not install: "
            "it stays as it is; name another cluster with --context, or uninstall it yourself"
        )


def _recover(paths: Paths) -> bool:
    """Clear what an interrupted installation left, which Helm itself refuses to go on from. True: one is deployed."""
    told = helm(paths, "status", RELEASE, "--output=json")
    if told.returncode != 0:
        if "not found" in told.stderr:
            return False
        raise LocalError(f"helm can't tell the release's status: {told.stderr.strip()[-1500:]}")
    status = json.loads(told.stdout)["info"]["status"]
    if status in {"pending-upgrade", "pending-rollback"}:
        _check(helm(paths, "rollback", RELEASE))
    elif status in {"pending-install", "uninstalling"}:
        _check(helm(paths, "uninstall", RELEASE, "--wait"))
        return False
    return True


def _check(result: subprocess.CompletedProcess[str]) -> None:
    if result.returncode != 0:
        raise LocalError(f"an interrupted installation can't be cleared: {result.stderr.strip()[-1500:]}")


def _ports(state: State, is_installed: bool) -> dict[str, int]:
    ports = {name: state.port(name) for name in (*_PORTS, "apiserver")}
    if not is_installed:
        # nothing of ours listens yet, so a port that is taken is taken by a stranger
        ports |= {name: state.replace_port(name) for name in _PORTS if not is_free(ports[name])}
    return ports


def _data_folder(paths: Paths) -> Path:
    """Where the dev services keep their data: it outlives their pod, and `pipelines local down`."""
    folder = private_folder(paths.state / "dev-services")
    if os.geteuid() == 0:
        os.chown(folder, _UID, _UID)
    return folder


def _namespace(name: str) -> dict[str, Any]:
    # baseline and restricted refuse the host network, which the pods of the embedded node use
    level = "privileged" if name == "embedded" else "restricted"
    labels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn", "audit")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def _split(reference: str) -> dict[str, str]:
    """The repository and the tag of an image's full name."""
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}
