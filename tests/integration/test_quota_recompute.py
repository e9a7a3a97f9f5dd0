"""Counters taken anew from the ledger are exact, whatever others reserve and settle at the same time."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.admission.quota import Usage
from pipeline_core.admission.subscription import OrganizationNotFoundError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.engine import create_engine, transaction
from pipeline_core.store.organizations import Organizations
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.quota.recompute import Drift, drift, recompute
from pipeline_core.store.records import RunRecords
from pipeline_core.store.subscriptions import Subscriptions
from support.runs import after, new_run

ENDS = (Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED)


@pytest.fixture(autouse=True)
async def _organizations(engine: AsyncEngine) -> None:
    for org in ("acme", "globex"):
        await Organizations(engine).create(org)
        await Subscriptions(engine).set(org, per_day=10_000, per_month=10_000, concurrent=10_000)


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine whose connections nobody else waits for."""
    made = create_engine(database_url)
    yield made
    await made.dispose()


async def execute(engine: AsyncEngine, statement: str) -> None:
    async with transaction(engine) as connection:
        await connection.execute(text(statement))


async def usage(engine: AsyncEngine, org: str = "acme") -> Usage:
    found = (await QuotaLedger(engine).standing(org)).usage
    assert found is not None
    return found


async def live_a_run(engine: AsyncEngine, number: int) -> None:
    """Reserve, and for most of them end, before or after the slot is given back."""
    dice = random.Random(number)
    run_id, ledger, records = f"run_{number}", QuotaLedger(engine), RunRecords(engine)
    await ledger.reserve(new_run(run_id, org_slug=dice.choice(("acme", "globex"))))
    if dice.random() < 0.2:
        return
    started = after(1) if dice.random() < 0.7 else None
    frees = dice.random() < 0.5
    await records.finish(run_id, phase=dice.choice(ENDS), at=after(2), started_at=started, frees=frees)
    if not frees and dice.random() < 0.7:
        await ledger.release(run_id)


async def repeat(work: Callable[[], Awaitable[None]], until: asyncio.Event) -> int:
    times = 0
    while not until.is_set():
        await work()
        times += 1
    return times


async def test_it_changes_nothing_that_is_right_while_others_reserve_and_settle(
    engine: AsyncEngine, other: AsyncEngine
) -> None:
    async def again() -> None:
        for org in ("acme", "globex"):
            done = await recompute(other, org)
            assert done.drifts == []

    async def look() -> None:
        assert await drift(other) == []

    over = asyncio.Event()
    watchers = [asyncio.create_task(repeat(work, over)) for work in (again, again, look)]
    await asyncio.gather(*(live_a_run(engine, number) for number in range(150)))
    over.set()
    assert min(await asyncio.gather(*watchers)) > 3
    assert await drift(engine) == []
    assert (await usage(engine)).concurrent > 0


async def test_counters_that_are_spoiled_meanwhile_end_as_the_ledger_has_them(
    engine: AsyncEngine, other: AsyncEngine
) -> None:
    await QuotaLedger(engine).reserve(new_run("run_first"))

    async def spoil() -> None:
        await execute(other, "UPDATE quota_usage SET month_used = month_used + 3, concurrent = concurrent + 1")
        await recompute(other, "acme")
        await recompute(other, "globex")

    over = asyncio.Event()
    spoiler = asyncio.create_task(repeat(spoil, over))
    await asyncio.gather(*(live_a_run(engine, number) for number in range(80)))
    over.set()
    assert await spoiler > 1
    assert await drift(engine) == []


async def test_each_counter_that_differs_is_named(engine: AsyncEngine) -> None:
    await live_a_run(engine, 1)
    for number in range(2, 12):
        await live_a_run(engine, number)
    right = await usage(engine)
    await execute(engine, "UPDATE quota_usage SET month_failed = month_failed + 5 WHERE org_slug = 'acme'")
    expected = [Drift("acme", "month_failed", right.month_failed + 5, right.month_failed)]
    assert await drift(engine) == expected
    assert (await recompute(engine, "acme", dry_run=True)).drifts == expected
    assert await drift(engine) == expected
    done = await recompute(engine, "acme")
    assert (done.drifts, done.before, done.after) == (
        expected, replace(right, month_failed=right.month_failed + 5), right,
    )  # fmt: skip
    assert await drift(engine) == []
    assert await usage(engine) == right


async def test_counters_of_a_month_that_is_over_are_nobodys_drift(engine: AsyncEngine) -> None:
    await live_a_run(engine, 1)
    await QuotaLedger(engine).reserve(new_run("run_held"))
    for table in ("quota_usage", "quota_reservation"):
        await execute(engine, f"UPDATE {table} SET day = day - 70, month = date_trunc('month', day - 70)")
    assert await drift(engine) == []
    await execute(engine, "DELETE FROM quota_reservation WHERE state = 'released'")  # as the retention does
    assert await drift(engine) == []
    done = await recompute(engine, "acme")
    assert (done.drifts, done.after.month_used) == ([], 0)
    assert done.after.concurrent > 0  # what is held counts, of whatever month it is
    assert done.after.day == (await QuotaLedger(engine).standing("acme")).today


async def test_the_month_goes_on_when_the_day_is_over(engine: AsyncEngine) -> None:
    await QuotaLedger(engine).reserve(new_run("run_1"))
    for table in ("quota_usage", "quota_reservation"):
        await execute(engine, f"UPDATE {table} SET day = day - 1, month = date_trunc('month', day - 1)")
    assert await drift(engine) == []
    await execute(engine, "UPDATE quota_usage SET month_used = 7")
    is_first = (await QuotaLedger(engine).standing("acme")).today.day == 1  # then it was last month's
    assert await drift(engine) == ([] if is_first else [Drift("acme", "month_used", 7, 1)])


async def test_a_day_that_is_ahead_is_not_moved_back(engine: AsyncEngine) -> None:
    await QuotaLedger(engine).reserve(new_run("run_1"))
    for table in ("quota_usage", "quota_reservation"):
        await execute(engine, f"UPDATE {table} SET day = day + 40, month = date_trunc('month', day + 40)")
    ahead = await usage(engine)
    assert (await recompute(engine, "acme")).after == ahead


async def test_counters_that_are_lost_come_back(engine: AsyncEngine) -> None:
    await QuotaLedger(engine).reserve(new_run("run_1"))
    right = await usage(engine)
    await execute(engine, "DELETE FROM quota_usage")
    assert {each.counter for each in await drift(engine)} == {"concurrent", "day_used", "month_used"}
    assert (await recompute(engine, "acme", dry_run=True)).after == right
    assert (await QuotaLedger(engine).standing("acme")).usage is None
    assert (await recompute(engine, "acme")).after == right
    assert await usage(engine) == right


@pytest.mark.parametrize("dry_run", [True, False])
async def test_an_unknown_organization_is_refused(engine: AsyncEngine, dry_run: bool) -> None:
    with pytest.raises(OrganizationNotFoundError, match="initech"):
        await recompute(engine, "initech", dry_run=dry_run)
