"""Idempotency keys: one run for one key however many ask at once, another request refused, forgotten after 24 hours."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.store.engine import create_engine, transaction
from pipeline_core.store.errors import IdempotencyKeyReusedError
from pipeline_core.store.idempotency import IdempotencyKeys, prune_idempotency_keys
from pipeline_core.store.outbox import Outbox
from support.runs import after

ONE, OTHER = b"1" * 32, b"2" * 32
DAY = timedelta(hours=24)
AT_ONCE = 50


@pytest.fixture
async def engines(database_url: str) -> AsyncIterator[list[AsyncEngine]]:
    """Three processes' worth of connections, with fewer than there are callers."""
    made = [create_engine(database_url, pool_size=5) for _ in range(3)]
    yield made
    for engine in made:
        await engine.dispose()


async def age(engine: AsyncEngine, by: timedelta, key: str | None = None) -> None:
    async with transaction(engine) as connection:
        change = "UPDATE idempotency_key SET created_at = created_at - :by WHERE :key IS NULL OR key = :key"
        await connection.execute(text(change.replace(":key", "cast(:key AS text)")), {"by": by, "key": key})


async def rows(engine: AsyncEngine) -> set[tuple[str, str, str]]:
    async with transaction(engine) as connection:
        found = await connection.execute(text("SELECT org_slug, key, run_id FROM idempotency_key"))
        return {(row.org_slug, row.key, row.run_id) for row in found}


async def test_a_key_stands_for_the_run_it_was_first_used_for(engine: AsyncEngine) -> None:
    keys = IdempotencyKeys(engine)
    assert await keys.bind("acme", "k", ONE, "run_1") == "run_1"
    assert await keys.bind("acme", "k", ONE, "run_2") == "run_1"
    assert await keys.bind("acme", "l", ONE, "run_3") == "run_3"
    assert await rows(engine) == {("acme", "k", "run_1"), ("acme", "l", "run_3")}


async def test_another_request_is_refused_and_changes_nothing(engine: AsyncEngine) -> None:
    keys = IdempotencyKeys(engine)
    await keys.bind("acme", "k", ONE, "run_1")
    with pytest.raises(IdempotencyKeyReusedError, match="'k' was used for another request"):
        await keys.bind("acme", "k", OTHER, "run_2")
    assert await keys.bind("acme", "k", ONE, "run_3") == "run_1"


async def test_organizations_have_keys_of_their_own(engine: AsyncEngine) -> None:
    keys = IdempotencyKeys(engine)
    await keys.bind("acme", "k", ONE, "run_1")
    assert await keys.bind("globex", "k", OTHER, "run_2") == "run_2"
    assert await keys.bind("acme", "k", ONE, "run_3") == "run_1"


async def test_fifty_at_once_are_answered_with_one_run(engines: list[AsyncEngine]) -> None:
    keys = [IdempotencyKeys(engine) for engine in engines]
    asked = [f"run_{i}" for i in range(AT_ONCE)]
    bound = await asyncio.gather(*(keys[i % 3].bind("acme", "k", ONE, run_id) for i, run_id in enumerate(asked)))
    assert len(set(bound)) == 1
    assert bound[0] in asked
    assert await rows(engines[0]) == {("acme", "k", bound[0])}


async def test_of_two_requests_with_one_key_at_once_one_wins_and_the_other_is_refused(
    engines: list[AsyncEngine],
) -> None:
    keys = [IdempotencyKeys(engine) for engine in engines]
    done = await asyncio.gather(
        *(keys[i % 3].bind("acme", "k", (ONE, OTHER)[i % 2], f"run_{i}") for i in range(AT_ONCE)),
        return_exceptions=True,
    )
    refused = [i for i, result in enumerate(done) if isinstance(result, IdempotencyKeyReusedError)]
    bound = {result for result in done if isinstance(result, str)}
    assert len(bound) == 1
    winner = int(next(iter(bound)).removeprefix("run_"))
    assert refused == [i for i in range(AT_ONCE) if i % 2 != winner % 2]


async def test_who_comes_second_waits_for_the_first_and_gets_its_run(engines: list[AsyncEngine]) -> None:
    first = text("INSERT INTO idempotency_key (org_slug, key, fingerprint, run_id) VALUES ('acme', 'k', :one, 'run_1')")
    async with transaction(engines[0]) as connection:
        await connection.execute(first, {"one": ONE})
        second = asyncio.create_task(IdempotencyKeys(engines[1]).bind("acme", "k", ONE, "run_2"))
        waits = text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        async with asyncio.timeout(10):
            while not await connection.scalar(waits):
                assert not second.done()
    assert await second == "run_1"


async def test_after_24_hours_a_key_stands_for_whatever_comes_next(engine: AsyncEngine) -> None:
    keys = IdempotencyKeys(engine)
    await keys.bind("acme", "k", ONE, "run_1")
    await age(engine, DAY - timedelta(minutes=1))
    assert await keys.bind("acme", "k", ONE, "run_2") == "run_1"  # its use doesn't keep it
    await age(engine, timedelta(minutes=1))
    assert await keys.bind("acme", "k", OTHER, "run_3") == "run_3"
    with pytest.raises(IdempotencyKeyReusedError):
        await keys.bind("acme", "k", ONE, "run_4")
    assert await rows(engine) == {("acme", "k", "run_3")}


async def test_an_old_key_is_taken_over_by_one_of_fifty(engines: list[AsyncEngine]) -> None:
    keys = [IdempotencyKeys(engine) for engine in engines]
    await keys[0].bind("acme", "k", OTHER, "run_old")
    await age(engines[0], DAY)
    bound = await asyncio.gather(*(keys[i % 3].bind("acme", "k", ONE, f"run_{i}") for i in range(AT_ONCE)))
    assert len(set(bound)) == 1
    assert bound[0] != "run_old"


async def test_a_key_whose_run_came_to_nothing_stands_for_another(engine: AsyncEngine) -> None:
    keys = IdempotencyKeys(engine)
    await keys.bind("acme", "k", ONE, "run_1")
    assert await keys.rebind("acme", "k", ONE, from_run_id="run_1", to_run_id="run_2") == "run_2"
    assert await keys.rebind("acme", "k", ONE, from_run_id="run_1", to_run_id="run_3") == "run_2"
    assert await keys.bind("acme", "k", ONE, "run_5") == "run_2"
    assert await rows(engine) == {("acme", "k", "run_2")}


async def test_another_request_cannot_take_it_over(engine: AsyncEngine) -> None:
    keys = IdempotencyKeys(engine)
    await keys.bind("acme", "k", ONE, "run_1")
    with pytest.raises(IdempotencyKeyReusedError):
        await keys.rebind("acme", "k", OTHER, from_run_id="run_1", to_run_id="run_2")
    assert await keys.bind("acme", "k", ONE, "run_3") == "run_1"


@pytest.mark.parametrize("is_pruned", [False, True], ids=["old", "gone"])
async def test_a_key_that_has_run_out_is_bound_as_a_new_one(engine: AsyncEngine, is_pruned: bool) -> None:
    keys = IdempotencyKeys(engine)
    await keys.bind("acme", "k", ONE, "run_1")
    await age(engine, DAY)
    if is_pruned:
        await prune_idempotency_keys(engine)
    assert await keys.rebind("acme", "k", ONE, from_run_id="run_1", to_run_id="run_2") == "run_2"
    assert await keys.bind("acme", "k", ONE, "run_3") == "run_2"  # for another 24 hours
    await age(engine, DAY - timedelta(minutes=1))
    assert await keys.bind("acme", "k", ONE, "run_4") == "run_2"


async def test_a_key_is_looked_up_without_being_bound(engine: AsyncEngine) -> None:
    keys = IdempotencyKeys(engine)
    assert await keys.find("acme", "k", ONE) is None
    assert await rows(engine) == set()
    await keys.bind("acme", "k", ONE, "run_1")
    assert await keys.find("acme", "k", ONE) == "run_1"
    assert await keys.find("brook", "k", ONE) is None
    with pytest.raises(IdempotencyKeyReusedError):
        await keys.find("acme", "k", OTHER)
    await age(engine, DAY)
    assert await keys.find("acme", "k", OTHER) is None


async def test_of_many_who_rebind_it_at_once_one_does(engine: AsyncEngine, engines: list[AsyncEngine]) -> None:
    await IdempotencyKeys(engine).bind("acme", "k", ONE, "run_old")
    found = await asyncio.gather(
        *(
            IdempotencyKeys(engines[i % 3]).rebind("acme", "k", ONE, from_run_id="run_old", to_run_id=f"run_{i}")
            for i in range(AT_ONCE)
        )
    )
    assert len(set(found)) == 1
    assert await rows(engine) == {("acme", "k", found[0])}


async def test_only_old_keys_are_deleted(engine: AsyncEngine) -> None:
    keys = IdempotencyKeys(engine)
    for i in range(7):
        await keys.bind("acme", f"k{i}", ONE, f"run_{i}")
    for i in range(5):
        await age(engine, DAY, f"k{i}")
    await age(engine, DAY - timedelta(minutes=1), "k5")
    assert await prune_idempotency_keys(engine, limit=2, batches=1) == 2
    assert await prune_idempotency_keys(engine, limit=2) == 3
    assert {key for _, key, _ in await rows(engine)} == {"k5", "k6"}


async def test_the_retention_of_records_deletes_them(engine: AsyncEngine) -> None:
    await IdempotencyKeys(engine).bind("acme", "k", ONE, "run_1")
    await age(engine, DAY)
    await Outbox(engine).prune(after(0))
    assert await rows(engine) == set()


@pytest.mark.parametrize(("key", "fits"), [("k", True), ("k" * 255, True), ("k" * 256, False), ("", False)])
async def test_keys_have_1_to_255_characters(engine: AsyncEngine, key: str, fits: bool) -> None:
    keys = IdempotencyKeys(engine)
    if fits:
        assert await keys.bind("acme", key, ONE, "run_1") == "run_1"
    else:
        with pytest.raises(IntegrityError, match="idempotency_key_length"):
            await keys.bind("acme", key, ONE, "run_1")
