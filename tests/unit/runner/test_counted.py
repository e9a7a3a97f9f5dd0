"""Rounding may take a hundredth of an amount's sum for each day, and what is no money more; two sides must agree."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.copying import Copy
from pipeline_runner.bigquery.counted import Counted
from pipeline_runner.bigquery.source import Source
from pipeline_runner.errors import DataError, TransientError

READ_AT = datetime(2026, 11, 2, tzinfo=UTC)
TIME = Column("t", "TIMESTAMP")
SOURCE = Source("p.d.t", "p", "EU", (TIME,), TIME, is_table=True, by_ingestion=False)
USAGE = Column("usage", "RECORD", fields=(Column("amount", "NUMERIC"),))
WANTED = (TIME, Column("cost", "NUMERIC"), USAGE)


def statistics(**lost: float) -> dict[str, object]:
    names = ("cost", "usage")
    row: dict[str, object] = {"row_count": 1}
    for number, name in enumerate(names):
        row |= {f"sum_{number}": Decimal(1), f"bad_{number}": 0, f"lost_{number}": lost.get(name, 0.0)}
    return row


def copy(days: int) -> Copy:
    return Copy(SOURCE, "TRUE", WANTED, WANTED, "US", days)


@pytest.mark.parametrize(("days", "lost", "allowed"), [(1, 0.009, True), (1, 0.011, False), (3, -0.029, True),
                                                       (3, -0.031, False)])  # fmt: skip
def test_each_day_may_lose_a_hundredth(days: int, lost: float, allowed: bool) -> None:
    if allowed:
        assert copy(days).counted(statistics(cost=lost), "source table", READ_AT).sums == (Decimal(1), Decimal(1))
        return
    with pytest.raises(DataError, match=rf"column cost .* at most 0\.0{days} is allowed, 0\.01 for each day"):
        copy(days).counted(statistics(cost=lost), "source table", READ_AT)


def test_what_is_no_money_may_lose_more() -> None:
    assert copy(1).money == ("cost", "usage.amount")
    copy(1).counted(statistics(usage=100.0), "source table", READ_AT)


def test_a_difference_is_told_of_both_sides() -> None:
    here, there = (Counted(READ_AT, rows, (Decimal(value),)) for rows, value in ((2, "1.5"), (1, "1.6")))
    here.compare(here, ("cost",), "p.d.t", "at the source")
    with pytest.raises(TransientError) as raised:
        here.compare(there, ("cost",), "p.d.t", "at the source")
    assert str(raised.value) == (
        "staging differs from p.d.t: 2 rows at the source, 1 staged; sum of cost 1.5 at the source, 1.6 staged"
    )
