"""The reconciler over an API server in memory: one run's life and its ends."""

from datetime import timedelta

import pytest

from pipeline_core.admission.subscription import Limits
from pipeline_core.admission.tenancy import TenancyMode, secret_problem
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.outcome import Outcome
from pipeline_core.store.errors import StoreUnavailableError
from support.fake_kubernetes import fails_job, no_faults
from support.fake_ledger import FakePlans
from support.operator_world import World

GOOD = Outcome(status="succeeded", records_processed=42)


@pytest.fixture
def world() -> World:
    return World()


def conditions(world: World, name: str = "billing") -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in world.status(name)["conditions"]}


def cancel(world: World, name: str = "billing") -> None:
    world.run(name)["spec"]["cancel"] = True
    world.kubernetes.put("pipelineruns", world.run(name))


async def test_a_run_goes_from_its_manifest_to_completed(world: World) -> None:
    uid = world.apply()
    await world.reconcile(uid)
    assert world.status()["phase"] == "Validating"
    assert conditions(world) == {"Admitted": ("True", "Admitted"), "Succeeded": ("Unknown", "Starting")}
    world.pass_time(2)
    world.start_pods()
    await world.reconcile(uid)
    assert world.status()["phase"] == "Running"
    world.pass_time(42)
    world.end_pods(GOOD)
    await world.reconcile(uid)
    status = world.status()
    assert (status["phase"], status["recordsProcessed"], status["duration"]) == ("Completed", 42, "42s")
    assert (status["progress"], status["attempts"]) == (100, 1)
    assert conditions(world) == {"Admitted": ("True", "Admitted"), "Succeeded": ("True", "Completed")}
    record = world.record(uid)
    assert (record.phase, record.records_processed, record.error_message) == (Phase.COMPLETED, 42, None)
    assert record.parameters == {"date": "2026-11-21"}


async def test_a_run_costs_one_job_and_at_most_three_status_writes(world: World) -> None:
    uid = world.apply()
    await world.reconcile(uid)
    world.start_pods()
    for _ in range(3):
        await world.reconcile(uid)
    world.end_pods(GOOD)
    for _ in range(3):
        await world.reconcile(uid)
    writes = [method for method, _ in world.kubernetes.writes()]
    assert writes.count("POST") == 1
    assert writes.count("PATCH") == 3


async def test_a_refused_run_fails_with_the_words_of_the_specification_and_has_a_record(world: World) -> None:
    uid = world.apply(provider="azure")
    await world.reconcile(uid)
    assert (world.status()["phase"], world.status()["message"]) == ("Failed", "Unknown provider: azure")
    assert conditions(world) == {"Admitted": ("False", "UnknownProvider"), "Succeeded": ("False", "Rejected")}
    record = world.record(uid)
    assert (record.phase, record.error_message, record.started_at) == (Phase.FAILED, "Unknown provider: azure", None)
    assert not any(path.endswith("/jobs") for _, path in world.kubernetes.calls)


@pytest.mark.parametrize(
    ("plans", "reason", "message"),
    [
        (FakePlans(limits={}), "OrganizationNotFound", "Organization not found: acme"),
        (FakePlans(status={"acme": None}), "SubscriptionInactive", "Organization acme has no subscription"),
        (
            FakePlans(status={"acme": "SUSPENDED"}),
            "SubscriptionInactive",
            "Pipeline execution not allowed for SUSPENDED organizations",
        ),
        (FakePlans(integrated=set()), "IntegrationNotActive", "gcp integration not active"),
        (
            FakePlans(secrets={"acme": "globex-gcp"}),
            "IntegrationNotActive",
            f"gcp integration not active: {secret_problem('globex-gcp', 'acme', 'gcp', TenancyMode.SHARED)}",
        ),
        (FakePlans(limits={"acme": Limits(0, 9, 9)}), "DailyLimitReached", "Daily pipeline limit (0) reached"),
        (FakePlans(limits={"acme": Limits(9, 0, 9)}), "MonthlyLimitReached", "Monthly pipeline limit (0) reached"),
        (
            FakePlans(limits={"acme": Limits(9, 9, 0)}),
            "ConcurrentLimitReached",
            "Concurrent pipeline limit (0) reached",
        ),
        (
            FakePlans(limits={"acme": Limits(None, 9, 9)}),
            "DailyLimitReached",
            "Daily pipeline limit (not set) reached",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
async def test_who_may_not_run_is_told_why_and_uses_nothing(
    world: World, plans: FakePlans, reason: str, message: str
) -> None:
    vars(world.plans).update(vars(plans))
    uid = world.apply()
    await world.reconcile(uid)
    assert (world.status()["phase"], world.status()["message"]) == ("Failed", message)
    assert conditions(world) == {"Admitted": ("False", reason), "Succeeded": ("False", "Rejected")}
    assert world.record(uid).error_message == message
    assert world.ledger.rows == {}


async def test_cancelling_ends_only_when_job_and_pods_are_gone(world: World) -> None:
    uid = await world.running()
    cancel(world)
    await world.reconcile(uid)
    assert not [key for key in world.kubernetes.objects if key[0] == "jobs"]
    await world.reconcile(uid)
    assert world.status()["phase"] == "Running"
    world.collect_garbage()
    await world.reconcile(uid)
    assert world.status()["phase"] == "Cancelled"
    assert world.record(uid).phase is Phase.CANCELLED


async def test_a_run_cancelled_before_it_started_never_gets_a_job(world: World) -> None:
    uid = world.apply(cancel=True)
    await world.reconcile(uid)
    assert world.status()["phase"] == "Cancelled"
    assert conditions(world) == {"Admitted": ("False", "Cancelled"), "Succeeded": ("False", "Cancelled")}
    assert not any(path.endswith("/jobs") for method, path in world.kubernetes.calls if method == "POST")


async def test_a_run_cancelled_while_it_waits_for_a_slot_waits_no_more(world: World) -> None:
    world.allow(1)
    await world.reconcile(world.apply("first"))
    uid = world.apply("second", quotaPolicy="Queue")
    await world.reconcile(uid)
    assert conditions(world, "second")["Admitted"] == ("False", "WaitingForQuota")
    cancel(world, "second")
    await world.reconcile(uid)
    assert conditions(world, "second") == {"Admitted": ("False", "Cancelled"), "Succeeded": ("False", "Cancelled")}
    assert [c["message"] for c in world.status("second")["conditions"]] == ["Cancelled by spec.cancel"] * 2


async def test_a_cancelled_run_that_was_admitted_stays_admitted_though_its_record_is_lost(world: World) -> None:
    uid = await world.running()
    cancel(world)
    await world.reconcile(uid)
    world.records.rows.clear()  # an older backup was restored
    world.collect_garbage()
    await world.reconcile(uid)
    assert conditions(world) == {"Admitted": ("True", "Admitted"), "Succeeded": ("False", "Cancelled")}


async def test_a_cancelled_run_whose_container_had_started_unsaid_has_used_up_its_unit(world: World) -> None:
    world.unsaid = timedelta(seconds=10)
    uid = world.apply()
    await world.reconcile(uid)
    world.pass_time(2)
    began = world.now()
    world.start_pods()
    cancel(world)
    await world.reconcile(uid)
    world.pass_time(3)
    world.collect_garbage()
    await world.reconcile(uid)
    record = world.record(uid)
    assert (record.phase, record.started_at) == (Phase.CANCELLED, began)
    assert world.ledger.usage("acme").day_used == 1


async def test_a_refusal_that_its_record_alone_knows_of_is_told_in_full(world: World) -> None:
    world.allow(1)
    await world.reconcile(world.apply("first"))
    uid = world.apply("second")

    def away(method: str, _path: str) -> None:
        if method == "PATCH":
            raise KubeUnavailableError("connection refused")

    world.kubernetes.before = away
    with pytest.raises(KubeUnavailableError):
        await world.reconcile(uid)
    world.kubernetes.before = no_faults
    world.allow(2)  # by which it would be admitted now
    world.start_operator()
    await world.reconcile(uid)
    assert conditions(world, "second") == {
        "Admitted": ("False", "ConcurrentLimitReached"),
        "Succeeded": ("False", "Rejected"),
    }
    words = "Concurrent pipeline limit (1) reached"
    assert [c["message"] for c in world.status("second")["conditions"]] == [words] * 2


async def test_a_deleted_run_is_recorded_as_cancelled_once_nothing_of_it_runs(world: World) -> None:
    uid = await world.running()
    world.kubernetes.remove("pipelineruns", "default", "billing")
    assert await world.reconcile(uid) == 1.0
    assert world.record(uid).phase is Phase.RUNNING
    world.end_pods(Outcome(status="failed", error="Extractor: throttled"), exit_code=75, reason="Error")
    world.watch()
    world.collect_garbage()
    await world.reconcile(uid)
    assert world.record(uid).phase is Phase.CANCELLED


async def test_a_failed_job_fails_the_run_with_the_runners_words(world: World) -> None:
    uid = world.apply()
    await world.reconcile(uid)
    world.start_pods()
    world.end_pods(Outcome(status="failed", error="ExternalBQExtractor: table not found"), exit_code=78, reason="Error")
    world.fail_jobs("PodFailurePolicy")
    await world.reconcile(uid)
    assert world.status()["message"] == "ExternalBQExtractor: table not found"
    assert world.record(uid).error_message == "ExternalBQExtractor: table not found"


async def test_a_foreign_job_of_the_same_name_is_neither_used_nor_deleted(world: World) -> None:
    uid = world.apply(runId="run_given")
    world.kubernetes.put("jobs", {"metadata": {"name": "run-given"}, "spec": {}})
    await world.reconcile(uid)
    assert world.status()["phase"] == "Failed"
    assert "isn't this run's" in world.status()["message"]
    assert ("jobs", "default", "run-given") in world.kubernetes.objects


async def test_two_objects_cannot_share_a_run_id(world: World) -> None:
    first = world.apply("first", runId="run_given")
    await world.reconcile(first)
    second = world.apply("second", runId="run_given")
    await world.reconcile(second)
    assert world.status("second")["message"] == "run id run_given belongs to another run"
    assert world.status("first")["phase"] == "Validating"
    assert world.record(first).phase is not Phase.FAILED


async def test_a_finished_run_is_deleted_when_its_time_to_live_is_over(world: World) -> None:
    uid = world.apply(ttlSecondsAfterFinished=60)
    await world.reconcile(uid)
    world.start_pods()
    world.end_pods(GOOD)
    await world.reconcile(uid)
    assert await world.reconcile(uid) == pytest.approx(60)
    world.pass_time(60)
    await world.reconcile(uid)
    assert ("pipelineruns", "default", "billing") not in world.kubernetes.objects


async def test_without_postgresql_a_run_waits_says_so_and_nothing_is_started_unrecorded(world: World) -> None:
    uid = world.apply()

    def away(_method: str) -> None:
        raise StoreUnavailableError("connection refused")

    world.records.fault = away
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await world.reconcile(uid)
    assert (world.status()["phase"], world.status()["message"]) == (
        "Pending",
        "Waiting for PostgreSQL, which can't be reached",
    )
    assert conditions(world)["Admitted"] == ("Unknown", "QuotaUnavailable")
    assert [method for method, _ in world.kubernetes.writes()] == ["PATCH"]
    world.records.fault = lambda method: None
    await world.reconcile(uid)
    assert world.status()["phase"] == "Validating"
    assert conditions(world)["Admitted"] == ("True", "Admitted")


async def test_a_job_that_the_namespace_has_no_room_for_is_waited_for_and_said(world: World) -> None:
    uid = world.apply()
    world.kubernetes.before = fails_job(KubeError(403, "Forbidden", "exceeded quota: pods"))
    with pytest.raises(KubeError):
        await world.reconcile(uid)
    assert world.status()["message"] == "The run's Job can't be created: exceeded quota: pods"
    world.kubernetes.before = lambda method, path: None
    await world.reconcile(uid)
    assert world.status()["message"] == "Waiting for the runner to start"


async def test_a_job_that_the_api_server_never_takes_fails_the_run(world: World) -> None:
    uid = world.apply()
    world.kubernetes.before = fails_job(KubeError(422, "Invalid", "spec.template: too long"))
    await world.reconcile(uid)
    assert world.status()["phase"] == "Failed"
    assert "too long" in world.record(uid).error_message
