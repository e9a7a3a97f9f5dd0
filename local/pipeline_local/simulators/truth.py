"""The truth about a window: the rows and sums that a right copy has, from the generator's own exact numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, localcontext
from typing import Any

from pipeline_local.simulators import anthropic_data, openai_data
from pipeline_local.simulators.buckets import WIDTHS, Grouping, results
from pipeline_local.simulators.world import Provider, World

_CENT = Decimal("0.01")
Row = dict[str, Any]


@dataclass(frozen=True)
class Truth:
    """Of each table, `costs` and `usage`: the rows in the order of their time, and the sums of each column by day.

    A row has `day`, `start`, `end` (exclusive), the dimensions under the provider's names (None where not grouped by)
    and the measures as Decimal; a nested field's name has a point. `amount` is USD at both, beside Anthropic's `cents`.
    Usage of OpenAI has `endpoint`.
    """

    rows: Mapping[str, Sequence[Row]]
    sums: Mapping[str, Mapping[date, Mapping[str, Decimal]]]
    """Every day of the window has its entry, with zeros where nothing was used."""

    def total(self, table: str, column: str) -> Decimal:
        """The sum of a column over all days."""
        with localcontext(prec=60):
            return sum((by_column[column] for by_column in self.sums[table].values()), Decimal(0))


def truth(
    world: World,
    provider: Provider,
    key: str,
    first_day: date,
    last_day: date,
    *,
    bucket_width: str = "1d",
    group_by: Iterable[str] | None = None,
) -> Truth:
    """What the organization of a key has from `first_day` to `last_day`, both included.

    `bucket_width` and `group_by` are those of usage, and by default all dimensions are told apart; costs are always
    by day and as finely as they can be had. The plan's late hours and empty days are left out, as in an answer.
    """
    days = [first_day + timedelta(days=number) for number in range((last_day - first_day).days + 1)]
    costs, usage = _costs(provider), _usage(provider, group_by)
    rows = {
        "costs": _rows(world, provider, key, days, "1d", {"costs": costs}),
        "usage": _rows(world, provider, key, days, bucket_width, usage),
    }
    measures = {"costs": costs.measures, "usage": tuple({name for each in usage.values() for name in each.measures})}
    if provider == "anthropic":
        for row in rows["costs"]:
            row["amount"] = row["cents"] * _CENT
        measures["costs"] = (*measures["costs"], "amount")
    return Truth(rows, {table: _sums(rows[table], days, measures[table]) for table in rows})


def _costs(provider: Provider) -> Grouping:
    data = openai_data if provider == "openai" else anthropic_data
    return Grouping(data.COST_DIMENSIONS, frozenset(data.COST_DIMENSIONS), data.COST_MEASURES)


def _usage(provider: Provider, group_by: Iterable[str] | None) -> dict[str, Grouping]:
    """How the usage of each endpoint is put together."""
    if provider == "anthropic":
        tables: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
            "messages": (anthropic_data.DIMENSIONS, anthropic_data.MEASURES)
        }
    else:
        tables = {name: (openai_data.DIMENSIONS[name], openai_data.MEASURES[name]) for name in openai_data.DIMENSIONS}
    chosen = None if group_by is None else frozenset(group_by)
    return {
        table: Grouping(dimensions, frozenset(dimensions) if chosen is None else chosen, measures)
        for table, (dimensions, measures) in tables.items()
    }


def _rows(
    world: World, provider: Provider, key: str, days: Iterable[date], width: str, tables: Mapping[str, Grouping]
) -> list[Row]:
    rows: list[Row] = []
    step = WIDTHS[width]
    readers = {table: world.lines_of(provider, key, table) for table in tables}
    for day in days:
        midnight = datetime.combine(day, time(), UTC)
        for start in (midnight + number * step for number in range(timedelta(days=1) // step)):
            for table, grouping in tables.items():
                endpoint = {"endpoint": table} if provider == "openai" and table != "costs" else {}
                rows.extend(
                    {"day": day, "start": start, "end": start + step, **endpoint, **each.dimensions, **each.measures}
                    for each in results(readers[table], start, step, grouping)
                )
    return rows


def _sums(rows: Iterable[Row], days: Iterable[date], measures: Sequence[str]) -> dict[date, dict[str, Decimal]]:
    sums = {day: dict.fromkeys(measures, Decimal(0)) for day in days}
    with localcontext(prec=60):
        for row in rows:
            for name in measures:
                sums[row["day"]][name] += row.get(name, Decimal(0))
    return sums
