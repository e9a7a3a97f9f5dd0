"""Killed or stopped at any request, to a provider or to BigQuery, a run leaves all or nothing; the next does the rest.

Requests whose answer alone was lost are among them: what was carried out isn't done twice.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.cloud.bigquery import SchemaField, Table

from pipeline_core.outcome import ExitCode
from pipeline_core.run_document import RunDocument
from pipeline_core.settings import BigQuerySettings
from pipeline_local.simulators.server import Simulators, start_simulators
from support.fault_proxy import FaultProxy, bigquery_proxy, fault_proxy
from support.killed_runs import (
    DONE,
    UNSENT,
    At,
    each_way,
    killed_at,
    leaves_only_what_expires,
    over,
    spoilt,
    statements,
    stopped_at,
)
from support.provider_checks import DAYS, FIRST, LAST, check, succeeds, without_waiting
from support.provider_runs import Customer, customer_with_key

pytestmark = pytest.mark.usefixtures("quick_retries")

COSTS = {"openai": r"/v1/organization/costs", "anthropic": r"/cost_report"}
USAGE = {"openai": r"/usage/completions", "anthropic": r"/usage_report/messages"}
# Each day is a page, and may have one row more than there should be (support.killed_runs.spoilt).
PAGES = SPOILT = 3
EARLIER = Decimal(7)


@pytest.fixture(scope="module")
def simulators() -> Iterator[Simulators]:
    with start_simulators(seed=7) as started:
        yield started


@pytest.fixture(params=["openai", "anthropic"])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def customer(
    bigquery_settings: BigQuerySettings,
    provider: str,
    simulators: Simulators,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Customer:
    made = customer_with_key(bigquery_settings, provider, simulators, tmp_path, monkeypatch)
    simulators.plan(faults={"short-page": 1.0}, in_a_row=100, amounts="strings")
    without_waiting(monkeypatch)
    return made


@pytest.fixture
def proxy(customer: Customer) -> Iterator[FaultProxy]:
    """A proxy to BigQuery that the runs of this test go through; `customer` itself goes straight."""
    with bigquery_proxy() as made:
        yield made


@pytest.fixture
def asked(customer: Customer) -> Iterator[FaultProxy]:
    """A proxy to the provider."""
    with fault_proxy(customer.simulators.url) as made:
        yield made


def document_of(customer: Customer, asked: FaultProxy) -> RunDocument:
    """A run that goes through both proxies, and may set rows aside."""
    made = customer.document(source={"base_url": f"{asked.url}/{customer.provider}"}, **DAYS)
    made.config["checks"] = {"quarantined": {"max": SPOILT}}
    return made


def make_narrow_costs(customer: Customer) -> None:
    """A table of costs that lacks columns, and has one that is too narrow, with a row that the run replaces."""
    name = f"{customer.dataset}.{customer.provider}_costs"
    columns = [SchemaField("usage_date", "DATE"), SchemaField("amount", "INTEGER")]
    customer.client.create_table(Table(name, columns))
    customer.sql(f"INSERT INTO `{name}` (usage_date, amount) VALUES (DATE '{FIRST}', {EARLIER})")


def columns_of(customer: Customer) -> dict[str, str]:
    """The types of the columns that the table of costs has, by a query: the stand-in's own account of it lags."""
    table = f"{customer.dataset}.{customer.provider}_costs"
    found = customer.client.query(f"SELECT * FROM `{table}`", job_retry=None).result(timeout=60)
    return {each.name: each.field_type for each in found.schema}


def markers(customer: Customer, run_id: str) -> list[dict[str, Any]]:
    """What is known of a run's publishing; nothing where there is no table for it."""
    if "_pipelines_commits" not in customer.tables():
        return []
    table = f"{customer.dataset}._pipelines_commits"
    return customer.sql(f"SELECT * FROM `{table}` WHERE run_id = '{run_id}' ORDER BY target")


def quarantined(customer: Customer, run_id: str) -> list[tuple[str, date]]:
    """The target and the day of each row that a run has set aside."""
    if "_pipelines_quarantine" not in customer.tables():
        return []
    table = f"{customer.dataset}._pipelines_quarantine"
    found = customer.sql(f"SELECT target, day FROM `{table}` WHERE run_id = '{run_id}'")
    return sorted((each["target"], each["day"]) for each in found)


POINTS = {
    "making the staging tables": At(r"POST .*/datasets/\w+/tables", "_staging"),
    "beginning a load": At(r"POST /upload/", "_staging"),
    "loading": At(r"PUT /upload/", '"usage_date"'),
    "making the quarantine": At(r"POST .*/datasets/\w+/tables", "_pipelines_quarantine"),
    "emptying the quarantine": At(r"POST .*/jobs", "DELETE FROM .*_pipelines_quarantine"),
    "beginning to quarantine": At(r"POST /upload/", "_pipelines_quarantine"),
    "quarantining": At(r"PUT /upload/", '"quarantined_at"'),
    "making the markers": At(r"POST .*/datasets/\w+/tables", "_pipelines_commits"),
    "locking": At(r"POST .*/jobs", "INSERT INTO .*_pipelines_locks"),
    "growing the target": At(r"POST .*/jobs", "ALTER TABLE .*_costs"),
    "publishing": At(r"POST .*/jobs", "BEGIN TRANSACTION"),
    "dropping the staging tables": At(r"DELETE .*/tables/_staging"),
}
SMOKE = {("growing the target", DONE), ("quarantining", DONE), ("publishing", DONE)}
PUBLISHED = {("publishing", DONE), *(("dropping the staging tables", way) for way in (UNSENT, DONE))}


def had_its_effect(customer: Customer, run_id: str, stage: str, way: str) -> None:
    """Assert that a request that is done was carried out, and no other: else the test would be of another moment."""
    done = way == DONE
    if stage == "growing the target":
        found = columns_of(customer)
        assert (found["amount"], "currency" in found) == (("NUMERIC", True) if done else ("INTEGER", False))
    elif stage == "quarantining":
        assert quarantined(customer, run_id) == (spoilt_rows(customer) if done else [])
    elif stage == "making the quarantine":
        assert ("_pipelines_quarantine" in customer.tables()) == done


async def ends_well(customer: Customer, document: RunDocument, proxy: FaultProxy, asked: FaultProxy) -> None:
    """Run the document again: what stands there then is what an undisturbed run would have left."""
    before = markers(customer, document.run_id)
    loaded = {each["loaded_at"] for each in customer.rows("costs")} if before else set()
    requests, transactions = len(asked.seen), len(statements(proxy, "BEGIN TRANSACTION"))
    check(customer, await succeeds(document))
    after = markers(customer, document.run_id)
    if before:
        assert (len(asked.seen), len(statements(proxy, "BEGIN TRANSACTION"))) == (requests, transactions)
        assert after == before
        assert {each["loaded_at"] for each in customer.rows("costs")} == loaded
    assert [each["target"] for each in after] == [f"{customer.provider}_costs", f"{customer.provider}_usage"]
    leaves_only_what_expires(customer.tables(), proxy)


def spoilt_rows(customer: Customer) -> list[tuple[str, date]]:
    """The target and the day of each row that a run has to set aside: one for each day that has costs."""
    days = {row["day"] for row in customer.truth(FIRST, LAST).rows["costs"]}
    return [(f"{customer.provider}_costs", day) for day in sorted(days)]


def each_rejected_row_is_there_once(customer: Customer, run_id: str) -> None:
    assert quarantined(customer, run_id) == spoilt_rows(customer)


@pytest.mark.parametrize(("stage", "way"), each_way(POINTS, SMOKE))
async def test_killed_at_bigquery_the_next_attempt_gives_the_same_rows(
    customer: Customer, proxy: FaultProxy, asked: FaultProxy, tmp_path: Path, stage: str, way: str
) -> None:
    make_narrow_costs(customer)
    asked.add(COSTS[customer.provider], times=None, change=spoilt)
    document = document_of(customer, asked)
    await killed_at(POINTS[stage], proxy, way, document, tmp_path)
    had_its_effect(customer, document.run_id, stage, way)
    published = bool(markers(customer, document.run_id))
    assert published == ((stage, way) in PUBLISHED)
    if not published:
        assert [each["amount"] for each in customer.rows("costs")] == [EARLIER]
    leaves_only_what_expires(customer.tables(), proxy)
    await ends_well(customer, document, proxy, asked)
    each_rejected_row_is_there_once(customer, document.run_id)


@pytest.mark.full
async def test_of_each_run_every_rejected_row_is_kept_once(
    customer: Customer, proxy: FaultProxy, asked: FaultProxy, tmp_path: Path
) -> None:
    asked.add(COSTS[customer.provider], times=None, change=spoilt)
    runs = [document_of(customer, asked) for _ in range(2)]
    for document in runs:
        await killed_at(POINTS["quarantining"], proxy, DONE, document, tmp_path)
    for document in runs:
        await ends_well(customer, document, proxy, asked)
    for document in runs:
        each_rejected_row_is_there_once(customer, document.run_id)


@pytest.mark.full
async def test_a_target_that_has_grown_by_half_grows_on(
    customer: Customer, proxy: FaultProxy, asked: FaultProxy, tmp_path: Path
) -> None:
    make_narrow_costs(customer)
    document = document_of(customer, asked)
    await killed_at(POINTS["growing the target"], proxy, UNSENT, document, tmp_path)
    (script,) = statements(proxy, "ALTER TABLE .*_costs")
    changes = script.splitlines()
    for change in changes[: len(changes) // 2]:
        customer.sql(change)
    assert 2 < len(columns_of(customer)) < len(changes)
    await ends_well(customer, document, proxy, asked)


REQUESTS = [
    pytest.param(
        report, page, way, id=f"{name}, page {page}, {way}",
        marks=() if (name, page, way) == ("costs", 2, UNSENT) else pytest.mark.full,
    )
    for name, report in (("costs", COSTS), ("usage", USAGE))
    for page in range(1, PAGES + 1)
    for way in (UNSENT, DONE)
]  # fmt: skip


@pytest.mark.parametrize(("report", "page", "way"), REQUESTS)
async def test_killed_while_a_provider_is_asked_the_next_attempt_asks_for_all(
    customer: Customer, proxy: FaultProxy, asked: FaultProxy, tmp_path: Path, report: dict[str, str], page: int,
    way: str,
) -> None:  # fmt: skip
    document = document_of(customer, asked)
    path = report[customer.provider]
    await killed_at(At(path, after=page - 1), asked, way, document, tmp_path)
    await over(proxy)
    # a cursor is what tells the further pages
    assert ["page=" in each for each in asked.seen if path in each] == [number > 1 for number in range(1, page + 1)]
    tables = customer.tables()
    assert tables.isdisjoint({f"{customer.provider}_costs", f"{customer.provider}_usage", "_pipelines_commits"})
    leaves_only_what_expires(tables, proxy)
    asked.seen.clear()
    await ends_well(customer, document, proxy, asked)
    assert sum(path in each for each in asked.seen) == PAGES


STOPPED_AT = (
    "loading", "emptying the quarantine", "quarantining", "growing the target", "publishing",
    "dropping the staging tables",
)  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("stage", STOPPED_AT)
@pytest.mark.parametrize("way", [UNSENT, DONE])
async def test_told_to_stop_it_says_how_it_ended_and_the_next_attempt_gives_the_same_rows(
    customer: Customer, proxy: FaultProxy, asked: FaultProxy, tmp_path: Path, stage: str, way: str
) -> None:
    make_narrow_costs(customer)
    asked.add(COSTS[customer.provider], times=None, change=spoilt)
    document = document_of(customer, asked)
    outcome, code = await stopped_at(POINTS[stage], proxy, way, document, tmp_path)
    published = bool(markers(customer, document.run_id))
    assert (outcome.status, code) == (("succeeded", ExitCode.OK) if published else ("terminated", ExitCode.TERMINATED))
    if not published:
        assert [each["amount"] for each in customer.rows("costs")] == [EARLIER]
    leaves_only_what_expires(customer.tables(), proxy)
    await ends_well(customer, document, proxy, asked)
    each_rejected_row_is_there_once(customer, document.run_id)
