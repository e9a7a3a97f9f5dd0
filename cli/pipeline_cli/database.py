"""Connects a command to the database of PIPELINES_DATABASE_URL."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from pipeline_core.settings import DatabaseSettings

# Clients are imported where they are needed: most commands never meet a service.
if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")


def database_url() -> str:
    """The address. Raises pydantic's ValidationError where the environment has none."""
    return DatabaseSettings().database_url.get_secret_value()


def with_database(work: "Callable[[AsyncEngine], Awaitable[T]]") -> T:
    """What `work` returns, given an engine on the database; raises what it raises."""
    from pipeline_core.store.engine import create_engine

    async def connected() -> T:
        engine = create_engine(database_url())
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(connected())
