"""Two hundred connections ask one organization's ledger at the same moment: exactly the limit gets in, every time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.admission.quota import (
    ConcurrentLimitReachedError,
    DailyLimitReachedError,
    MonthlyLimitReachedError,
    QuotaExceededError,
)
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.engine import create_engine, transaction
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.quota.recompute import recompute
from pipeline_core.store.quota.reserve import reserve_one
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import NewRun, StoredRun
from support.quota import PLENTY, counted, give_witness, organization, over_limit, plan, run_of
from support.runs import after

CONNECTIONS = 200
ORG = "acme"
# Each call gets one of these for itself: as many processes as there are connections.
Ask = Callable[[AsyncEngine, NewRun], Awaitable[StoredRun]]


async def through_a_ledger(engine: AsyncEngine, record: NewRun) -> StoredRun:
    return await QuotaLedger(engine).reserve(record)


async def connect_all(engine: AsyncEngine) -> None:
    """Have every connection there before the race begins."""
    together = asyncio.Barrier(CONNECTIONS)

    async def connect() -> None:
        async with transaction(engine) as connection:
            await connection.execute(text("SELECT 1"))
            await together.wait()

    await asyncio.gather(*(connect() for _ in range(CONNECTIONS)))


@pytest.fixture
async def crowd(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine with all connections made, in a database that notes each increase."""
    give_witness(database_url)
    engine = create_engine(database_url, pool_size=CONNECTIONS)
    await connect_all(engine)
    yield engine
    await engine.dispose()


async def clear(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await connection.execute(text("TRUNCATE run_record, quota_usage, quota_reservation, increase"))


async def begin_counting(engine: AsyncEngine) -> None:
    """Make the row of counters, which an organization's first run makes otherwise."""
    await plan(engine, ORG, concurrent=0)
    with pytest.raises(ConcurrentLimitReachedError):
        await reserve_one(engine, run_of(ORG, "run_first"))


async def race(engine: AsyncEngine, ask: Ask) -> list[StoredRun | QuotaExceededError]:
    """What each of them was told."""

    async def one(number: int) -> StoredRun | QuotaExceededError:
        try:
            return await ask(engine, run_of(ORG, f"run_{number}"))
        except QuotaExceededError as error:
            return error

    return await asyncio.gather(*(one(number) for number in range(CONNECTIONS)))


async def held_and_recorded(engine: AsyncEngine) -> tuple[set[str], set[str]]:
    async with transaction(engine) as connection:
        held = await connection.execute(text("SELECT run_id FROM quota_reservation WHERE state = 'held'"))
        recorded = await connection.execute(text("SELECT run_id FROM run_record"))
        return set(held.scalars()), set(recorded.scalars())


async def race_for(engine: AsyncEngine, ask: Ask, limit: int, repetitions: int) -> None:
    await organization(engine, ORG)
    for repetition in range(repetitions):
        await clear(engine)
        if repetition % 2:
            await begin_counting(engine)
        await plan(engine, ORG, concurrent=limit)
        told = await race(engine, ask)
        admitted = {each.run_id for each in told if isinstance(each, StoredRun)}
        refusals = {(type(each), str(each)) for each in told if not isinstance(each, StoredRun)}
        assert len(admitted) == limit
        assert refusals == {(ConcurrentLimitReachedError, f"Concurrent pipeline limit ({limit}) reached")}
        assert await held_and_recorded(engine) == (admitted, admitted)
        usage = (await counted(engine))[ORG]
        assert (usage.concurrent, usage.day_used, usage.month_used) == (limit, limit, limit)
        assert await over_limit(engine) == 0


@pytest.mark.parametrize("limit", [1, 7, 50])
@pytest.mark.parametrize("ask", [reserve_one, through_a_ledger])
async def test_exactly_the_limit_gets_in(crowd: AsyncEngine, ask: Ask, limit: int) -> None:
    await race_for(crowd, ask, limit, repetitions=2)


@pytest.mark.full
@pytest.mark.parametrize("limit", [1, 7, 50])
@pytest.mark.parametrize("ask", [reserve_one, through_a_ledger])
async def test_exactly_the_limit_gets_in_twenty_times(crowd: AsyncEngine, ask: Ask, limit: int) -> None:
    await race_for(crowd, ask, limit, repetitions=20)


async def test_a_few_processes_that_ask_in_groups_share_the_limit_too(crowd: AsyncEngine) -> None:
    ledgers = [QuotaLedger(crowd) for _ in range(4)]

    async def grouped(_: AsyncEngine, record: NewRun) -> StoredRun:
        return await ledgers[int(record.run_id.removeprefix("run_")) % len(ledgers)].reserve(record)

    await race_for(crowd, grouped, 50, repetitions=2)


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"per_day": 7}, DailyLimitReachedError),
        ({"per_month": 7}, MonthlyLimitReachedError),
        ({"per_day": 7, "per_month": 7, "concurrent": 7}, DailyLimitReachedError),
    ],
)
async def test_the_other_limits_hold_as_well(
    crowd: AsyncEngine, limits: dict[str, int], error: type[QuotaExceededError]
) -> None:
    await organization(crowd, ORG, **limits)
    told = await race(crowd, reserve_one)
    assert len([each for each in told if isinstance(each, StoredRun)]) == 7
    assert {type(each) for each in told if not isinstance(each, StoredRun)} == {error}
    assert (await counted(crowd))[ORG].day_used == 7


async def test_one_run_that_everybody_asks_for_has_one_slot(crowd: AsyncEngine) -> None:
    await organization(crowd, ORG, concurrent=1)
    same = run_of(ORG, "run_1")
    told = await asyncio.gather(
        *(reserve_one(crowd, same) if number % 2 else QuotaLedger(crowd).reserve(same) for number in range(CONNECTIONS))
    )
    assert {each.run_id for each in told} == {"run_1"}
    assert (await counted(crowd))[ORG].day_used == 1


async def live(ledger: QuotaLedger, records: RunRecords, org: str, run_id: str, number: int) -> int:
    """A whole life of a run; 1 if it got a slot."""
    try:
        await ledger.reserve(run_of(org, run_id))
    except ConcurrentLimitReachedError:
        return 0
    if number % 3 == 0:
        started = after(1) if number % 2 else None
        await records.finish(run_id, phase=Phase.FAILED, at=after(2), started_at=started, frees=True)
    else:
        at = after(2)
        await asyncio.gather(records.finish(run_id, phase=Phase.COMPLETED, at=at), ledger.release(run_id))
    return 1


def shuffled(items: Sequence[str], number: int) -> list[str]:
    """The items in another order for each number."""
    return sorted(items, key=lambda item: hash((number * 2654435761) ^ sum(map(ord, item)) * 40503) % 1009)


async def test_lives_of_many_organizations_in_every_order_end_without_a_circle_of_waits(crowd: AsyncEngine) -> None:
    """Groups that reserve, settle and release for the same organizations in different orders, and recomputing ones.

    A circle would end as StoreUnavailableError (PostgreSQL breaks it after a second), which nothing here takes.
    """
    orgs = [f"org_{number}" for number in range(8)]
    for org in orgs:
        await organization(crowd, org, concurrent=5)
    parts = [(QuotaLedger(crowd), RunRecords(crowd)) for _ in range(6)]

    async def process(number: int) -> int:
        ledger, records = parts[number]
        lives = (
            live(ledger, records, org, f"run_{number}_{turn}_{org}", turn)
            for turn in range(12)
            for org in shuffled(orgs, number + turn)
        )
        return sum(await asyncio.gather(*lives))

    async def recomputing() -> None:
        for _ in range(5):
            for org in reversed(orgs):
                assert (await recompute(crowd, org)).drifts == []

    *lived, _ = await asyncio.gather(*(process(number) for number in range(len(parts))), recomputing())
    usage = await counted(crowd)
    assert {each.concurrent for each in usage.values()} == {0}
    assert sum(lived) >= len(orgs) * 5
    assert await over_limit(crowd) == 0
    ended = sum(each.day_succeeded + each.day_failed for each in usage.values())
    assert ended == sum(each.day_used for each in usage.values()) > 0


async def test_a_limit_that_is_lowered_lets_nobody_in_until_enough_are_free(crowd: AsyncEngine) -> None:
    assert PLENTY > CONNECTIONS
    await organization(crowd, ORG, concurrent=50)
    await race(crowd, reserve_one)
    await plan(crowd, ORG, concurrent=7)
    ledger = QuotaLedger(crowd)
    held = sorted(slot.run_id for slot in await ledger.held(org_slug=ORG))
    assert sum(await asyncio.gather(*(ledger.release(run_id) for run_id in held[:43]))) == 43
    with pytest.raises(ConcurrentLimitReachedError, match="7"):
        await ledger.reserve(run_of(ORG, "run_one_more"))
    assert await ledger.release(held[43])
    await ledger.reserve(run_of(ORG, "run_one_more"))
    assert await over_limit(crowd) == 0
