"""What the kind and context backends run: on their own cluster only, and never on the current context."""

import io
import json
import logging
import re
import shutil
import tarfile
from pathlib import Path

import pytest
from rich.console import Console

from pipeline_local import backends, cli, clients, context, kind
from pipeline_local.errors import LocalError
from pipeline_local.paths import Paths
from pipeline_local.progress import PlainReporter
from pipeline_local.state import BackendChoice, State

QUIET = PlainReporter(Console(quiet=True))
CHOICE = BackendChoice(name="context", context="prod", image_repository="registry.example.com/pipelines")


class Recorder:
    """Stands in for running programs: remembers the commands, gives prepared answers by their second word."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.commands: list[list[str]] = []
        self._answers = answers

    def __call__(self, command: list[object], purpose: str) -> str:
        words = [str(word) for word in command]
        self.commands.append(words)
        return next((answer for key, answer in self._answers.items() if key in " ".join(words)), "")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setattr(clients, "ensure", lambda *_: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.delenv(kind.IMAGE_VARIABLE, raising=False)
    return Paths(cache=tmp_path / "cache", state=tmp_path / "state")


def test_kind_creates_its_cluster_once(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Recorder({"get clusters": "other\n", "get kubeconfig": "document"})
    monkeypatch.setattr(clients, "run", run)
    kind.KindBackend(paths).up(QUIET)
    assert ["kind", "create", "cluster"] in [command[:3] for command in run.commands]
    assert paths.kubeconfig.read_text() == "document"

    again = Recorder({"get clusters": "other\npipelines\n", "get kubeconfig": "document"})
    monkeypatch.setattr(clients, "run", again)
    kind.KindBackend(paths).up(QUIET)
    assert ["kind", "create", "cluster"] not in [command[:3] for command in again.commands]


def test_kind_that_is_not_installed_is_said_before_anything_is_built(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[object] = []
    monkeypatch.setattr(clients, "ensure", lambda *_: built.append(1))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(LocalError, match="needs the program kind, which is not on PATH"):
        kind.KindBackend(paths).up(QUIET)
    assert not built


@pytest.mark.parametrize("purge", [False, True])
def test_a_kind_cluster_whose_program_is_gone_is_forgotten_with_a_warning(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, purge: bool
) -> None:
    state = State(paths.state)
    state.set_backend(BackendChoice(name="kind"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(Paths, "from_environment", lambda: paths)
    with caplog.at_level(logging.WARNING):
        cli.down(purge=purge)
    assert "docker rm --force --volumes pipelines-control-plane" in caplog.text
    # and so the other backend may be used: nothing stands in its way
    assert backends.settle(state, "embedded", None, None).name == "embedded"


def test_kinds_node_image_is_pinned_and_may_be_another(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = kind.create_command(Path("/k"))
    assert re.fullmatch(r"kindest/node:v1\.\d+\.\d+@sha256:[0-9a-f]{64}", pinned[pinned.index("--image") + 1])
    monkeypatch.setenv(kind.IMAGE_VARIABLE, "example.com/node:1")
    chosen = kind.create_command(Path("/k"))
    assert chosen[chosen.index("--image") + 1] == "example.com/node:1"


def test_kind_leaves_the_persons_kubeconfig_alone() -> None:
    command = kind.create_command(Path("/state/kind.kubeconfig"))
    assert command[command.index("--kubeconfig") + 1] == "/state/kind.kubeconfig"
    assert command[command.index("--name") + 1] == "pipelines"


def test_kind_removes_and_loads_by_its_own_name_only(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Recorder({})
    monkeypatch.setattr(clients, "run", run)
    kind.KindBackend(paths).import_image(Path("/x.tar"))
    kind.KindBackend(paths).down(QUIET)
    assert run.commands == [
        ["kind", "load", "image-archive", "/x.tar", "--name", "pipelines"],
        ["kind", "delete", "cluster", "--name", "pipelines"],
    ]


def test_a_context_gets_a_kubeconfig_of_its_own(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Recorder({"config view": "of prod"})
    monkeypatch.setattr(clients, "run", run)
    context.ContextBackend(paths, CHOICE).up(QUIET)
    view, reach = run.commands
    assert {"--minify", "--flatten", "--context=prod"} <= set(view)
    assert f"--kubeconfig={paths.kubeconfig}" in reach
    assert paths.kubeconfig.read_text() == "of prod"
    assert paths.kubeconfig.stat().st_mode & 0o077 == 0


def test_ending_the_use_of_a_context_runs_nothing_there(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Recorder({})
    monkeypatch.setattr(clients, "run", run)
    context.ContextBackend(paths, CHOICE).down(QUIET)
    assert run.commands == []


def archive(path: Path, annotations: dict[str, str] | None) -> Path:
    index = json.dumps({"manifests": [{"annotations": annotations}] if annotations is not None else []}).encode()
    with tarfile.open(path, "w") as content:
        entry = tarfile.TarInfo("index.json")
        entry.size = len(index)
        content.addfile(entry, io.BytesIO(index))
    return path


def test_an_image_is_pushed_under_the_repository(paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = Recorder({})
    monkeypatch.setattr(clients, "run", run)
    file = archive(tmp_path / "x.tar", {"org.opencontainers.image.ref.name": "localhost/operator:abc"})
    context.ContextBackend(paths, CHOICE).import_image(file)
    source, target = f"oci-archive:{file}", "docker://registry.example.com/pipelines/operator:abc"
    assert run.commands == [["skopeo", "copy", source, target]]


@pytest.mark.parametrize("annotations", [None, {}])
def test_an_archive_without_a_name_is_refused(tmp_path: Path, annotations: dict[str, str] | None) -> None:
    with pytest.raises(LocalError, match=r"x\.tar is not an OCI archive of one named image"):
        context.archive_name(archive(tmp_path / "x.tar", annotations))


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(LocalError, match="listing needs the program /no/such/program, which is not on PATH"):
        clients.run(["/no/such/program"], "listing")


def test_a_failing_program_says_why() -> None:
    with pytest.raises(LocalError, match=r"listing failed .*: no such cluster"):
        clients.run(["sh", "-c", "echo no such cluster >&2; exit 3"], "listing")
