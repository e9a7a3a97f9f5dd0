"""`kubectl apply -f examples/run-gcp-billing.yaml` copies the days that changed, and says so everywhere it should."""

import json
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.api_core.exceptions import NotFound

from support.installation import Installation, condition, manifest

EXAMPLE = Path(__file__).parents[2] / "examples" / "run-gcp-billing.yaml"
NAME = "gcp-billing-acme"
# The specification's table pipeline_runs, word for word.
COLUMNS = {
    "run_id": "STRING",
    "org_slug": "STRING",
    "provider": "STRING",
    "domain": "STRING",
    "pipeline": "STRING",
    "status": "STRING",
    "started_at": "TIMESTAMP",
    "completed_at": "TIMESTAMP",
    "records_processed": "INTEGER",
    "error_message": "STRING",
    "parameters": "JSON",
    "created_by": "STRING",
    "created_at": "TIMESTAMP",
}


@pytest.fixture(scope="module")
def run(installation: Installation) -> dict[str, Any]:
    """The example, applied as it is, and completed."""
    assert yaml.safe_load(EXAMPLE.read_text())["metadata"]["name"] == NAME
    installation.remove(NAME)
    forget_what_was_copied(installation)
    installation.kubectl("apply", f"--filename={EXAMPLE}")
    installation.kubectl("wait", "--for=condition=Succeeded", f"plr/{NAME}", "--timeout=120s")
    return installation.get(NAME)


def forget_what_was_copied(installation: Installation) -> None:
    """So that a run that names no days copies all of the ten that it looks at."""
    manifest = f"{installation.client.project}.acme_dev._pipelines_manifest"
    with suppress(NotFound):
        installation.client.get_table(manifest)
        installation.client.query_and_wait(f"DELETE FROM `{manifest}` WHERE TRUE")


def test_status_tells_the_end(installation: Installation, run: dict[str, Any]) -> None:
    status = run["status"]
    days = installation.source_sums(installation.last_day - timedelta(days=9), installation.last_day)
    rows = sum(day.records for day in days.values())
    assert (status["phase"], status["progress"], status["attempts"]) == ("Completed", 100, 1)
    assert status["recordsProcessed"] == rows > 40_000
    assert status["startedAt"] <= status["completedAt"]
    assert status["duration"].endswith("s")
    assert condition(run, "Admitted")["status"] == "True"
    assert condition(run, "Succeeded")["status"] == "True"


def test_target_holds_the_source_to_the_last_digit(installation: Installation, run: dict[str, Any]) -> None:
    day = installation.last_day
    assert installation.target_sums("acme", day, day) == installation.source_sums(day, day)


def test_running_the_day_again_gives_the_same_rows(installation: Installation, run: dict[str, Any]) -> None:
    day = installation.last_day
    before = installation.target_sums("acme", day, day)
    with installation.run("e2e-again", parameters={"date": str(day)}) as name:
        assert installation.await_end(name)["status"]["phase"] == "Completed"
    assert installation.target_sums("acme", day, day) == before


def test_row_of_pipeline_runs_has_exactly_the_specified_columns(
    installation: Installation, run: dict[str, Any]
) -> None:
    row = installation.row(run["status"]["runId"])
    table = installation.client.get_table("organizations.pipeline_runs")
    assert {field.name: field.field_type for field in table.schema} == COLUMNS
    assert (table.time_partitioning.field, table.clustering_fields) == ("created_at", ["org_slug"])
    assert row["status"] == "completed"
    assert row["records_processed"] == run["status"]["recordsProcessed"]
    assert row["error_message"] is None
    assert row["parameters"] == {"date": str(installation.last_day)}
    assert (row["org_slug"], row["provider"], row["domain"], row["pipeline"]) == ("acme", "gcp", "cost", "billing")
    assert row["created_at"] <= row["started_at"] <= row["completed_at"]


def test_log_of_the_runner_is_json_with_the_run_id_on_each_line(
    installation: Installation, run: dict[str, Any]
) -> None:
    run_id = run["status"]["runId"]
    log = installation.kubectl("logs", f"--selector=pipelines.dev/run-id={run_id}", "--tail=-1")
    lines = [json.loads(line) for line in log.splitlines()]
    assert lines
    assert {line["run_id"] for line in lines} == {run_id}


def test_everything_made_for_the_run_carries_its_labels(installation: Installation, run: dict[str, Any]) -> None:
    run_id = run["status"]["runId"]
    made = installation.kubectl.read("jobs,pods", f"--selector=pipelines.dev/run-id={run_id}")["items"]
    assert sorted(each["kind"] for each in made) == ["Job", "Pod"]
    for each in made:
        labels = each["metadata"]["labels"]
        assert (labels["pipelines.dev/org"], labels["pipelines.dev/provider"]) == ("acme", "gcp")


def test_columns_of_kubectl_get_show_it(installation: Installation, run: dict[str, Any]) -> None:
    header, line = installation.kubectl("get", "plr", NAME).splitlines()
    shown = dict(zip(header.split(), line.split(), strict=True))
    assert shown["STATUS"] == "Completed"
    assert shown["RECORDS"] == str(run["status"]["recordsProcessed"])
    assert shown["DURATION"] == run["status"]["duration"]


def test_events_tell_its_story(installation: Installation, run: dict[str, Any]) -> None:
    def reasons() -> set[str]:
        events = installation.kubectl.read("events", f"--field-selector=involvedObject.uid={run['metadata']['uid']}")
        return {event["reason"] for event in events["items"]}

    assert installation.eventually(lambda: {"Started", "Completed"} <= reasons(), seconds=15)


def test_pod_of_the_run_is_locked_down(installation: Installation, run: dict[str, Any]) -> None:
    run_id = run["status"]["runId"]
    pod = installation.kubectl.read("pods", f"--selector=pipelines.dev/run-id={run_id}")["items"][0]["spec"]
    context = pod["containers"][0]["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_a_range_of_days_replaces_each_of_them_and_no_other(installation: Installation, run: dict[str, Any]) -> None:
    first, last = installation.last_day - timedelta(days=9), installation.last_day
    spec = {"parameters": {"start_date": str(first), "end_date": str(last)}}
    with installation.run("e2e-range", **spec) as name:
        ended = installation.await_end(name)
    assert ended["status"]["phase"] == "Completed", ended["status"]
    expected = installation.source_sums(first, last)
    assert len(expected) == 10
    assert installation.target_sums("acme", first, last) == expected
    assert ended["status"]["recordsProcessed"] == sum(day.records for day in expected.values())


def test_changing_the_spec_is_refused(installation: Installation, run: dict[str, Any]) -> None:
    changed = installation.kubectl.attempt("apply", "--filename=-", manifest=manifest(NAME, org="other"))
    assert changed.returncode != 0
    assert "spec.org: immutable" in changed.stderr
