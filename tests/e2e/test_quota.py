"""An organization's limits hold on a real cluster, whatever is asked for at once, and waiting runs get their turn."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.store.engine import create_engine
from pipeline_core.store.organizations import Organizations
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.quota.standing import Standing
from pipeline_core.store.subscriptions import Subscriptions
from support.installation import Installation, Manifest, condition, manifest, noop
from support.pod_watch import watched_pods

T = TypeVar("T")

RUNS, LIMIT = 40, 5


def with_engine(installation: Installation, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    async def connected() -> T:
        engine = create_engine(installation.database_url)
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(connected())


def plan(installation: Installation, org: str, *, per_day: int = 100_000, concurrent: int = LIMIT) -> Standing:
    """Give the organization this plan; returns what it has used so far."""

    async def give(engine: AsyncEngine) -> Standing:
        await Organizations(engine).create(org)
        limits = {"per_day": per_day, "per_month": 1_000_000, "concurrent": concurrent}
        await Subscriptions(engine).set(org, status="ACTIVE", **limits)
        return await QuotaLedger(engine).standing(org)

    return with_engine(installation, give)


def used(installation: Installation, org: str) -> tuple[int, int]:
    """How many runs the organization has used of this month, and how many slots it holds."""
    usage = with_engine(installation, lambda engine: QuotaLedger(engine).standing(org)).usage
    return (usage.month_used, usage.concurrent) if usage else (0, 0)


@contextmanager
def applied(installation: Installation, org: str, count: int, **spec: object) -> Iterator[list[str]]:
    """That many runs, applied at once; deleted at the end."""
    names = [f"e2e-{org.replace('_', '-')}-{number:02d}" for number in range(count)]
    items = [manifest(name, **{**noop(), **spec, "org": org}) for name in names]
    kubectl = installation.kubectl
    kubectl("delete", "plr", *names, "--ignore-not-found", "--timeout=60s")
    kubectl("apply", "--filename=-", manifest={"apiVersion": "v1", "kind": "List", "items": items})
    try:
        yield names
    finally:
        kubectl("delete", "plr", *names, "--ignore-not-found", "--timeout=60s")


def all_ended(installation: Installation, names: list[str], seconds: int = 240) -> dict[str, Manifest]:
    def ended() -> dict[str, Manifest] | None:
        items = installation.kubectl.read("plr")["items"]
        runs = {run["metadata"]["name"]: run for run in items if run["metadata"]["name"] in names}
        return runs if all(run.get("status", {}).get("completedAt") for run in runs.values()) else None

    found: dict[str, Manifest] = installation.eventually(ended, seconds)
    assert found.keys() == set(names)
    return found


def test_forty_at_once_over_a_limit_of_five_wait_for_their_turn_and_all_complete(installation: Installation) -> None:
    plan(installation, "crowd")
    before, _ = used(installation, "crowd")
    with (
        watched_pods(installation, "crowd") as pods,
        applied(installation, "crowd", RUNS, quotaPolicy="Queue") as names,
    ):
        waiting = installation.eventually(lambda: _waiting(installation, names))
        runs = all_ended(installation, names)
    assert condition(waiting, "Admitted")["status"] == "False"
    assert waiting["status"]["phase"] == "Pending"
    assert "Concurrent pipeline limit (5) reached" in waiting["status"]["message"]
    assert "position " in waiting["status"]["message"]
    assert {run["status"]["phase"] for run in runs.values()} == {"Completed"}
    assert (len(pods.seen), pods.most) == (RUNS, LIMIT)  # each once, and no slot stood empty while others waited
    installation.eventually(lambda: used(installation, "crowd") == (before + RUNS, 0))


def _waiting(installation: Installation, names: list[str]) -> Manifest | None:
    for run in installation.kubectl.read("plr")["items"]:
        told = run["metadata"]["name"] in names and run.get("status")
        if told and "limit" in told["message"] and condition(run, "Admitted").get("reason") == "WaitingForQuota":
            return run  # type: ignore[no-any-return]
    return None


def test_forty_at_once_over_a_limit_of_five_are_refused_but_for_five(installation: Installation) -> None:
    plan(installation, "strict")
    before, _ = used(installation, "strict")
    long = {"parameters": {"seconds": 20}}  # longer than it takes to ask for all of them
    with watched_pods(installation, "strict") as pods, applied(installation, "strict", RUNS, **long) as names:
        runs = all_ended(installation, names)
        rows = [installation.record(run["status"]["runId"]) for run in runs.values()]
    refused = [run for run in runs.values() if run["status"]["phase"] == "Failed"]
    completed = [run for run in runs.values() if run["status"]["phase"] == "Completed"]
    assert (len(completed), len(refused)) == (LIMIT, RUNS - LIMIT)
    assert {run["status"]["message"] for run in refused} == {"Concurrent pipeline limit (5) reached"}
    assert {condition(run, "Admitted")["reason"] for run in refused} == {"ConcurrentLimitReached"}
    assert sorted(row.phase.word for row in rows if row) == ["completed"] * LIMIT + ["failed"] * (RUNS - LIMIT)
    assert (len(pods.seen), pods.most) == (LIMIT, LIMIT)
    installation.eventually(lambda: used(installation, "strict") == (before + LIMIT, 0))


def test_over_the_daily_limit_a_run_fails_at_once_even_if_it_would_queue(installation: Installation) -> None:
    standing = plan(installation, "daily")
    spent = standing.usage.on(standing.today).day_used if standing.usage else 0
    plan(installation, "daily", per_day=spent + 1)
    with applied(installation, "daily", 2, quotaPolicy="Queue") as names:
        runs = all_ended(installation, names, seconds=60)
        row = installation.row(next(run["status"]["runId"] for run in runs.values() if _failed(run)))
    (refused,) = (run for run in runs.values() if _failed(run))
    assert refused["status"]["message"] == f"Daily pipeline limit ({spent + 1}) reached"
    assert condition(refused, "Admitted")["reason"] == "DailyLimitReached"
    assert (row["status"], row["error_message"]) == ("failed", refused["status"]["message"])


def _failed(run: Manifest) -> bool:
    return bool(run["status"]["phase"] == "Failed")


@pytest.mark.full
def test_a_crowd_keeps_no_other_organization_waiting(installation: Installation) -> None:
    plan(installation, "crowd")
    plan(installation, "neighbour")
    with applied(installation, "crowd", RUNS, quotaPolicy="Queue") as crowd:
        installation.eventually(lambda: _waiting(installation, crowd))
        with applied(installation, "neighbour", 1, quotaPolicy="Queue") as names:
            (run,) = all_ended(installation, names, seconds=60).values()
            assert run["status"]["phase"] == "Completed"
            assert _waiting(installation, crowd)  # it was over before they were
        all_ended(installation, crowd)
