"""A customer's export of ten days, rescans of it, and what must stand in the target after them."""

from typing import Any

import pytest

from pipeline_core.outcome import ExitCode
from pipeline_core.run_document import RunDocument
from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.warehouse import Warehouse
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress
from support.billing import Billing, row

DAYS = tuple(f"2026-11-{number:02}" for number in range(1, 11))
FIRST, LAST = DAYS[0], DAYS[-1]
CREDIT = "[STRUCT('promo' AS name, -0.1 AS amount), STRUCT('none' AS name, NULL AS amount)]"


def ten_days(settings: BigQuerySettings) -> Billing:
    """A new export with a row for each of ten days, of which the third and the fourth have none."""
    made = Billing(settings)
    make_ten_days(made)
    return made


def make_ten_days(billing: Billing) -> None:
    """The table of the export with these rows."""
    billing.make_source(row(day, "0.1 + 0.2", credits=CREDIT) for day in DAYS if day not in DAYS[2:4])


def at(day: str) -> str:
    """The rows of a day."""
    return f"usage_start_time = TIMESTAMP '{day} 12:00:00+00'"


def document(billing: Billing, run_id: str = "", *, read: str | None = None, days: int = 10) -> RunDocument:
    """A run as a schedule makes it: nobody has named a day."""
    made = billing.document(run_id, read=read, date=LAST)
    made.config["source"]["rescan_days"] = days
    return made


async def rescan(billing: Billing, *, read: str | None = None) -> int:
    """Run, expect success, and say how many rows were copied."""
    outcome, code = await execute(document(billing, read=read), Progress())
    assert (outcome.error, code) == (None, ExitCode.OK)
    return outcome.records_processed


def same_as_source(billing: Billing) -> bool:
    """Whether the target has each day's rows as they stand at the source, told without the code that copies them."""
    day = "CAST(usage_start_time AS DATE) AS day, COUNT(*) AS n"
    there = billing.sql(f"SELECT {day}, SUM(cost) AS cost FROM `{billing.source}` GROUP BY day ORDER BY day")
    here = billing.sql(f"SELECT {day}, SUM(cost) AS cost FROM `{billing.target}` GROUP BY day ORDER BY day")
    rounded = [{**each, "cost": round(float(each["cost"]), 6)} for each in there]
    return rounded == [{**each, "cost": round(float(each["cost"]), 6)} for each in here]


def copied_by(billing: Billing, run_id: str) -> set[str]:
    """The days that the manifest says a run has copied."""
    statement = f"SELECT day FROM `{billing.dataset}._pipelines_manifest` WHERE run_id = '{run_id}'"
    return {str(each["day"]) for each in billing.sql(statement)}


def jobs_from_now_on(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that runs make from now on, by their steps: the list grows."""
    seen: list[str] = []
    job = Warehouse._job

    async def noted(self: Warehouse, name: str, *rest: Any) -> Any:
        seen.append(name)
        return await job(self, name, *rest)

    monkeypatch.setattr(Warehouse, "_job", noted)
    return seen
