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
from pipeline_local.quickstart import source

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


def show_and_check(kubectl: Kubectl, client: bigquery.Client, run: Mapping[str, Any], console: Console) -> None:
    """Show the run, rows, daily sums and the record of a completed run.

    Raises LocalError naming what isn't as it should be.
    """
    _show_text(console, "kubectl get plr", kubectl("get", "plr", run["metadata"]["name"]))
    _show_rows(console, f"Five rows of {TARGET}", sample(client))
    expected, there = _sums(client, run)
    console.print(_sums_table(expected, there))
    _check_sums(expected, there, run["status"]["recordsProcessed"])
    record = await_record(client, run["status"]["runId"])
    _show_text(
        console, f"The row of {RECORDS}", "\n".join(f"{name:<18} {_cell(value)}" for name, value in record.items())
    )
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


def sample(client: bigquery.Client) -> list[dict[str, Any]]:
    """Five rows of the target with what is easiest to read of them; always the same five."""
    query = f"""
        SELECT usage_start_time, project.id AS project, sku.description AS sku, cost
        FROM `{client.project}.{TARGET}`
        ORDER BY usage_start_time DESC, cost DESC, sku LIMIT 5"""  # noqa: S608 - the table's name is our own
    return [dict(row) for row in client.query_and_wait(query)]


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


def _sums_table(expected: Mapping[date, Sums], there: Mapping[date, Sums]) -> Table:
    title = "\nDaily sums of the source and of the target"
    table = Table("Day", title=title, title_justify="left", title_style="bold")
    for name in ("Rows", "Cost, source", "Cost, target", "Credits"):
        table.add_column(name, justify="right")
    table.add_column("Equal")
    nothing = Sums(0, Decimal(0), Decimal(0))
    for day in sorted(expected.keys() | there.keys()):
        one, other = expected.get(day, nothing), there.get(day, nothing)
        counted, credited = _both(one.records, other.records), _both(one.credits, other.credits)
        equal = "yes" if one == other else "[red]no[/]"
        table.add_row(str(day), counted, str(one.cost), str(other.cost), credited, equal)
    return table


def _both(source_: int | Decimal, target: int | Decimal) -> str:
    return str(target) if source_ == target else f"{source_} != {target}"


def _show_rows(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        raise LocalError(f"{TARGET} has no rows")
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold")
    for name in rows[0]:
        # where the terminal is narrow the descriptions are broken into lines, never a figure
        table.add_column(name, no_wrap=name != "sku")
    cells = [[_cell(value) for value in row.values()] for row in rows]
    for line in cells:
        table.add_row(*line)
    console.print(table)


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%F %T}"
    return "NULL" if value is None else str(value)


def _show_text(console: Console, title: str, text: str) -> None:
    console.print(f"\n{title}", style="bold", highlight=False)
    console.print(text.rstrip(), markup=False, highlight=False, soft_wrap=True)
