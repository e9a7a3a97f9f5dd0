"""Cancelling is prompt and true: in every phase, by spec.cancel and by deletion, Job and pods go before the run counts.

Each test prints how long it took (`pytest -s`).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta

import pytest

from pipeline_core.lifecycle.phases import Phase
from pipeline_local.quickstart.results import Sums
from support.endings import ended, tell
from support.installation import Installation, noop
from support.obstacles import runner_template
from support.organizations import empty_organization

Cancel = Callable[[Installation, str], None]
# An organization into whose dataset nothing was ever copied.
ORG = "undecided"
# From the start of the container to the processor's work, on a busy machine.
STARTS_WITHIN = timedelta(seconds=5)
# Seconds; a runner that heeds its signal is gone sooner.
HARD_TO_STOP = 8.0


def by_spec(installation: Installation, name: str) -> None:
    installation.patch("plr", name, {"spec": {"cancel": True}})


def by_deletion(installation: Installation, name: str) -> None:
    installation.kubectl("delete", "plr", name, "--wait=false")


EITHER_WAY = pytest.mark.parametrize("cancel", [by_spec, by_deletion])


def await_cancelled(installation: Installation, name: str, run_id: str, cancel: Cancel, begun: float) -> float:
    """Wait until the run counts as cancelled; nothing of it may be alive from that moment on. Returns the seconds."""
    installation.eventually(lambda: recorded(installation, run_id) is Phase.CANCELLED, seconds=90)
    took = time.monotonic() - begun
    alive = installation.alive(run_id)
    tell(f"{name}: {cancel.__name__}, cancelled within {took:.1f} s")
    assert alive == []
    installation.eventually(lambda: installation.leftovers(run_id) == [])
    if cancel is by_spec:
        ended(installation, name, "Cancelled", "Cancelled by spec.cancel", phase="Cancelled")
        return took
    record = installation.record(run_id)
    assert record is not None
    assert (record.reason, record.error_message) == ("Cancelled", "Cancelled: the PipelineRun was deleted")
    return took


def cancel_and_await(installation: Installation, name: str, run_id: str, cancel: Cancel) -> float:
    """Cancel, and wait until it counts; returns the seconds."""
    begun = time.monotonic()
    cancel(installation, name)
    return await_cancelled(installation, name, run_id, cancel, begun)


def await_hanging(installation: Installation, name: str) -> str:
    """Wait until the runner that is told to hang does, and its signal handler is there; the run's id."""
    status = installation.await_phase(name, "Running")["status"]
    started_at = datetime.fromisoformat(status["startedAt"])
    installation.eventually(lambda: datetime.now(UTC) > started_at + STARTS_WITHIN)
    run_id: str = status["runId"]
    return run_id


def recorded(installation: Installation, run_id: str) -> Phase | None:
    """The phase in the run's record; None where there is no record."""
    record = installation.record(run_id)
    return record.phase if record else None


def is_stopping(installation: Installation, run_id: str) -> bool:
    """Whether every pod of the run has been told to stop."""
    pods = installation.kubectl.read("pods", f"--selector=pipelines.dev/run-id={run_id}")["items"]
    return all("deletionTimestamp" in pod["metadata"] for pod in pods)


@pytest.fixture
def undecided(installation: Installation) -> Iterator[str]:
    with empty_organization(installation, ORG):
        yield ORG


@pytest.mark.parametrize("cancel", [by_spec, pytest.param(by_deletion, marks=pytest.mark.full)])
def test_a_running_one_that_is_slow_to_stop(installation: Installation, cancel: Cancel) -> None:
    """The runner's event loop is blocked, so its pod takes ten seconds to end; no sooner is the run cancelled."""
    with installation.run("e2e-cancel-slow", **noop(fail="hang")) as name:
        run_id = await_hanging(installation, name)
        assert cancel_and_await(installation, name, run_id, cancel) > HARD_TO_STOP


@pytest.mark.full
@EITHER_WAY
def test_a_running_one(installation: Installation, cancel: Cancel) -> None:
    with installation.run("e2e-cancel-running", **noop(seconds=60)) as name:
        run_id = installation.await_phase(name, "Running")["status"]["runId"]
        cancel_and_await(installation, name, run_id, cancel)


@pytest.mark.parametrize("cancel", [pytest.param(by_spec, marks=pytest.mark.full), by_deletion])
def test_a_processing_one(installation: Installation, cancel: Cancel) -> None:
    with installation.run("e2e-cancel-processing", **noop(seconds=12)) as name:
        run_id = installation.await_phase(name, "Processing")["status"]["runId"]
        cancel_and_await(installation, name, run_id, cancel)


@pytest.mark.full
@EITHER_WAY
def test_a_validating_one(installation: Installation, cancel: Cancel) -> None:
    """Its pod fits on no node."""
    nowhere = {"pipelines.dev/nowhere": "true"}
    with (
        runner_template(installation, nodeSelector=nowhere),
        installation.run("e2e-cancel-validating", **noop()) as name,
    ):
        run_id = installation.await_phase(name, "Validating")["status"]["runId"]
        installation.eventually(lambda: installation.live_pods(run_id))
        cancel_and_await(installation, name, run_id, cancel)


@pytest.mark.full
@EITHER_WAY
def test_one_between_two_attempts(installation: Installation, cancel: Cancel) -> None:
    """Kubernetes waits ten seconds before it tries again."""
    with installation.run("e2e-cancel-backoff", **noop(fail="transient"), maxRetries=2) as name:
        run_id = installation.await_phase(name, "Running")["status"]["runId"]
        installation.eventually(lambda: installation.live_pods(run_id) == [])
        cancel_and_await(installation, name, run_id, cancel)


@pytest.mark.full
def test_a_pending_one_by_spec(installation: Installation) -> None:
    """PostgreSQL is away. Nothing starts unrecorded, so nothing has to stop; the end is told once it is recorded."""
    with ExitStack() as runs:
        with installation.postgresql_stopped():
            name = runs.enter_context(installation.run("e2e-cancel-pending", **noop()))
            run_id = installation.await_phase(name, "Pending")["status"]["runId"]
            begun = time.monotonic()
            by_spec(installation, name)
        await_cancelled(installation, name, run_id, by_spec, begun)


@pytest.mark.full
def test_a_pending_one_by_deletion(installation: Installation) -> None:
    """PostgreSQL is away: nothing of the run stays, but for a record if the attempt at one arrived after all."""
    with installation.postgresql_stopped():
        with installation.run("e2e-cancel-pending", **noop()) as name:
            run_id = installation.await_phase(name, "Pending")["status"]["runId"]
        assert installation.leftovers(run_id) == []
    with installation.run("e2e-cancel-after", **noop()) as after:
        ended(installation, after, "Completed", phase="Completed")  # PostgreSQL answers again
    installation.eventually(lambda: recorded(installation, run_id) in {None, Phase.CANCELLED})
    assert installation.leftovers(run_id) == []


@pytest.mark.full
@EITHER_WAY
def test_a_copy_that_is_staging(installation: Installation, undecided: str, cancel: Cancel) -> None:
    """Nothing of it gets into the target, and its staging tables go."""
    with installation.run("e2e-cancel-staging", org=undecided, parameters=ten_days(installation)) as name:
        installation.eventually(lambda: staging_tables(installation))
        run_id = installation.get(name)["status"]["runId"]
        with installation.bigquery_stopped():
            begun = time.monotonic()
            cancel(installation, name)
            installation.eventually(lambda: is_stopping(installation, run_id))
        await_cancelled(installation, name, run_id, cancel, begun)
    assert staging_tables(installation) == []
    assert copied(installation) == {}


@pytest.mark.full
@EITHER_WAY
def test_a_copy_that_may_have_published(installation: Installation, undecided: str, cancel: Cancel) -> None:
    """All of it is in the target and the run is completed, or nothing and it is cancelled."""
    with installation.run("e2e-cancel-load", org=undecided, parameters=ten_days(installation)) as name:
        run_id = installation.await_phase(name, "Processing")["status"]["runId"]
        with installation.bigquery_stopped():
            cancel(installation, name)
            installation.eventually(lambda: is_stopping(installation, run_id))
        phase = installation.eventually(lambda: _if_final(recorded(installation, run_id)), seconds=90)
        tell(f"{name}: {cancel.__name__}, {phase}")
        assert installation.alive(run_id) == []
    assert staging_tables(installation) == []
    first, last = installation.last_day - timedelta(days=9), installation.last_day
    whole = {Phase.COMPLETED: installation.source_sums(first, last), Phase.CANCELLED: {}}
    assert copied(installation) == whole[phase]


def ten_days(installation: Installation) -> dict[str, str]:
    """All that is in the source, so that a copy takes a while."""
    return {"start_date": str(installation.last_day - timedelta(days=9)), "end_date": str(installation.last_day)}


def staging_tables(installation: Installation) -> list[str]:
    """The staging tables of the copies that are going on in ORG's dataset."""
    tables = [table.table_id for table in installation.client.list_tables(f"{ORG}_dev")]
    return [each for each in tables if each.startswith(("_staging_", "_raw_"))]


def copied(installation: Installation) -> dict[date, Sums]:
    """What the target has, by day."""
    tables = {table.table_id for table in installation.client.list_tables(f"{ORG}_dev")}
    first, last = installation.last_day - timedelta(days=9), installation.last_day
    return installation.target_sums(ORG, first, last) if "gcp_billing_costs" in tables else {}


def _if_final(phase: Phase | None) -> Phase | None:
    return phase if phase is not None and phase.is_final else None


@pytest.mark.full
def test_cancelling_twice_and_then_deleting_is_one_cancellation(installation: Installation) -> None:
    with installation.run("e2e-cancel-twice", **noop(fail="hang")) as name:
        run_id = await_hanging(installation, name)
        begun = time.monotonic()
        by_spec(installation, name)
        installation.eventually(lambda: is_stopping(installation, run_id))
        by_spec(installation, name)
        by_deletion(installation, name)
        await_cancelled(installation, name, run_id, by_deletion, begun)


@pytest.mark.full
def test_cancelling_what_has_ended_changes_nothing(installation: Installation) -> None:
    with installation.run("e2e-cancel-late", **noop(rows=3)) as name:
        status = ended(installation, name, "Completed", phase="Completed")
        record = installation.record(status["runId"])
        for cancel in (by_spec, by_deletion):
            cancel(installation, name)
            with installation.run("e2e-cancel-later", **noop()) as later:
                ended(installation, later, "Completed", phase="Completed")  # the operator has seen it by now
            assert installation.record(status["runId"]) == record
            if cancel is by_spec:
                assert installation.get(name)["status"] == status
