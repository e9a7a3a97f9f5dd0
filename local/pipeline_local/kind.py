"""The kind backend: a cluster in a Docker container, where a Docker engine answers."""

import logging
import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from pipeline_local import clients
from pipeline_local.errors import LocalError
from pipeline_local.paths import Paths, private_folder, write_atomically
from pipeline_local.progress import Reporter
from pipeline_local.supervision import Status

PROGRAM = "kind"
CLUSTER = "pipelines"
NODE_IMAGE = "kindest/node:v1.36.1@sha256:3489c7674813ba5d8b1a9977baea8a6e553784dab7b84759d1014dbd78f7ebd5"
"""The default of kind 0.32.0 (its pkg/apis/config/defaults/image.go), of the embedded node's minor version."""
IMAGE_VARIABLE = "PIPELINES_KIND_IMAGE"
"""Names another one, for a release of kind that needs it."""

_log = logging.getLogger(__name__)


def docker_engine_answers() -> bool:
    """Whether there is an engine to talk to, not just its client on PATH."""
    try:
        # without a daemon the client fails at once; one that hangs is no engine to build on
        result = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0 and b"Server Version" in result.stdout


def require_program() -> None:
    """Raises LocalError where kind is not installed."""
    if shutil.which(PROGRAM) is None:
        raise LocalError("the backend kind needs the program kind, which is not on PATH: install it")


class KindBackend:
    """One node, named after the project; kind itself keeps track of it."""

    name = "kind"

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def up(self, reporter: Reporter) -> None:
        require_program()  # building the clients may take minutes
        clients.ensure(self._paths, reporter)
        with reporter.step("Starting a kind cluster"):
            if not self._exists():
                clients.run(create_command(self._paths.state / "kind.kubeconfig"), "creating the kind cluster")
            # also for a cluster that an interrupted `up` had made: the file is written last
            kubeconfig = clients.run(["kind", "get", "kubeconfig", "--name", CLUSTER], "reading its kubeconfig")
            private_folder(self._paths.state)
            write_atomically(self._paths.kubeconfig, kubeconfig)
        with reporter.step("Waiting for the node"):
            clients.run(
                [
                    self._paths.bin / "kubectl",
                    f"--kubeconfig={self._paths.kubeconfig}",
                    *("wait", "node", "--all", "--for=condition=Ready", "--timeout=120s"),
                ],
                "waiting for the node",
            )

    def down(self, reporter: Reporter) -> None:
        """Without the program the cluster is only forgotten: one that can't be removed must not block another."""
        if shutil.which(PROGRAM) is None:
            _log.warning(
                "kind is not on PATH: its cluster is forgotten, not removed; if its container exists: "
                "docker rm --force --volumes %s-control-plane",
                CLUSTER,
            )
            return
        with reporter.step("Removing the kind cluster"):
            clients.run(["kind", "delete", "cluster", "--name", CLUSTER], "removing the kind cluster")

    def status(self) -> list[Status]:
        problem = None if self._exists() else "no such cluster"
        return [Status(f"kind cluster {CLUSTER}", "docker", None, problem)]

    def import_image(self, archive: Path) -> None:
        clients.run(load_command(archive), f"loading {archive}")

    def image_name(self, name: str) -> str:
        return name

    def has_image(self, name: str) -> bool:
        return False  # kind itself passes over what its nodes have

    def prune_images(self, keep: Collection[str]) -> None:
        """Nothing: they go with the cluster, which `down` deletes."""

    def _exists(self) -> bool:
        return CLUSTER in clients.run(["kind", "get", "clusters"], "listing kind clusters").split()


def create_command(kubeconfig: Path) -> list[str]:
    """The person's own kubeconfig, and its current context, stay as they are: kind gets a file of its own."""
    image = os.environ.get(IMAGE_VARIABLE) or NODE_IMAGE
    return [
        *("kind", "create", "cluster", "--name", CLUSTER, "--image", image),
        *("--kubeconfig", str(kubeconfig), "--wait", "120s"),
    ]


def load_command(archive: Path) -> list[str]:
    return ["kind", "load", "image-archive", str(archive), "--name", CLUSTER]
