"""The record tables have exactly the specified columns, and the MERGE reads only its runs' partitions."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.bigquery.record_schema import (
    RUNS,
    SCHEDULES,
    runs_parameter,
    runs_statement,
    schedules_parameter,
    schedules_statement,
    schema,
)
from support.runs import T0, after, stored_run
from support.schedules import unexported_schedule

COLUMNS = {
    RUNS: [
        ("run_id", "STRING"),
        ("org_slug", "STRING"),
        ("provider", "STRING"),
        ("domain", "STRING"),
        ("pipeline", "STRING"),
        ("status", "STRING"),
        ("started_at", "TIMESTAMP"),
        ("completed_at", "TIMESTAMP"),
        ("records_processed", "INTEGER"),
        ("error_message", "STRING"),
        ("parameters", "JSON"),
        ("created_by", "STRING"),
        ("created_at", "TIMESTAMP"),
    ],
    SCHEDULES: [
        ("schedule_id", "STRING"),
        ("org_slug", "STRING"),
        ("provider", "STRING"),
        ("domain", "STRING"),
        ("pipeline", "STRING"),
        ("cron_expression", "STRING"),
        ("is_enabled", "BOOLEAN"),
        ("last_run_at", "TIMESTAMP"),
        ("next_run_at", "TIMESTAMP"),
        ("parameters", "JSON"),
        ("created_at", "TIMESTAMP"),
        ("updated_at", "TIMESTAMP"),
    ],
}


@pytest.mark.parametrize("table", COLUMNS)
def test_columns_are_the_specified_ones_in_order_each_described(table: str) -> None:
    assert [(field.name, field.field_type) for field in schema(table)] == COLUMNS[table]
    assert all(field.description for field in schema(table))


@pytest.mark.parametrize(
    ("earliest", "latest", "first", "end"),
    [
        (T0, T0, "2026-11-03", "2026-11-04"),
        (T0, after(10), "2026-11-03", "2026-11-05"),  # across midnight
        (datetime(2026, 12, 31, 23, tzinfo=UTC),) * 2 + ("2026-12-31", "2027-01-01"),
        # another zone's midnight isn't a partition's border
        (datetime(2026, 11, 4, 1, tzinfo=timezone(timedelta(hours=2))),) * 2 + ("2026-11-03", "2026-11-04"),
    ],
)
def test_the_partition_filter_is_constant_and_covers_whole_utc_days(
    earliest: datetime, latest: datetime, first: str, end: str
) -> None:
    bounds = re.findall(r"t\.created_at (>=|<) TIMESTAMP '(.+?)'", runs_statement("p.d.t", earliest, latest))
    assert bounds == [(">=", f"{first} 00:00:00+00:00"), ("<", f"{end} 00:00:00+00:00")]


def test_identity_is_never_updated() -> None:
    update = re.search(r"UPDATE SET (.+)", runs_statement("p.d.t", T0, T0))
    assert update is not None
    assigned = {part.split(" = ")[0] for part in update[1].split(", ")}
    assert assigned == {field.name for field in schema(RUNS)} - {"run_id", "org_slug", "created_at"}


def test_values_travel_as_parameters_with_bigquerys_types() -> None:
    run = stored_run(phase=Phase.FAILED, completed_at=after(3), error_message='it\'s "over"', parameters={"n": 1})
    struct = runs_parameter([run]).to_api_repr()["parameterValue"]["arrayValues"][0]["structValues"]
    assert struct["status"] == {"value": "failed"}
    assert struct["parameters"] == {"value": '{"n": 1}'}
    assert struct["error_message"] == {"value": 'it\'s "over"'}
    types = runs_parameter([run]).to_api_repr()["parameterType"]["arrayType"]["structTypes"]
    assert {field["name"]: field["type"]["type"] for field in types}["records_processed"] == "INT64"


def test_a_schedules_row_follows_it_in_all_but_its_id() -> None:
    update = re.search(r"UPDATE SET (.+)", schedules_statement("p.d.t"))
    assert update is not None
    assigned = {part.split(" = ")[0] for part in update[1].split(", ")}
    assert assigned == {field.name for field in schema(SCHEDULES)} - {"schedule_id"}


def test_a_schedules_values_travel_as_parameters_too() -> None:
    schedule = unexported_schedule(is_enabled=False, is_deleted=True, parameters={"n": 1, "d": "ü"})
    given = schedules_parameter([schedule]).to_api_repr()
    struct = given["parameterValue"]["arrayValues"][0]["structValues"]
    assert set(struct) == {field.name for field in schema(SCHEDULES)} | {"is_deleted"}
    assert (struct["is_enabled"], struct["is_deleted"]) == ({"value": "false"}, {"value": "true"})
    assert struct["parameters"] == {"value": '{"n": 1, "d": "ü"}'}
    assert struct["last_run_at"] == {"value": None}
    types = {field["name"]: field["type"]["type"] for field in given["parameterType"]["arrayType"]["structTypes"]}
    assert (types["is_enabled"], types["next_run_at"], types["parameters"]) == ("BOOL", "TIMESTAMP", "STRING")
