"""The figures of days, rows, sums and times of export: by them a change is seen, and by day they are checked."""

from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from pipeline_core.outcome import ExitCode
from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery import daily
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress
from support.billing import SCHEMA, Billing, row
from support.rescans import DAYS, FIRST, LAST, at, document, rescan, ten_days

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    return ten_days(bigquery_settings)


async def test_a_source_without_export_times_is_told_by_rows_and_sums(bigquery_settings: BigQuerySettings) -> None:
    made = Billing(bigquery_settings)
    made.make_source(schema=[each for each in SCHEMA if each["name"] in ("usage_start_time", "cost")])
    made.sql(f"INSERT INTO `{made.source}` (usage_start_time, cost) VALUES (TIMESTAMP '{LAST}', 1.5)")
    assert [await rescan(made), await rescan(made)] == [1, 0]
    made.sql(f"UPDATE `{made.source}` SET cost = 2.5 WHERE cost = 1.5")
    assert await rescan(made) == 1


@pytest.mark.parametrize("read", ["query", "storage"])
async def test_whole_costs_are_told_by_their_sums_as_well(bigquery_settings: BigQuerySettings, read: str) -> None:
    made = Billing(bigquery_settings)
    columns = [each | {"type": "INTEGER"} if each["name"] == "cost" else each for each in SCHEMA]
    made.make_source(schema=[each for each in columns if each["name"] in ("usage_start_time", "cost")])
    made.sql(f"INSERT INTO `{made.source}` (usage_start_time, cost) VALUES (TIMESTAMP '{LAST}', 2)")
    assert [await rescan(made, read=read), await rescan(made, read=read)] == [1, 0]
    made.sql(f"UPDATE `{made.source}` SET cost = 4 WHERE cost = 2")
    assert await rescan(made, read=read) == 1
    assert made.costs() == [4]


async def test_checks_are_of_each_day_by_itself(billing: Billing) -> None:
    run = document(billing)
    run.config["checks"] = {
        "row_count": {"min": 1},
        "sum": {"cost": {"max": "0.3"}},
        "not_null": ["billing_account_id"],
        "not_null_proportion": {"billing_account_id": {"min": "0.5"}},
    }
    outcome, code = await execute(run, Progress())
    assert code is ExitCode.DATA
    # the days with rows can't hide those without, and three tenths a day aren't too much because there are many days
    assert str(outcome.error).endswith(
        f"their checks: checks.row_count: expected at least 1, found 0 on {DAYS[2]}; "
        f"checks.row_count: expected at least 1, found 0 on {DAYS[3]}"
    )
    assert "costs" not in billing.tables()
    await rescan(billing)
    billing.sql(f"UPDATE `{billing.source}` SET cost = 0.31, billing_account_id = NULL WHERE {at(DAYS[5])}")
    billing.sql(f"DELETE FROM `{billing.source}` WHERE {at(DAYS[7])}")
    outcome, code = await execute(run, Progress())
    assert code is ExitCode.DATA
    assert str(outcome.error).endswith(
        f"not_null: expected no NULL in billing_account_id, found 1 in 1 rows on {DAYS[5]}; "
        "checks.not_null_proportion.billing_account_id: expected at least 0.5, found values in 0 of 1 rows "
        f"on {DAYS[5]}; "
        f"checks.sum.cost: expected at most 0.3, found 0.31 on {DAYS[5]}; "
        f"checks.row_count: expected at least 1, found 0 on {DAYS[7]}"
    )


@pytest.mark.parametrize("named", [False, True])
async def test_rows_without_a_time_are_told(billing: Billing, named: bool) -> None:
    billing.sql(f"INSERT INTO `{billing.source}` (billing_account_id, cost) VALUES ('account', 1.0), ('account', 2.0)")
    run = billing.document(start_date=FIRST, end_date=LAST) if named else document(billing)
    with capture_logs() as lines:
        outcome, code = await execute(run, Progress())
    assert (outcome.records_processed, code) == (8, ExitCode.OK)
    told = [
        each["rows"] for each in lines if each["event"] == "rows of the source have no time, and so belong to no day"
    ]
    assert told == [2]
    assert await rescan(billing) == 0


@pytest.mark.parametrize("read", ["query", "storage"])
async def test_a_wider_target_gets_the_same_decimals(billing: Billing, read: str) -> None:
    billing.sql(f"CREATE TABLE `{billing.target}` (usage_start_time TIMESTAMP, cost BIGNUMERIC)")
    billing.add([row(LAST, "12345678901.1")])
    assert await rescan(billing, read=read) == 9
    assert billing.costs() == [*[Decimal("0.3")] * 8, Decimal("12345678901.1")]


def test_sums_reach_through_arrays_and_leave_out_what_is_no_amount(billing: Billing) -> None:
    def leaf(name: str, *, repeated: bool = False) -> Column:
        return Column(name, "FLOAT", repeated)

    inner = Column("credits", "RECORD", repeated=True, fields=(leaf("amount"), leaf("costs", repeated=True)))
    columns = (
        Column("t", "TIMESTAMP"),
        leaf("cost"),
        leaf("costs", repeated=True),
        Column("r", "RECORD", repeated=True, fields=(inner,)),
    )
    money = ("cost", "costs", "r.credits.amount", "r.credits.costs")
    values = "[STRUCT([STRUCT(0.5 AS amount, [1.5, 2.5] AS costs), STRUCT(NULL AS amount, [4.0] AS costs)] AS credits)]"
    rows = " UNION ALL ".join(
        f"SELECT TIMESTAMP '{DAYS[day]} {time}+00' AS t, {cost} AS cost, [0.1, 0.2] AS costs, {values} AS r"
        for day, time, cost in ((0, "00:00:00", "0.1"), (0, "23:59:59.999999", "0.2"), (1, "00:00:00", "NULL"))
    )
    found = daily.read(billing.sql(daily.statement(columns, columns[0], money, f"({rows}) AS s")), money)
    both = tuple(map(Decimal, ("0.3", "0.6", "1", "16")))
    one = tuple(map(Decimal, ("0", "0.3", "0.5", "8")))
    assert {str(day): (each.rows, each.newest, each.sums) for day, each in found.items()} == {
        DAYS[0]: (2, None, both),
        DAYS[1]: (1, None, one),
    }
    assert daily.total(found, money) == daily.Figures(3, None, tuple(Decimal(n) for n in ("0.3", "0.9", "1.5", "24")))
    assert daily.total({}, money) == daily.Figures.empty(money)
