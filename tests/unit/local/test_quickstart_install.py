"""The chart's values for this machine, and what is said of pods that don't get ready."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline_local import diagnosis, install
from pipeline_local.context import ContextBackend
from pipeline_local.errors import LocalError
from pipeline_local.images import Image
from pipeline_local.install import exports, local_values, refuse_strangers_release
from pipeline_local.kubectl import Kubectl
from pipeline_local.paths import Paths
from pipeline_local.progress import PlainReporter
from pipeline_local.state import BackendChoice, State
from support.installation import context_refusal

REFERENCES = {
    "operator": "localhost/pipelines-operator:1a",
    "runner": "localhost/pipelines-runner:2b",
    "dev-services": "registry.example.com:5000/pipelines-dev-services:3c",
}
PORTS = {
    "postgres": 1, "bigquery": 2, "bigquery_grpc": 3, "operator": 4, "exporter": 5, "apiserver": 6,
    "bridge": 7, "bridge_metrics": 8, "simulators": 9,
}  # fmt: skip


def test_images_are_named_whole_so_that_a_registry_with_a_port_works() -> None:
    image = local_values("kind", REFERENCES, PORTS, Path("/data"))["image"]
    assert image["registry"] == ""
    assert image["runner"] == {"repository": "localhost/pipelines-runner", "tag": "2b"}
    assert image["devServices"] == {"repository": "registry.example.com:5000/pipelines-dev-services", "tag": "3c"}


def test_the_embedded_node_has_everything_on_its_loopback_and_pulls_nothing() -> None:
    values = local_values("embedded", REFERENCES, PORTS, Path("/data"))
    assert values["hostNetwork"] is True
    assert values["kubernetesService"] == {"host": "127.0.0.1", "port": 6}
    assert values["image"]["pullPolicy"] == "Never"
    assert (values["operator"]["port"], values["exporter"]["port"]) == (4, 5)
    assert values["bridge"] == {"port": 7, "metricsPort": 8}
    assert values["devServices"]["ports"] == {"postgres": 1, "bigquery": 2, "bigqueryGrpc": 3, "simulators": 9}
    assert values["devServices"]["persistence"] == {"type": "hostPath", "hostPath": "/data"}


@pytest.mark.parametrize("name", ["kind", "context"])
def test_other_clusters_keep_their_own_network_and_volumes(name: str) -> None:
    values = local_values(name, REFERENCES, PORTS, Path("/data"))
    assert not {"hostNetwork", "kubernetesService", "operator", "exporter", "bridge"} & values.keys()
    assert values["devServices"] == {"enabled": True, "persistence": {"type": "claim"}}


def answered(stdout: str, stderr: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], 1 if stderr else 0, stdout, stderr)


@pytest.mark.parametrize("name", ["embedded", "kind", "context"])
def test_our_own_release_is_recognised_by_its_values(name: str) -> None:
    refuse_strangers_release(answered(json.dumps(local_values(name, REFERENCES, PORTS, Path("/data")))))


def test_no_release_is_in_nobodys_way() -> None:
    refuse_strangers_release(answered("", "Error: release: not found"))


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (answered("null"), "did not install"),
        (answered('{"env": "dev", "devServices": {"enabled": true}}'), "did not install"),
        (answered('{"global": {"installedBy": "somebody"}}'), "did not install"),
        (answered("", "Error: Kubernetes cluster unreachable"), "can't tell the release's values: .*unreachable"),
    ],
)
def test_a_strangers_release_is_refused(told: subprocess.CompletedProcess[str], message: str) -> None:
    with pytest.raises(LocalError, match=message):
        refuse_strangers_release(told)


def test_nothing_is_done_to_a_cluster_with_a_strangers_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[tuple[str, ...]] = []

    def helm(_: Paths, *arguments: str) -> subprocess.CompletedProcess[str]:
        commands.append(arguments)
        return answered('{"env": "prod"}')

    monkeypatch.setattr(install, "helm", helm)
    paths = Paths(tmp_path / "cache", tmp_path / "state")
    backend = ContextBackend(paths, BackendChoice(name="context", context="prod", image_repository="example.com"))
    # an archive that isn't there: pushing it would fail with another error
    images = {"runner": Image("runner", "localhost/pipelines-runner:1", tmp_path / "no.tar")}
    with pytest.raises(LocalError, match="did not install"):
        install.install(backend, images, paths, State(paths.state), PlainReporter(Console(quiet=True)))
    assert commands == [("get", "values", "pipelines", "--output=json")]


def test_tests_leave_a_persons_cluster_alone_unless_told_to() -> None:
    choice = BackendChoice(name="context", context="prod", image_repository="example.com")
    refusal = context_refusal(choice, {})
    assert refusal is not None
    assert "(prod)" in refusal
    assert context_refusal(choice, {"PIPELINES_TEST_CONTEXT": "1"}) is None
    assert context_refusal(BackendChoice(name="embedded"), {}) is None
    assert context_refusal(None, {}) is None


class Told(Kubectl):
    """A kubectl that answers from a table."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        super().__init__(Paths(Path("/cache"), Path("/state")), "pipelines")
        self._answers = answers

    def attempt(self, *arguments: str, manifest: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        for beginning, answer in self._answers.items():
            if " ".join(arguments).startswith(beginning):
                return subprocess.CompletedProcess([], 0, answer, "")
        return subprocess.CompletedProcess([], 1, "", "the server is away")


DATABASE = json.dumps({"data": {"password": "c2VjcmV0"}})
BRIDGE = json.dumps({"data": {"pepper": "cGVwcGVy"}})


def test_exports_take_password_and_pepper_from_the_secrets() -> None:
    told = exports(Told({"get secret pipelines-database": DATABASE, "get secret pipelines-bridge": BRIDGE}), PORTS)
    assert told["PIPELINES_DATABASE_URL"] == "postgresql://pipelines:secret@127.0.0.1:1/pipelines"
    assert told["BIGQUERY_EMULATOR_HOST"] == "http://127.0.0.1:2"
    assert told["PIPELINES_BIGQUERY_STORAGE_ENDPOINT"] == "http://127.0.0.1:3"
    assert told["PIPELINES_SIMULATORS_URL"] == "http://127.0.0.1:9"
    assert told["PIPELINES_BRIDGE_URL"] == "http://127.0.0.1:7"
    assert told["PIPELINES_API_KEY_PEPPER"] == "pepper"


@pytest.mark.parametrize(
    ("there", "missing"), [({}, "database"), ({"get secret pipelines-database": DATABASE}, "bridge")]
)
def test_exports_without_a_secret_say_so(there: dict[str, str], missing: str) -> None:
    with pytest.raises(LocalError, match=rf"get secret pipelines-{missing}.*the server is away"):
        exports(Told(there), PORTS)


def _pod(name: str, ready: bool, state: dict[str, Any], restarts: int = 0) -> dict[str, Any]:
    container = {"name": "main", "ready": ready, "state": state, "restartCount": restarts}
    return {"metadata": {"name": name}, "status": {"phase": "Running", "containerStatuses": [container]}}


def test_a_diagnosis_has_states_warnings_and_the_log_of_what_is_not_ready() -> None:
    pods = [
        _pod("well", True, {"running": {"startedAt": "2026-11-01T00:00:00Z"}}),
        _pod("ill", False, {"waiting": {"reason": "CrashLoopBackOff"}}, restarts=3),
    ]
    warning = {"type": "Warning", "reason": "BackOff", "message": "Back-off restarting"}
    events = [warning | {"involvedObject": {"kind": "Pod", "name": "ill"}}, {"type": "Normal"}]
    told = diagnosis.of_pods(
        Told(
            {
                "get pods": json.dumps({"items": pods}),
                "get events": json.dumps({"items": events}),
                "logs ill --container=main --tail=15": "the database is away\n",
            }
        )
    )
    assert "ill: Running (main: waiting CrashLoopBackOff, 3 restarts)" in told
    assert "Pod/ill: BackOff: Back-off restarting" in told
    assert "log of ill, container main:\n  the database is away" in told
    assert "log of well" not in told


def test_a_diagnosis_of_a_cluster_that_is_away_says_so_and_raises_nothing() -> None:
    assert "the server is away" in diagnosis.of_pods(Told({}))
