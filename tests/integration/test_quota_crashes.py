"""Connections cut before and after every statement: the same call again answers, and nothing is counted twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.admission.quota import ConcurrentLimitReachedError, Usage
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.engine import create_engine, transaction
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.many_records import Change
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.quota.reserve import reserve_one
from pipeline_core.store.records import RunRecords
from support.cut_connections import CutConnections, When, cut_connections
from support.quota import counted, organization, run_of
from support.runs import after
from support.waiting import eventually

ORG = "acme"
Call = Callable[[AsyncEngine, str], Awaitable[object]]


async def reserve(engine: AsyncEngine, run_id: str) -> object:
    return (await QuotaLedger(engine).reserve(run_of(ORG, run_id))).run_id


async def reserve_alone(engine: AsyncEngine, run_id: str) -> object:
    return (await reserve_one(engine, run_of(ORG, run_id))).run_id


async def reserve_too_many(engine: AsyncEngine, run_id: str) -> object:
    try:
        return await reserve(engine, run_id)
    except ConcurrentLimitReachedError as error:
        return str(error)


async def release(engine: AsyncEngine, run_id: str) -> object:
    await QuotaLedger(engine).release(run_id)
    return None  # whether this call did it is lost with the answer


async def advance(engine: AsyncEngine, run_id: str) -> object:
    return await RunRecords(engine).advance(run_id, phase=Phase.RUNNING, at=after(1)) in (True, False)


async def complete(engine: AsyncEngine, run_id: str) -> object:
    return (await RunRecords(engine).finish(run_id, phase=Phase.COMPLETED, at=after(2), frees=True)).phase


async def complete_holding(engine: AsyncEngine, run_id: str) -> object:
    return (await RunRecords(engine).finish(run_id, phase=Phase.COMPLETED, at=after(2))).phase


async def fail_alone(engine: AsyncEngine, run_id: str) -> object:
    records = RunRecords(engine)

    async def nobody(_: Change) -> None:
        """As where another transaction holds the row: the group leaves it out."""

    records._changed = nobody  # type: ignore[assignment]
    started = after(1)
    return (await records.finish(run_id, phase=Phase.FAILED, at=after(2), started_at=started, frees=True)).phase


async def refund(engine: AsyncEngine, run_id: str) -> object:
    return (await RunRecords(engine).finish(run_id, phase=Phase.CANCELLED, at=after(2), frees=True)).phase


async def leave_undecided(engine: AsyncEngine, run_id: str) -> object:
    records, uid = RunRecords(engine), f"uid-of-{run_id}"
    return (
        await records.leave_undecided(run_id, at=after(2), message="gone", object_uid=uid, frees=True)
    ).undecided_since


@dataclass(frozen=True)
class Case:
    """A call, whether its run has a slot before it, the limit, and what is used when it has been answered."""

    call: Call
    has_slot: bool
    used: dict[str, int]
    limit: int = 3


_ONE = {"day_used": 1, "month_used": 1}
CASES = {
    "reserve": Case(reserve, False, {**_ONE, "concurrent": 1}),
    "reserve alone": Case(reserve_alone, False, {**_ONE, "concurrent": 1}),
    "ask again": Case(reserve, True, {**_ONE, "concurrent": 1}),
    "reserve too many": Case(reserve_too_many, False, {}, limit=0),
    "release": Case(release, True, _ONE),
    "advance": Case(advance, True, {**_ONE, "concurrent": 1}),
    "complete": Case(complete, True, {**_ONE, "day_succeeded": 1, "month_succeeded": 1}),
    "complete, its pod lives": Case(
        complete_holding, True, {**_ONE, "day_succeeded": 1, "month_succeeded": 1, "concurrent": 1}
    ),
    "fail, alone": Case(fail_alone, True, {**_ONE, "day_failed": 1, "month_failed": 1}),
    "cancel before the start": Case(refund, True, {}),
    "leave undecided": Case(leave_undecided, True, _ONE),
}


@dataclass(frozen=True)
class Scene:
    proxy: CutConnections
    through: AsyncEngine
    engine: AsyncEngine

    async def begin(self, case: Case) -> None:
        """Nothing but the run, with its slot where the case says so."""
        async with transaction(self.engine) as connection:
            await connection.execute(text("TRUNCATE run_record, quota_usage, quota_reservation"))
        await organization(self.engine, ORG, concurrent=case.limit)
        if case.has_slot:
            await reserve(self.engine, "run_1")
        else:  # counting has begun, so that it's the same statements each time
            await reserve_too_many(self.engine, "run_0")
            if case.limit:
                await refund(self.engine, "run_0")
        async with transaction(self.through) as connection:  # the connection is there when the counting begins
            await connection.execute(text("SELECT 1"))

    async def cut(self, case: Case, at: int, when: When) -> None:
        await self.begin(case)
        self.proxy.arm(at, when)
        with pytest.raises(StoreUnavailableError):
            await case.call(self.through, "run_1")
        assert self.proxy.has_cut
        await counted(self.engine)
        self.proxy.arm()


@pytest.fixture
async def scene(database_url: str, engine: AsyncEngine) -> AsyncIterator[Scene]:
    async with cut_connections(database_url) as (proxy, url):
        through = create_engine(url, pool_size=1)
        yield Scene(proxy, through, engine)
        await through.dispose()


@pytest.mark.parametrize("name", CASES)
async def test_wherever_a_call_is_cut_off_the_same_call_again_answers_and_counts_once(scene: Scene, name: str) -> None:
    case = CASES[name]
    await scene.begin(case)
    scene.proxy.arm()
    answer = await case.call(scene.through, "run_1")
    statements = list(scene.proxy.statements)
    assert statements[0].startswith("BEGIN")
    assert statements[-1] in ("COMMIT", "ROLLBACK")
    usage = (await counted(scene.engine))[ORG]
    expected = Usage(day=usage.day, month=usage.month, **case.used)
    assert usage == expected
    for at, statement in enumerate(statements):
        for when in ("before", "after"):
            if statement == "ROLLBACK":
                continue  # nothing is lost with it; SQLAlchemy ends the connection by itself
            await scene.cut(case, at, when)  # type: ignore[arg-type]
            assert await case.call(scene.through, "run_1") == answer, (at, when, statement)
            assert (await counted(scene.engine))[ORG] == expected, (at, when, statement)


async def test_a_session_that_is_ended_while_it_waits_for_the_counters_has_taken_nothing(
    database_url: str, engine: AsyncEngine
) -> None:
    await organization(engine, ORG, concurrent=2)
    await reserve(engine, "run_1")
    waiting = create_engine(database_url, pool_size=1)
    async with transaction(engine) as holder:
        await holder.execute(text("SELECT 1 FROM quota_usage FOR UPDATE"))
        asked = asyncio.create_task(reserve(waiting, "run_2"))
        with psycopg.connect(database_url, autocommit=True) as other:

            async def blocked() -> int:
                row = other.execute(
                    "SELECT max(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ).fetchone()
                return (row and row[0]) or 0

            pid = await eventually(blocked)
            other.execute("SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises(StoreUnavailableError):
            await asked
    assert (await counted(engine))[ORG].concurrent == 1
    assert await RunRecords(engine).get("run_2") is None
    assert await reserve(waiting, "run_2") == "run_2"
    assert (await counted(engine))[ORG].concurrent == 2
    await waiting.dispose()
