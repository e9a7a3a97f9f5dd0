"""Which cluster `up` uses: never silently an existing one, never another than the one in use."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline_local import backends, embedded, kind
from pipeline_local.errors import LocalError
from pipeline_local.state import BackendChoice, State


def machine(patch: pytest.MonkeyPatch, docker: bool, has_kind: bool, platform: str = "linux", user: int = 0) -> None:
    """The tests' machine: whether an engine answers, kind is there, and who runs this where."""
    patch.setattr(backends, "docker_engine_answers", lambda: docker)
    patch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name != "kind" or has_kind else None)
    patch.setattr(backends.sys, "platform", platform)
    patch.setattr(backends.os, "geteuid", lambda: user)


@pytest.fixture(autouse=True)
def no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, docker=False, has_kind=True)


@pytest.mark.parametrize(("docker", "has_kind"), [(False, True), (True, False), (False, False)])
def test_without_docker_or_kind_it_is_the_embedded_node(
    monkeypatch: pytest.MonkeyPatch, docker: bool, has_kind: bool
) -> None:
    machine(monkeypatch, docker, has_kind)
    assert backends.choose("auto", None, None) == BackendChoice(name="embedded")


@pytest.mark.parametrize(("platform", "user"), [("linux", 1000), ("darwin", 0)])
def test_where_neither_can_run_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, platform: str, user: int
) -> None:
    machine(monkeypatch, docker=True, has_kind=False, platform=platform, user=user)
    with pytest.raises(LocalError, match="no cluster can run here: start Docker and install kind, or be root"):
        backends.choose("auto", None, None)


@pytest.mark.parametrize("user", [0, 1000])
def test_with_docker_and_kind_it_is_kind_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch, user: int) -> None:
    machine(monkeypatch, docker=True, has_kind=True, user=user)
    assert backends.choose("auto", None, None).name == "kind"
    assert backends.choose("embedded", None, None).name == "embedded"


def test_kind_without_its_program_is_not_settled_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, docker=True, has_kind=False)
    with pytest.raises(LocalError, match="needs the program kind, which is not on PATH"):
        backends.settle(State(tmp_path), "kind", None, None)


def test_a_named_context_is_used_with_its_repository() -> None:
    choice = backends.choose("auto", "prod", "registry.example.com/pipelines/")
    assert choice == BackendChoice(name="context", context="prod", image_repository="registry.example.com/pipelines")


@pytest.mark.parametrize(
    ("requested", "context", "repository", "message"),
    [
        ("auto", "prod", None, "--context prod needs --image-repository"),
        ("auto", None, "registry.example.com", "--image-repository goes with --context"),
        ("kind", "prod", "registry.example.com", "leave out --backend kind"),
        ("minikube", None, None, "unknown backend 'minikube': expected auto, embedded or kind"),
    ],
)
def test_what_does_not_go_together_is_refused(
    requested: str, context: str | None, repository: str | None, message: str
) -> None:
    with pytest.raises(LocalError, match=message):
        backends.choose(requested, context, repository)


def test_the_backend_in_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(tmp_path)
    state.set_backend(BackendChoice(name="embedded"))
    # Docker was started since: the running cluster is still the one meant
    monkeypatch.setattr(backends, "docker_engine_answers", lambda: True)
    assert backends.settle(state, "auto", None, None).name == "embedded"


def test_another_backend_than_the_one_in_use_is_refused(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.set_backend(BackendChoice(name="context", context="prod", image_repository="registry.example.com"))
    for requested, context, repository in [("kind", None, None), ("auto", "test", "registry.example.com")]:
        with pytest.raises(LocalError, match=r"backend context \(prod\) is in use: run `pipelines local down` first"):
            backends.settle(state, requested, context, repository)


@pytest.mark.parametrize(("platform", "user", "message"), [("darwin", 0, "Linux only"), ("linux", 1000, "needs root")])
def test_a_machine_that_can_not_be_a_node_is_told_what_else(platform: str, user: int, message: str) -> None:
    with pytest.raises(LocalError, match=f"{message}. Start Docker and install kind, or name a cluster with --context"):
        embedded.check_machine(platform, user)


@pytest.mark.parametrize(
    ("returncode", "output", "answers"),
    [
        (0, b"Client:\n Version: 28\nServer:\n Server Version: 28.2.2\n", True),
        (1, b"Client:\n Version: 28\nServer:\nCannot connect to the Docker daemon\n", False),
        (0, b"Client:\n Version: 19\nServer:\nERROR: Cannot connect to the Docker daemon\n", False),
    ],
)
def test_a_docker_client_without_an_engine_is_no_docker(
    monkeypatch: pytest.MonkeyPatch, returncode: int, output: bytes, answers: bool
) -> None:
    done = subprocess.CompletedProcess(["docker"], returncode, output, b"")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert kind.docker_engine_answers() is answers


@pytest.mark.parametrize("failure", [FileNotFoundError(), subprocess.TimeoutExpired("docker", 20)])
def test_no_docker_client_or_a_hanging_one_is_no_docker(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def run(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(subprocess, "run", run)
    assert not kind.docker_engine_answers()
