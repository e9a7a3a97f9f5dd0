"""What one side of a copy comes to, and whether two sides agree: rows, and sums of money to the last digit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Self

import structlog

from pipeline_runner.bigquery.daily import Figures
from pipeline_runner.bigquery.warehouse import Row
from pipeline_runner.errors import DataError, TransientError

_log = structlog.get_logger(__name__)

# Amounts finer than nine decimals are rounded; a day's sum may change by no more than this, in the column's currency.
ROUNDING_LIMIT = Decimal("0.01")


@dataclass(frozen=True)
class Counted:
    """Rows and sums of one side; `read_at` is BigQuery's time at which the source was read, or a moment before.

    `days` are the same for each day that has rows, where they were counted by day.
    """

    read_at: datetime
    rows: int
    sums: tuple[Decimal, ...]
    days: Mapping[date, Figures] = field(default_factory=dict)

    @classmethod
    def read(
        cls, row: Row, money: tuple[str, ...], what: str, read_at: datetime,
        *, unlimited: frozenset[str] = frozenset(), days: int = 1,
    ) -> Self:  # fmt: skip
        """Read a row of sql.statistics, over so many days.

        Raises DataError for values that no NUMERIC can hold, or that rounding takes too much from; `unlimited` are
        the columns that may lose more.
        """
        for number, name in enumerate(money):
            if bad := row.get(f"bad_{number}"):
                raise DataError(f"{what}: column {name} has {bad} values that are no amounts (NaN, infinite or ≥ 1e29)")
            lost = Decimal(str(row.get(f"lost_{number}") or 0))
            _check_rounding(lost, name, what, None if name in unlimited else ROUNDING_LIMIT * days)
        sums = tuple(Decimal(row[f"sum_{number}"] or 0) for number in range(len(money)))
        return cls(read_at, row["row_count"], sums)

    def compare(self, staged: "Counted", money: tuple[str, ...], origin: str, there: str) -> None:
        """Raise TransientError where what is staged differs from this side: `origin`, whose rows are `there`."""
        differing = [
            f"sum of {name} {expected} {there}, {found} staged"
            for name, expected, found in zip(money, self.sums, staged.sums, strict=True)
            if expected != found
        ]
        if staged.rows != self.rows:
            differing.insert(0, f"{self.rows} rows {there}, {staged.rows} staged")
        if differing:
            raise TransientError(f"staging differs from {origin}: {'; '.join(differing)}")
        # A customer's amounts are nobody's business who reads logs.
        _log.debug("sums", **{name: str(value) for name, value in zip(money, staged.sums, strict=True)})


def _check_rounding(lost: Decimal, name: str, what: str, limit: Decimal | None) -> None:
    if not lost:
        return
    _log.info("values were rounded at nine decimals", column=name, of=what)
    if limit is not None and abs(lost) > limit:
        raise DataError(
            f"{what}: column {name} has amounts of more than nine decimals; rounding them would change their sum by "
            f"{-lost}, and at most {limit} is allowed, {ROUNDING_LIMIT} for each day"
        )
