"""`pipelines run`: the same copy without a cluster, and a dry run that writes nothing."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline_cli.main import app
from pipeline_core.settings import BigQuerySettings
from support.billing import Billing, row

CONFIGS = Path(__file__).parents[2] / "configs"
DAY = "2026-11-01"


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Iterator[Billing]:
    made = Billing(bigquery_settings)
    made.make_source([row(DAY, "1.0"), row(DAY, "2.0"), row("2026-11-02", "4.0")])
    made.target = f"{made.dataset}.gcp_billing_costs"
    return made


def invoke(billing: Billing, *arguments: str) -> tuple[int, str]:
    project, dataset, table = billing.source.split(".")
    settings = (f"billing_project_id={project}", f"billing_dataset_id={dataset}", f"billing_table={table}")
    command = ["run", "gcp/cost/billing", "--org", billing.org, "--env", "test", "--configs", str(CONFIGS)]
    result = CliRunner().invoke(
        app, [*command, *(part for each in settings for part in ("--setting", each)), *arguments]
    )
    return result.exit_code, result.output


def test_a_local_run_copies(billing: Billing) -> None:
    code, output = invoke(billing, "--local", "--date", DAY)
    assert code == 0, output
    assert "succeeded: 2 records" in output
    assert billing.costs() == [Decimal(1), Decimal(2)]


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(billing: Billing) -> None:
    code, output = invoke(billing, "--local", "--dry-run", "--start-date", DAY, "--end-date", "2026-11-02")
    assert code == 0, output
    for text in (billing.source, "2026-11-01..2026-11-02", "rows:              3", "the table is new"):
        assert text in output
    assert "FLOAT to NUMERIC:  cost, credits.amount" in output
    assert billing.tables() == set()
    invoke(billing, "--local", "--date", DAY)
    _, output = invoke(billing, "--dry-run", "--date", DAY)
    assert "replace:           2 rows of these days" in output


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--date", DAY], 78, "add --local"),
        (["--local", "--date", "2026-13-01"], 78, "2026-13-01"),
        (["--local", "--date", DAY, "--end-date", DAY], 78, "date"),
        (["--local", "--param", "nonsense"], 78, "expected name=value"),
        (["--local", "--param", "unheard=of"], 78, "unheard"),
        (["--local", "--date", DAY, "--setting", "billing_table=none"], 78, "doesn't exist"),
    ],
)
def test_bad_input_is_refused_in_one_line(billing: Billing, arguments: list[str], code: int, text: str) -> None:
    found, output = invoke(billing, *arguments)
    assert found == code
    assert text in output
    assert "Traceback" not in output


def test_no_integration_is_refused(billing: Billing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINES_DATABASE_URL", raising=False)
    command = ["run", "gcp/cost/billing", "--org", billing.org, "--local", "--configs", str(CONFIGS)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 78
    assert "gcp integration not active" in result.output
