"""Builds the programs of the local cluster from pinned Go modules, once per content of the module files.

`ensure` may be called from any thread or process: builds of one cache folder wait for each other, since two at once
would compile twice what they share.
"""

import fcntl
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline_local import toolchain
from pipeline_local.errors import LocalError
from pipeline_local.paths import Paths, private_folder
from pipeline_local.progress import Reporter, Step

MODULES = Path(__file__).parent / "modules"
"""One Go module per tool, in one workspace: all are built with the same versions of what they share, so that a library
of Kubernetes, gRPC or OpenTelemetry is compiled once, not once per tool."""
_SIMULATOR = Path(__file__).parent / "kwok"
"""A workspace of its own: only the benchmarks build it, and its versions must not change those of the cluster."""

KUBERNETES = "1.36.3"
_VERSION = "k8s.io/component-base/version"
CONTAINERD = "2.3.7"
HELM_VERSION = "4.2.4"
_VERSIONS = {
    f"{_VERSION}.gitVersion": f"v{KUBERNETES}",
    f"{_VERSION}.gitMajor": KUBERNETES.split(".")[0],
    f"{_VERSION}.gitMinor": KUBERNETES.split(".")[1],
    "github.com/containerd/containerd/v2/version.Version": CONTAINERD,
    "helm.sh/helm/v4/internal/version.version": f"v{HELM_VERSION}",
}
_LINK = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in _VERSIONS.items())])
# No debug information: none is linked (-s -w), so none needs to be made. It leaves the code as it is and takes a
# fifth off the compiler's time.
_FLAGS = ("-trimpath", "-gcflags=all=-dwarf=false", "-tags=no_btrfs,no_devmapper,no_zfs", f"-ldflags={_LINK}")


@dataclass(frozen=True)
class Target:
    """Programs that are built together."""

    name: str
    title: str
    packages: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...] = ()
    """(the name `go build` gives, the program's own name)."""
    links: tuple[tuple[str, str], ...] = ()
    """(further name, program it is a link to)."""
    own_workspace: Path | None = field(default=None, repr=False)
    """The folder of its go.work, if it isn't `MODULES`; where it lies decides nothing about what is built."""

    @property
    def workspace(self) -> Path:
        return self.own_workspace or MODULES


CLUSTER = Target(
    name="cluster",
    title="Building Kubernetes, etcd and containerd",
    packages=(
        "./kubernetes",
        "go.etcd.io/etcd/server/v3",
        "github.com/containerd/containerd/v2/cmd/containerd",
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        "github.com/containerd/containerd/v2/cmd/ctr",
    ),
    renamed=(("server", "etcd"),),
    links=tuple(
        (name, "kubernetes")
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
    ),
)
HELM = Target(name="helm", title="Building Helm", packages=("helm.sh/helm/v4/cmd/helm",))
KUBECTL = Target(name="kubectl", title="Building kubectl", packages=("k8s.io/kubernetes/cmd/kubectl",))
KWOK = Target(
    name="kwok",
    title="Building kwok, which simulates nodes",
    packages=("sigs.k8s.io/kwok/cmd/kwok",),
    own_workspace=_SIMULATOR,
)


def ensure(target: Target, paths: Paths, reporter: Reporter) -> Path:
    """The folder that holds the target's programs; builds them first where they are not in the cache.

    Raises LocalError if there is no usable Go or the build fails.
    """
    folder = location(target, paths)
    if folder.is_dir():
        return folder
    with _one_at_a_time(paths.cache), reporter.step(target.title) as step:
        if not folder.is_dir():
            go = toolchain.ensure(needed_go(target.workspace), paths.cache, os.environ)
            _build(target, go, folder, step)
    return folder


def location(target: Target, paths: Paths) -> Path:
    """Where a target's programs are once built: keyed by the module files and by how they are built."""
    digest = hashlib.sha256()
    for file in sorted(target.workspace.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(target.workspace)}\0".encode() + file.read_bytes() + b"\0")
    digest.update(repr((target, _FLAGS, os.uname().machine)).encode())
    return paths.cache / "programs" / f"{target.name}-{digest.hexdigest()[:16]}"


def _build(target: Target, go: Path, folder: Path, step: Step) -> None:
    private_folder(folder.parent)
    environment = _environment(go, target.workspace)
    total = _count(target, go, environment)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as made:
        output = Path(made) / "bin"
        output.mkdir()
        _compile(target, go, output, environment, step, total)
        for built, name in target.renamed:
            (output / built).rename(output / name)
        for name, program in target.links:
            (output / name).symlink_to(program)
        # crash here: what was made goes with its temporary folder, or stays as a hidden one, and the next start
        # builds again out of Go's own cache
        output.rename(folder)


def _count(target: Target, go: Path, environment: dict[str, str]) -> int:
    """How many packages the target consists of. Also downloads their sources, so that the build only compiles."""
    command = [str(go), "list", "-deps", *_FLAGS, *target.packages]
    result = subprocess.run(command, cwd=target.workspace, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise LocalError(f"{target.title} failed while loading its packages:\n{result.stderr[-4000:]}")
    return len(result.stdout.splitlines())


def _compile(target: Target, go: Path, output: Path, environment: dict[str, str], step: Step, total: int) -> None:
    # -v names each package as it is compiled; what the build cache holds is passed over in silence
    command = [str(go), "build", "-v", *_FLAGS, "-o", f"{output}/", *target.packages]
    tail: list[str] = []
    with subprocess.Popen(
        command, cwd=target.workspace, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as build:
        assert build.stderr is not None  # noqa: S101
        for done, line in enumerate(build.stderr, start=1):
            step.update(min(done, total), total)
            tail = [*tail[-39:], line]
    if build.returncode != 0:
        raise LocalError(f"{target.title} failed:\n{''.join(tail)}")


def _environment(go: Path, workspace: Path) -> dict[str, str]:
    """The caller's environment (its module proxy, its caches) with what the build itself depends on made certain."""
    return {
        **os.environ,
        "PATH": f"{go.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOWORK": str(workspace / "go.work"),
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        # the compiler's own heap: fewer collections take another seventh off its time
        "GOGC": os.environ.get("GOGC", "400"),
    }


def needed_go(workspace: Path = MODULES) -> toolchain.Version:
    """The oldest Go that all the modules can be built with."""
    for line in (workspace / "go.work").read_text().splitlines():
        if line.startswith("go "):
            return toolchain.parse_version(line)
    raise LocalError(f"{workspace / 'go.work'} has no line `go VERSION`")


@contextmanager
def _one_at_a_time(cache: Path) -> Iterator[None]:
    with (private_folder(cache) / "builds.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
