"""Processes that use one quota ledger: what they ask of it at once, and what goes wrong on the way."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import text

from pipeline_core.errors import PipelinesError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.engine import create_engine, transaction
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.quota.reserve import reserve_one
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import StoredRun
from support.cut_connections import When, cut_connections
from support.quota import organization, plan, run_of, set_clock
from support.quota_model import Model, org_of
from support.runs import after

PROCESSES = 3


class LedgerProcesses:
    """The ledger of three processes and of one behind a proxy that cuts, and a model of what it should be."""

    url: str

    def open(self) -> None:
        """Connect all of them, to an empty database."""
        self.loop = asyncio.new_event_loop()
        self.engines = [create_engine(self.url, pool_size=5) for _ in range(PROCESSES)]
        self.ledgers = [QuotaLedger(engine) for engine in self.engines]
        self.records = [RunRecords(engine) for engine in self.engines]
        self.model = Model()
        self.proxying = cut_connections(self.url)
        self.proxy, through = self.run(self.proxying.__aenter__())
        self.cut_off = create_engine(through, pool_size=1)
        self.run(self._clear())

    def close(self) -> None:
        """Disconnect them."""

        async def end() -> None:
            await asyncio.gather(*(engine.dispose() for engine in (*self.engines, self.cut_off)))
            await self.proxying.__aexit__(None, None, None)

        self.run(end())
        self.loop.close()

    def run(self, work: object) -> object:
        """What something to await comes to."""
        return self.loop.run_until_complete(work)  # type: ignore[arg-type]

    async def _reserve_all(
        self, asked: Sequence[tuple[str, int, bool]]
    ) -> list[tuple[str, StoredRun | PipelinesError]]:
        async def one(run_id: str, process: int, is_alone: bool) -> tuple[str, StoredRun | PipelinesError]:
            record = run_of(org_of(run_id), run_id)
            try:
                if is_alone:
                    return run_id, await reserve_one(self.engines[process], record)
                return run_id, await self.ledgers[process].reserve(record)
            except StoreUnavailableError:
                raise
            except PipelinesError as error:
                return run_id, error

        return await asyncio.gather(*(one(*each) for each in asked))

    async def _finish(self, process: int, run_id: str, phase: Phase, is_started: bool, frees: bool) -> StoredRun:
        started_at = after(1) if is_started else None
        return await self.records[process].finish(run_id, phase=phase, at=after(2), started_at=started_at, frees=frees)

    def _cut_off(self, at: int, when: When, call: object) -> None:
        async def tried() -> None:
            async with transaction(self.cut_off) as connection:
                await connection.execute(text("SELECT 1"))
            self.proxy.arm(at, when)
            try:
                await call  # type: ignore[misc]
            except StoreUnavailableError:
                assert self.proxy.has_cut
            except PipelinesError:
                pass  # it was answered before it came that far
            self.proxy.arm()

        self.run(tried())

    async def _end_session_of(self, run_id: str) -> None:
        org = org_of(run_id)
        async with transaction(self.engines[0]) as holder, transaction(self.engines[1]) as other:
            await holder.execute(text("SELECT FROM quota_usage WHERE org_slug = :org FOR UPDATE"), {"org": org})
            call = asyncio.create_task(reserve_one(self.engines[2], run_of(org, run_id)))
            blocked = text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock' AND state = 'active'"
            )
            while not (await other.execute(blocked)).all():
                assert not call.done()
                await other.execute(text("SELECT pg_stat_clear_snapshot()"))
            with pytest.raises(StoreUnavailableError):
                await call

    def _write_plan(self, org: str) -> None:
        kept = self.model.plans[org]
        limits = {"per_day": kept.limits.per_day, "per_month": kept.limits.per_month}

        async def write() -> None:
            await organization(self.engines[0], org, zone=kept.zone)
            await plan(self.engines[0], org, concurrent=kept.limits.concurrent, status=kept.status, **limits)

        self.run(write())

    async def _rows(self) -> tuple[object, object]:
        async with transaction(self.engines[0]) as connection:
            slots = await connection.execute(text("SELECT run_id, day, month, state, outcome FROM quota_reservation"))
            records = await connection.execute(text("SELECT run_id, status, completed_at FROM run_record"))
            return (
                {row.run_id: tuple(row)[1:] for row in slots},
                {row.run_id: Phase(row.status.capitalize()) if row.completed_at else None for row in records},
            )

    async def _clear(self) -> None:
        async with transaction(self.engines[0]) as connection:
            await connection.execute(
                text("TRUNCATE run_record, quota_usage, quota_reservation, organizations, org_subscriptions, increase")
            )
        await set_clock(self.engines[0], self.model.now)
