"""A run that is cut short, by its source, its time, its owner or the loss of its operator, ends as it should."""

import asyncio
from collections.abc import Iterator

import pytest

from pipeline_core.lifecycle.phases import Phase
from pipeline_local.quickstart import source
from support.installation import Installation
from support.organizations import integrate

# An organization whose export isn't where its integration says.
LOST = "lost"


@pytest.fixture
def lost(installation: Installation) -> Iterator[str]:
    settings = {**source.SETTINGS, "billing_table": "gone"}
    asyncio.run(integrate(installation.database_url, LOST, settings))
    installation.client.create_dataset(f"{LOST}_dev", exists_ok=True)
    yield LOST
    installation.client.delete_dataset(f"{LOST}_dev", delete_contents=True, not_found_ok=True)


def test_a_missing_source_table_fails_at_once_in_the_processors_words(installation: Installation, lost: str) -> None:
    with installation.run("e2e-source", org=lost) as name:
        run = installation.await_end(name)
        status = run["status"]
        assert status["phase"] == "Failed"
        assert status["message"].startswith("ExternalBQExtractor: ")
        assert f"{source.PROJECT}.{source.DATASET}.gone" in status["message"]
        assert status["attempts"] == 1  # what a person has to mend isn't tried again
        row = installation.row(status["runId"])
    assert (row["status"], row["error_message"]) == ("failed", status["message"])


def test_a_run_over_its_time_fails_with_exactly_the_specified_words(installation: Installation) -> None:
    with installation.bigquery_stopped(), installation.run("e2e-timeout", timeoutSeconds=6) as name:
        status = installation.await_end(name)["status"]
        assert (status["phase"], status["message"]) == ("Failed", "Pipeline execution timed out after 6s")
        installation.eventually(lambda: installation.live_pods(status["runId"]) == [])


def test_cancelling_ends_the_pod_and_then_the_run(installation: Installation) -> None:
    day = installation.last_day
    before = installation.target_sums("acme", day, day)
    with installation.run("e2e-cancel") as name:
        with installation.bigquery_stopped():
            installation.await_phase(name, "Running")
            installation.kubectl("patch", "plr", name, "--type=merge", '--patch={"spec":{"cancel":true}}')
            status = installation.await_phase(name, "Cancelled")["status"]
            assert installation.live_pods(status["runId"]) == []
            installation.eventually(lambda: installation.leftovers(status["runId"]) == [])
        assert installation.row(status["runId"])["status"] == "cancelled"
    assert installation.target_sums("acme", day, day) == before


def test_deleting_a_live_run_leaves_neither_job_nor_pod_and_a_cancelled_record(installation: Installation) -> None:
    with installation.run("e2e-delete") as name:
        with installation.bigquery_stopped():
            run_id = installation.await_phase(name, "Running")["status"]["runId"]
            installation.kubectl("delete", "plr", name, "--wait=false")
            installation.eventually(lambda: installation.leftovers(run_id) == [])
        # Once its target can be asked whether it had published: its runner was stopped, and can't tell.
        installation.eventually(lambda: _phase(installation, run_id) is Phase.CANCELLED)
        assert installation.row(run_id)["status"] == "cancelled"


def test_the_object_goes_after_its_time_to_live_and_its_record_stays(installation: Installation) -> None:
    with installation.run("e2e-ttl", provider="nowhere", ttlSecondsAfterFinished=2) as name:
        gone = installation.kubectl.attempt("wait", "--for=delete", f"plr/{name}", "--timeout=60s")
        assert gone.returncode == 0, gone.stderr
    rows = installation.client.query_and_wait(
        "SELECT COUNT(*) AS found FROM organizations.pipeline_runs WHERE provider = 'nowhere' AND status = 'failed'"
    )
    assert next(iter(rows))["found"] > 0


def test_an_operator_killed_in_the_middle_of_a_run_takes_it_up_again(installation: Installation) -> None:
    with installation.run("e2e-takeover") as name:
        with installation.bigquery_stopped():
            before = installation.await_phase(name, "Running")["status"]
            killed = ("--selector=app.kubernetes.io/component=operator", "--grace-period=0", "--force")
            installation.kubectl("delete", "pods", *killed)
            rollout = ("status", "deployment/pipelines-operator", "--timeout=120s")
            installation.kubectl("rollout", *rollout)
        after = installation.await_phase(name, "Completed")["status"]
        jobs = [each for each in installation.leftovers(after["runId"]) if each.startswith("job")]
    assert (after["runId"], after["startedAt"], after["attempts"]) == (before["runId"], before["startedAt"], 1)
    assert len(jobs) == 1


def _phase(installation: Installation, run_id: str) -> Phase | None:
    record = installation.record(run_id)
    return record.phase if record else None
