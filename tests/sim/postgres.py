"""PostgreSQL: the records' own rules in memory, each call a transaction that may fail before or after its commit."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline_core.admission.admit import Facts
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.quota.ledger import HeldSlot
from pipeline_core.store.quota.standing import Standing
from pipeline_core.store.runs import NewRun, StoredRun
from sim.processes import Process
from support.fake_ledger import FakeFacts, FakeLedger
from support.operator_world import FakeRecords

if TYPE_CHECKING:
    from sim.world import World


class Records:
    """See `pipeline_core.store.records.RunRecords`."""

    def __init__(self, world: "World", process: Process, records: FakeRecords) -> None:
        self._records = records
        self._call = _Connection(world, process).call

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        """Every method is one transaction; all but `begin` name a run first."""

        async def call(*arguments: Any, **named: Any) -> Any:
            run_id = arguments[0].run_id if method == "begin" else arguments[0]
            return await self._call(method, run_id, partial(getattr(self._records, method), *arguments, **named), named)

        return call

    async def unfinished(self, *, after: str | None = None, limit: int = 500) -> list[StoredRun]:
        # A page of two, so that there are pages.
        return await self._call("unfinished", "", partial(self._records.unfinished, after=after, limit=min(limit, 2)))

    async def undecided(self, *, limit: int = 100) -> list[StoredRun]:
        return await self._call("undecided", "", partial(self._records.undecided, limit=limit))


class Ledger:
    """See `pipeline_core.store.quota.ledger.QuotaLedger`."""

    def __init__(self, world: "World", process: Process, ledger: FakeLedger) -> None:
        self._ledger = ledger
        self._call = _Connection(world, process).call

    async def reserve(self, record: NewRun) -> StoredRun:
        return await self._call("reserve", record.run_id, partial(self._ledger.reserve, record))

    async def release(self, run_id: str, *, object_uid: str | None = None) -> bool:
        return await self._call("release", run_id, partial(self._ledger.release, run_id, object_uid=object_uid))

    async def end_unmade(self, slot: HeldSlot, *, at: datetime, message: str) -> bool:
        work = partial(self._ledger.end_unmade, slot, at=at, message=message)
        return await self._call("end_unmade", slot.run_id, work)

    async def holds(self, run_id: str) -> bool:
        return await self._call("holds", run_id, partial(self._ledger.holds, run_id))

    async def held(self, *, org_slug: str | None = None, after: str = "", limit: int = 500) -> list[HeldSlot]:
        # A page of two, so that there are pages.
        return await self._call(
            "held", "", partial(self._ledger.held, org_slug=org_slug, after=after, limit=min(limit, 2))
        )

    async def room(self, orgs: Collection[str]) -> Mapping[str, int]:
        return await self._call("room", "", partial(self._ledger.room, orgs))

    async def standing(self, org_slug: str) -> Standing:
        return await self._call("standing", "", partial(self._ledger.standing, org_slug))

    async def drift(self) -> list[Any]:
        return await self._call("drift", "", self._ledger.drift)


class AdmissionFacts:
    """See `pipeline_core.store.facts.AdmissionFacts`."""

    def __init__(self, world: "World", process: Process) -> None:
        self._facts = FakeFacts(world.ledger.plans)
        self._call = _Connection(world, process).call

    async def get(self, org_slug: str, provider: str) -> Facts:
        return await self._call("facts", "", partial(self._facts.get, org_slug, provider))


class _Connection:
    def __init__(self, world: "World", process: Process) -> None:
        self._world = world
        self._process = process

    async def call(self, what: str, run_id: str, work: Callable[[], Coroutine[Any, Any, Any]], said: Any = None) -> Any:
        world, process = self._world, self._process
        dies = process.call()
        if not process.alive:
            await world.loop.create_future()  # killed before the call was made
        answer: asyncio.Future[Any] = world.loop.create_future()
        fault = world.chaos.of_store_call()
        there = world.latency() + (world.random.choice((1.0, 10.0)) if fault == "slow" else 0.0)

        def commit() -> None:
            try:
                result, error = (None, _away()) if fault == "before" else (_result_of(work), None)
            except Exception as refused:
                result, error = None, refused
            phase = f" {said['phase'].value} {said.get('message')!r}" if said and "phase" in said else ""
            told = f"{error}" if error else "ok"
            if run_id:
                uid = world.truth.uid_of_record(run_id)
                world.note(process.name, uid, f"store {what}{phase}: {told}{f' ({fault})' if fault else ''}")
                world.oracle.recorded(process.name, run_id)
            if dies:
                process.kill()
            failed = _away() if fault == "after" else error
            world.later(world.latency(), _answer, answer, result, failed)

        world.later(there, commit)
        return await answer


def _away() -> StoreUnavailableError:
    return StoreUnavailableError("connection refused")


def _result_of(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """What a coroutine returns that never waits."""
    try:
        work().send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the records in memory wait for nothing")


def _answer(answer: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)
