"""Decides what a copy will do, from a look at both ends, before anything is written."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Self

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column, ColumnConflictError, by_name, merge, of_table
from pipeline_runner.bigquery.config import CopyConfig
from pipeline_runner.bigquery.copying import Copy
from pipeline_runner.bigquery.evolution import with_row
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.money import exact
from pipeline_runner.bigquery.publishing import Target, refuse_lineage
from pipeline_runner.bigquery.rounding import refuse_rounding
from pipeline_runner.bigquery.source import READ_RIGHT, Source, find_source, reads_by_query
from pipeline_runner.bigquery.tenancy import check_references, check_source
from pipeline_runner.bigquery.threads import together
from pipeline_runner.bigquery.warehouse import WRITE_RIGHT, Warehouse
from pipeline_runner.bigquery.window import Window


@dataclass(frozen=True)
class Plan:
    """What a run will do; `existing` is the target as it stands, None if it is to be made.

    `window` is what the run looks at, `windows` what of it is copied. `narrowed` yields a further condition on the
    source, or nothing; it is asked about the whole window, so that a look and a copy after it see the same rows.
    """

    source: Source
    target: Target
    existing: bigquery.Table | None
    copy: Copy
    by_query: bool
    window: Window
    windows: tuple[Window, ...]
    narrowed: Callable[[Source, Window], str]

    def only(self, days: Iterable[date]) -> Self:
        """The same for these days, some of its own."""
        windows = Window.ranges(days)
        condition = _all(self.source.condition(*windows), self.narrowed(self.source, self.window))
        covered = sum(1 for window in windows for _ in window.days())
        return replace(self, windows=windows, copy=replace(self.copy, condition=condition, days=covered))

    def over(self, window: Window) -> Self:
        """The same for another window, whole."""
        return replace(self, window=window).only(window.days())

    @property
    def undated(self) -> str:
        """An SQL condition: a row of the source has no time, and so belongs to no day (see Source.tells_undated)."""
        return _all(f"{sql.quoted(self.source.time.name)} IS NULL", self.narrowed(self.source, self.window))

    @property
    def surveyed(self) -> str:
        """An SQL condition: a row of the source belongs to the window, or to no day where such rows are asked for."""
        inside = self.source.condition(self.window)
        if self.source.tells_undated:
            inside = f"({inside} OR {sql.quoted(self.source.time.name)} IS NULL)"
        return _all(inside, self.narrowed(self.source, self.window))

    @property
    def standing(self) -> tuple[Column, ...]:
        """The target's columns as they are; none where it is to be made."""
        return of_table(self.existing) if self.existing else ()

    @property
    def has_days(self) -> bool:
        """Whether there is a target that tells the days of its rows."""
        return self.target.time.name.lower() in by_name(self.standing)

    @property
    def published(self) -> sql.Values:
        """The target's columns that the source fills, and their values from the staging table, whose alias is s.

        What is staged has the source's shape: the target's records may have other fields, or the same in another
        order.
        """
        return sql.copied_columns(self.copy.wanted, self.copy.columns)


async def make_plan(
    warehouse: Warehouse,
    config: CopyConfig,
    window: Window,
    *,
    time_column: str,
    cluster_by: frozenset[str],
    narrowed: Callable[[Source, Window], str],
    reader: Warehouse | None = None,
) -> Plan:
    """Look at both ends of a copy.

    `reader` is who reads the source, if not the installation; its rows then come by the Storage Read API.

    `time_column` serves where the config names none; the columns of `cluster_by` that exist order a new target's
    rows; `narrowed` yields a further condition on the source, or nothing. Raises ConfigError or DataError where the
    copy can't be made.
    """
    ours = warehouse.settings.project
    dataset = f"{ours}.{config.target.dataset}"
    name = f"{dataset}.{config.target.table}"
    check_source(ours, config, config.source.project)
    location, source, existing = await together(
        warehouse.dataset_location(dataset),
        find_source(reader or warehouse, config.source.name, config.source.time_column or time_column),
        warehouse.table(name, what="target table", right=WRITE_RIGHT),
    )
    check_source(ours, config, source.project)
    by_query = reads_by_query(config.source.read or "auto", source, location, own_identity=reader is not None)
    if not source.is_table:
        await _check_view(warehouse, source, config.target.dataset)
    refuse_lineage(source.columns, f"source table {source.name}")
    wanted = exact(source.columns, config.target.numeric or ())
    clustered = tuple(column.name for column in wanted if column.name in cluster_by)
    condition = _all(source.condition(window), narrowed(source, window))
    if existing is not None:
        refuse_rounding(existing, wanted)
    try:
        columns = merge(of_table(existing) if existing else (), wanted)
    except ColumnConflictError as conflict:
        origin = f"{sql.quoted(source.name)} AS s WHERE {condition}"
        raise await with_row(reader or warehouse, conflict, origin, source.location) from conflict
    time = by_name(columns)[source.time.name.lower()]
    copy = Copy(source, condition, wanted, columns, location)
    target = Target(name, time, location, clustered)
    return Plan(source, target, existing, copy, by_query, window, (window,), narrowed).over(window)


async def count_undated(warehouse: Warehouse, plan: Plan) -> int:
    """How many rows of the source belong to no day, as their time is NULL; 0 where it isn't asked for them.

    `warehouse` reads the source.
    """
    source = plan.source
    if not source.tells_undated:
        return 0
    statement = f"SELECT COUNT(*) AS n FROM {sql.quoted(source.name)} AS s WHERE {plan.undated}"  # noqa: S608
    what = f"looking for rows without a {source.time.name} in source table {source.name}"
    (row,) = await warehouse.query("undated", statement, location=source.location, what=what, right=READ_RIGHT)
    found: int = row["n"]
    return found


def _all(*conditions: str) -> str:
    return " AND ".join(filter(None, conditions))


async def _check_view(warehouse: Warehouse, source: Source, own: str) -> None:
    """Refuse a view that leads to another organization's tables, before it is read."""
    statement = f"SELECT * FROM {sql.quoted(source.name)}"  # noqa: S608
    what = f"looking behind {source.name}"
    _, tables = await warehouse.dry_run(statement, location=source.location, what=what, right=READ_RIGHT)
    check_references(warehouse.settings.project, own, source.name, tables)
