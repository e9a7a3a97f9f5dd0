"""Shows what a run has made, and checks each figure against the source's."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from google.cloud import bigquery
from rich.console import Console
from rich.table import Table

from pipeline_local.errors import LocalError
from pipeline_local.kubectl import Kubectl
from pipeline_local.quickstart import commands, source
from pipeline_local.quickstart.costs import Costs, titled

GCP = commands.PROVIDER
TARGET = "acme_dev.gcp_billing_costs"
RECORDS = "organizations.pipeline_runs"
RECORDED_WITHIN = 60.0
"""Seconds that the exporter has: final states are exported soon, others may take half a minute."""


@dataclass(frozen=True)
class Sums:
    """One day's rows, and what they add up to."""

    records: int
    cost: Decimal
    credits: Decimal


def show_and_check(
    kubectl: Kubectl, client: bigquery.Client, runs: Mapping[str, Mapping[str, Any]], costs: Costs, console: Console
) -> None:
    """Show the completed runs of all providers, their tables beside their sources, and their records.

    Raises LocalError naming what isn't as it should be.
    """
    commands.say(console, f"\n$ kubectl get plr {' '.join(run['metadata']['name'] for run in runs.values())}")
    commands.say(console, kubectl("get", "plr", *(run["metadata"]["name"] for run in runs.values())))
    check_sums(client, runs[GCP])
    console.print(costs.table_of_sums(client))
    costs.check_tables(client)
    for provider, run in runs.items():
        if (found := costs.records(client, provider)) != run["status"]["recordsProcessed"]:
            raise LocalError(
                f"the run of {provider} says it processed {run['status']['recordsProcessed']} records, "
                f"and its tables hold {found}"
            )
    records = [await_record(client, run["status"]["runId"]) for run in runs.values()]
    console.print(_records_table(records))
    for record, run in zip(records, runs.values(), strict=True):
        _check_record(record, run)


def check_sums(client: bigquery.Client, run: Mapping[str, Any]) -> int:
    """How many days the run was for. Raises LocalError where the target differs from the source on one of them."""
    expected, there = _sums(client, run)
    _check_sums(expected, there, run["status"]["recordsProcessed"])
    return len(there)


def _sums(client: bigquery.Client, run: Mapping[str, Any]) -> tuple[dict[date, Sums], dict[date, Sums]]:
    """The daily sums of the source and of the target, for the days of the run."""
    parameters = run["spec"]["parameters"]
    first_day, last_day = (date.fromisoformat(parameters[name]) for name in ("start_date", "end_date"))
    expected = daily_sums(client, source.full_name(), "PARSE_NUMERIC(CAST({} AS STRING))", first_day, last_day)
    return expected, daily_sums(client, f"{client.project}.{TARGET}", "{}", first_day, last_day)


def daily_sums(client: bigquery.Client, table: str, money: str, first_day: date, last_day: date) -> dict[date, Sums]:
    """The sums by day of usage; `money` turns a column of the table, put in its braces, into NUMERIC.

    Credits are added up within their row first: a join would count a row's cost once for each of its credits.
    """
    query = f"""
        SELECT DATE(usage_start_time) AS day, COUNT(*) AS records, SUM({money.format("cost")}) AS cost,
          SUM((SELECT SUM({money.format("credit.amount")}) FROM UNNEST(credits) AS credit)) AS credits
        FROM `{table}`
        WHERE usage_start_time >= @first AND usage_start_time < TIMESTAMP_ADD(@last, INTERVAL 1 DAY)
        GROUP BY day ORDER BY day"""  # noqa: S608 - the table's name is the quick start's own
    window = [
        bigquery.ScalarQueryParameter("first", "TIMESTAMP", f"{first_day}T00:00:00Z"),
        bigquery.ScalarQueryParameter("last", "TIMESTAMP", f"{last_day}T00:00:00Z"),
    ]
    rows = client.query_and_wait(query, job_config=bigquery.QueryJobConfig(query_parameters=window))
    return {row["day"]: Sums(row["records"], row["cost"], row["credits"]) for row in rows}


def await_record(client: bigquery.Client, run_id: str) -> dict[str, Any]:
    """The run's row, once the exporter has brought its end.

    Raises LocalError where it hasn't in time.
    """
    query = f"SELECT * FROM `{client.project}.{RECORDS}` WHERE run_id = @run_id"  # noqa: S608 - our own table
    parameter = bigquery.ScalarQueryParameter("run_id", "STRING", run_id)
    deadline = time.monotonic() + RECORDED_WITHIN
    while True:
        rows = list(client.query_and_wait(query, job_config=bigquery.QueryJobConfig(query_parameters=[parameter])))
        if rows and rows[0]["completed_at"] is not None:
            return dict(rows[0])
        if time.monotonic() > deadline:
            seen = f"it has the status {rows[0]['status']}" if rows else "it isn't there"
            raise LocalError(f"{RECORDS} doesn't have the end of {run_id} after {RECORDED_WITHIN:.0f} s: {seen}")
        time.sleep(0.3)


def differences(expected: Mapping[date, Sums], there: Mapping[date, Sums]) -> list[date]:
    """The days on which source and target aren't the same to the last digit."""
    return [day for day in sorted(expected.keys() | there.keys()) if expected.get(day) != there.get(day)]


def _check_sums(expected: Mapping[date, Sums], there: Mapping[date, Sums], records: int) -> None:
    if not expected:
        raise LocalError(f"{source.full_name()} has no rows of these days")
    if days := differences(expected, there):
        raise LocalError(f"{TARGET} differs from its source on: {', '.join(map(str, days))}")
    if records != sum(sums.records for sums in expected.values()):
        raise LocalError(f"the run says it processed {records} records, which isn't the number in the table")


def _check_record(record: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    wanted = {
        "status": "completed",
        "org_slug": run["spec"]["org"],
        "records_processed": run["status"]["recordsProcessed"],
        "error_message": None,
    }
    wrong = {name: record[name] for name, value in wanted.items() if record[name] != value}
    if wrong:
        raise LocalError(f"the row of {RECORDS} isn't as expected: {wrong}, expected {wanted}")


def _records_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """What the history table has of each run that is easiest to read."""
    names = ("provider", "pipeline", "status", "completed_at", "records_processed")
    table = titled(f"The rows of {RECORDS}")
    for name in names:
        table.add_column(name, no_wrap=True)
    for record in records:
        table.add_row(*(_cell(record[name]) for name in names))
    return table


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%F %T}"
    return "NULL" if value is None else str(value)
