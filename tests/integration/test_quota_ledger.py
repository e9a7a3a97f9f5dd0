"""The ledger, one behaviour at a time: what a group does together, what is odd in the tables, what is read of it."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.admission.quota import ConcurrentLimitReachedError, DailyLimitReachedError
from pipeline_core.admission.subscription import OrganizationNotFoundError, SubscriptionInactiveError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.engine import fetch, transaction
from pipeline_core.store.errors import RunIdTakenError
from pipeline_core.store.many_records import new_rows
from pipeline_core.store.quota import reserve, settle
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.quota.reserve import reserve_many, reserve_one
from pipeline_core.store.records import RunRecords, begin_within
from support.quota import counted, organization, plan, run_of
from support.runs import after
from support.waiting import eventually


@pytest.fixture
async def ledger(engine: AsyncEngine) -> QuotaLedger:
    """A ledger in which counting has begun for acme and brook, with 3 and 2 slots."""
    for org, concurrent in (("acme", 3), ("brook", 2)):
        await organization(engine, org, concurrent=concurrent)
        await reserve_one(engine, run_of(org, f"{org}_first"))
        await RunRecords(engine).finish(f"{org}_first", phase=Phase.FAILED, at=after(1), frees=True)
    return QuotaLedger(engine)


async def do(engine: AsyncEngine, *statements: str) -> None:
    async with transaction(engine) as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def test_a_group_gets_what_there_is_for_each_organization_first_come_first(
    engine: AsyncEngine, ledger: QuotaLedger
) -> None:
    asked = [run_of(org, f"{org}_{number}") for number in range(4) for org in ("brook", "acme")]
    told = await reserve_many(engine, asked)
    got = [run.run_id for run in told if run is not None]
    assert got == ["brook_0", "acme_0", "brook_1", "acme_1", "acme_2"]
    assert {org: usage.concurrent for org, usage in (await counted(engine)).items()} == {"acme": 3, "brook": 2}
    assert await RunRecords(engine).get("acme_3") is None
    assert ledger is not None


async def test_a_run_that_is_asked_for_twice_in_a_group_gets_one_slot_and_keeps_nobody_out(
    engine: AsyncEngine, ledger: QuotaLedger
) -> None:
    same = run_of("acme", "run_1")
    told = await reserve_many(engine, [same, run_of("brook", "run_2"), same, run_of("acme", "run_3")])
    assert [run and run.run_id for run in told] == ["run_1", "run_2", None, "run_3"]
    both = await asyncio.gather(*(ledger.reserve(same) for _ in range(5)))
    assert {run.run_id for run in both} == {"run_1"}
    assert (await counted(engine))["acme"].concurrent == 2


async def test_a_run_id_of_another_organization_is_taken(engine: AsyncEngine, ledger: QuotaLedger) -> None:
    told = await asyncio.gather(
        ledger.reserve(run_of("acme", "run_1")), ledger.reserve(run_of("brook", "run_1")), return_exceptions=True
    )
    assert [type(each).__name__ for each in told] == ["StoredRun", "RunIdTakenError"]
    usage = await counted(engine)
    assert (usage["acme"].concurrent, usage["brook"].concurrent) == (1, 0)


async def test_the_ledger_remembers_a_run_whose_record_is_gone(engine: AsyncEngine, ledger: QuotaLedger) -> None:
    await ledger.reserve(run_of("acme", "run_1"))
    await do(engine, "DELETE FROM run_record")
    assert (await ledger.reserve(run_of("acme", "run_1"))).run_id == "run_1"
    assert (await counted(engine))["acme"].concurrent == 1
    await do(engine, "DELETE FROM run_record")
    with pytest.raises(RunIdTakenError):
        await ledger.reserve(run_of("brook", "run_1"))
    assert await RunRecords(engine).get("run_1") is None


async def test_an_id_whose_slot_was_given_back_gets_no_run_past_the_limits(
    engine: AsyncEngine, ledger: QuotaLedger
) -> None:
    await ledger.reserve(run_of("acme", "run_1"))
    await RunRecords(engine).finish("run_1", phase=Phase.COMPLETED, at=after(1), frees=True)
    await do(engine, "DELETE FROM run_record")  # as its retention may be shorter than the ledger's
    before = await counted(engine)
    for ask in (ledger.reserve, lambda record: reserve_one(engine, record)):
        with pytest.raises(RunIdTakenError):
            await ask(run_of("acme", "run_1"))
    assert await counted(engine) == before
    assert await RunRecords(engine).get("run_1") is None


async def test_a_run_that_was_left_undecided_is_not_started_again(engine: AsyncEngine, ledger: QuotaLedger) -> None:
    record = replace(run_of("acme", "run_1"), object_uid="uid")
    await ledger.reserve(record)
    await RunRecords(engine).leave_undecided("run_1", at=after(1), message="?", object_uid="uid", frees=True)
    with pytest.raises(RunIdTakenError):
        await ledger.reserve(record)  # restored with its UID
    assert not await ledger.holds("run_1")


async def test_who_has_got_a_slot_just_now_is_told_apart_from_who_has_one(
    engine: AsyncEngine, ledger: QuotaLedger
) -> None:
    assert (await ledger.reserve(run_of("acme", "run_1"))).took_slot
    assert not (await ledger.reserve(run_of("acme", "run_1"))).took_slot
    await RunRecords(engine).begin(replace(run_of("acme", "run_2"), job_name=None))
    waited = await ledger.reserve(run_of("acme", "run_2"))
    assert (waited.was_there, waited.took_slot, waited.job_name) == (True, True, "job-run_2")
    assert [await ledger.holds(run_id) for run_id in ("run_1", "run_2", "run_3")] == [True, True, False]


async def test_a_counter_that_is_too_low_keeps_no_run_from_ending_and_no_other_organization_from_its_slot(
    engine: AsyncEngine, ledger: QuotaLedger
) -> None:
    for run_id, org in (("run_1", "acme"), ("run_2", "acme"), ("run_3", "brook")):
        await ledger.reserve(run_of(org, run_id))
    await do(engine, "UPDATE quota_usage SET concurrent = 0, day_used = 0, month_used = 0 WHERE org_slug = 'acme'")
    stored = await RunRecords(engine).finish("run_1", phase=Phase.FAILED, at=after(1), frees=True)
    assert stored.phase is Phase.FAILED
    assert await asyncio.gather(*(ledger.release(f"run_{number}") for number in (2, 3))) == [True, True]
    assert (await ledger.standing("acme")).usage.concurrent == 0  # type: ignore[union-attr]
    assert (await ledger.standing("brook")).usage.concurrent == 0  # type: ignore[union-attr]
    assert {each.org_slug for each in await ledger.drift()} == {"acme"}


async def test_a_release_settles_what_a_process_without_a_ledger_has_left_open(
    engine: AsyncEngine, ledger: QuotaLedger
) -> None:
    await ledger.reserve(run_of("acme", "run_1"))
    await do(engine, "UPDATE run_record SET status = 'completed', completed_at = now(), started_at = now()")
    assert await ledger.release("run_1")
    usage = (await counted(engine))["acme"]
    assert (usage.concurrent, usage.day_succeeded) == (0, 1)


async def test_an_object_that_claims_anothers_id_frees_nothing_of_it(engine: AsyncEngine, ledger: QuotaLedger) -> None:
    await ledger.reserve(replace(run_of("acme", "run_1"), object_uid="its-own"))
    await ledger.reserve(run_of("acme", "run_2"))
    claims = await asyncio.gather(*(ledger.release(f"run_{number}", object_uid="strange") for number in (1, 1, 2)))
    assert claims == [False, False, False]
    assert (await counted(engine))["acme"].concurrent == 2
    both = await asyncio.gather(
        ledger.release("run_1", object_uid="strange"), ledger.release("run_1", object_uid="its-own")
    )
    assert both == [False, True]
    assert (await counted(engine))["acme"].concurrent == 1


async def test_who_is_refused_for_more_than_a_limit(engine: AsyncEngine) -> None:
    ledger = QuotaLedger(engine)
    with pytest.raises(OrganizationNotFoundError):
        await ledger.reserve(run_of("nobody", "run_1"))
    await do(engine, "INSERT INTO organizations (org_slug) VALUES ('acme')")
    with pytest.raises(SubscriptionInactiveError, match="no subscription"):
        await ledger.reserve(run_of("acme", "run_1"))
    await plan(engine, "acme", status="SUSPENDED")
    with pytest.raises(SubscriptionInactiveError, match="SUSPENDED"):
        await ledger.reserve(run_of("acme", "run_1"))
    assert await counted(engine) == {}
    assert await RunRecords(engine).get("run_1") is None
    await plan(engine, "acme", per_day=None)
    with pytest.raises(DailyLimitReachedError, match="not set"):
        await ledger.reserve(run_of("acme", "run_1"))


async def test_a_run_that_is_over_gets_no_slot(engine: AsyncEngine, ledger: QuotaLedger) -> None:
    records = RunRecords(engine)
    await records.begin(run_of("acme", "run_1"))
    await records.finish("run_1", phase=Phase.FAILED, at=after(1), frees=True)
    assert (await ledger.reserve(run_of("acme", "run_1"))).phase is Phase.FAILED
    assert (await counted(engine))["acme"].day_used == 0


async def test_views_on_another_systems_tables(engine: AsyncEngine) -> None:
    """Their status is of a type of its own, their limits are numeric, and nobody has set a zone."""
    await do(
        engine,
        "DROP TABLE org_subscriptions, organizations",
        "CREATE TYPE plan_status AS ENUM ('active', 'paused')",
        "CREATE TABLE tenants (slug varchar(63), zone text, state plan_status, daily numeric, monthly bigint, "
        "many smallint)",
        "INSERT INTO tenants VALUES ('acme', NULL, 'active', 5, 50, 1)",
        "CREATE VIEW organizations AS SELECT slug::text AS org_slug, slug AS display_name, zone AS time_zone "
        "FROM tenants",
        "CREATE VIEW org_subscriptions AS SELECT DISTINCT ON (slug) slug::text AS org_slug, state AS status, "
        "NULL::text AS plan, daily AS pipelines_per_day_limit, monthly AS pipelines_per_month_limit, "
        "many AS concurrent_pipelines_limit FROM tenants ORDER BY slug",
    )
    ledger = QuotaLedger(engine)
    await ledger.reserve(run_of("acme", "run_1"))
    with pytest.raises(ConcurrentLimitReachedError):
        await ledger.reserve(run_of("acme", "run_2"))
    await do(engine, "UPDATE quota_usage SET day = day - 1", "UPDATE quota_reservation SET day = day - 1")
    await do(engine, "UPDATE tenants SET many = 2")
    await ledger.reserve(run_of("acme", "run_2"))
    assert (await counted(engine))["acme"].day_used == 1  # a day has begun, of UTC
    assert (await ledger.standing("acme")).usage == (await counted(engine))["acme"]
    await do(engine, "UPDATE tenants SET state = 'paused'")
    with pytest.raises(SubscriptionInactiveError, match="PAUSED"):
        await ledger.reserve(run_of("acme", "run_3"))


async def test_where_there_is_room_and_what_is_held(engine: AsyncEngine, ledger: QuotaLedger) -> None:
    for run in (run_of("acme", "run_1"), run_of("brook", "run_2"), run_of("brook", "run_3")):
        await ledger.reserve(run)
    assert await ledger.room(["acme", "brook", "nobody"]) == {"acme": 2}
    await RunRecords(engine).finish("run_2", phase=Phase.COMPLETED, at=after(2))
    page = await ledger.held(limit=2)
    rest = await ledger.held(after=page[-1].run_id)
    assert [(slot.run_id, slot.is_over) for slot in [*page, *rest]] == [
        ("run_1", False),
        ("run_2", True),
        ("run_3", False),
    ]
    assert [slot.run_id for slot in await ledger.held(org_slug="acme")] == ["run_1"]
    assert [await ledger.release(run_id) for run_id in ("run_2", "run_2", "nobody's")] == [True, False, False]
    assert await ledger.room(["brook"]) == {"brook": 1}


async def test_who_waits_for_a_record_keeps_nobody_from_the_counters(engine: AsyncEngine, ledger: QuotaLedger) -> None:
    """Records first, then counters: whoever has begun a run by itself wants the counters next."""
    other = run_of("acme", "run_2")
    async with transaction(engine) as connection:
        await begin_within(connection, other)
        group = asyncio.create_task(reserve_many(engine, [run_of("acme", f"run_{number}") for number in (1, 2, 3)]))
        await eventually(lambda: is_waiting(engine))
        await connection.execute(text("SELECT FROM quota_usage WHERE org_slug = 'acme' FOR UPDATE NOWAIT"))
    assert [stored and stored.run_id for stored in await group] == ["run_1", None, "run_3"]
    assert (await ledger.reserve(other)).took_slot
    assert (await counted(engine))["acme"].concurrent == 3


async def is_waiting(engine: AsyncEngine) -> bool:
    async with transaction(engine) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return bool(await connection.scalar(text(query)))


@pytest.mark.parametrize("runs", [1, 200])
async def test_no_statement_scans_the_ledger(engine: AsyncEngine, runs: int) -> None:
    await do(
        engine,
        "INSERT INTO organizations (org_slug) SELECT 'org_' || n FROM generate_series(1, 1000) n",
        "INSERT INTO org_subscriptions (org_slug, status) SELECT 'org_' || n, 'ACTIVE' FROM generate_series(1, 1000) n",
        "INSERT INTO quota_usage (org_slug, day, month) SELECT 'org_' || n, current_date, current_date "
        "FROM generate_series(1, 1000) n",
        "INSERT INTO quota_reservation (run_id, org_slug, day, month) SELECT 'run_' || n, 'org_' || n % 1000, "
        "current_date, current_date FROM generate_series(1, 200000) n",
        "ANALYZE",
    )
    ids = [f"run_{number}" for number in range(1, runs + 1)]
    new, orgs = [f"new_{each}" for each in ids], [f"org_{number}" for number in range(1, runs + 1)]
    records = new_rows([run_of(org, run_id) for org, run_id in zip(orgs, new, strict=True)])
    statements: list[tuple[str, dict[str, object]]] = [
        (reserve._BEGIN, {"given": records, "run_ids": new, "orgs": orgs}),
        (reserve._TAKE, {"run_ids": ids, "orgs": orgs}),
        (settle._SETTLE, {"run_ids": ids, "outcomes": ["failed"] * runs, "frees": [True] * runs}),
    ]
    async with transaction(engine) as connection:
        for statement, values in statements:
            told = "\n".join(row["QUERY PLAN"] for row in await fetch(connection, f"EXPLAIN {statement}", values))
            assert "Seq Scan on quota_reservation" not in told, told
            assert runs > 1 or "Seq Scan" not in told, told
