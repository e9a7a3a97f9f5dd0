"""Checks of a column's share of values, without a warehouse: by the digits that were written, and of each day alone."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from pipeline_core.catalog.checks import TableChecks
from pipeline_runner.bigquery.checks import check_columns, daily_violations, statement, violations
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.config_errors import FieldsError
from pipeline_runner.errors import ConfigError

DAY = Column("usage_date", "DATE")
FIRST = date(2026, 11, 1)


class Warehouse:
    """Answers each query with `rows`; `asked` are the statements."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = rows
        self.asked: list[str] = []

    async def query(self, _step: str, script: str, **_: str) -> list[dict[str, Any]]:
        self.asked.append(script)
        return list(self.rows)


def share(minimum: str | int, column: str = "line_item") -> TableChecks:
    return TableChecks.model_validate({"not_null_proportion": {column: {"min": minimum}}})


async def found(checks: TableChecks, rows: int, values: int) -> list[str]:
    warehouse = Warehouse({"row_count": rows, "values_0": values})
    return await violations(warehouse, "check", "p.d.t", checks, location="US")  # type: ignore[arg-type]


# The least share; the rows, and those of them that have a value; whether they pass.
SHARES = [
    ("0.5", 10, 5, True),
    ("0.5", 10, 4, False),
    ("0.5", 3, 1, False),
    ("0.5", 1, 1, True),
    ("0.5", 1, 0, False),
    ("0.5", 0, 0, True),
    (0, 10, 0, True),
    ("0.000", 10, 0, True),
    ("0.00000000000000000000000000000000000001", 10, 0, False),
    (1, 0, 0, True),
    (1, 10, 10, True),
    (1, 10, 9, False),
    ("1.0", 10**15, 10**15 - 1, False),
    ("0.1", 10, 1, True),
    # a third isn't one in decimals; either bound times three is 1 by the 28 digits of Python's own context
    ("0.33333333333333333333333333333333333333", 3, 1, True),
    ("0.33333333333333333333333333333333333334", 3, 1, False),
]


@pytest.mark.parametrize(("minimum", "rows", "values", "passes"), SHARES)
async def test_a_share_is_compared_by_its_digits(minimum: str | int, rows: int, values: int, passes: bool) -> None:
    told = f"checks.not_null_proportion.line_item: expected at least {Decimal(minimum)}, found values in {values} of "
    assert await found(share(minimum), rows, values) == ([] if passes else [f"{told}{rows} rows"])


async def test_each_column_has_its_own_share_and_all_are_told() -> None:
    both = {"a": {"min": "0.5"}, "b": {"min": "0.9"}, "c": {"min": "0.2"}}
    checks = TableChecks.model_validate({"not_null": ["a"], "not_null_proportion": both})
    warehouse = Warehouse({"row_count": 10, "nulls_0": 6, "values_0": 4, "values_1": 8, "values_2": 2})
    told = await violations(warehouse, "check", "p.d.t", checks, location="US")  # type: ignore[arg-type]
    assert told == [
        "checks.not_null: expected no NULL in a, found 6 in 10 rows",
        "checks.not_null_proportion.a: expected at least 0.5, found values in 4 of 10 rows",
        "checks.not_null_proportion.b: expected at least 0.9, found values in 8 of 10 rows",
    ]
    (asked,) = warehouse.asked
    assert asked == (
        "SELECT COUNT(*) AS row_count, COUNTIF(`a` IS NULL) AS nulls_0, COUNTIF(`a` IS NOT NULL) AS values_0, "
        "COUNTIF(`b` IS NOT NULL) AS values_1, COUNTIF(`c` IS NOT NULL) AS values_2 FROM `p.d.t`"
    )


async def test_a_full_day_does_not_hide_one_without_values() -> None:
    number = (FIRST - date(1970, 1, 1)).days
    days = [FIRST + timedelta(days=each) for each in range(4)]
    warehouse = Warehouse(
        {"day": number, "row_count": 1000, "values_0": 1000},
        {"day": number + 1, "row_count": 2, "values_0": 0},
        {"day": number + 3, "row_count": 2, "values_0": 1},
    )
    told = await daily_violations(
        warehouse, "check", "p.d.t", share("0.5"), days, DAY, location="US"  # type: ignore[arg-type]
    )  # fmt: skip
    # the third day has no rows at all, which is none of this check's business
    assert told == [
        "checks.not_null_proportion.line_item: expected at least 0.5, found values in 0 of 2 rows on 2026-11-02"
    ]
    assert warehouse.asked == [statement("p.d.t", share("0.5"), DAY)]
    assert warehouse.asked[0].endswith(" GROUP BY 1")


def test_an_array_is_never_null_and_so_no_column_to_check_for_it() -> None:
    columns = (DAY, Column("tags", "STRING", repeated=True))
    asked = TableChecks.model_validate({"not_null": ["tags"], "not_null_proportion": {"Tags": {"min": "0.5"}}})
    with pytest.raises(FieldsError) as refused:
        check_columns(asked, columns, ("checks", "tables", "usage"))
    told = "is REPEATED STRING: a stored array is empty, but never NULL, so that it would pass always"
    assert [(path[-1], message) for path, message in refused.value.problems] == [
        ("not_null", f"tags {told}"),
        ("not_null_proportion", f"Tags {told}"),
    ]
    assert str(refused.value).startswith("checks.tables.usage.not_null: tags is REPEATED")


def test_a_share_of_a_column_that_the_table_has_not_is_refused() -> None:
    columns = (DAY, Column("Line_Item", "STRING"))
    check_columns(share("0.5"), columns)
    expected = r"^checks of t\.not_null_proportion: nobody is no column of the table; expected one of usage_date, Line_"
    with pytest.raises(ConfigError, match=expected):
        check_columns(share("0.5", "nobody"), columns, ("checks of t",))
