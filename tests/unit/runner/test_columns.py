"""Schemas: what is money, how a target grows, and the SQL that carries values from one shape to the other."""

import pytest
from google.cloud import bigquery

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column, dotted, grown, leaves, merge
from pipeline_runner.bigquery.money import exact
from pipeline_runner.errors import ConfigError, DataError


def record(name: str, *fields: Column, repeated: bool = False) -> Column:
    return Column(name, "RECORD", repeated, fields)


FLOAT, STRING = (lambda name: Column(name, "FLOAT")), (lambda name: Column(name, "STRING"))
CREDITS = record("credits", STRING("name"), FLOAT("amount"), repeated=True)


@pytest.mark.parametrize("name", ["cost", "COST", "cost_at_list", "billed_cost", "BilledCost", "total_cost_usd"])
def test_costs_are_money(name: str) -> None:
    assert exact((FLOAT(name),)) == (Column(name, "NUMERIC"),)


@pytest.mark.parametrize("name", ["amount", "currency_conversion_rate", "price", "effective_price", "costly", "coster"])
def test_quantities_rates_and_unit_prices_stay(name: str) -> None:
    assert exact((FLOAT(name),)) == (FLOAT(name),)


def test_amounts_are_money_in_credits_alone() -> None:
    usage = record("usage", FLOAT("amount"))
    converted = exact((CREDITS, usage, Column("cost", "INTEGER")))
    assert [dotted(path) for path in leaves(converted) if path[-1].type == "NUMERIC"] == ["credits.amount"]


def test_a_config_names_further_money() -> None:
    price = record("price", FLOAT("effective_price"), FLOAT("tier"))
    (converted,) = exact((price,), ["price.effective_price"])
    assert [each.type for each in converted.fields] == ["NUMERIC", "FLOAT"]
    with pytest.raises(
        ConfigError, match=r"target.numeric: price.none should be a FLOAT column of the source; it is not"
    ):
        exact((price,), ["price.none"])
    with pytest.raises(ConfigError, match="it is STRING"):
        exact((STRING("name"),), ["name"])
    # what was a FLOAT and has become whole numbers is exact
    assert exact((Column("price", "INTEGER"),), ["price"]) == (Column("price", "INTEGER"),)


def test_a_target_keeps_its_order_and_grows_at_the_end() -> None:
    existing = (STRING("b"), record("r", STRING("y")), STRING("gone"))
    wanted = (STRING("new"), record("R", STRING("x"), STRING("y")), STRING("B"))
    merged = merge(existing, wanted)
    assert merged == (STRING("b"), record("r", STRING("y"), STRING("x")), STRING("gone"), STRING("new"))


@pytest.mark.parametrize(
    ("existing", "wanted", "message"),
    [
        (STRING("cost"), FLOAT("cost"), "column cost is STRING, but the source's is now FLOAT"),
        (
            STRING("t"),
            Column("t", "STRING", repeated=True),
            "column t is STRING, but the source's is now REPEATED STRING",
        ),
        (record("r", STRING("x")), record("r", FLOAT("x")), "column r.x is STRING, but the source's is now FLOAT"),
    ],
)
def test_a_changed_type_is_refused_by_name(existing: Column, wanted: Column, message: str) -> None:
    with pytest.raises(DataError, match=message):
        merge((existing,), (wanted,))


def test_a_grown_schema_keeps_what_its_fields_have() -> None:
    policy = {"policyTags": {"names": ["projects/p/locations/us/taxonomies/1/policyTags/2"]}}
    cost = {"name": "cost", "type": "NUMERIC", "mode": "REQUIRED", "precision": "20", "scale": "4", **policy}
    inner = {"name": "x", "type": "STRING", "maxLength": "9", "defaultValueExpression": "'a'"}
    standing = [cost, {"name": "r", "type": "RECORD", "mode": "REPEATED", "description": "kept", "fields": [inner]}]
    fields = grown(standing, (record("R", STRING("X"), STRING("y")), STRING("new")))
    added = {"name": "y", "type": "STRING", "mode": "NULLABLE"}
    assert fields == [cost, {**standing[1], "fields": [inner, added]}, {**added, "name": "new"}]
    # Google's client sends them as they are
    table = bigquery.Table("p.d.t")
    table.schema = [bigquery.SchemaField.from_api_repr(field) for field in fields]
    assert table.to_api_repr()["schema"]["fields"] == fields


def test_types_are_read_by_both_names() -> None:
    assert Column.from_api({"name": "a", "type": "INT64"}) == Column.from_api({"name": "a", "type": "INTEGER"})
    required = Column.from_api({"name": "a", "type": "STRUCT", "mode": "REQUIRED", "fields": []})
    assert (required.type, required.repeated) == ("RECORD", False)
    with pytest.raises(ConfigError, match=r"column r\.a has the type RANGE"):
        Column.from_api({"name": "r", "type": "RECORD", "fields": [{"name": "a", "type": "RANGE"}]})


def test_unchanged_columns_are_passed_as_they_are() -> None:
    labels = record("labels", STRING("key"), repeated=True)
    assert sql.copied_columns((labels, STRING("lost")), (STRING("a"), labels)) == [("labels", "s.`labels`")]


def test_arrays_keep_their_order_and_missing_fields_are_null() -> None:
    target = record("credits", STRING("name"), Column("amount", "NUMERIC"), STRING("kind"), repeated=True)
    ((_, value),) = sql.copied_columns((CREDITS,), (target,))
    assert value == (
        f"ARRAY(SELECT AS STRUCT e0.`name` AS `name`, {sql.decimal('e0.`amount`')} AS `amount`, "
        "CAST(NULL AS STRING) AS `kind` FROM UNNEST(s.`credits`) AS e0 WITH OFFSET AS o0 ORDER BY o0)"
    )


def test_arrays_within_arrays_have_names_of_their_own() -> None:
    def outer(type_: str) -> Column:
        return record("a", record("b", Column("cost", type_), repeated=True), repeated=True)

    ((_, value),) = sql.copied_columns((outer("FLOAT"),), (outer("NUMERIC"),))
    assert "UNNEST(e0.`b`) AS e1 WITH OFFSET AS o1 ORDER BY o1" in value
    statistics = sql.statistics((outer("NUMERIC"),), ("a.b.cost",), "t AS s")
    measured = "(SELECT SUM(e1.`cost`) FROM UNNEST(e0.`b`) AS e1)"
    assert f"(SELECT AS STRUCT SUM({measured}) AS sum_0 FROM UNNEST(s.`a`) AS e0) AS array_0" in statistics
    statistics = sql.statistics((outer("FLOAT"),), ("a.b.cost",), "t AS s")
    assert ", SUM((SELECT COUNTIF(e1.`cost` IS NOT NULL AND" in statistics


def test_each_array_is_looked_through_once() -> None:
    columns = (FLOAT("cost"), CREDITS, record("r", CREDITS))
    statistics = sql.statistics(columns, ("cost", "credits.amount", "r.credits.amount"), "t AS s")
    assert [statistics.count(f"UNNEST({array})") for array in ("s.`credits`", "s.`r`.`credits`")] == [1, 1]
    assert "SUM(s.array_1.lost_2) AS lost_2" in statistics
    assert "SELECT s.`cost` AS value_0, (SELECT AS STRUCT" in statistics
    assert "array_" not in sql.statistics(columns, ("cost",), "t AS s")


def test_a_record_that_is_null_stays_null() -> None:
    origin, target = record("r", FLOAT("cost")), record("r", Column("cost", "NUMERIC"))
    ((_, value),) = sql.copied_columns((origin,), (target,))
    assert value.startswith("IF(s.`r` IS NULL, NULL, STRUCT(")


def test_an_integer_becomes_a_float_only_where_it_keeps_its_digits() -> None:
    def cast(name: str, value: str) -> str:
        told = f"column {name} is FLOAT in the target: expected an integer from -9007199254740992 to 9007199254740992"
        error = f"ERROR(CONCAT('{told} (2^53), as others lose digits, got ', CAST({value} AS STRING)))"
        return f"IF({value} NOT BETWEEN -9007199254740992 AND 9007199254740992, {error}, CAST({value} AS FLOAT64))"

    def columns(type_: str) -> tuple[Column, ...]:
        n, many = Column("N", type_), Column("many", type_, repeated=True)
        return n, many, record("r", n), record("a", n, record("b", n, repeated=True), repeated=True)

    values = dict(sql.copied_columns(columns("INTEGER"), columns("FLOAT")))
    assert values == {
        "N": cast("N", "s.`N`"),
        "many": f"ARRAY(SELECT {cast('many', 'e0')} FROM UNNEST(s.`many`) AS e0 WITH OFFSET AS o0 ORDER BY o0)",
        "r": f"IF(s.`r` IS NULL, NULL, STRUCT({cast('r.N', 's.`r`.`N`')} AS `N`))",
        "a": (
            f"ARRAY(SELECT AS STRUCT {cast('a.N', 'e0.`N`')} AS `N`, "
            f"ARRAY(SELECT AS STRUCT {cast('a.b.N', 'e1.`N`')} AS `N` "
            "FROM UNNEST(e0.`b`) AS e1 WITH OFFSET AS o1 ORDER BY o1) AS `b` "
            "FROM UNNEST(s.`a`) AS e0 WITH OFFSET AS o0 ORDER BY o0)"
        ),
    }


def test_text_ends_where_it_should() -> None:
    assert sql.text("it's \\ \n") == "'it\\'s \\\\ \\n'"
