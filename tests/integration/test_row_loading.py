"""Rows of a processor's own: staged, checked and published exactly, for all tables and days of a run or for none."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from google.cloud.bigquery import Table

from pipeline_core.catalog.checks import TableChecks
from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery import parts
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.counted import Counted
from pipeline_runner.bigquery.rows import RowStaging
from pipeline_runner.bigquery.warehouse import Identity, Warehouse
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import ConfigError, DataError, TransientError
from support.fault_proxy import FaultProxy, bigquery_proxy, error
from support.rows import COSTS, DAY, USAGE, Loads

pytestmark = pytest.mark.usefixtures("quick_retries")

NEXT = DAY + timedelta(days=1)


@pytest.fixture
def loads(bigquery_settings: BigQuerySettings) -> Loads:
    return Loads(bigquery_settings)


@pytest.fixture
def proxy(loads: Loads) -> Iterator[FaultProxy]:
    """A proxy that the loads of this test go through; `loads` itself looks straight at the stand-in."""
    with bigquery_proxy() as made:
        loads.settings = BigQuerySettings()
        yield made


def cost(amount: str, day: date = DAY, **values: object) -> dict[str, object]:
    return {"usage_date": day, "amount": Decimal(amount), **values}


async def test_every_type_arrives_as_it_was(loads: Loads) -> None:
    row = {
        "usage_date": DAY,
        "at": datetime(2026, 11, 1, 23, 59, 59, 999999, tzinfo=UTC),
        "name": 'quotes " and \\, \n, é, 𝄞 and \u2028',
        "calls": 2**63 - 1,
        "batch": False,
        "amount": Decimal("-0.123456789"),
        "tags": ["b", "a", "b"],
        "further": {"deep": [1, None, {"x": "y"}], "exact": Decimal("0.1")},
    }
    assert await loads.load({"costs": [row, cost("1e28")]}) == 2
    full, sparse = sorted(loads.rows(), key=lambda each: each["amount"])
    assert full == {**row, "further": {"deep": [1, None, {"x": "y"}], "exact": 0.1}}
    assert sparse == {**dict.fromkeys(row), "usage_date": DAY, "amount": Decimal("1e28"), "tags": []}


async def test_all_tables_are_published_at_once_with_one_lineage(loads: Loads) -> None:
    started = datetime.now(UTC)
    rows = {"costs": [cost("1"), cost("2")], "usage": [{"usage_date": DAY, "calls": 7}]}
    assert await loads.load(rows, run_id="run_lineage") == 3
    lineage = [*loads.rows("costs", "run_id, loaded_at"), *loads.rows("usage", "run_id, loaded_at")]
    assert {each["run_id"] for each in lineage} == {"run_lineage"}
    (loaded_at,) = {each["loaded_at"] for each in lineage}
    assert started - timedelta(minutes=1) < loaded_at < datetime.now(UTC) + timedelta(minutes=1)
    markers = loads.sql(
        f"SELECT target, row_count FROM `{loads.dataset}._pipelines_commits` WHERE run_id = 'run_lineage' "
        "ORDER BY target"
    )
    assert markers == [{"target": "api_costs", "row_count": 2}, {"target": "api_usage", "row_count": 1}]
    assert loads.names() == {"api_costs", "api_usage", "_pipelines_commits", "_pipelines_locks"}
    made = loads.client.get_table(f"{loads.dataset}.api_costs")
    assert (made.description, made.clustering_fields) == (COSTS.description, ["name"])


async def test_exactly_the_days_of_the_windows_are_replaced(loads: Loads) -> None:
    days = [DAY + timedelta(days=number) for number in range(4)]
    await loads.load({"costs": [cost("1", day) for day in days]}, windows=[Window(days[0], days[3])])
    windows = [Window(days[0], days[0]), Window(days[2], days[3])]
    await loads.load({"costs": [cost("5", days[0]), cost("6", days[3])]}, windows=windows, run_id="run_twowindows")
    found = {(each["usage_date"], each["amount"]) for each in loads.rows()}
    assert found == {(days[0], Decimal(5)), (days[1], Decimal(1)), (days[3], Decimal(6))}
    markers = loads.sql(
        f"SELECT window_start, window_end, row_count FROM `{loads.dataset}._pipelines_commits` "
        "WHERE run_id = 'run_twowindows' AND target = 'api_costs' ORDER BY window_start"
    )
    assert [tuple(each.values()) for each in markers] == [(days[0], days[0], 1), (days[2], days[3], 1)]


async def test_a_staged_row_between_the_windows_is_not_published(loads: Loads) -> None:
    windows = [Window(DAY, DAY), Window(NEXT + timedelta(days=1), NEXT + timedelta(days=1))]
    with pytest.raises(DataError, match="the transaction would leave other than 1 rows"):
        await loads.load({"costs": [cost("1", NEXT)]}, windows=windows)
    assert loads.rows() == []


async def test_without_a_window_nothing_is_replaced_and_the_run_is_known(loads: Loads) -> None:
    await loads.load({"costs": [cost("1")]})
    assert await loads.load({}, windows=[], run_id="run_nothing") == 0
    assert await loads.load({"costs": [cost("9")]}, run_id="run_nothing", attempt="b") == 0
    assert [each["amount"] for each in loads.rows()] == [Decimal(1)]


async def test_a_marker_of_an_earlier_version_is_honoured(loads: Loads) -> None:
    loads.sql(
        f"CREATE TABLE `{loads.dataset}._pipelines_commits` (run_id STRING, target STRING, window_start DATE, "
        "window_end DATE, row_count INT64, committed_at TIMESTAMP, read_at TIMESTAMP)"
    )
    loads.sql(
        f"INSERT INTO `{loads.dataset}._pipelines_commits` VALUES ('run_before', 'api_costs', DATE '{DAY}', "
        f"DATE '{DAY}', 4, TIMESTAMP '{DAY}', TIMESTAMP '{DAY}')"
    )
    assert await loads.load({"costs": [cost("1")]}, run_id="run_before") == 4
    assert "api_costs" not in loads.names()


async def test_an_older_read_of_one_table_keeps_all_of_them(loads: Loads) -> None:
    await loads.load({"costs": [cost("1")], "usage": [{"usage_date": DAY, "calls": 1}]})
    loads.sql(
        f"INSERT INTO `{loads.dataset}._pipelines_commits` "
        "(run_id, target, window_start, window_end, row_count, read_at, committed_at) "
        f"SELECT 'run_newer', 'api_usage', DATE '{DAY}', DATE '{DAY}', 1, later, later "
        "FROM (SELECT TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 HOUR) AS later)"
    )
    with pytest.raises(TransientError, match=r"rows of a newer read have been published into .*api_usage"):
        await loads.load({"costs": [cost("9")], "usage": []})
    assert [each["amount"] for each in loads.rows()] == [Decimal(1)]
    assert await loads.load({"costs": [cost("9", NEXT)]}, windows=[Window(NEXT, NEXT)]) == 1


async def test_a_reading_in_which_another_run_has_published_is_tried_again(
    loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run begins before the second and publishes before it: its rows may be newer, and stay."""
    opened = {name: asyncio.Event() for name in ("first", "second")}
    told = {name: asyncio.Event() for name in opened}
    finish = RowStaging.finish

    async def held(self: RowStaging) -> Mapping[str, Counted]:
        name = next((each for each in opened if each in self.table("costs")), None)
        if name is not None:
            opened[name].set()
            await told[name].wait()
        return await finish(self)

    monkeypatch.setattr(RowStaging, "finish", held)
    runs = {}
    for name, amount in (("first", "2"), ("second", "1")):
        runs[name] = asyncio.create_task(loads.load({"costs": [cost(amount)]}, run_id=f"run_{name}"))
        await opened[name].wait()
    told["first"].set()
    assert await runs["first"] == 1
    told["second"].set()
    with pytest.raises(TransientError, match="rows of a newer read have been published"):
        await runs["second"]
    assert [each["amount"] for each in loads.rows()] == [Decimal(2)]
    assert await loads.load({"costs": [cost("3")]}, run_id="run_second", attempt="b") == 1
    assert [each["amount"] for each in loads.rows()] == [Decimal(3)]


async def test_rows_come_in_parts(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 20_000)
    loaded: list[str] = []
    load = Warehouse.load_ndjson

    async def counted(self: Warehouse, step: str, *rest: Any, **named: Any) -> None:
        loaded.append(step)
        await load(self, step, *rest, **named)

    monkeypatch.setattr(Warehouse, "load_ndjson", counted)
    rows = (cost("0.000000001", calls=number) for number in range(2_000))
    assert await loads.load({"costs": rows}) == 2_000
    assert len(loaded) > 3
    (found,) = loads.rows(columns="COUNT(DISTINCT calls) AS n, SUM(amount) AS total")
    assert found == {"n": 2_000, "total": Decimal("0.000002")}


async def test_rows_that_do_not_fit_are_shown_and_fail_the_run(loads: Loads) -> None:
    bad = [
        cost("1", NEXT),
        cost("1e29"),
        {"amount": Decimal(1)},
        cost("1", name=5),
        cost("1", unknown="x"),
        cost("1", name="\ud800"),
    ]
    with pytest.raises(DataError) as failed:
        await loads.load({"costs": [cost("1"), *bad]}, run_id="run_bad")
    for told in ("quarantined: expected at most 0 rows that don't fit, found 6", "usage_date: 2026-11-02 isn't one of",
                 f"{loads.dataset}._pipelines_quarantine"):  # fmt: skip
        assert told in str(failed.value)
    assert loads.names() == {"_pipelines_quarantine"}
    kept = loads.sql(f"SELECT * FROM `{loads.dataset}._pipelines_quarantine` ORDER BY reason")
    assert {each["run_id"] for each in kept} == {"run_bad"}
    assert {each["target"] for each in kept} == {"api_costs"}
    assert [each["reason"].partition(":")[0] for each in kept] == [
        "amount", "name", "name", "unknown", "usage_date", "usage_date",
    ]  # fmt: skip
    assert kept[0]["row"] == {"usage_date": "2026-11-01", "amount": 1e29}
    assert kept[0]["day"] == DAY


async def test_what_nobody_drops_goes_by_itself(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Staging tables of a runner that was killed, and quarantined rows, which are kept for three months."""
    warehouse = Warehouse(loads.settings, Identity("acme", "run_left", "a"))
    made = []
    create = warehouse.create_table

    async def creating(table: Table, **how: bool) -> Table:
        made.append(table)  # as it is asked for: the stand-in keeps no expiration
        return await create(table, **how)

    monkeypatch.setattr(warehouse, "create_table", creating)
    staging = RowStaging(warehouse, loads.dataset, "run_left_a", [COSTS], location="US")
    staging.keep_to([Window(DAY, DAY)])
    started = datetime.now(UTC)
    await staging.open()
    await staging.drop()
    (left,) = made
    assert timedelta(hours=23, minutes=59) < left.expires - started < timedelta(hours=25)
    with pytest.raises(DataError):
        await loads.load({"costs": [cost("NaN")]})
    kept = loads.client.get_table(f"{loads.dataset}._pipelines_quarantine").time_partitioning
    assert (kept.field, kept.expiration_ms) == ("quarantined_at", 90 * 86_400_000)


async def test_a_second_attempt_shows_them_once_and_a_limit_lets_them_pass(loads: Loads) -> None:
    allowed = {"costs": TableChecks.model_validate({"quarantined": {"max": 1}})}
    with pytest.raises(DataError):
        await loads.load({"costs": [cost("1"), cost("NaN")]}, run_id="run_again")
    rows = {"costs": [cost("1"), cost("NaN")]}
    assert await loads.load(rows, run_id="run_again", attempt="b", checks=allowed) == 1
    assert len(loads.sql(f"SELECT * FROM `{loads.dataset}._pipelines_quarantine`")) == 1
    assert [each["amount"] for each in loads.rows()] == [Decimal(1)]


async def test_all_violated_checks_are_told_and_nothing_is_published(loads: Loads) -> None:
    checks = {
        "costs": TableChecks.model_validate(
            {
                "row_count": {"min": 3},
                "not_null": ["name"],
                "not_null_proportion": {"name": {"min": "0.6"}},
                "sum": {"amount": {"min": "0", "max": "0.30"}},
            }
        ),
        "usage": TableChecks.model_validate({"row_count": {"min": 1, "max": 5}, "sum": {"calls": {"min": 1}}}),
    }
    with pytest.raises(DataError) as failed:
        await loads.load({"costs": [cost("0.1", name="a"), cost("0.200000001")]}, checks=checks)
    assert str(failed.value) == (
        "nothing was published, as the rows don't pass their checks: "
        "checks of api_costs.row_count: expected at least 3, found 2; "
        "checks of api_costs.not_null: expected no NULL in name, found 1 in 2 rows; "
        "checks of api_costs.not_null_proportion.name: expected at least 0.6, found values in 1 of 2 rows; "
        "checks of api_costs.sum.amount: expected 0 to 0.30, found 0.300000001; "
        "checks of api_usage.row_count: expected 1 to 5, found 0; "
        "checks of api_usage.sum.calls: expected at least 1, found 0"
    )
    assert loads.names() == set()
    with pytest.raises(ConfigError, match=r"not_null: nobody is no column .* expected one of usage_date, at, name"):
        await loads.load({}, checks={"costs": TableChecks.model_validate({"not_null": ["nobody"]})})
    share = {"not_null_proportion": {"nobody": {"min": 1}}}
    with pytest.raises(ConfigError, match=r"not_null_proportion: nobody is no column of the table"):
        await loads.load({}, checks={"costs": TableChecks.model_validate(share)})
    with pytest.raises(ConfigError, match=r"sum: name should be a column of type INTEGER.*it is STRING"):
        await loads.load({}, checks={"costs": TableChecks.model_validate({"sum": {"name": {"min": 1}}})})


async def test_rounding_takes_no_more_than_a_hundredth(loads: Loads) -> None:
    assert await loads.load({"costs": [cost("1.0000000005"), cost("-1.0000000005"), cost("0.00000000049")]}) == 3
    assert sorted(each["amount"] for each in loads.rows()) == [
        Decimal("-1.000000001"), Decimal(0), Decimal("1.000000001"),
    ]  # fmt: skip


@pytest.mark.parametrize(("days", "fits"), [(1, False), (2, True)])
async def test_rounding_is_bounded_by_day(loads: Loads, monkeypatch: pytest.MonkeyPatch, days: int, fits: bool) -> None:
    monkeypatch.setattr("pipeline_runner.bigquery.counted.ROUNDING_LIMIT", Decimal("0.000000001"))
    rows = {"costs": [cost("0.0000000004") for _ in range(4)]}
    windows = [Window(DAY, DAY + timedelta(days=days - 1))]
    if fits:
        assert await loads.load(rows, windows=windows) == 4
        return
    with pytest.raises(
        DataError, match=r"amounts of more than nine decimals; rounding them would change their sum by -"
    ):
        await loads.load(rows, windows=windows)


async def test_what_is_lost_on_the_way_is_seen(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(self: Warehouse, *_: object, **__: object) -> None:
        pass

    monkeypatch.setattr(Warehouse, "load_ndjson", lost)
    with pytest.raises(TransientError, match=r"2 rows written, 0 staged; sum of amount 3.0* written, 0 staged"):
        await loads.load({"costs": [cost("1"), cost("2")]})
    assert loads.names() == set()


async def test_a_column_of_counts_takes_decimals_from_then_on(loads: Loads) -> None:
    await loads.load({"usage": [{"usage_date": DAY, "calls": 3}]})
    wider = replace(USAGE, columns=(USAGE.columns[0], Column("calls", "NUMERIC"), Column("new", "STRING")))
    loads.tables["usage"] = wider
    for _ in range(2):
        await loads.load({"usage": [{"usage_date": NEXT, "calls": Decimal("0.5")}]}, windows=[Window(NEXT, NEXT)])
    found = sorted(loads.rows("usage"), key=lambda each: each["usage_date"])
    assert [(each["calls"], each["new"]) for each in found] == [(Decimal(3), None), (Decimal("0.5"), None)]


async def test_what_is_narrower_than_the_target_is_cast(loads: Loads) -> None:
    loads.sql(f"CREATE TABLE `{loads.dataset}.api_usage` (usage_date TIMESTAMP, calls NUMERIC(38, 9))")
    for calls in (3, 4):
        await loads.load({"usage": [{"usage_date": DAY, "calls": calls}]})
    (found,) = loads.rows("usage")
    assert found == {"usage_date": datetime(2026, 11, 1, tzinfo=UTC), "calls": Decimal(4)}


async def test_another_type_is_refused(loads: Loads) -> None:
    loads.sql(f"CREATE TABLE `{loads.dataset}.api_usage` (usage_date DATE, calls STRING)")
    with pytest.raises(DataError, match="column calls is STRING, but the source's is now INTEGER") as refused:
        await loads.load({"usage": [{"usage_date": DAY, "calls": 3}]})
    assert str(refused.value).endswith("""; such as 3 in the row {"usage_date":"2026-11-01","calls":3}""")
    assert loads.rows("usage", "calls") == []


async def test_a_publisher_that_meets_others_goes_on_until_it_is_its_turn(loads: Loads, proxy: FaultProxy) -> None:
    conflict = {
        "reason": "invalidQuery",
        "message": "Transaction is aborted due to concurrent update against table _pipelines_locks",
    }
    answer = {
        "kind": "bigquery#job",
        "jobReference": {"projectId": "local-dev", "jobId": "made-up", "location": "US"},
        "configuration": {"query": {}},
        "status": {"state": "DONE", "errorResult": conflict, "errors": [conflict]},
    }
    fault = proxy.add(r"POST .*/jobs", body="BEGIN TRANSACTION", status=200, answer=answer, times=7)
    assert await loads.load({"costs": [cost("1")]}) == 1
    assert fault.times == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (r"POST .*/tables", "_staging_"),
        (r"PUT .*upload", ""),
        (r"POST .*/jobs", r"COUNT\(\*\) AS row_count"),
        (r"POST .*/jobs", "INSERT INTO `.*_pipelines_locks"),
        (r"POST .*/jobs", "BEGIN TRANSACTION"),
        (r"POST .*/jobs", r"SUM\(row_count\)"),
    ],
)
@pytest.mark.parametrize("lose", [False, True])
async def test_a_second_attempt_after_a_failure_at_any_step_gives_the_same_rows(
    loads: Loads, proxy: FaultProxy, path: str, body: str, lose: bool
) -> None:
    rows = {"costs": [cost("1"), cost("2")], "usage": [{"usage_date": DAY, "calls": 7}]}
    fault = proxy.add(path, body=body, times=None if not lose else 1, **(
        {"lose": True} if lose else {"status": 403, "answer": error(403, "accessDenied", "no")}
    ))  # fmt: skip
    if lose:
        # an answer that was lost is found again, or asked for again
        assert await loads.load(rows, run_id="run_attempts") == 3
    else:
        with pytest.raises(ConfigError):
            await loads.load(rows, run_id="run_attempts")
        fault.times = 0
    assert fault.reached.is_set()
    assert await loads.load(rows, run_id="run_attempts", attempt="b") == 3
    assert sorted(each["amount"] for each in loads.rows()) == [Decimal(1), Decimal(2)]
    assert [each["calls"] for each in loads.rows("usage")] == [7]
    assert not any(name.startswith("_staging") for name in loads.names())
