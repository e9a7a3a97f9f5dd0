"""A source that has turned FLOAT into INTEGER goes on filling a FLOAT column, as long as no integer loses digits."""

from typing import Any

import pytest

from pipeline_core.outcome import ExitCode
from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.columns import Column, of_table
from pipeline_runner.errors import DataError
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress
from support.billing import Billing
from support.rows import DAY, Loads

LIMIT = 2**53
TOLD = f"is FLOAT in the target: expected an integer from -{LIMIT} to {LIMIT} (2^53), as others lose digits, got"


def schema(type_: str) -> list[dict[str, Any]]:
    n = {"name": "n", "type": type_}
    parts = {"name": "parts", "type": "RECORD", "mode": "REPEATED", "fields": [n]}
    return [
        {"name": "usage_start_time", "type": "TIMESTAMP"},
        n,
        {"name": "many", "type": type_, "mode": "REPEATED"},
        {"name": "r", "type": "RECORD", "fields": [n, parts]},
    ]


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    return Billing(bigquery_settings)


def fill(billing: Billing, type_: str, *rows: str) -> None:
    """The source, made anew with columns of this type; a row is the values of n, many and r."""
    billing.client.delete_table(billing.source, not_found_ok=True)
    billing.make_source(schema=schema(type_))
    values = ", ".join(f"(TIMESTAMP '{DAY} 12:00:00+00', {row})" for row in rows)
    billing.sql(f"INSERT INTO `{billing.source}` (usage_start_time, n, many, r) VALUES {values}")


def values(n: object = 1, many: object = 2, inner: object = 3, part: object = 4) -> str:
    return f"{n}, [0, {many}], STRUCT({inner} AS n, [STRUCT({part} AS n), STRUCT(NULL AS n)] AS parts)"


@pytest.mark.parametrize("read", ["query", "storage"])
async def test_integers_are_copied_as_long_as_a_float_holds_them(billing: Billing, read: str) -> None:
    fill(billing, "FLOAT", values(0.5))
    assert (await execute(billing.document(read=read, date=str(DAY)), Progress()))[1] is ExitCode.OK
    columns = of_table(billing.client.get_table(billing.target))
    fill(billing, "INTEGER", values(LIMIT, -LIMIT, LIMIT - 1, -LIMIT), "NULL, [], NULL")
    outcome, code = await execute(billing.document(read=read, date=str(DAY)), Progress())
    assert (outcome.error, code) == (None, ExitCode.OK)
    assert of_table(billing.client.get_table(billing.target)) == columns
    copied = billing.rows("n, many, r", order="n DESC")
    assert copied == [
        {"n": LIMIT, "many": [0, -LIMIT], "r": {"n": LIMIT - 1, "parts": [{"n": -LIMIT}, {"n": None}]}},
        {"n": None, "many": [], "r": None},
    ]
    assert isinstance(copied[0]["n"], float)


@pytest.mark.parametrize("read", ["query", "storage"])
@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        ("n", "n", LIMIT + 1),
        ("many", "many", -LIMIT - 1),
        ("inner", "r.n", 2**63 - 1),
        ("part", "r.parts.n", -(2**63) + 1),
    ],
)
async def test_an_integer_that_would_lose_digits_is_told_and_nothing_is_published(
    billing: Billing, read: str, place: str, name: str, value: int
) -> None:
    fill(billing, "FLOAT", values(0.5))
    assert (await execute(billing.document(read=read, date=str(DAY)), Progress()))[1] is ExitCode.OK
    before = billing.rows(order="n")
    fill(billing, "INTEGER", values(), values(**{place: value}))
    outcome, code = await execute(billing.document(read=read, date=str(DAY)), Progress())
    assert code is ExitCode.DATA
    assert f"publishing {billing.target}: " in str(outcome.error)
    assert f"column {name} {TOLD} {value}" in str(outcome.error)
    assert billing.rows(order="n") == before


async def test_a_column_of_money_that_is_float_takes_no_decimals(billing: Billing) -> None:
    """FLOAT money is NUMERIC by the time that it is staged: what is refused of it stays refused."""
    fill(billing, "NUMERIC", values())
    billing.sql(f"CREATE TABLE `{billing.target}` (usage_start_time TIMESTAMP, n FLOAT64)")
    outcome, code = await execute(billing.document(date=str(DAY)), Progress())
    assert code is ExitCode.DATA
    assert "the target's column n is FLOAT, but the source's is now NUMERIC" in str(outcome.error)


async def test_rows_of_a_processor_are_checked_as_well(bigquery_settings: BigQuerySettings) -> None:
    loads = Loads(bigquery_settings)
    loads.sql(f"CREATE TABLE `{loads.dataset}.api_usage` (usage_date DATE, calls FLOAT64)")
    rows = [{"usage_date": DAY, "calls": calls} for calls in (LIMIT, -LIMIT, None)]
    assert await loads.load({"usage": rows}) == 3
    before = loads.rows("usage", "calls")
    assert {each["calls"] for each in before} == {float(LIMIT), -float(LIMIT), None}
    with pytest.raises(DataError) as refused:
        await loads.load({"usage": [{"usage_date": DAY, "calls": LIMIT + 1}]})
    assert f"column calls {TOLD} {LIMIT + 1}" in str(refused.value)
    assert sorted(map(str, loads.rows("usage", "calls"))) == sorted(map(str, before))
    table = loads.client.get_table(f"{loads.dataset}.api_usage")
    assert of_table(table)[1] == Column("calls", "FLOAT")
