"""How soon a runner begins to extract, how fast it copies, and how much memory that takes.

Each figure stands beside a baseline of the same minute: a bare interpreter, and the barest loop of Google's client
(Storage Read, Parquet, load job) that copies the same rows with no check, no exact money and no transaction.
"""

import json
import sys
from datetime import date
from pathlib import Path

import pytest

from pipeline_core.run_document import RunDocument
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_local.quickstart import source
from pipeline_local.quickstart.export import billing_export
from pipeline_local.services.bigquery import BigQuery
from support.billing import Billing
from support.figures import in_turn, median, peak_rss_mib, show

ROUNDS = 3
DAYS = 10
LAST = date(2026, 11, 20)
BARE = Path(__file__).with_name("bare_copy.py")


def _document(billing: Billing, read: str) -> RunDocument:
    project, dataset, table = source.full_name().split(".")
    document = billing.document(read=read, start_date="2026-11-11", end_date=LAST.isoformat())
    found = {"type": "bigquery", "project": project, "dataset": dataset, "table": table, "read": read}
    return document.model_copy(update={"config": {**document.config, "source": found}})


def _environment(document: RunDocument, folder: Path) -> dict[str, str]:
    file, outcome = folder / f"{document.run_id}.json", folder / f"{document.run_id}.outcome"
    file.write_text(document.model_dump_json())
    return {
        "PIPELINES_RUN_DOCUMENT": str(file),
        "PIPELINES_TERMINATION_LOG": str(outcome),
        "PIPELINES_LOG_LEVEL": "critical",
    }


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rows_per_day", [5_000])
def test_copy(bigquery_settings: BigQuerySettings, tmp_path: Path, rows_per_day: int) -> None:
    export = billing_export(LAST, days=DAYS, rows_per_day=rows_per_day)
    source.load(bigquery_client(bigquery_settings), export)
    billing = Billing(bigquery_settings)
    memory: dict[str, float] = {}

    def runner(read: str) -> None:
        document = _document(billing, read)
        _, memory[read] = peak_rss_mib([sys.executable, "-m", "pipeline_runner"], _environment(document, tmp_path))

    def bare() -> None:
        command = [sys.executable, str(BARE), source.full_name(), f"{billing.dataset}.bare"]
        _, memory["bare"] = peak_rss_mib(command, {})

    subjects = {"query": lambda: runner("query"), "storage": lambda: runner("storage"), "bare": bare}
    seconds = {name: median(values) for name, values in in_turn(subjects, ROUNDS).items()}
    names = {"query": "server-side query", "storage": "Storage Read", "bare": "bare client loop (baseline)"}
    show(
        f"Copying {export.num_rows:,} rows, whole process, median of {ROUNDS}",
        ["way", "seconds", "rows/s", "rows/s to baseline", "peak MiB"],
        [
            [
                names[name],
                f"{taken:.2f}",
                f"{export.num_rows / taken:,.0f}",
                f"{seconds['bare'] / taken:.2f}",
                f"{memory[name]:.0f}",
            ]
            for name, taken in seconds.items()
        ],
    )


@pytest.mark.timeout(600)
def test_start(stand_in: BigQuery, bigquery_settings: BigQuerySettings, tmp_path: Path) -> None:
    """Process start to the end of a run that finds its source missing: all of the start, and one call."""
    billing = Billing(bigquery_settings)
    document = billing.document(read="query", date="2026-11-01")
    environment = _environment(document, tmp_path)

    def runner() -> None:
        with pytest.raises(Exception, match="exit status 78"):
            peak_rss_mib([sys.executable, "-m", "pipeline_runner"], environment)

    def interpreter() -> None:
        peak_rss_mib([sys.executable, "-c", "pass"], {})

    def client() -> None:
        code = "from google.cloud import bigquery"
        peak_rss_mib([sys.executable, "-c", code], {})

    subjects = {
        "runner, to its first answer": runner,
        "Google's client, import alone": client,
        "interpreter": interpreter,
    }
    seconds = {name: median(values) for name, values in in_turn(subjects, ROUNDS).items()}
    outcome = json.loads(Path(environment["PIPELINES_TERMINATION_LOG"]).read_text())
    assert "doesn't exist" in outcome["error"], outcome
    show(
        f"Start, warm page cache, median of {ROUNDS}",
        ["process", "seconds"],
        [[name, f"{taken:.2f}"] for name, taken in seconds.items()],
    )
