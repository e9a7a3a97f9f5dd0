"""`pipelines backfill`: what it says, what it writes into the schedule, and what it refuses, over an API in memory."""

from typing import Any

import pytest
import yaml

from pipeline_cli import backfill_steps
from pipeline_cli.main import app
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from support.backfill_command import ID, OCTOBER, RUNNER, STORED, Server, invoke


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
