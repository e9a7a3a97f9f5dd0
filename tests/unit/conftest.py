"""Unit tests see no server: not even one that another kind of test has started in this process."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the variables by which Google's clients and our settings find the stand-in."""
    for name in tuple(os.environ):
        if name.startswith(("BIGQUERY_", "PIPELINES_BIGQUERY_")):
            monkeypatch.delenv(name)
