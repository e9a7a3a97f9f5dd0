"""What the runner relies on of BigQuery, one behaviour a test.

Runs on the stand-in; on BigQuery itself where PIPELINES_CONTRACT_PROJECT names a project and the environment has
credentials for it (it makes a dataset there and drops it). What the stand-in can't do is skipped there, and says so.
"""

import io
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pyarrow
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from pyarrow import parquet

from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.sql import decimal

REAL = os.environ.get("PIPELINES_CONTRACT_PROJECT")
only_real = pytest.mark.skipif(not REAL, reason="the stand-in can't do this; set PIPELINES_CONTRACT_PROJECT")


class Contract:
    def __init__(self, client: bigquery.Client, dataset: str) -> None:
        self.client = client
        self.dataset = dataset

    def table(self, name: str) -> str:
        return f"{self.dataset}.{name}"

    def sql(self, statement: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self.client.query(statement, job_retry=None).result(timeout=120)]

    def value(self, expression: str) -> Any:
        return self.sql(f"SELECT {expression} AS v")[0]["v"]


@pytest.fixture(scope="module")
def settings(request: pytest.FixtureRequest) -> BigQuerySettings:
    if REAL:
        return BigQuerySettings(project=REAL)
    request.getfixturevalue("bigquery")
    return BigQuerySettings()


@pytest.fixture(scope="module")
def contract(settings: BigQuerySettings) -> Iterator[Contract]:
    client = bigquery_client(settings)
    dataset = f"{client.project}.contract_{uuid.uuid4().hex[:12]}"
    client.create_dataset(dataset)
    yield Contract(client, dataset)
    client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)


@pytest.mark.parametrize(
    ("value", "numeric"),
    [
        ("12345678901.1", "12345678901.1"),
        ("0.1 + 0.2", "0.3"),
        ("1e-07", "0.0000001"),
        ("-0.0", "0"),
        ("5e-10", "0.000000001"),
        ("4.9e-10", "0"),
        ("-5e-10", "-0.000000001"),
        ("1e20", "100000000000000000000"),
        ("123456789012345.12", "123456789012345.12"),
    ],
)
def test_parse_numeric_of_a_float_is_its_shortest_decimal_rounded_half_away_from_zero(
    contract: Contract, value: str, numeric: str
) -> None:
    assert contract.value(f"PARSE_NUMERIC(CAST(CAST({value} AS FLOAT64) AS STRING))") == Decimal(numeric)


# Floats of every size and number of decimals, among them halves of a billionth and their neighbours.
_FLOATS = (
    "SIN(n) * POW(10, MOD(n, 24) - 12)",
    "ROUND(SIN(n) * POW(10, 3 + MOD(n, 12))) / POW(10, MOD(n, 12))",
    "(n + 0.5) / 1e9",
    "(1000000 - 500 * n) + 5e-10",
    "n / 2e9 * POW(1 + 2.220446049250313e-16, MOD(n, 3) - 1)",
    "IF(MOD(n, 2) = 0, NULL, -0.0)",
)


@pytest.mark.parametrize("floats", _FLOATS)
def test_a_float_becomes_its_shortest_decimal_whatever_its_size(contract: Contract, floats: str) -> None:
    name = contract.table(f"floats_{uuid.uuid4().hex[:8]}")
    contract.sql(f"CREATE TABLE `{name}` (x FLOAT64)")
    contract.sql(f"INSERT INTO `{name}` (x) SELECT {floats} FROM UNNEST(GENERATE_ARRAY(1, 2000)) AS n")
    for origin in (f"`{name}` AS s", f"`{name}` AS s FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()"):
        rows = contract.sql(f"SELECT s.x AS x, {decimal('s.x')} AS v FROM {origin}")
        assert len(rows) == 2000
        wrong = [(row["x"], row["v"]) for row in rows if row["v"] != _shortest(row["x"])]
        assert wrong == []


def _shortest(value: float | None) -> Decimal | None:
    """What a float is to people, at nine decimals."""
    return None if value is None else Decimal(repr(value)).quantize(Decimal("1e-9"), ROUND_HALF_UP)


@pytest.mark.parametrize("value", ["CAST('NaN' AS FLOAT64)", "CAST('inf' AS FLOAT64)", "-1e29", "1e300"])
def test_what_no_numeric_holds_fails_the_comparison(contract: Contract, value: str) -> None:
    assert contract.value(f"NOT (ABS({value}) < 1e29)") is True


def test_what_rounding_takes_from_a_float_is_told_by_a_float(contract: Contract) -> None:
    lost = "x - CAST(PARSE_NUMERIC(CAST(x AS STRING)) AS FLOAT64)"
    (row,) = contract.sql(f"SELECT SUM({lost}) AS v FROM UNNEST([4e-10, 4e-10, 0.1, 1e20, 12345678901.1]) AS x")
    assert row["v"] == pytest.approx(8e-10)


def test_a_numeric_column_keeps_nine_decimals_and_sums_exactly(contract: Contract) -> None:
    name = contract.table("nine")
    contract.client.create_table(bigquery.Table(name, [bigquery.SchemaField("v", "NUMERIC")]))
    contract.sql(f"INSERT INTO `{name}` (v) SELECT PARSE_NUMERIC('0.123456789') FROM UNNEST(GENERATE_ARRAY(1, 10))")
    assert contract.sql(f"SELECT SUM(v) AS v FROM `{name}`") == [{"v": Decimal("1.23456789")}]


def test_an_array_is_rebuilt_in_its_order(contract: Contract) -> None:
    array = "[STRUCT('z' AS k, 0.5 AS amount), STRUCT('a' AS k, NULL AS amount), STRUCT('m' AS k, 1e-9 AS amount)]"
    rebuilt = (
        "ARRAY(SELECT AS STRUCT e0.`k` AS `k`, PARSE_NUMERIC(CAST(e0.`amount` AS STRING)) AS `amount` "
        "FROM UNNEST(s.`c`) AS e0 WITH OFFSET AS o0 ORDER BY o0)"
    )
    (row,) = contract.sql(f"SELECT {rebuilt} AS c FROM (SELECT {array} AS c) AS s")
    assert row["c"] == [
        {"k": "z", "amount": Decimal("0.5")},
        {"k": "a", "amount": None},
        {"k": "m", "amount": Decimal("1e-9")},
    ]


def test_a_sum_over_an_array_in_a_subquery_does_not_multiply_rows(contract: Contract) -> None:
    rows = "SELECT 1 AS cost, [1, 2] AS c UNION ALL SELECT 10, [3]"
    sums = "SUM(s.cost) AS cost, SUM((SELECT SUM(e0) FROM UNNEST(s.`c`) AS e0)) AS c"
    assert contract.sql(f"SELECT {sums} FROM ({rows}) AS s") == [{"cost": 11, "c": 6}]


def test_a_table_is_read_as_of_the_moment_of_the_query_and_again_as_of_that_moment(contract: Contract) -> None:
    name = contract.table("travel")
    contract.sql(f"CREATE TABLE `{name}` (v INT64)")
    contract.sql(f"INSERT INTO `{name}` (v) VALUES (1)")
    origin = f"`{name}` AS s FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()"
    now = f"SELECT CURRENT_TIMESTAMP() AS read_at, COUNT(*) AS n FROM {origin}"
    (seen,) = contract.sql(now)
    contract.sql(f"INSERT INTO `{name}` (v) VALUES (2)")
    at = seen["read_at"].astimezone(UTC).isoformat(sep=" ")
    (then,) = contract.sql(
        f"SELECT COUNT(*) AS n FROM `{name}` AS s FOR SYSTEM_TIME AS OF TIMESTAMP '{at}' WHERE v > 0"
    )
    assert (seen["n"], then["n"]) == (1, 1)


def test_the_pseudo_column_of_ingestion_takes_comparisons(contract: Contract) -> None:
    table = bigquery.Table(contract.table("ingested"), [bigquery.SchemaField("v", "INTEGER")])
    table.time_partitioning = bigquery.TimePartitioning()
    contract.client.create_table(table)
    contract.sql(f"INSERT INTO `{contract.table('ingested')}` (v) VALUES (1)")
    condition = "_PARTITIONTIME >= TIMESTAMP '2020-01-01 00:00:00+00' OR _PARTITIONTIME IS NULL"
    assert contract.sql(f"SELECT v FROM `{contract.table('ingested')}` AS s WHERE ({condition})") == [{"v": 1}]
    partitioning = contract.client.get_table(contract.table("ingested")).time_partitioning
    assert partitioning is not None
    assert partitioning.field is None


class TestTransaction:
    """The script that publishes."""

    @pytest.fixture
    def names(self, contract: Contract) -> tuple[str, str]:
        suffix = uuid.uuid4().hex[:8]
        names = contract.table(f"target_{suffix}"), contract.table(f"commits_{suffix}")
        contract.sql(f"CREATE TABLE `{names[0]}` (t TIMESTAMP, v INT64) PARTITION BY DATE(t)")
        contract.sql(f"CREATE TABLE `{names[1]}` (run_id STRING)")
        contract.sql(f"INSERT INTO `{names[0]}` (t, v) VALUES (TIMESTAMP '2026-11-01', 1), (TIMESTAMP '2026-11-02', 2)")
        return names

    def script(self, names: tuple[str, str], *, rows: int = 1) -> str:
        target, commits = names
        day = "t >= TIMESTAMP '2026-11-01 00:00:00+00' AND t < TIMESTAMP '2026-11-02 00:00:00+00'"
        return f"""\
BEGIN TRANSACTION;
IF NOT EXISTS (SELECT 1 FROM `{commits}` WHERE run_id = 'r') THEN
  DELETE FROM `{target}` WHERE {day};
  INSERT INTO `{target}` (t, v) SELECT TIMESTAMP '2026-11-01 05:00:00+00', 10;
  IF (SELECT COUNT(*) FROM `{target}` WHERE {day}) != {rows} THEN
    SELECT ERROR('other rows');
  END IF;
  INSERT INTO `{commits}` (run_id) VALUES ('r');
END IF;
COMMIT TRANSACTION;"""

    def test_it_replaces_the_day_and_no_other(self, contract: Contract, names: tuple[str, str]) -> None:
        contract.sql(self.script(names))
        assert contract.sql(f"SELECT v FROM `{names[0]}` ORDER BY v") == [{"v": 2}, {"v": 10}]

    def test_it_does_nothing_where_the_marker_stands(self, contract: Contract, names: tuple[str, str]) -> None:
        contract.sql(f"INSERT INTO `{names[1]}` (run_id) VALUES ('r')")
        contract.sql(self.script(names))
        assert contract.sql(f"SELECT v FROM `{names[0]}` ORDER BY v") == [{"v": 1}, {"v": 2}]

    def test_an_error_on_its_way_undoes_all_of_it(self, contract: Contract, names: tuple[str, str]) -> None:
        with pytest.raises(exceptions.GoogleAPICallError, match="other rows"):
            contract.sql(self.script(names, rows=5))
        assert contract.sql(f"SELECT v FROM `{names[0]}` ORDER BY v") == [{"v": 1}, {"v": 2}]
        assert contract.sql(f"SELECT run_id FROM `{names[1]}`") == []


def test_columns_are_added_once(contract: Contract) -> None:
    name = contract.table("grown")
    contract.sql(f"CREATE TABLE `{name}` (v INT64)")
    for _ in range(2):
        contract.sql(f"ALTER TABLE `{name}` ADD COLUMN IF NOT EXISTS `r` STRUCT<`a` STRING, `b` ARRAY<NUMERIC(38, 9)>>")
        contract.sql(f"ALTER TABLE `{name}` ADD COLUMN IF NOT EXISTS `n` NUMERIC(38, 9)")
    number = "PARSE_NUMERIC('0.123456789')"
    contract.sql(f"INSERT INTO `{name}` (v, r, n) SELECT 1, STRUCT('x' AS a, [{number}] AS b), {number}")
    value = Decimal("0.123456789")
    assert contract.sql(f"SELECT r, n FROM `{name}`") == [{"r": {"a": "x", "b": [value]}, "n": value}]


@pytest.mark.parametrize("value", [2**53, -(2**53), 0, None])
def test_an_error_within_if_comes_only_where_it_is_chosen(contract: Contract, value: int | None) -> None:
    name = contract.table(f"whole_{uuid.uuid4().hex[:8]}")
    contract.sql(f"CREATE TABLE `{name}` (i INT64, l ARRAY<INT64>)")
    source, target = (Column("i", type_) for type_ in ("INTEGER", "FLOAT"))
    many = replace(source, name="l", repeated=True)
    (_, one), (_, array) = sql.copied_columns((source, many), (target, replace(many, type="FLOAT")))
    contract.sql(f"INSERT INTO `{name}` (i, l) VALUES ({'NULL' if value is None else value}, [1])")
    assert contract.sql(f"SELECT {one} AS i, {array} AS l FROM `{name}` AS s") == [{"i": value, "l": [1]}]
    contract.sql(f"INSERT INTO `{name}` (i, l) VALUES ({2**53 + 1}, [{-(2**53) - 1}])")
    for expression, told in (
        (one, f"column i is FLOAT .* got {2**53 + 1}"),
        (array, f"column l .* got {-(2**53) - 1}"),
    ):
        with pytest.raises(exceptions.BadRequest, match=told):
            contract.sql(f"SELECT {expression} AS v FROM `{name}` AS s")


def test_integers_go_into_a_float_column_unchecked(contract: Contract) -> None:
    """Which is why runs cast them by an expression that checks."""
    name = contract.table("unchecked")
    contract.sql(f"CREATE TABLE `{name}` (f FLOAT64)")
    contract.sql(f"INSERT INTO `{name}` (f) SELECT i FROM (SELECT {2**53 + 1} AS i)")
    assert contract.sql(f"SELECT f FROM `{name}`") == [{"f": float(2**53)}]


def test_parquet_lists_become_arrays_of_an_explicit_schema(contract: Contract) -> None:
    name = contract.table("loaded")
    item = pyarrow.struct([("name", pyarrow.string()), ("amount", pyarrow.float64())])
    schema = pyarrow.schema(
        [("t", pyarrow.timestamp("us", tz="UTC")), ("c", pyarrow.list_(item)), ("d", pyarrow.date32())]
    )
    at = datetime(2026, 11, 1, 23, 59, 59, 999999, tzinfo=UTC)
    file = io.BytesIO()
    rows = [{"t": at, "c": [{"name": "a", "amount": 0.1}], "d": at.date()}, {"t": None, "c": [], "d": None}]
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), file, compression="zstd")
    file.seek(0)
    fields = [bigquery.SchemaField("name", "STRING"), bigquery.SchemaField("amount", "FLOAT")]
    columns = [bigquery.SchemaField("t", "TIMESTAMP"), bigquery.SchemaField("c", "RECORD", "REPEATED", fields=fields),
               bigquery.SchemaField("d", "DATE")]  # fmt: skip
    table = bigquery.Table(name, columns)
    table.expires = datetime.now(UTC) + timedelta(hours=1)
    contract.client.create_table(table)
    options = bigquery.ParquetOptions()
    options.enable_list_inference = True
    config = bigquery.LoadJobConfig(
        source_format="PARQUET", schema=columns, write_disposition="WRITE_APPEND", create_disposition="CREATE_NEVER",
        parquet_options=options,
    )  # fmt: skip
    contract.client.load_table_from_file(file, name, job_config=config).result(timeout=120)
    assert contract.sql(f"SELECT t, c, d FROM `{name}` ORDER BY t") == [
        {"t": None, "c": [], "d": None},
        {"t": at, "c": [{"name": "a", "amount": 0.1}], "d": at.date()},
    ]


def test_json_lines_bring_numbers_in_quotes_exactly(contract: Contract) -> None:
    name = contract.table("lines")
    columns = [bigquery.SchemaField("n", "NUMERIC"), bigquery.SchemaField("i", "INTEGER"),
               bigquery.SchemaField("s", "STRING"), bigquery.SchemaField("j", "JSON"),
               bigquery.SchemaField("l", "STRING", "REPEATED")]  # fmt: skip
    contract.client.create_table(bigquery.Table(name, columns))
    full = {"n": "-99999999999999999999999999999.999999999", "i": str(2**63 - 1), "s": "0012", "j": {"a": [1, None]}}
    file = io.BytesIO(b"".join(json.dumps(line).encode() + b"\n" for line in ({**full, "l": ["b", "a"]}, {})))
    config = bigquery.LoadJobConfig(
        source_format="NEWLINE_DELIMITED_JSON", schema=columns, write_disposition="WRITE_APPEND",
        create_disposition="CREATE_NEVER",
    )  # fmt: skip
    contract.client.load_table_from_file(file, name, job_config=config).result(timeout=120)
    assert contract.sql(f"SELECT n, i, s, TO_JSON_STRING(j) AS j, l FROM `{name}` ORDER BY s") == [
        {"n": None, "i": None, "s": None, "j": None, "l": []},
        {"n": Decimal(full["n"]), "i": 2**63 - 1, "s": "0012", "j": '{"a":[1,null]}', "l": ["b", "a"]},
    ]


def test_a_column_is_widened_and_may_be_widened_again(contract: Contract) -> None:
    name, numeric = contract.table("widened"), "NUMERIC" if REAL else "NUMERIC(38, 9)"
    contract.sql(f"CREATE TABLE `{name}` (i INT64, r STRUCT<a INT64, b STRING, n {numeric}>, l ARRAY<INT64>)")
    number = "PARSE_NUMERIC('0.123456789')"
    contract.sql(f"INSERT INTO `{name}` (i, r, l) SELECT {2**63 - 1}, STRUCT(3 AS a, 'x' AS b, {number} AS n), [4]")
    for _ in range(2):
        for column, type_ in (("i", numeric), ("l", f"ARRAY<{numeric}>"),
                              ("r", f"STRUCT<`a` {numeric}, `b` STRING, `n` {numeric}>")):  # fmt: skip
            contract.sql(f"ALTER TABLE `{name}` ALTER COLUMN `{column}` SET DATA TYPE {type_}")
    contract.sql(f"UPDATE `{name}` SET i = i + PARSE_NUMERIC('0.123456789') WHERE TRUE")
    value = Decimal("0.123456789")
    assert contract.sql(f"SELECT i, r, l FROM `{name}`") == [
        {"i": 2**63 - 1 + value, "r": {"a": Decimal(3), "b": "x", "n": value}, "l": [Decimal(4)]}
    ]


@only_real
def test_exact_decimals_are_widened_to_more_digits(contract: Contract) -> None:
    name = contract.table("big")
    contract.sql(f"CREATE TABLE `{name}` (i INT64, n NUMERIC)")
    contract.sql(f"INSERT INTO `{name}` (i, n) VALUES (1, NUMERIC '0.123456789')")
    for column in ("i", "n"):
        contract.sql(f"ALTER TABLE `{name}` ALTER COLUMN `{column}` SET DATA TYPE BIGNUMERIC")
    assert contract.sql(f"SELECT i, n FROM `{name}`") == [{"i": Decimal(1), "n": Decimal("0.123456789")}]


def test_what_is_missing_is_404(contract: Contract) -> None:
    for ask in (lambda: contract.client.get_table(contract.table("none")), lambda: contract.client.get_dataset("none")):
        with pytest.raises(exceptions.NotFound):
            ask()


def test_dropping_what_is_gone_is_harmless(contract: Contract) -> None:
    contract.client.delete_table(contract.table("none"), not_found_ok=True)


@only_real
def test_a_second_job_of_one_id_is_409(contract: Contract) -> None:
    job_id = f"contract_{uuid.uuid4().hex}"
    contract.client.query("SELECT 1", job_id=job_id, job_retry=None).result()
    with pytest.raises(exceptions.Conflict):
        contract.client.query("SELECT 1", job_id=job_id, job_retry=None)


@only_real
def test_a_dry_run_and_a_job_name_the_tables_behind_a_view(contract: Contract) -> None:
    names = {kind: contract.table(f"behind_{kind}") for kind in ("table", "view", "outer")}
    contract.sql(f"CREATE TABLE `{names['table']}` (v INT64)")
    contract.sql(f"CREATE VIEW `{names['view']}` AS SELECT v FROM `{names['table']}`")
    contract.sql(f"CREATE VIEW `{names['outer']}` AS SELECT v FROM `{names['view']}`")
    for dry_run in (True, False):
        config = bigquery.QueryJobConfig(dry_run=dry_run, use_query_cache=False)
        job = contract.client.query(f"SELECT * FROM `{names['outer']}`", job_config=config, job_retry=None)
        if not dry_run:
            job.result(timeout=120)
        assert names["table"] in {f"{each.project}.{each.dataset_id}.{each.table_id}" for each in job.referenced_tables}


@only_real
def test_a_field_is_added_to_a_record(contract: Contract) -> None:
    name = contract.table("nested")
    contract.sql(f"CREATE TABLE `{name}` (r STRUCT<a STRING>)")
    table = contract.client.get_table(name)
    fields = [bigquery.SchemaField("a", "STRING"), bigquery.SchemaField("b", "NUMERIC")]
    table.schema = [bigquery.SchemaField("r", "RECORD", fields=fields)]
    contract.client.update_table(table, ["schema"])
    contract.sql(f"INSERT INTO `{name}` (r) VALUES (STRUCT('x' AS a, NUMERIC '1' AS b))")
    assert contract.sql(f"SELECT r FROM `{name}`") == [{"r": {"a": "x", "b": Decimal(1)}}]


@only_real
def test_a_table_that_was_changed_since_it_was_read_is_412(contract: Contract) -> None:
    name = contract.table("raced")
    contract.sql(f"CREATE TABLE `{name}` (v INT64)")
    table = contract.client.get_table(name)
    contract.sql(f"ALTER TABLE `{name}` ADD COLUMN w INT64")
    table.schema = [*table.schema, bigquery.SchemaField("x", "INTEGER")]
    with pytest.raises(exceptions.PreconditionFailed):
        contract.client.update_table(table, ["schema"])


def test_the_age_of_partitions_is_changed_alone(contract: Contract) -> None:
    name = contract.table("aged")
    table = bigquery.Table(name, [bigquery.SchemaField("at", "TIMESTAMP"), bigquery.SchemaField("v", "INTEGER")])
    table.time_partitioning = bigquery.TimePartitioning("DAY", field="at", expiration_ms=90 * 86_400_000)
    table.clustering_fields = ["v"]
    made = contract.client.create_table(table)
    longer = made.time_partitioning
    assert longer is not None
    longer.expiration_ms = 400 * 86_400_000
    made.time_partitioning = longer
    contract.client.update_table(made, ["time_partitioning"])
    now = contract.client.get_table(name)
    assert now.time_partitioning == bigquery.TimePartitioning("DAY", field="at", expiration_ms=400 * 86_400_000)
    assert (now.clustering_fields, now.schema) == (["v"], made.schema)


@only_real
def test_two_transactions_that_change_one_row_conflict(contract: Contract) -> None:
    name = contract.table("locks")
    contract.sql(f"CREATE TABLE `{name}` (target STRING, run_id STRING)")
    contract.sql(f"INSERT INTO `{name}` (target) VALUES ('costs')")

    def change(run_id: str, end: str) -> str:
        return f"BEGIN TRANSACTION;\nUPDATE `{name}` SET run_id = '{run_id}' WHERE target = 'costs';\n{end}"

    config = bigquery.QueryJobConfig(create_session=True)
    opened = contract.client.query(change("a", ""), job_config=config, job_retry=None)
    opened.result(timeout=120)
    assert opened.session_info is not None
    with pytest.raises(exceptions.GoogleAPICallError, match="concurrent update"):
        contract.sql(change("b", "COMMIT TRANSACTION;"))
    session = [bigquery.ConnectionProperty("session_id", opened.session_info.session_id)]
    config = bigquery.QueryJobConfig(connection_properties=session)
    contract.client.query("COMMIT TRANSACTION; CALL BQ.ABORT_SESSION();", job_config=config).result(timeout=120)
    assert contract.sql(f"SELECT run_id FROM `{name}`") == [{"run_id": "a"}]
