"""The quick start's figures: three real runs into one dataset, and what differs from its source is found."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path

import pytest
from google.cloud import bigquery
from rich.console import Console

from pipeline_core.catalog.loader import load_catalog
from pipeline_core.outcome import ExitCode
from pipeline_core.resolve import RunRequest, resolve_run
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_local.errors import LocalError
from pipeline_local.quickstart import accounts, costs, run, source, tour
from pipeline_local.quickstart.costs import Costs
from pipeline_local.quickstart.export import billing_export
from pipeline_local.simulators.server import Simulators, start_simulators
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress

ROOT = Path(__file__).parents[2]
FIRST_DAY, LAST_DAY = date(2026, 10, 30), date(2026, 11, 1)


@pytest.fixture(scope="module")
def simulators() -> Iterator[Simulators]:
    with start_simulators(seed=0) as started:
        yield started


@pytest.fixture
def client(bigquery_settings: BigQuerySettings) -> Iterator[bigquery.Client]:
    """With the organization's dataset, empty, which ends with the test."""
    made = bigquery_client(bigquery_settings)
    dataset = f"{made.project}.{costs.DATASET}"
    made.delete_dataset(dataset, delete_contents=True, not_found_ok=True)  # of another test's organization
    made.create_dataset(dataset)
    yield made
    made.delete_dataset(dataset, delete_contents=True)


async def processed(simulators: Simulators, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The records of each provider's run of the quick start, made by the real processors."""
    monkeypatch.setenv("PIPELINES_API_HOSTS", "http://127.0.0.1:*")
    monkeypatch.setenv("PIPELINES_CREDENTIALS_DIRECTORY", str(folder))
    settings = {each.provider: {each.setting: f"{simulators.url}/{each.provider}"} for each in accounts.ACCOUNTS}
    keys = {each.provider: each.key for each in accounts.ACCOUNTS}
    records = {}
    for provider, manifest in run.manifests(ROOT, FIRST_DAY, LAST_DAY).items():
        if provider in keys:
            (folder / "api_key").write_text(keys[provider])
        spec = manifest["spec"]
        request = RunRequest(
            run_id=f"run_quickstart{provider}",
            org_slug=tour.ORG,
            provider=provider,
            domain=spec["domain"],
            pipeline=spec["pipeline"],
            parameters=spec["parameters"],
            logical_time=datetime.now(UTC),
        )
        document = resolve_run(
            load_catalog(ROOT / "configs"), request, env="dev", integration=settings.get(provider, source.SETTINGS)
        )
        outcome, code = await execute(document, Progress())
        assert (outcome.error, code) == (None, ExitCode.OK)
        records[provider] = int(outcome.records_processed or 0)
        (folder / "api_key").unlink(missing_ok=True)
    return records


async def test_the_figures_of_all_three_agree_and_a_wrong_one_is_found(
    client: bigquery.Client, simulators: Simulators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.load(client, billing_export(LAST_DAY, days=3, rows_per_day=300))
    records = await processed(simulators, tmp_path, monkeypatch)
    found = Costs.read(client, simulators.url, FIRST_DAY, LAST_DAY)
    assert found.of_sources.keys() == records.keys() == costs.NAMES.keys()
    assert {provider: found.records(client, provider) for provider in records} == records
    found.check_tables(client)
    console = Console(file=StringIO(), width=120)
    found.show_and_check_view(client, console)
    console.print(found.table_of_sums(client))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(str(day.amount) in shown for days in found.of_sources.values() for day in days.values())
    assert (shown.count("yes"), shown.count(" no ")) == (3, 0)

    day = max(found.of_sources["openai"])
    table = f"{client.project}.{costs.DATASET}.openai_costs"
    client.query_and_wait(f"INSERT INTO `{table}` (usage_date, amount) VALUES ('{day}', 0.000000001)")
    with pytest.raises(LocalError, match=f"OpenAI cost differs in its table on: {day}"):
        found.check_tables(client)
    with pytest.raises(LocalError, match=f"OpenAI cost differs in costs_focus on: {day}"):
        found.show_and_check_view(client, console)


def test_a_simulator_that_is_away_is_named() -> None:
    with pytest.raises(LocalError, match="the simulator of anthropic doesn't tell its truth"):
        accounts.truth("http://127.0.0.1:1", accounts.ANTHROPIC, FIRST_DAY, LAST_DAY)
