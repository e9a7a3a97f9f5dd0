"""Any rows that fit stand in the target exactly as they were given, whatever their values."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_core.settings import BigQuerySettings
from support.rows import COSTS, DAY, Loads

_DIGITS = Context(prec=80, rounding=ROUND_HALF_UP)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
# Sums of these stay within 38 digits, so that they can be compared.
_AMOUNTS = st.decimals("-1e26", "1e26", allow_nan=False, allow_infinity=False, places=9) | st.decimals(
    "-1e-6", "1e-6", allow_nan=False, allow_infinity=False, places=13
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text('ab"\\ é\n𝄞', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('abé"', max_size=3), inner, max_size=3),
    max_leaves=6,
)
_ROWS = st.fixed_dictionaries(
    {"usage_date": st.just(DAY)},
    optional={
        "at": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
        "name": _TEXT,
        "calls": st.integers(-(2**63), 2**63 - 1),
        "batch": st.booleans(),
        "amount": _AMOUNTS,
        "tags": st.lists(_TEXT, max_size=3),
        "further": _JSON,
    },
)


@pytest.fixture(scope="module")
def loads(bigquery: object) -> Loads:
    return Loads(BigQuerySettings(), [COSTS])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(_ROWS, max_size=40))
def test_any_rows_stand_in_the_target_as_they_were(loads: Loads, rows: list[dict[str, object]]) -> None:
    asyncio.run(loads.load({"costs": rows}))
    assert Counter(map(_key, loads.rows())) == Counter(_key(_expected(row)) for row in rows)


def _expected(row: dict[str, Any]) -> dict[str, Any]:
    expected = {**{column.name: None for column in COSTS.columns}, "tags": [], **row}
    if expected["amount"] is not None:
        expected["amount"] = expected["amount"].quantize(Decimal("1e-9"), context=_DIGITS)
    return expected


def _key(row: dict[str, Any]) -> str:
    return repr({name: _plain(row[name]) for name in sorted(row)})


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        # 0 and -0, 1.0 and 1.00 are one value each
        return int(_DIGITS.scaleb(value, 9))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    return [_plain(each) for each in value] if isinstance(value, list) else value
