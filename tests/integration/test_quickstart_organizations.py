"""The quick start's organizations are made by the commands it shows, and stand as it promises."""

import asyncio
from io import StringIO

import pytest
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.admission.subscription import Limits
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.facts import AdmissionFacts
from pipeline_core.store.subscriptions import Subscriptions
from pipeline_local.quickstart import commands, refusal, source, tour


@pytest.mark.parametrize(
    ("org", "plan", "limits", "status"),
    [(tour.ORG, tour.PLAN, Limits(1000, 20000, 10), "ACTIVE"), (refusal.ORG, refusal.PLAN, Limits(0, 0, 1), "TRIAL")],
)
async def test_an_organization_is_prepared_and_can_be_once_more(
    engine: AsyncEngine, database_url: str, bigquery_settings: BigQuerySettings, monkeypatch: pytest.MonkeyPatch,
    org: str, plan: tuple[str, ...], limits: Limits, status: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_url)
    console = Console(file=StringIO())
    await asyncio.to_thread(commands.prepare, console, org, *plan)
    await Subscriptions(engine).set(org, status="SUSPENDED", per_day=7)
    await asyncio.to_thread(commands.prepare, console, org, *plan)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split()[2:4] for line in lines if line.startswith("$ pipelines")] == 2 * [
        ["org", "create"], ["subscription", "set"], ["integration", "set"]
    ]  # fmt: skip
    found = await Subscriptions(engine).get(org)
    assert found is not None
    assert (found.status, found.limits) == (status, limits)
    facts = await AdmissionFacts(engine).get(org, commands.PROVIDER)
    assert (facts.is_known, facts.integration) == (True, source.SETTINGS)
