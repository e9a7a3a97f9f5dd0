"""The embedded backend: a Kubernetes node of this machine's own processes, on bare Linux as root."""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline_local import builds, certificates, clients, components, node, node_images, packages, pause, processes
from pipeline_local.components import Component
from pipeline_local.errors import LocalError
from pipeline_local.layout import PORTS, Layout
from pipeline_local.nodeconfig import NODE_NAME, PAUSE_IMAGE
from pipeline_local.paths import Paths, private_folder, write_atomically
from pipeline_local.processes import Identity
from pipeline_local.progress import Reporter
from pipeline_local.state import State, is_free
from pipeline_local.supervision import Status, Supervisor

NODE_READY_WITHIN = 60.0
CONTAINERS_END_WITHIN = 5.0

_log = logging.getLogger(__name__)


class EmbeddedBackend:
    """Built from Go modules, started here, listening on 127.0.0.1 only."""

    name = "embedded"

    def __init__(self, paths: Paths, state: State) -> None:
        self._paths = paths
        self._state = state

    def up(self, reporter: Reporter) -> None:
        """Build what is not built, start what does not run, and return when the node takes pods."""
        check_machine(sys.platform, os.geteuid())
        with ThreadPoolExecutor(1) as background:
            installed = background.submit(packages.ensure, packages.NODE, reporter)
            programs = builds.ensure(builds.CLUSTER, self._paths, reporter)
            installed.result()
            # nothing before the first installation of a chart needs Helm
            helm = background.submit(builds.ensure, builds.HELM, self._paths, reporter)
            self._start(programs, reporter)
            clients.link(self._paths, "helm", helm.result() / "helm")

    def _start(self, programs: Path, reporter: Reporter) -> None:
        layout = self._layout(programs)
        self._forget_last_boot(layout)
        supervisor, parts = self._supervised(self._with_free_ports(layout))
        with reporter.step("Starting the control plane and the node"):
            supervisor.bring_up(parts)
            clients.link(self._paths, "kubectl", programs / "kubectl")
            self._ensure_pause_image()
            self._await_node()

    def down(self, reporter: Reporter) -> None:
        """End all that `up` started, whatever state it is in, and leave nothing of it in the kernel."""
        layout = self._layout(builds.location(builds.CLUSTER, self._paths))
        supervisor, parts = self._supervised(layout)
        with reporter.step("Ending the pods"):
            # in this order: nobody is left that would start again what has been ended
            supervisor.end(["kubelet", "kube-scheduler", "kube-controller-manager"])
            node.end_containers(layout, CONTAINERS_END_WITHIN)
        with reporter.step("Ending the cluster"):
            supervisor.end([part.name for part in parts])
            processes.end((identity for identity, _ in processes.marked(self._paths.state)), grace=2)
            # network namespaces are mounts too, and take their interfaces with them
            node.unmount(self._paths.state)
            node.remove_traces(layout)

    def status(self) -> list[Status]:
        supervisor, parts = self.supervised()
        return supervisor.statuses(parts)

    def supervised(self) -> tuple[Supervisor, tuple[Component, ...]]:
        """The components as they are started now, and what starts and ends them."""
        return self._supervised(self._layout(builds.location(builds.CLUSTER, self._paths)))

    def container_processes(self) -> dict[str, Identity]:
        """The first process of each running container, by the container's id.

        Raises LocalError where containerd doesn't answer.
        """
        listed = self._ctr("tasks", "list")
        if listed.returncode != 0:
            raise LocalError(f"the node's containers can't be listed: {listed.stderr.strip()}")
        rows = (line.split() for line in listed.stdout.splitlines()[1:])
        found = {row[0]: processes.identify(int(row[1])) for row in rows}
        return {container: identity for container, identity in found.items() if identity is not None}

    def import_image(self, archive: Path) -> None:
        """Load an OCI or Docker archive into the node. The names in the archive are those that pods refer to."""
        result = self._ctr("images", "import", str(archive))
        if result.returncode != 0:
            raise LocalError(f"the node refused {archive}: {result.stderr.strip()}")

    def image_name(self, name: str) -> str:
        return name

    def has_image(self, name: str) -> bool:
        """Whether the node has an image of this full name (with registry and tag)."""
        return name in self._ctr("images", "list", "--quiet").stdout.splitlines()

    def prune_images(self, keep: Collection[str]) -> None:
        """Failing is only said: what stays is removed the next time."""
        used = self._kubectl("get", node_images.USERS, "--all-namespaces", "--output=jsonpath={..image}")
        listed = self._ctr("images", "list")
        if used.returncode != 0 or listed.returncode != 0:
            _log.warning("old images stay in the node: %s", (used.stderr or listed.stderr).strip())
            return
        if unwanted := node_images.unwanted(listed.stdout, {*keep, *used.stdout.split()}):
            removed = self._ctr("images", "remove", *unwanted)
            if removed.returncode != 0:
                _log.warning("some old images stay in the node: %s", removed.stderr.strip())

    def _layout(self, programs: Path) -> Layout:
        private_folder(self._paths.state)
        return Layout(
            state=self._paths.state,
            programs=programs,
            certificates=certificates.ensure(self._paths.state / "certificates"),
            ports={name: self._state.port(name) for name in PORTS},
            runc=shutil.which("runc", path=packages.search_path()) or "/usr/sbin/runc",
            search_path=packages.search_path(),
        )

    def _supervised(self, layout: Layout) -> tuple[Supervisor, tuple[Component, ...]]:
        environment = {"PATH": layout.path, "HOME": str(layout.state), "LANG": "C.UTF-8"}
        supervisor = Supervisor(layout.state, environment, salt=layout.certificates.fingerprint())
        return supervisor, tuple(components.render(layout))

    def _with_free_ports(self, layout: Layout) -> Layout:
        """The layout with another port for each that a stranger has taken since the component last ran."""
        supervisor, parts = self._supervised(layout)
        supervisor.end([part.name for part in parts if not supervisor.is_current(part)])
        for part in parts:
            if not supervisor.is_current(part):
                for name in part.ports:
                    if not is_free(layout.ports[name]):
                        self._state.replace_port(name)
        return self._layout(layout.programs)

    def _forget_last_boot(self, layout: Layout) -> None:
        """After a restart of the machine, what containerd kept on running containers describes nothing any more."""
        marker = layout.state / "boot"
        now = processes.boot_id()
        if not marker.exists() or marker.read_text() != now:
            node.unmount(layout.state)
            node.remove_traces(layout)
            write_atomically(marker, now)

    def _ensure_pause_image(self) -> None:
        if self.has_image(PAUSE_IMAGE):
            return
        archive = self._paths.state / "pause.tar"
        pause.write_archive(archive, PAUSE_IMAGE)
        self.import_image(archive)
        archive.unlink()

    def _await_node(self) -> None:
        ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        deadline = time.monotonic() + NODE_READY_WITHIN
        while True:
            result = self._kubectl("get", "node", NODE_NAME, "--output", ready)
            account = self._kubectl("get", "serviceaccount", "default", "--namespace", "default")
            if result.stdout == "True" and account.returncode == 0:
                return
            if time.monotonic() > deadline:
                log = self._paths.logs / "kubelet.log"
                raise LocalError(f"the node is not ready after {NODE_READY_WITHIN:.0f} s, see {log}: {result.stderr}")
            time.sleep(0.1)

    def _kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self._paths.bin / "kubectl"), f"--kubeconfig={self._paths.kubeconfig}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        layout = self._layout(builds.location(builds.CLUSTER, self._paths))
        command = [layout.program("ctr"), f"--address={layout.containerd_socket}", f"--namespace={node.NAMESPACE}"]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def check_machine(platform: str, user: int) -> None:
    """Raises LocalError saying what to do where the embedded node can't run."""
    instead = "Start Docker and install kind, or name a cluster with --context."
    if platform != "linux":
        raise LocalError(f"the embedded node runs on Linux only. {instead}")
    if user != 0:
        raise LocalError(f"the embedded node needs root. {instead}")
