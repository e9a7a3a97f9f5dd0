"""A target that would round amounts is refused, by the columns that are written."""

import pytest
from google.cloud import bigquery

from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.rounding import refuse_rounding
from pipeline_runner.errors import ConfigError

COST = (Column("cost", "NUMERIC"),)
CREDITS = (Column("credits", "RECORD", repeated=True, fields=(Column("amount", "NUMERIC"),)),)


def table(type_: str, precision: int | None = None, scale: int | None = None) -> bigquery.Table:
    return bigquery.Table("p.d.t", [bigquery.SchemaField("Cost", type_, precision=precision, scale=scale)])


@pytest.mark.parametrize(
    ("type_", "precision", "scale", "told"),
    [
        ("NUMERIC", 10, 2, r"NUMERIC\(10, 2\)"),
        ("NUMERIC", 18, None, r"NUMERIC\(18\)"),
        ("BIGNUMERIC", 38, 8, r"BIGNUMERIC\(38, 8\)"),
    ],
)
def test_a_column_with_too_few_places_is_named(type_: str, precision: int, scale: int | None, told: str) -> None:
    with pytest.raises(ConfigError, match=f"would round what is written to them: Cost is {told}; expected NUMERIC or "):
        refuse_rounding(table(type_, precision, scale), COST)


@pytest.mark.parametrize(
    ("type_", "precision", "scale"),
    [("NUMERIC", None, None), ("NUMERIC", 38, 9), ("BIGNUMERIC", 40, 10), ("BIGNUMERIC", None, None)],
)
def test_nine_places_are_enough(type_: str, precision: int | None, scale: int | None) -> None:
    refuse_rounding(table(type_, precision, scale), COST)


def test_columns_that_get_no_amounts_may_be_as_they_are() -> None:
    refuse_rounding(table("NUMERIC", 10, 2), ())
    refuse_rounding(table("NUMERIC", 10), (Column("cost", "INTEGER"),))


def test_fields_within_records_count() -> None:
    amount = bigquery.SchemaField("amount", "NUMERIC", precision=12, scale=2)
    credits_ = bigquery.SchemaField("credits", "RECORD", "REPEATED", fields=[amount])
    with pytest.raises(ConfigError, match=r"credits\.amount is NUMERIC\(12, 2\)"):
        refuse_rounding(bigquery.Table("p.d.t", [credits_]), CREDITS)
