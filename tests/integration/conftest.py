"""The real PostgreSQL and the BigQuery stand-in, started once for all integration tests."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.engine import create_engine
from pipeline_local.services.bigquery import BigQuery
from pipeline_local.services.postgres import Postgres, start_postgres
from support.databases import fresh_database, make_template
from support.stand_in import bigquery_stand_in

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server with a migrated template database."""
    with start_postgres(durable=False) as server:
        make_template(server.url)
        yield server


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """The address of a migrated database that nobody else uses."""
    with fresh_database(postgres.url) as url:
        yield url


@pytest.fixture
def empty_database_url(postgres: Postgres) -> Iterator[str]:
    """The address of a database without our schema."""
    with fresh_database(postgres.url, template=None) as url:
        yield url


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a migrated database of its own."""
    made = create_engine(database_url)
    yield made
    await made.dispose()


@pytest.fixture(scope="session")
def bigquery() -> Iterator[BigQuery]:
    """The stand-in; the environment points Google's clients and our settings to it while it runs."""
    with bigquery_stand_in() as server:
        yield server


@pytest.fixture
def bigquery_settings(bigquery: BigQuery) -> BigQuerySettings:
    """The settings that lead to the stand-in."""
    return BigQuerySettings()


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner asks BigQuery again at once."""
    monkeypatch.setattr("pipeline_runner.bigquery.warehouse.random.uniform", lambda *_: 0.01)
