"""The servers that the figures are taken against, and the table that they end in."""

from collections.abc import Iterator

import pytest

from pipeline_core.settings import BigQuerySettings
from pipeline_local.services.bigquery import BigQuery, start_bigquery


@pytest.fixture(scope="session")
def stand_in() -> Iterator[BigQuery]:
    """The BigQuery stand-in; the environment leads to it while it runs."""
    with start_bigquery() as server, pytest.MonkeyPatch.context() as environment:
        for name, value in server.environment.items():
            environment.setenv(name, value)
        yield server


@pytest.fixture
def bigquery_settings(stand_in: BigQuery) -> BigQuerySettings:
    """The settings that lead to the stand-in."""
    return BigQuerySettings()
