"""Statements that go past SQLAlchemy end as its own do: cut off or refused, they leave no connection in a bad state."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pipeline_core.store.engine import create_engine, fetch, reading, transaction
from pipeline_core.store.errors import StoreUnavailableError
from support.waiting import eventually

Opened = Callable[[AsyncEngine], AbstractAsyncContextManager[AsyncConnection]]
ways = pytest.mark.parametrize("opened", [transaction, reading])


@pytest.fixture
async def single(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine whose next connection is the one that was used last, if that one came back."""
    made = create_engine(database_url, pool_size=1)
    yield made
    await made.dispose()


async def session(engine: AsyncEngine) -> int:
    async with transaction(engine) as connection:
        (row,) = await fetch(connection, "SELECT pg_backend_pid() AS pid", {})
    return int(row["pid"])


async def sleep_long(opened: Opened, engine: AsyncEngine) -> None:
    async with opened(engine) as connection:
        await fetch(connection, "SELECT pg_sleep(60)", {})


async def asleep(database_url: str) -> list[int]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
        found = await other.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        )
        return [pid for (pid,) in await found.fetchall()]


@ways
async def test_one_that_is_cut_off_is_ended_and_its_connection_is_not_used_again(
    database_url: str, single: AsyncEngine, opened: Opened
) -> None:
    before = await session(single)
    task = asyncio.create_task(sleep_long(opened, single))
    assert await eventually(lambda: asleep(database_url)) == [before]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asleep(database_url) == []
    assert await session(single) != before


async def test_one_that_takes_too_long_is_the_servers_fault(database_url: str, single: AsyncEngine) -> None:
    with pytest.raises(StoreUnavailableError, match=r"didn't answer within 0\.2 s"):
        await sleep_long(lambda engine: transaction(engine, seconds=0.2), single)
    assert await asleep(database_url) == []
    assert await session(single)


@ways
async def test_a_session_that_is_ended_meanwhile_is_an_unavailable_server(
    database_url: str, single: AsyncEngine, opened: Opened
) -> None:
    task = asyncio.create_task(sleep_long(opened, single))
    (pid,) = await eventually(lambda: asleep(database_url))
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
        await other.execute("SELECT pg_terminate_backend(%s)", [pid])
    with pytest.raises(StoreUnavailableError, match="PostgreSQL is unavailable: terminating connection"):
        await task
    assert await session(single) != pid


@ways
async def test_an_error_keeps_what_was_given_to_itself_and_the_connection_stays(
    single: AsyncEngine, opened: Opened
) -> None:
    before = await session(single)
    with pytest.raises(DBAPIError) as caught:
        async with opened(single) as connection:
            await fetch(connection, "SELECT 1 / length(%(given)s::text || '') FROM nowhere", {"given": "private"})
    assert "private" not in str(caught.value)
    assert 'relation "nowhere" does not exist' in str(caught.value)
    assert await session(single) == before


async def test_what_it_has_written_is_part_of_the_transaction(single: AsyncEngine) -> None:
    insert = "INSERT INTO organizations (org_slug) VALUES (%(org)s) RETURNING org_slug"
    async with transaction(single) as connection:
        assert await fetch(connection, insert, {"org": "globex"}) == [{"org_slug": "globex"}]
        await connection.rollback()
    async with transaction(single) as connection:
        assert await fetch(connection, insert, {"org": "acme"}) == [{"org_slug": "acme"}]
    async with transaction(single) as connection:
        assert (await connection.execute(text("SELECT org_slug FROM organizations"))).scalars().all() == ["acme"]
