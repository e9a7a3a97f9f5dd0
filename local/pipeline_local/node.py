"""What the node leaves in the kernel besides its servers: containers, mounts and control groups; and removes again."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pipeline_local import processes
from pipeline_local.layout import Layout
from pipeline_local.processes import Identity

SHIM = "containerd-shim-runc-v2"
CGROUPS = Path("/sys/fs/cgroup")
NAMESPACE = "k8s.io"
"""The namespace of Kubernetes' containers within containerd, and the control group that holds theirs."""

# Where programs write whatever their configuration says; the folders go when nothing is left in them.
_NETWORK_RESULTS = Path("/var/lib/cni/results")
_LOG_LINKS = Path("/var/log/containers")
_FIXED_FOLDERS = tuple(
    Path(folder)
    for folder in (
        "/var/lib/cni/results",
        "/var/lib/cni",
        "/var/log/containers",
        "/var/lib/kubelet/device-plugins",
        "/var/lib/kubelet",
        "/run/containerd/s",
        "/run/containerd",
    )
)


def end_containers(layout: Layout, grace: float) -> None:
    """End all containers of this cluster: asked first, killed after `grace` seconds.

    Goes by processes alone, so it works whether or not containerd still runs. What keeps containers running (the
    kubelet) must have ended before.
    """
    shims = _shims(layout.state)
    # the containers' first processes
    processes.end([child for shim in shims for child in processes.children(shim)], grace)
    containers = list(_container_ids(layout))
    # what a container's first process had left behind or moved into a group of its own
    processes.end(_members(containers), 0)
    # containerd, where it still runs, has been told of the ends and lets its shims go; the others end here
    processes.end(shims, grace=3)
    for identifier in containers:
        _remove_groups(identifier)
    _remove_if_empty(NAMESPACE)


def unmount(below: Path) -> None:
    """Unmount everything mounted below a folder, the innermost first."""
    for target in reversed(list(mounts(below))):
        # --lazy: also where a process outside the cluster (a shell, a backup) stands in it
        subprocess.run(["umount", "--lazy", target], check=False, capture_output=True)


def remove_traces(layout: Layout) -> None:
    """Remove the files that describe containers which are gone, in this cluster's folders and in the machine's own."""
    for folder in (layout.network, layout.containerd / "state"):
        shutil.rmtree(folder, ignore_errors=True)
    for own in _NETWORK_RESULTS.glob(f"{layout.network_name}-*-eth0"):
        sandbox = own.name.removeprefix(f"{layout.network_name}-").removesuffix("-eth0")
        for result in _NETWORK_RESULTS.glob(f"*-{sandbox}-*"):
            result.unlink(missing_ok=True)
    for link in _LOG_LINKS.glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(layout.pod_logs):
            link.unlink(missing_ok=True)
    for folder in _FIXED_FOLDERS:
        with suppress(OSError):  # absent, or another node of this machine uses it
            folder.rmdir()


def mounts(below: Path) -> Iterator[str]:
    """Mount points below a folder, outer before inner (proc_pid_mountinfo(5), fifth field)."""
    prefix = f"{below}/"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split(" ")[4].encode().decode("unicode_escape")
        if target.startswith(prefix):
            yield target


def _shims(state: Path) -> list[Identity]:
    return [identity for identity, program in processes.marked(state) if program == SHIM]


def _container_ids(layout: Layout) -> Iterator[str]:
    bundles = layout.containerd / "state" / "io.containerd.runtime.v2.task" / NAMESPACE
    with suppress(FileNotFoundError):
        yield from sorted(entry.name for entry in bundles.iterdir())


def _groups(relative: str) -> Iterator[Path]:
    """The control group in each hierarchy: one in version 2, one per controller in version 1, both in a mix."""
    for root in (CGROUPS, *CGROUPS.iterdir()):
        if (group := root / relative).is_dir():
            yield group


def _members(containers: Iterable[str]) -> set[Identity]:
    members: set[Identity] = set()
    for identifier in containers:
        for group in _groups(f"{NAMESPACE}/{identifier}"):
            # os.walk passes over groups that containerd removes meanwhile
            for folder, _, _ in os.walk(group):
                with suppress(OSError):
                    pids = (Path(folder) / "cgroup.procs").read_text().split()
                    found = (processes.identify(int(pid)) for pid in pids)
                    members |= {identity for identity in found if identity is not None}
    return members


def _remove_groups(identifier: str) -> None:
    for group in list(_groups(f"{NAMESPACE}/{identifier}")):
        for folder, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()


def _remove_if_empty(relative: str) -> None:
    for group in list(_groups(relative)):
        with suppress(OSError):  # another containerd's containers are in it
            group.rmdir()
