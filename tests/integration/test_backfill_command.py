"""`pipelines backfill`: what it says of the quota, of a real PostgreSQL."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from pipeline_cli.main import app
from pipeline_core.kube.api import KubeApi
from pipeline_core.store.organizations import Organizations
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.subscriptions import Subscriptions
from support.bridge import FakeCluster
from support.databases import in_database
from support.runs import new_run

RUNNER = CliRunner()
SPEC = {"org": "acme", "provider": "gcp", "domain": "cost", "pipeline": "billing", "cronExpression": "0 6 * * *"}


class Server(FakeCluster):
    """The API server."""

    async def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _schedule(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    server.put("pipelineschedules", {"metadata": {"name": "nightly"}, "spec": SPEC})

    async def connect() -> Server:
        return server

    monkeypatch.setattr(KubeApi, "from_environment", connect)
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_url)


def said(first: str = "2025-10-01", last: str = "2025-10-31") -> list[str]:
    """What is said of the quota of a backfill: of 31 runs by default."""
    arguments = ["backfill", "nightly", "-n", "default", "--from", first, "--to", last, "--dry-run"]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return [line.strip() for line in result.stdout.splitlines()[2:-1]]


def plan(url: str, runs: int = 0, **limits: Any) -> None:
    async def work(engine: AsyncEngine) -> None:
        await Organizations(engine).create("acme")
        await Subscriptions(engine).set("acme", plan="professional", **limits)
        for number in range(runs):
            await QuotaLedger(engine).reserve(new_run(f"run_{number}"))

    in_database(url, work)


def test_what_is_used_and_how_long_it_takes(database_url: str) -> None:
    plan(database_url, runs=3, per_day=20, per_month=500, concurrent=5)
    assert said() == [
        "quota:     3 of 20 are used today, and 3 of 500 this month",
        "takes:     2 days at the earliest, if nothing else runs",
    ]
    assert said("2025-10-01", "2025-10-17")[1] == "takes:     it can be done today, if nothing else runs"


def test_more_than_the_month_has_is_told(database_url: str) -> None:
    plan(database_url, runs=1, per_day=20, per_month=30, concurrent=5)
    assert said()[2] == "more than are left of this month (29): the rest waits for the next one"


def test_a_plan_that_allows_nothing_is_told(database_url: str) -> None:
    plan(database_url, per_day=0, per_month=500, concurrent=5)
    assert said()[1] == "takes:     forever: the plan allows no runs"


def test_an_organization_that_runs_nothing_is_told(database_url: str) -> None:
    assert said() == ["quota:     organization acme isn't known: nothing runs"]

    async def work(engine: AsyncEngine) -> None:
        await Organizations(engine).create("acme")

    in_database(database_url, work)
    assert said() == ["quota:     the subscription is missing: nothing runs until it is active"]


def test_without_postgresql_the_rest_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    (line,) = said()
    assert line.startswith("quota:     not known: ")
