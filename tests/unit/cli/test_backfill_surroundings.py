"""`pipelines backfill` with names, answers, a database or a kubeconfig that can't be used: told, and no secret."""

from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.config import incluster_config, kube_config

from pipeline_cli import cluster
from pipeline_cli.main import app
from pipeline_core.kube.api import Json
from support.backfill_command import OCTOBER, RUNNER, STORED, Server, invoke


@pytest.mark.parametrize(
    "name", ["../secrets/x", "", ".", "..", "a/b", "Nightly", "a..b", "-a", "a" * 64, "a?b", "\udcff"]
)
def test_a_name_that_cannot_be_goes_into_no_address(server: Server, name: str) -> None:
    result = RUNNER.invoke(app, ["backfill", "-n", "tenants", *OCTOBER, "--yes", "--", name])
    assert (result.exit_code, server.calls) == (78, [])
    assert result.stderr.startswith(f"schedule {name!r}: expected the name of a PipelineSchedule: lower-case letters")


@pytest.mark.parametrize("namespace", ["../x", "", ".", "a.b", "A", "a" * 64])
def test_a_namespace_that_cannot_be_goes_into_no_address(server: Server, namespace: str) -> None:
    result = RUNNER.invoke(app, ["backfill", "nightly", "--namespace", namespace, *OCTOBER])
    assert (result.exit_code, server.calls) == (78, [])
    assert result.stderr == f"--namespace {namespace!r}: expected the name of a namespace, such as tenants\n"


def test_a_name_of_several_labels_is_one(server: Server) -> None:
    server.schedule(metadata={"name": "acme.nightly-1"})
    assert RUNNER.invoke(app, ["backfill", "acme.nightly-1", "-n", "tenants", *OCTOBER, "--yes"]).exit_code == 0


@pytest.mark.parametrize("option", ["--from", "--to"])
def test_bytes_that_are_no_text_are_told(server: Server, option: str) -> None:
    given = dict(zip(OCTOBER[::2], OCTOBER[1::2], strict=True)) | {option: "\udcff"}
    words = invoke(*(part for pair in given.items() for part in pair), code=78).stderr
    assert words == f"{option}: '\\udcff', expected a day (2026-10-01) or a time with its offset\n"


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_an_answer_of_somebody_else_is_told(server: Server, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    server.schedule()
    request = server.request

    async def answer(asked: str, path: str, **more: Any) -> Json:
        return {} if asked == method else await request(asked, path, **more)

    monkeypatch.setattr(server, "request", answer)
    result = invoke(*OCTOBER, "--yes", code=78)
    assert result.stderr.startswith(f"Kubernetes: {method} /apis/pipelines.dev/v1alpha1/namespaces/tenants/pipelinesch")
    assert "expected a PipelineSchedule, but the answer isn't one" in result.stderr
    assert "Begun" not in result.stdout


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:hidden@127.0.0.1:1/x?foo=bar", 'PIPELINES_DATABASE_URL: invalid connection option "foo"'),
        ("postgresql://u:hidden@127.0.0.1:99999/x", "not known: P"),
        ("mysql://u:hidden@127.0.0.1:1/x", "PIPELINES_DATABASE_URL isn't of the form postgresql://"),
        ("hidden", "PIPELINES_DATABASE_URL isn't of the form postgresql://"),
    ],
)
def test_a_database_that_cannot_be_asked_keeps_nothing_from_beginning(
    server: Server, monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    server.schedule()
    monkeypatch.setenv("PIPELINES_DATABASE_URL", url)
    out = invoke(*OCTOBER, "--yes").stdout
    (quota,) = [line for line in out.splitlines() if "quota:" in line]
    assert quota.startswith("  quota:     not known: ")
    assert words in quota
    assert "hidden" not in out
    assert server.stored == STORED


TOKEN = "hidden-token"


@pytest.mark.parametrize("namespace", [(), ("-n", "tenants")])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ": Is a directory; expected a file of YAML with clusters, users, contexts and a current-context"),
        (f"a: [{TOKEN}\nb: }}", "line 2 isn't YAML; expected a file"),
        ("", "it can't be read; expected a file"),
        (TOKEN, "it can't be read; expected a file"),
        (f"- {TOKEN}", "it can't be read; expected a file"),
        (f"users: {TOKEN}", "; expected a file"),
        ("{}", "Invalid kube-config file"),
        ("current-context: a", "Invalid kube-config file"),
        ("current-context: a\ncontexts: [{name: a, context: }]", "; expected a file"),
        ("\udcff", "it can't be read; expected a file"),
        ("missing", "; expected a file"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, words: str, namespace: tuple[str, ...]
) -> None:
    path = tmp_path / "kubeconfig"
    if text is None:
        path.mkdir()
    elif text != "missing":
        path.write_text(text, errors="surrogateescape")
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    result = RUNNER.invoke(app, ["backfill", "nightly", *namespace, *OCTOBER])
    assert result.exit_code == 78, (result.output, result.exception)
    assert result.stderr.splitlines()[-1].startswith(f"KUBECONFIG '{path}': ")
    assert words in result.stderr
    assert TOKEN not in result.stderr


@pytest.mark.parametrize("namespace", [(), ("-n", "tenants")])
def test_a_pod_without_a_token_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, namespace: tuple[str, ...]
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    monkeypatch.setattr(cluster, "_OWN_NAMESPACE", tmp_path / "namespace")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    result = RUNNER.invoke(app, ["backfill", "nightly", *namespace, *OCTOBER])
    assert result.exit_code == 78, (result.output, result.exception)
    assert result.stderr.startswith("KUBERNETES_SERVICE_HOST is set, but ")
    assert "expected a pod with the token of its service account" in result.stderr
