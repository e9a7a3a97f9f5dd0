"""The cost view over all providers' tables keeps FOCUS's rules in every row, and adds up to the tables' own sums."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from pipeline_core.focus.sql import text
from pipeline_core.settings import BigQuerySettings
from pipeline_local.quickstart.export import billing_export
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.focus_view import ensure_focus_view
from support import focus_rules
from support.fault_proxy import FaultProxy, bigquery_proxy, error
from support.focus_scene import FocusScene, anthropic_row, openai_row

LAST_DAY = date(2026, 11, 2)
"""The days before it are of the month before, and that midnight isn't Google's."""
OPENAI = [
    openai_row(date(2026, 10, 31), "0.000000001"),
    openai_row(date(2026, 11, 1), "12345678901.123456789", quantity=None),
    openai_row(date(2026, 11, 1), "-3.50", line_item=None, project_id=None),
    openai_row(date(2026, 12, 31), "0", currency="eur"),
]
ANTHROPIC = [
    anthropic_row(date(2026, 11, 1), "1.23"),
    anthropic_row(date(2026, 11, 2), "0.000000007", workspace_id="wrkspc_1", cost_type="web_search", model=None),
    anthropic_row(date(2028, 2, 29), "-0.01", description=None),
]

EXPORTS = ("gcp_billing_costs", "gcp_detailed_billing_costs")
EXPORT = {
    "billing_account_id": "STRING",
    "usage_start_time": "TIMESTAMP",
    "usage_end_time": "TIMESTAMP",
    "cost": "NUMERIC",
    "currency": "STRING",
}
"""The columns that an export must have."""
LISTED = {"cost_at_list": "NUMERIC", "cost_type": "STRING"}
FOREIGN = {
    "usage_date": "DATE",
    "bucket_start": "TIMESTAMP",
    "bucket_end": "TIMESTAMP",
    "amount": "FLOAT",
    "currency": "STRING",
}
"""A table with the columns that an API's must have, but not as we make it."""


@pytest.fixture
def scene(bigquery_settings: BigQuerySettings) -> FocusScene:
    return FocusScene(bigquery_settings)


@pytest.fixture
def proxy(scene: FocusScene) -> Iterator[FaultProxy]:
    """A proxy that the view's makers go through; the scene itself goes straight to the stand-in."""
    with bigquery_proxy() as made:
        scene.settings = BigQuerySettings()
        yield made


async def ensure(scene: FocusScene) -> bool:
    return await ensure_focus_view(scene.warehouse(), scene.dataset, "US")


async def test_every_row_keeps_the_rules_and_the_sums_are_the_tables(scene: FocusScene) -> None:
    scene.make_export(billing_export(LAST_DAY, days=3, rows_per_day=600))
    scene.make_costs("openai", OPENAI)
    scene.make_costs("anthropic", ANTHROPIC)
    assert await ensure(scene)
    rows = scene.rows()
    assert [(row, wrong) for row in rows if (wrong := focus_rules.broken(row))] == []
    assert focus_rules.ambiguous_services(rows) == {}
    assert _sums(rows) == _of_tables(scene, "gcp", "openai", "anthropic")
    google = [row for row in rows if row["x_Provider"] == "gcp"]
    assert {row["ChargeCategory"] for row in google} == {"Usage", "Tax", "Adjustment"}
    assert any(row["BilledCost"] != row["ContractedCost"] for row in google)
    assert any(row["ListCost"] != row["ContractedCost"] for row in google)
    assert {row["x_RunId"] for row in rows} == {"run_test"}
    apis = [row for row in rows if row["x_Provider"] != "gcp"]
    assert {(row["BilledCost"] < 0, row["ChargeCategory"]) for row in apis} == {(True, "Credit"), (False, "Usage")}


async def test_a_rows_credits_are_taken_off_once_and_its_price_stays(scene: FocusScene) -> None:
    scene.make_export(billing_export(LAST_DAY, days=1, rows_per_day=20))
    scene.sql(f"DELETE FROM `{scene.dataset}.gcp_billing_costs` WHERE TRUE")
    values = {
        "billing_account_id": "'A-1'",
        "usage_start_time": "TIMESTAMP '2026-09-30 23:00:00+00'",
        "usage_end_time": "TIMESTAMP '2026-10-01 00:00:00+00'",
        "cost": "NUMERIC '10'",
        "cost_at_list": "NUMERIC '12'",
        "currency": "'EUR'",
        "cost_type": "'adjustment'",
        "invoice": "STRUCT('202610' AS month, 'GOOGLE' AS publisher_type)",
        "seller_name": "'Elastic'",
        "transaction_type": "'THIRD_PARTY_RESELLER'",
    }
    names, constants = ", ".join(values), ", ".join(values.values())
    scene.sql(
        f"INSERT INTO `{scene.dataset}.gcp_billing_costs` ({names}, credits) VALUES ({constants},"
        " [STRUCT('a' AS name, NUMERIC '-1.5' AS amount, 'a' AS full_name, 'a' AS id, 'PROMOTION' AS type),"
        " STRUCT('b' AS name, NUMERIC '-2' AS amount, 'b' AS full_name, 'b' AS id, 'DISCOUNT' AS type)])"
    )
    assert await ensure(scene)
    (row,) = scene.rows()
    costs = {
        name: row[name] for name in ("BilledCost", "EffectiveCost", "ContractedCost", "ListCost", "x_CreditAmount")
    }
    assert costs == {
        "BilledCost": Decimal("6.5"),
        "EffectiveCost": Decimal("6.5"),
        "ContractedCost": Decimal(10),
        "ListCost": Decimal(12),
        "x_CreditAmount": Decimal("-3.5"),
    }
    # the invoice is October's, the usage September's: a correction of a month that is closed
    assert (row["ChargeCategory"], row["ChargeClass"]) == ("Adjustment", "Correction")
    assert (row["ServiceProviderName"], row["HostProviderName"]) == ("Elastic", "Google Cloud")
    assert (row["ServiceName"], row["ServiceCategory"]) == ("Google Cloud", "Other")
    assert (f"{row['BillingPeriodStart']:%F %H}", f"{row['BillingPeriodEnd']:%F %H}") == (
        "2026-10-01 07",
        "2026-11-01 07",
    )
    assert row["x_UsageDate"] == date(2026, 9, 30)


@pytest.mark.parametrize(
    "there", [each for size in (1, 2) for each in combinations(("gcp", "openai", "anthropic"), size)]
)
async def test_the_view_is_over_whichever_tables_there_are(scene: FocusScene, there: tuple[str, ...]) -> None:
    _make(scene, *there)
    assert await ensure(scene)
    rows = scene.rows()
    assert {row["x_Provider"] for row in rows} == set(there)
    assert all(focus_rules.broken(row) == [] for row in rows)


async def test_an_export_that_lacks_columns_is_shown_with_what_it_has(scene: FocusScene) -> None:
    optional = ("cost_at_list", "seller_name", "transaction_type", "invoice", "adjustment_info", "cost_type", "credits")
    scene.make_export(
        billing_export(LAST_DAY, days=1, rows_per_day=50), without=(*optional, "service", "sku", "usage", "project")
    )
    assert await ensure(scene)
    rows = scene.rows()
    assert len(rows) > 40
    assert all(row["ListCost"] == row["BilledCost"] and row["ChargeCategory"] == "Usage" for row in rows)
    # without `usage` there is no quantity: the one rule that such an export can't keep
    assert {rule for row in rows for rule in focus_rules.broken(row)} == {"PricingQuantity isn't null for usage"}


async def test_the_detailed_export_stands_in_where_the_standard_one_has_nothing(scene: FocusScene) -> None:
    """With all columns: `cost` and `credits` of the day that only it has are those of the detailed export."""
    export = billing_export(LAST_DAY, days=3, rows_per_day=100)
    scene.make_export(export, "gcp_detailed_billing_costs")
    assert await ensure(scene)
    assert len(scene.rows()) == export.num_rows
    scene.make_export(export.slice(0, 0))
    assert await ensure(scene)
    assert len(scene.rows()) == export.num_rows
    standard = f"{scene.dataset}.gcp_billing_costs"
    scene.sql(f"INSERT INTO `{standard}` SELECT * FROM `{scene.dataset}.gcp_detailed_billing_costs`")
    whole = _of_tables(scene, "gcp")
    scene.sql(f"UPDATE `{standard}` SET run_id = 'run_standard' WHERE TRUE")
    scene.sql(f"DELETE FROM `{standard}` WHERE DATE(usage_start_time) = '{LAST_DAY}'")
    rows = scene.rows()
    assert _sums(rows) == whole
    assert {(row["x_RunId"], row["x_UsageDate"] == LAST_DAY) for row in rows} == {
        ("run_standard", False),
        ("run_test", True),
    }
    assert [wrong for row in rows if (wrong := focus_rules.broken(row))] == []


def test_each_day_of_an_account_is_counted_once_whichever_export_has_it(bigquery_settings: BigQuerySettings) -> None:
    scene = FocusScene(bigquery_settings)
    columns = [Column(name, type_) for name, type_ in EXPORT.items()]
    for table in EXPORTS:
        scene.make_table(table, columns, [])
    assert asyncio.run(ensure(scene))

    @settings(max_examples=10, deadline=None)
    @given(*[st.lists(st.tuples(st.sampled_from(["A", "B", None]), st.integers(1, 4)), max_size=12)] * 2)
    def check(standard: list[tuple[str | None, int]], detailed: list[tuple[str | None, int]]) -> None:
        scene.sql(_filled(scene, EXPORTS[0], standard, "1") + _filled(scene, EXPORTS[1], detailed, "100"))
        expected = Counter({key: Decimal(number) for key, number in Counter(standard).items()})
        for key in detailed:
            expected[key] += Decimal(100 if key not in standard else 0)
        assert _by_account(scene, 1, 4) == expected
        # a query for one day still knows that the standard export has it
        assert _by_account(scene, 2, 2) == {key: cost for key, cost in expected.items() if key[1] == 2}

    check()


async def test_a_new_provider_joins_and_an_unchanged_view_is_left(scene: FocusScene, proxy: FaultProxy) -> None:
    _make(scene, "openai")
    assert await ensure(scene)
    first, written = scene.labels(), _statements(proxy)
    assert written == 1
    assert await ensure(scene)
    assert (scene.labels(), _statements(proxy)) == (first, written)
    _make(scene, "anthropic")
    assert await ensure(scene)
    assert {row["x_Provider"] for row in scene.rows()} == {"openai", "anthropic"}


async def test_a_view_of_an_older_version_or_without_its_label_is_written_once_more(scene: FocusScene) -> None:
    _make(scene, "openai")
    scene.sql(f"CREATE VIEW `{scene.view}` AS SELECT 'openai' AS x_Provider, 'r' AS x_RunId, 'l' AS x_LoadedAt")
    assert scene.labels() == {}
    assert await ensure(scene)
    assert len(scene.rows()) == len(OPENAI)
    assert scene.labels().keys() == {"pipelines-definition"}


async def test_two_runs_at_once_end_with_a_view_over_both_their_tables(scene: FocusScene, proxy: FaultProxy) -> None:
    """The first has looked before the second's table is there, and writes only after the second has."""
    _make(scene, "openai")
    slow = proxy.add(r"POST .*/jobs", body="costs_focus", hold=True)
    first = asyncio.create_task(ensure(scene))
    assert await asyncio.to_thread(slow.reached.wait, 20)
    _make(scene, "anthropic")
    assert await ensure(scene)
    slow.released.set()
    assert await first
    assert {row["x_Provider"] for row in scene.rows()} == {"openai", "anthropic"}


@pytest.mark.parametrize("kind", ["table", "view"])
async def test_what_somebody_else_has_made_is_left_alone(scene: FocusScene, kind: str) -> None:
    _make(scene, "openai")
    if kind == "view":
        scene.sql(f"CREATE VIEW `{scene.view}` AS SELECT 1 AS mine")
    else:
        scene.make_table("costs_focus", [Column("mine", "INTEGER")], [{"mine": 1}])
    with capture_logs() as logs:
        assert not await ensure(scene)
    assert scene.sql(f"SELECT * FROM `{scene.view}`") == [{"mine": 1}]
    assert [(entry["log_level"], entry["view"]) for entry in logs] == [("warning", scene.view)]


async def test_a_table_that_is_no_billing_export_is_named_and_left_out(scene: FocusScene) -> None:
    scene.make_table("gcp_billing_costs", [Column("cost", "NUMERIC")], [])
    _make(scene, "anthropic")
    with capture_logs() as logs:
        assert await ensure(scene)
    assert {row["x_Provider"] for row in scene.rows()} == {"anthropic"}
    (entry,) = logs
    assert entry["table"] == f"{scene.dataset}.gcp_billing_costs"
    assert "currency: missing, expected STRING" in entry["columns"]


async def test_amounts_of_other_types_are_exact_or_left_out(scene: FocusScene) -> None:
    """Tables that somebody else has made: a FLOAT in one must make no other's amounts inexact."""
    columns = [Column(name, type_) for name, type_ in FOREIGN.items()]
    row = dict.fromkeys(("bucket_start", "bucket_end"), "2026-11-01T00:00:00Z") | {"usage_date": "2026-11-01"}
    scene.make_table("openai_costs", columns, [row | {"amount": 0.1, "currency": "usd"}] * 3)
    texts = [replace(column, type="STRING" if column.name == "amount" else column.type) for column in columns]
    scene.make_table("anthropic_costs", texts, [row | {"amount": "one", "currency": "usd"}])
    scene.make_export(billing_export(LAST_DAY, days=1, rows_per_day=20))
    with capture_logs() as logs:
        assert await ensure(scene)
    assert [entry["columns"] for entry in logs] == [["amount: STRING, expected NUMERIC, BIGNUMERIC, INTEGER or FLOAT"]]
    rows = scene.rows()
    assert {row["x_Provider"] for row in rows} == {"gcp", "openai"}
    assert sum(row["BilledCost"] for row in rows if row["x_Provider"] == "openai") == Decimal("0.3")


async def test_blank_texts_say_nothing(scene: FocusScene) -> None:
    scene.make_costs("openai", [openai_row(LAST_DAY, "1", line_item=" ")])
    scene.make_costs("anthropic", [anthropic_row(LAST_DAY, "1", description="")])
    assert await ensure(scene)
    assert {row["ChargeDescription"] for row in scene.rows()} == {"OpenAI API", "tokens"}


@pytest.mark.parametrize(
    ("cost_type", "at_list", "expected"),
    [
        ("regular", "12", "12"),
        ("regular", "0", "0"),
        ("regular", None, "-5"),
        ("adjustment", "0", "-5"),
        ("tax", "0", "-5"),
        ("tax", "7", "7"),
        ("rounding_error", None, "-5"),
    ],
)
async def test_what_no_list_has_a_price_for_costs_the_same_at_list(
    scene: FocusScene, cost_type: str, at_list: str | None, expected: str
) -> None:
    columns = [Column(name, type_) for name, type_ in (EXPORT | LISTED).items()]
    times = dict.fromkeys(("usage_start_time", "usage_end_time"), "2026-11-01T00:00:00Z")
    row = times | {"billing_account_id": "A", "cost": "-5", "currency": "usd"}
    scene.make_table("gcp_billing_costs", columns, [row | {"cost_type": cost_type, "cost_at_list": at_list}])
    assert await ensure(scene)
    (found,) = scene.rows()
    assert (found["ListCost"], found["BillingCurrency"]) == (Decimal(expected), "USD")


async def test_the_month_of_an_invoice_begins_at_midnight_in_california(scene: FocusScene) -> None:
    """At 02:00 UTC of 1 October it is still September there: an adjustment on October's invoice corrects September."""
    scene.make_export(billing_export(LAST_DAY, days=1, rows_per_day=20))
    table = f"`{scene.dataset}.gcp_billing_costs`"
    scene.sql(f"DELETE FROM {table} WHERE TRUE")
    for hour in (2, 8):
        scene.sql(
            f"INSERT INTO {table} (billing_account_id, usage_start_time, usage_end_time, cost, currency, cost_type, "
            f"invoice) VALUES ('A', TIMESTAMP '2026-10-01 0{hour}:00:00+00', TIMESTAMP '2026-10-01 09:00:00+00', "
            "NUMERIC '1', 'USD', 'adjustment', STRUCT('202610' AS month, 'GOOGLE' AS publisher_type))"
        )
    assert await ensure(scene)
    assert {row["ChargePeriodStart"].hour: row["ChargeClass"] for row in scene.rows()} == {2: "Correction", 8: None}


async def test_without_any_table_there_is_no_view(scene: FocusScene) -> None:
    assert not await ensure(scene)
    assert scene.labels() == {}


@pytest.mark.parametrize("path", [r"GET .*/tables/costs_focus", r"POST .*/jobs"])
async def test_a_missing_right_is_a_warning_that_names_it(scene: FocusScene, proxy: FaultProxy, path: str) -> None:
    _make(scene, "openai")
    proxy.add(path, times=None, status=403, answer=error(403, "accessDenied", "Access Denied: no permission"))
    with capture_logs() as logs:
        assert not await ensure(scene)
    (entry,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert "bigquery.tables." in entry["error"]
    assert "BigQuery Data Editor" in entry["error"]


async def test_a_run_that_is_stopped_meanwhile_has_still_succeeded(scene: FocusScene, proxy: FaultProxy) -> None:
    _make(scene, "openai")
    slow = proxy.add(r"POST .*/jobs", hold=True)
    making = asyncio.create_task(ensure(scene))
    assert await asyncio.to_thread(slow.reached.wait, 20)
    making.cancel()
    assert await making is False
    slow.released.set()


def _make(scene: FocusScene, *providers: str) -> None:
    if "gcp" in providers:
        scene.make_export(billing_export(LAST_DAY, days=1, rows_per_day=50))
    if "openai" in providers:
        scene.make_costs("openai", OPENAI)
    if "anthropic" in providers:
        scene.make_costs("anthropic", ANTHROPIC)


def _filled(scene: FocusScene, table: str, rows: list[tuple[str | None, int]], cost: str) -> str:
    """Statements that replace a table's rows by some of these accounts and days of November, at either end of a day."""
    hours = ("00:00:00", "23:59:59.999999")
    values = ", ".join(
        f"({text(account) if account else 'NULL'}, TIMESTAMP '2026-11-{day:02} {hours[number % 2]}+00', NULL, "
        f"NUMERIC '{cost}', 'USD')"
        for number, (account, day) in enumerate(rows)
    )
    name = f"`{scene.dataset}.{table}`"
    insert = f"INSERT INTO {name} ({', '.join(EXPORT)}) VALUES {values};" if rows else ""
    return f"DELETE FROM {name} WHERE TRUE; {insert}"


def _by_account(scene: FocusScene, first: int, last: int) -> dict[tuple[str | None, int], Decimal]:
    found = scene.sql(
        f"SELECT BillingAccountId AS account, x_UsageDate AS day, SUM(BilledCost) AS cost FROM `{scene.view}` "
        f"WHERE x_UsageDate BETWEEN '2026-11-{first:02}' AND '2026-11-{last:02}' GROUP BY account, day"
    )
    return {(row["account"], row["day"].day): row["cost"] for row in found}


def _statements(proxy: FaultProxy) -> int:
    """How often something was written, as opposed to looked at."""
    return sum(line.startswith("POST") and "/jobs" in line for line in proxy.seen)


def _sums(rows: list[dict[str, Any]]) -> dict[tuple[str, date], tuple[int, Decimal, Decimal]]:
    sums: dict[tuple[str, date], tuple[int, Decimal, Decimal]] = {}
    for row in rows:
        key = (row["x_Provider"], row["x_UsageDate"])
        number, billed, contracted = sums.get(key, (0, Decimal(0), Decimal(0)))
        sums[key] = (number + 1, billed + row["BilledCost"], contracted + row["ContractedCost"])
    return sums


def _of_tables(scene: FocusScene, *providers: str) -> dict[tuple[str, date], tuple[int, Decimal, Decimal]]:
    """Rows, what is to be paid, and what it was before credits, by provider and day, from the tables themselves."""
    queries = {
        "gcp": "SELECT DATE(usage_start_time) AS day, COUNT(*) AS number, SUM(cost) AS cost, "
        "SUM((SELECT SUM(c.amount) FROM UNNEST(credits) AS c)) AS credit FROM `{}.gcp_billing_costs` GROUP BY day",
    } | {
        provider: "SELECT usage_date AS day, COUNT(*) AS number, SUM(amount) AS cost "
        f"FROM `{{}}.{provider}_costs` GROUP BY day"
        for provider in ("openai", "anthropic")
    }
    return {
        (provider, row["day"]): (row["number"], row["cost"] + (row.get("credit") or 0), row["cost"])
        for provider, query in queries.items()
        if provider in providers
        for row in scene.sql(query.format(scene.dataset))
    }
