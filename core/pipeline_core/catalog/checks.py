"""The `checks` of a config: what the rows of a run must satisfy before any of them is published."""

import re
from decimal import Decimal
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline_core.catalog.fields import ColumnName, Name
from pipeline_core.wording import shorten

# What a sum of BIGNUMERIC values can hold, and far more than one of NUMERIC.
_DECIMAL = re.compile(r"-?[0-9]{1,38}(\.[0-9]{1,38})?")
_MAX_INTEGER = 10**38


def _decimal(value: object) -> Decimal:
    """Exact or not at all: a bound that went through a binary float isn't the one that was written."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return Decimal(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX_INTEGER:
        return Decimal(value)
    hint = ": put quotes around it" if isinstance(value, float) else ""
    raise ValueError(f'expected an integer or a decimal in quotes such as "0.50", got {shorten(value)}{hint}')


Bound = Annotated[Decimal, BeforeValidator(_decimal)]
Count = Annotated[int, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CountRange(_Section):
    """Bounds of a number of rows, both included; at least one of them is given."""

    min: Count | None = None
    max: Count | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:  # noqa: N804 - after validation it is the instance that is checked
        _check_range(self.min, self.max)
        return self


class SumRange(_Section):
    """Bounds of a column's exact sum, both included; at least one of them is given."""

    min: Bound | None = None
    max: Bound | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:  # noqa: N804 - after validation it is the instance that is checked
        _check_range(self.min, self.max)
        return self


class Proportion(_Section):
    """The least share of rows that have a value in a column, 0 to 1."""

    min: Annotated[Bound, Field(ge=0, le=1)]


class QuarantineLimit(_Section):
    """How many rows may be set aside, as they don't fit the table, without the run failing."""

    max: Count


class TableChecks(_Section):
    """What the rows staged for one table must satisfy. Without `quarantined`, no row may be set aside."""

    row_count: CountRange | None = None
    not_null: Annotated[list[ColumnName], Field(min_length=1)] | None = None
    not_null_proportion: Annotated[dict[ColumnName, Proportion], Field(min_length=1)] | None = None
    sum: Annotated[dict[ColumnName, SumRange], Field(min_length=1)] | None = None
    quarantined: QuarantineLimit | None = None

    @property
    def max_quarantined(self) -> int:
        """How many rows may be set aside."""
        return self.quarantined.max if self.quarantined else 0


class ChecksSection(TableChecks):
    """The checks of `target.table`, and under `tables` those of the further tables, by the keys of `target.tables`."""

    tables: dict[Name, TableChecks] = {}

    def of(self, key: str | None = None) -> TableChecks:
        """The checks of a further table, by its key; of `target.table` without one."""
        return self if key is None else self.tables.get(key, TableChecks())


def _check_range(low: Decimal | int | None, high: Decimal | int | None) -> None:
    if low is None and high is None:
        raise ValueError("expected min, max, or both")
    if low is not None and high is not None and low > high:
        raise ValueError(f"min {low} is above max {high}, so nothing could pass")
