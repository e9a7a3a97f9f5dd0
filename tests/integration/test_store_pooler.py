"""Nothing outlives a transaction, so that a transaction pooler may give each one another server connection."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.admission.quota import ConcurrentLimitReachedError
from pipeline_core.api_keys import Scope
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.api_keys import ApiKeys
from pipeline_core.store.engine import create_engine, transaction
from pipeline_core.store.idempotency import IdempotencyKeys
from pipeline_core.store.integrations import Integrations
from pipeline_core.store.outbox import Outbox
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.records import RunRecords
from support.quota import organization, run_of
from support.runs import after, new_run


async def use_everything(engine: AsyncEngine) -> None:
    records, integrations, outbox = RunRecords(engine), Integrations(engine), Outbox(engine)
    ledger, keys, idempotency = QuotaLedger(engine), ApiKeys(engine), IdempotencyKeys(engine)
    await organization(engine, "acme", concurrent=1)
    for i in range(10):  # psycopg prepares a statement when it sees it for the fifth time
        run_id = f"run_{i}"
        await records.begin(new_run(run_id))
        await records.advance(run_id, phase=Phase.RUNNING, at=after(1))
        await records.finish(run_id, phase=Phase.COMPLETED, at=after(2))
        await records.get(run_id)
        await records.status(run_id, "acme")
        await records.history("acme")
        await records.unfinished()
        await ledger.reserve(run_of("acme", f"run_with_a_slot_{i}"))
        with pytest.raises(ConcurrentLimitReachedError):
            await ledger.reserve(run_of("acme", "run_one_more"))
        assert await ledger.held(org_slug="acme")
        assert await ledger.release(f"run_with_a_slot_{i}")
        assert await ledger.room(["acme"]) == {"acme": 1}
        await ledger.standing("acme")
        await ledger.drift()
        await integrations.set("acme", "gcp", {})
        await idempotency.bind("acme", "key", b"request", f"run_{i}")
        key_id = f"{i:016}"
        await keys.create("acme", name="ci", scopes=[Scope.RUN], digest=bytes(32), key_id=key_id)
        await keys.get(key_id)
        await keys.used([key_id])
        async with outbox.turn() as turn:
            assert turn is not None
            assert await turn.due(1, interval=after(1) - after(0))
        await outbox.lag_seconds()
        await outbox.prune(after(0))


async def test_a_used_connection_is_as_it_was_when_new(database_url: str) -> None:
    engine = create_engine(database_url, pool_size=1, max_overflow=0)
    await use_everything(engine)
    async with transaction(engine) as connection:
        assert (await connection.execute(text("SELECT statement FROM pg_prepared_statements"))).all() == []
        held = "SELECT locktype FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
        assert (await connection.execute(text(held))).all() == []
        assert (await connection.execute(text("SELECT name FROM pg_settings WHERE source = 'session'"))).all() == []
        assert (await connection.execute(text("SELECT pg_listening_channels()"))).all() == []
    await engine.dispose()
