"""`pipelines backfill`: what it says, what it writes into the schedule, and what it refuses, over an API in memory."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio.config import incluster_config, kube_config
from typer.testing import CliRunner, Result

from pipeline_cli import backfill_steps, cluster
from pipeline_cli.main import app
from pipeline_core.kube.api import Json, KubeApi, KubeError, KubeUnavailableError
from support.bridge import FakeCluster

RUNNER = CliRunner()
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OCTOBER = ("--from", "2026-10-01", "--to", "2026-10-31")
ID = "20261001-20261031"
STORED = {"id": ID, "from": "2026-10-01", "to": "2026-10-31", "concurrency": 1, "paused": False}
SPEC = {"org": "acme", "provider": "gcp", "domain": "cost", "pipeline": "billing", "cronExpression": "0 6 * * *"}


class Server(FakeCluster):
    """The API server, and who writes what."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)
        self.managers: list[str] = []

    async def request(self, method: str, path: str, *, query: Any = None, body: Json | None = None) -> Json:
        if method == "PATCH":
            self.managers.append(query["fieldManager"])
        return await super().request(method, path, query=query, body=body)

    async def close(self) -> None:
        pass

    def schedule(self, *, backfill: Json | None = None, progress: Json | None = None, **more: Any) -> Json:
        metadata = {"name": "nightly", "namespace": "tenants", **more.pop("metadata", {})}
        spec = {**SPEC, **more} | ({"backfill": backfill} if backfill else {})
        status = {"backfill": progress} if progress else {}
        return self.put("pipelineschedules", {"metadata": metadata, "spec": spec, "status": status})

    @property
    def stored(self) -> Any:
        (found,) = self.objects.values()
        return found["spec"].get("backfill")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()

    async def connect() -> Server:
        return made

    monkeypatch.setattr(KubeApi, "from_environment", connect)
    monkeypatch.setattr(backfill_steps, "now", lambda: NOW)
    monkeypatch.setattr(backfill_steps, "_LOOK_SECONDS", 0)
    monkeypatch.delenv("PIPELINES_DATABASE_URL", raising=False)
    return made


def invoke(*arguments: str, code: int = 0) -> Result:
    result = RUNNER.invoke(app, ["backfill", "nightly", "-n", "tenants", *arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_it_says_what_it_will_be_and_writes_it(server: Server) -> None:
    server.schedule()
    assert invoke(*OCTOBER, "--yes").stdout.splitlines() == [
        f"Backfill {ID} of schedule tenants/nightly: gcp/cost/billing for acme",
        "  runs:      31, of 2026-10-01 06:00 to 2026-10-31 06:00 UTC; 1 at a time",
        "  quota:     not known: it is in the database, and PIPELINES_DATABASE_URL isn't set",
        "Begun; pipelines backfill nightly --follow shows how far it is.",
    ]
    assert server.stored == STORED
    assert server.managers == ["pipelines-cli"]


def test_what_is_still_to_come_is_left_out(server: Server) -> None:
    server.schedule()
    out = invoke("--from", "2026-11-21", "--to", "2026-11-30", "--dry-run", "--concurrency", "3").stdout
    assert "  runs:      2, of 2026-11-21 06:00 to 2026-11-22 06:00 UTC; 3 at a time\n  left out:  8, which are" in out
    assert out.endswith("Nothing was changed.\n")
    assert server.writes() == []


def test_the_same_again_changes_nothing(server: Server) -> None:
    server.schedule()
    invoke(*OCTOBER, "--yes", "--concurrency", "2")
    assert "It is there already; nothing was changed." in invoke(*OCTOBER).stdout
    assert len(server.writes()) == 1
    invoke(*OCTOBER, "--yes", "--concurrency", "4")
    assert server.stored == {**STORED, "concurrency": 4}


def test_without_a_terminal_it_has_to_be_told_yes(server: Server) -> None:
    server.schedule()
    assert invoke(*OCTOBER, code=78).stderr == "expected --yes: there is no terminal to ask at\n"
    assert server.stored is None


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_at_a_terminal_it_asks(server: Server, monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    server.schedule()
    monkeypatch.setattr(backfill_steps, "_has_terminal", lambda: True)
    result = RUNNER.invoke(app, ["backfill", "nightly", "-n", "tenants", *OCTOBER], input=answer)
    assert result.exit_code == code
    assert "Begin it? [y/N]" in result.output
    assert (server.stored is not None) is (code == 0)


def test_a_change_that_another_came_between_is_made_upon_that_one(server: Server) -> None:
    schedule = server.schedule()
    others: list[Callable[[], object]] = [lambda: server.put("pipelineschedules", schedule)] * 2

    def interfere(method: str, _: str) -> None:
        if method == "PATCH" and others:
            others.pop()()

    server.before = interfere
    invoke(*OCTOBER, "--yes")
    assert server.stored == STORED
    assert len(server.writes()) == 3


def test_one_that_another_has_begun_meanwhile_is_told(server: Server) -> None:
    schedule = server.schedule()

    def interfere(method: str, _: str) -> None:
        if method == "PATCH":
            server.put("pipelineschedules", {**schedule, "spec": {**SPEC, "backfill": {**STORED, "id": "t"}}})

    server.before = interfere
    assert "Backfill t of schedule nightly is under way" in invoke(*OCTOBER, "--yes", code=78).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "expected --from and --to; or one of --pause, --resume, --stop and --follow"),
        (("--from", "2026-10-01"), "expected --to beside --from"),
        (("--to", "2026-10-01"), "expected --from beside --to"),
        (("--pause", "--resume"), "--pause and --resume exclude each other"),
        ((*OCTOBER, "--stop"), "--from and --stop exclude each other"),
        (("--stop", "--follow"), "expected none of --dry-run, --pause and --stop"),
        ((*OCTOBER, "--dry-run", "--follow"), "expected none of --dry-run, --pause and --stop"),
        (("--pause", "--dry-run"), "--dry-run is of a backfill to begin"),
        ((*OCTOBER, "--id", "Oct"), "--id 'Oct': expected at most 32 lower-case letters"),
        (("--from", "1.10.2026", "--to", "2026-10-02"), "--from: '1.10.2026', expected a day"),
        (("--from", "2026-10-02", "--to", "2026-10-01"), "--to: '2026-10-01', expected no earlier than from"),
        (("--from", "1999-10-02", "--to", "2026-10-01"), "--to: '2026-10-01', expected at most 5000 ticks"),
        (("--from", "2027-10-01", "--to", "2027-10-02"), "has a tick: its 2 ticks are still to come"),
        (
            ("--from", "2026-10-01T07:00:00Z", "--to", "2026-10-01T08:00:00Z"),
            "a range in which the schedule has a tick",
        ),
        (("--pause",), "schedule nightly has no backfill under way"),
        (("--resume",), "schedule nightly has no backfill under way"),
        (("--stop",), "schedule nightly has no backfill"),
        (("--follow",), "schedule nightly has no backfill"),
    ],
)
def test_what_cannot_be_is_refused(server: Server, arguments: tuple[str, ...], words: str) -> None:
    server.schedule()
    assert words in invoke(*arguments, code=78).stderr
    assert server.writes() == []


def test_a_schedule_that_is_not_there_is_told(server: Server) -> None:
    assert invoke(*OCTOBER, code=78).stderr == (
        "no PipelineSchedule nightly in namespace tenants; another one is named with --namespace\n"
    )


def test_a_schedule_that_cannot_be_used_is_told(server: Server) -> None:
    server.schedule(cronExpression="61 * * * *")
    assert "the schedule itself can't be used: expected five fields" in invoke(*OCTOBER, code=78).stderr


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KubeUnavailableError("GET /x: refused"), 75, "Kubernetes can't be reached: GET /x: refused\n"),
        (KubeError(403, "Forbidden", "you may not"), 78, "Kubernetes: you may not\n"),
    ],
)
def test_kubernetes_in_a_sentence(server: Server, error: Exception, code: int, words: str) -> None:
    def fault(_method: str, _path: str) -> None:
        raise error

    server.before = fault
    assert invoke(*OCTOBER, code=code).stderr == words


def test_pause_resume_and_stop(server: Server) -> None:
    server.schedule(backfill=dict(STORED), progress={"id": ID, "state": "Running", "total": 31})
    assert invoke("--pause").stdout.startswith("Paused")
    assert server.stored == {**STORED, "paused": True}
    assert invoke("--resume").stdout == "It goes on.\n"
    assert server.stored == STORED
    assert invoke("--stop").stdout.startswith("Stopped")
    assert server.stored is None
    assert server.managers == ["pipelines-cli"] * 3


@pytest.mark.parametrize(
    ("arguments", "yaml_of_git"),
    [
        ((*OCTOBER, "--yes"), {"spec": {"backfill": {k: v for k, v in STORED.items() if k != "paused"}}}),
        (("--pause",), {"spec": {"backfill": {"paused": True}}}),
        (("--resume",), {"spec": {"backfill": {"paused": False}}}),
        (("--stop",), None),
    ],
)
def test_what_is_kept_in_git_is_changed_there(server: Server, arguments: tuple[str, ...], yaml_of_git: Any) -> None:
    tracking = {"argocd.argoproj.io/tracking-id": "acme-etl:pipelines.dev/PipelineSchedule:tenants/nightly"}
    backfill = None if "--from" in arguments else dict(STORED)
    server.schedule(metadata={"annotations": tracking}, backfill=backfill)
    words = invoke(*arguments, code=78).stderr
    assert words.startswith("schedule nightly is managed by Argo CD, application acme-etl (annotation argocd.")
    if yaml_of_git is None:
        assert "Take spec.backfill out of what is in Git; or use --force." in words
    else:
        assert yaml.safe_load(words.partition("use --force:")[2]) == yaml_of_git
    assert server.writes() == []
    invoke(*arguments, "--force")
    assert len(server.writes()) == 1


def test_a_dry_run_of_what_is_kept_in_git_says_what_it_would_be(server: Server) -> None:
    server.schedule(metadata={"labels": {"kustomize.toolkit.fluxcd.io/name": "tenants"}})
    assert "runs:      31" in invoke(*OCTOBER, "--dry-run").stdout


ENDS = [
    ({"state": "Completed", "succeeded": 31}, 0, "Completed: 31 of 31 runs have ended"),
    ({"state": "Completed", "succeeded": 30, "failed": 1}, 1, "31 of 31 runs have ended, 1 of them not as completed"),
    (
        {"state": "Invalid", "message": "spec.backfill.to: no"},
        78,
        "Invalid: 0 of 31 runs have ended; spec.backfill.to: no",
    ),
]


@pytest.mark.parametrize(("end", "code", "words"), ENDS)
def test_it_is_followed_to_its_end(
    server: Server, monkeypatch: pytest.MonkeyPatch, end: Json, code: int, words: str
) -> None:
    server.schedule()
    steps = iter(
        [
            {},
            {"id": ID, "state": "Running", "total": 31, "active": 1},
            {"id": ID, "state": "Running", "total": 31, "active": 1},
            {
                "id": ID,
                "state": "Waiting",
                "total": 31,
                "succeeded": 20,
                "message": "Daily pipeline limit (20) reached",
            },
            {"id": ID, "total": 31, **end},
        ]
    )

    async def look(_seconds: float) -> None:
        (key,) = server.objects
        server.put("pipelineschedules", {**server.objects[key], "status": {"backfill": next(steps)}})

    monkeypatch.setattr(asyncio, "sleep", look)
    out = invoke(*OCTOBER, "--yes", "--follow", code=code).stdout.splitlines()
    assert out[-4:-1] == [
        f"{ID}: Pending: the operator hasn't begun it yet",
        f"{ID}: Running: 0 of 31 runs have ended; 1 under way",
        f"{ID}: Waiting: 20 of 31 runs have ended; Daily pipeline limit (20) reached",
    ]
    assert words in out[-1]


def test_one_that_is_stopped_meanwhile_ends_following(server: Server) -> None:
    server.schedule(progress={"id": ID, "state": "Stopped", "total": 31, "succeeded": 3})
    assert "Stopped: 3 of 31 runs have ended" in invoke("--follow", code=1).stdout


def test_an_interrupt_ends_following_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.schedule(backfill=dict(STORED))

    async def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio, "sleep", interrupt)
    assert invoke("--follow", code=130).stderr == "the backfill goes on; --follow alone shows it again\n"
    assert server.writes() == []


def test_while_kubernetes_is_away_it_goes_on_following(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.schedule(backfill=dict(STORED))
    looks = 0

    async def look(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            server.schedule(
                backfill=dict(STORED), progress={"id": ID, "state": "Completed", "total": 31, "succeeded": 31}
            )
            server.before = lambda _method, _path: None
        else:
            server.before = away

    def away(method: str, path: str) -> None:
        raise KubeUnavailableError(f"{method} {path}: no answer")

    monkeypatch.setattr(asyncio, "sleep", look)
    result = invoke("--follow")
    assert "Kubernetes can't be reached; trying again" in result.stderr
    assert "Completed: 31 of 31" in result.stdout


TIMES = "schedule nightly was changed by others meanwhile: its times, which were 0 6 * * * Etc/UTC; nothing was written"
GIT = {"annotations": {"argocd.argoproj.io/tracking-id": "etl:pipelines.dev/PipelineSchedule:tenants/nightly"}}


def before_the_patch(server: Server, change: Callable[[Json], Json | None]) -> None:
    """Somebody else's change of the schedule after it was read; None: it is deleted and made anew as it was."""
    (key,) = server.objects
    found = server.objects[key]

    def interfere(method: str, _: str) -> None:
        if method != "PATCH":
            return
        server.before = lambda _method, _path: None
        body = {**found, "metadata": dict(found["metadata"])}
        changed = change(body)
        if changed is None:
            del body["metadata"]["uid"]
        server.put("pipelineschedules", changed or body)

    server.before = interfere


def with_spec(**more: Any) -> Callable[[Json], Json]:
    return lambda body: {**body, "spec": {**body["spec"], **more}}


def with_git(body: Json) -> Json:
    return {**body, "metadata": {**body["metadata"], **GIT}}


DONE = {"id": "t", "state": "Completed", "total": 1}
MEANWHILE: list[tuple[Callable[[Json], Json | None], int, str]] = [
    (lambda _: None, 75, "was changed by others meanwhile: it was deleted and made anew; nothing was written"),
    (with_git, 78, "is managed by Argo CD, application etl"),
]


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        *MEANWHILE,
        (with_spec(cronExpression="* * * * *"), 75, TIMES),
        (with_spec(timeZone="Europe/Madrid"), 75, TIMES),
        (with_spec(backfill={**STORED, "id": "t"}), 78, "Backfill t of schedule nightly is under way"),
        (lambda body: {**body, "status": {"backfill": DONE}}, 75, "its backfill is t; nothing was written, try again"),
    ],
)
def test_what_is_not_as_it_was_said_is_not_begun(
    server: Server, change: Callable[[Json], Json | None], code: int, words: str
) -> None:
    server.schedule()
    before_the_patch(server, change)
    result = invoke(*OCTOBER, "--yes", code=code)
    assert words in result.stderr
    assert "Begun" not in result.stdout
    assert (server.stored or {}).get("id") != ID


def test_one_that_another_has_begun_as_it_was_meant_is_not_said_to_be_begun(server: Server) -> None:
    server.schedule()
    before_the_patch(server, with_spec(backfill=dict(STORED)))
    out = invoke(*OCTOBER, "--yes").stdout
    assert "Begun" not in out
    assert out.endswith("It is there already; nothing was changed.\n")


@pytest.mark.parametrize("option", ["--pause", "--resume", "--stop"])
@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        *MEANWHILE,
        (with_spec(backfill=None), 78, "schedule nightly has no backfill"),
        (with_spec(backfill={**STORED, "id": "t"}), 75, f"its backfill is t, no longer {ID}"),
    ],
)
def test_no_other_backfill_is_changed_than_the_one_that_was_there(
    server: Server, option: str, change: Callable[[Json], Json | None], code: int, words: str
) -> None:
    server.schedule(backfill=dict(STORED))
    before_the_patch(server, change)
    result = invoke(option, code=code)
    assert words in result.stderr
    assert result.stdout == ""
    assert server.stored in (None, STORED, {**STORED, "id": "t"})


def test_a_corrected_one_is_followed_from_its_begin(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    of_another = {"id": ID, "state": "Invalid", "covers": "2026-10-01/2026-09-30 0 6 * * * Etc/UTC"}
    server.schedule(backfill=dict(STORED), progress=of_another)

    async def look(_seconds: float) -> None:
        of_it = {"id": ID, "state": "Completed", "total": 31, "succeeded": 31}
        server.schedule(backfill=dict(STORED), progress={**of_it, "covers": "2026-10-01/2026-10-31 0 6 * * * Etc/UTC"})

    monkeypatch.setattr(asyncio, "sleep", look)
    out = invoke("--follow").stdout.splitlines()
    assert out == [f"{ID}: Pending: the operator hasn't begun it yet", f"{ID}: Completed: 31 of 31 runs have ended"]


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
