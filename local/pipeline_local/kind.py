"""The kind backend: a cluster in a Docker container, where a Docker engine answers."""

import subprocess
from pathlib import Path

from pipeline_local import builds, clients
from pipeline_local.paths import Paths, private_folder, write_atomically
from pipeline_local.progress import Reporter
from pipeline_local.supervision import Status

CLUSTER = "pipelines"
NODE_IMAGE = f"kindest/node:v{builds.KUBERNETES}"


def docker_engine_answers() -> bool:
    """Whether there is an engine to talk to, not just its client on PATH."""
    try:
        # without a daemon the client fails at once; one that hangs is no engine to build on
        result = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0 and b"Server Version" in result.stdout


class KindBackend:
    """One node, named after the project; kind itself keeps track of it."""

    name = "kind"

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def up(self, reporter: Reporter) -> None:
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
        with reporter.step("Removing the kind cluster"):
            clients.run(["kind", "delete", "cluster", "--name", CLUSTER], "removing the kind cluster")

    def status(self) -> list[Status]:
        problem = None if self._exists() else "no such cluster"
        return [Status(f"kind cluster {CLUSTER}", "docker", None, problem)]

    def import_image(self, archive: Path) -> None:
        clients.run(load_command(archive), f"loading {archive}")

    def image_name(self, name: str) -> str:
        return name

    def _exists(self) -> bool:
        return CLUSTER in clients.run(["kind", "get", "clusters"], "listing kind clusters").split()


def create_command(kubeconfig: Path) -> list[str]:
    """The person's own kubeconfig, and its current context, stay as they are: kind gets a file of its own."""
    return [
        *("kind", "create", "cluster", "--name", CLUSTER, "--image", NODE_IMAGE),
        *("--kubeconfig", str(kubeconfig), "--wait", "120s"),
    ]


def load_command(archive: Path) -> list[str]:
    return ["kind", "load", "image-archive", str(archive), "--name", CLUSTER]
