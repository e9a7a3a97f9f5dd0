"""A slot that was reserved for an object nobody makes is given back, exactly if nobody has come to it meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.engine import create_engine
from pipeline_core.store.errors import RunNotRecordedError
from pipeline_core.store.quota.ledger import HeldSlot, QuotaLedger
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import NewRun
from support.quota import counted, organization, run_of
from support.runs import after

WORDS = "nobody has made it"


def unmade(run_id: str = "run_1") -> NewRun:
    """As the bridge reserves it."""
    return replace(run_of("acme", run_id), object_uid=None, job_name=None)


def seen(run_id: str = "run_1") -> NewRun:
    """As the operator comes to it."""
    return run_of("acme", run_id)


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Another process."""
    made = create_engine(database_url)
    yield made
    await made.dispose()


@pytest.fixture
async def ledger(engine: AsyncEngine) -> QuotaLedger:
    await organization(engine, "acme")
    return QuotaLedger(engine)


async def held(ledger: QuotaLedger) -> HeldSlot:
    (slot,) = await ledger.held()
    return slot


async def test_it_ends_and_gives_everything_back(engine: AsyncEngine, ledger: QuotaLedger) -> None:
    await ledger.reserve(unmade())
    assert await ledger.end_unmade(await held(ledger), at=after(60), message=WORDS)
    stored = await RunRecords(engine).get("run_1")
    assert stored is not None
    assert (stored.phase, stored.reason, stored.error_message, stored.message) == (
        Phase.FAILED,
        "Rejected",
        WORDS,
        WORDS,
    )
    assert stored.completed_at == after(60)
    usage = (await counted(engine))["acme"]
    assert (usage.concurrent, usage.day_used, usage.month_used) == (0, 0, 0)


async def test_asking_again_is_no_harm(ledger: QuotaLedger) -> None:
    await ledger.reserve(unmade())
    slot = await held(ledger)
    assert await ledger.end_unmade(slot, at=after(60), message=WORDS)
    assert not await ledger.end_unmade(slot, at=after(61), message=WORDS)


async def test_not_once_its_object_was_seen(engine: AsyncEngine, ledger: QuotaLedger) -> None:
    await ledger.reserve(unmade())
    slot = await held(ledger)
    stored = await ledger.reserve(seen())
    assert (stored.was_there, stored.was_bound, stored.took_slot) == (True, False, False)
    assert not await ledger.end_unmade(slot, at=after(60), message=WORDS)
    assert (await counted(engine))["acme"].concurrent == 1
    assert (await ledger.reserve(seen())).was_bound


async def test_not_once_somebody_has_asked_for_it_again(engine: AsyncEngine, ledger: QuotaLedger) -> None:
    await ledger.reserve(unmade())
    slot = await held(ledger)
    assert not (await ledger.reserve(unmade())).took_slot
    assert not await ledger.end_unmade(slot, at=after(60), message=WORDS)
    again = await held(ledger)
    assert again.reserved_at > slot.reserved_at
    assert await ledger.end_unmade(again, at=after(60), message=WORDS)


async def test_whoever_has_reserved_it_can_end_it_until_somebody_renews_it(ledger: QuotaLedger) -> None:
    first = await ledger.reserve(unmade())
    assert first.reserved_at == (await held(ledger)).reserved_at
    second = await ledger.reserve(unmade())
    assert second.reserved_at == (await held(ledger)).reserved_at
    assert not await ledger.end_unmade(first, at=after(60), message=WORDS)
    assert await ledger.end_unmade(second, at=after(60), message=WORDS)
    over = await ledger.reserve(unmade())
    assert over.reserved_at is None
    assert not await ledger.end_unmade(over, at=after(60), message=WORDS)


async def test_of_many_that_reserve_together_each_can_end_its_own(ledger: QuotaLedger) -> None:
    runs = await asyncio.gather(*(ledger.reserve(unmade(f"run_{number}")) for number in (3, 1, 2)))
    assert {run.run_id: run.reserved_at for run in runs} == {
        slot.run_id: slot.reserved_at for slot in await ledger.held()
    }


async def test_the_slot_of_a_run_that_was_seen_isnt_made_younger(ledger: QuotaLedger) -> None:
    await ledger.reserve(seen())
    slot = await held(ledger)
    await ledger.reserve(seen())
    assert (await held(ledger)).reserved_at == slot.reserved_at


async def test_a_run_that_was_never_recorded_is_said_so(ledger: QuotaLedger) -> None:
    await ledger.reserve(unmade())
    with pytest.raises(RunNotRecordedError):
        await ledger.end_unmade(replace(await held(ledger), run_id="run_2"), at=after(60), message=WORDS)


@pytest.mark.parametrize("comes", [seen, unmade], ids=["the operator", "a request"])
async def test_of_two_at_once_one_wins(
    ledger: QuotaLedger, engine: AsyncEngine, other: AsyncEngine, comes: object
) -> None:
    for number in range(40):
        run_id = f"run_{number}"
        await ledger.reserve(unmade(run_id))
        slot = await held(ledger)
        stored, ended = await asyncio.gather(
            QuotaLedger(other).reserve(comes(run_id)),  # type: ignore[operator]
            ledger.end_unmade(slot, at=after(60), message=WORDS),
        )
        assert stored.phase.is_final is ended
        assert (await counted(engine))["acme"].concurrent == (0 if ended else 1)
        if not ended:
            await RunRecords(engine).finish(run_id, phase=Phase.CANCELLED, at=after(60), frees=True)
