"""The BigQuery stand-in, which the environment leads to while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline_local.services.bigquery import BigQuery, start_bigquery


@contextmanager
def bigquery_stand_in() -> Iterator[BigQuery]:
    """A new one, which Google's clients and our settings use meanwhile."""
    with start_bigquery() as server, pytest.MonkeyPatch.context() as environment:
        for name, value in server.environment.items():
            environment.setenv(name, value)
        yield server
