"""Decides what a copy will do, from a look at both ends, before anything is written; and tells it to people."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Self

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column, ColumnConflictError, by_name, dotted, leaves, merge, of_table
from pipeline_runner.bigquery.config import CopyConfig
from pipeline_runner.bigquery.evolution import with_row
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.money import exact
from pipeline_runner.bigquery.publishing import Target, refuse_lineage
from pipeline_runner.bigquery.source import READ_RIGHT, Source, find_source
from pipeline_runner.bigquery.staging import Copy
from pipeline_runner.bigquery.tenancy import check_references, check_source
from pipeline_runner.bigquery.threads import together
from pipeline_runner.bigquery.warehouse import WRITE_RIGHT, Warehouse
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import ConfigError

# What Parquet can't bring back into a column of the same type.
_NOT_BY_FILE = frozenset({"GEOGRAPHY", "INTERVAL", "JSON"})


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
        """An SQL condition: a row of the source has no time, and so belongs to no day."""
        return _all(f"{sql.quoted(self.source.time.name)} IS NULL", self.narrowed(self.source, self.window))

    @property
    def surveyed(self) -> str:
        """An SQL condition: a row of the source belongs to the window, or to no day."""
        inside = f"({self.source.condition(self.window)} OR {sql.quoted(self.source.time.name)} IS NULL)"
        return _all(inside, self.narrowed(self.source, self.window))

    @property
    def has_days(self) -> bool:
        """Whether there is a target that tells the days of its rows."""
        return self.target.time.name.lower() in by_name(_columns(self.existing))

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
    by_query = _by_query(config.source.read or "auto", source, location, own_identity=reader is not None)
    if not source.is_table:
        await _check_view(warehouse, source, config.target.dataset)
    refuse_lineage(source.columns, f"source table {source.name}")
    wanted = exact(source.columns, config.target.numeric or ())
    clustered = tuple(column.name for column in wanted if column.name in cluster_by)
    condition = _all(source.condition(window), narrowed(source, window))
    try:
        columns = merge(_columns(existing), wanted)
    except ColumnConflictError as conflict:
        origin = f"{sql.quoted(source.name)} AS s WHERE {condition}"
        raise await with_row(reader or warehouse, conflict, origin, source.location) from conflict
    time = by_name(columns)[source.time.name.lower()]
    copy = Copy(source, condition, wanted, columns, location)
    target = Target(name, time, location, clustered)
    return Plan(source, target, existing, copy, by_query, window, (window,), narrowed).over(window)


async def describe(warehouse: Warehouse, plan: Plan, reader: Warehouse | None = None) -> dict[str, str]:
    """What a run would read, write and replace, as labels and texts. Nothing is written."""
    reader = reader or warehouse
    source, copy, target = plan.source, plan.copy, plan.target
    count = f"SELECT COUNT(*) AS n FROM {sql.quoted(source.name)} AS s WHERE {copy.condition}"  # noqa: S608
    what = f"counting the rows of source table {source.name}"
    (found,) = await reader.query("preview_source", count, location=source.location, what=what, right=READ_RIGHT)
    values = ", ".join(value for _, value in sql.copied_columns(source.columns, copy.columns))
    select = f"SELECT {values} FROM {sql.quoted(source.name)} AS s WHERE {copy.condition}"  # noqa: S608
    size, _ = await reader.dry_run(select, location=source.location, what=what, right=READ_RIGHT)
    way = "a query, within BigQuery" if plan.by_query else "the Storage Read API, through this process"
    standing = "the table is new"
    if plan.existing is not None:
        inside = target.inside(plan.windows)
        statement = f"SELECT COUNT(*) AS n FROM {sql.quoted(target.name)} WHERE {inside}"  # noqa: S608
        what = f"counting the rows of {target.name}"
        (there,) = await warehouse.query("preview_target", statement, location=target.location, what=what)
        standing = f"{there['n']:,} rows of these days"
    known = by_name(_columns(plan.existing))
    added = [each.name for each in copy.columns if each.name.lower() not in known] if plan.existing else []
    return {
        "read": f"{source.name} ({source.location}), by {way}",
        "days": f"{', '.join(map(str, plan.windows))} (UTC, by {source.time.name})",
        "rows": f"{found['n']:,}, a scan of {size:,} bytes",
        "write": f"{target.name} ({target.location})",
        "replace": standing,
        "new columns": ", ".join(added) or ("all" if plan.existing is None else "none"),
        "FLOAT to NUMERIC": ", ".join(_converted(source.columns, copy.wanted)) or "none",
    }


async def count_undated(warehouse: Warehouse, plan: Plan) -> int:
    """How many rows of the source belong to no day, as their time is NULL. `warehouse` reads the source."""
    source = plan.source
    statement = f"SELECT COUNT(*) AS n FROM {sql.quoted(source.name)} AS s WHERE {plan.undated}"  # noqa: S608
    what = f"looking for rows without a {source.time.name} in source table {source.name}"
    (row,) = await warehouse.query("undated", statement, location=source.location, what=what, right=READ_RIGHT)
    found: int = row["n"]
    return found


def _all(*conditions: str) -> str:
    return " AND ".join(filter(None, conditions))


def _converted(source: tuple[Column, ...], wanted: tuple[Column, ...]) -> list[str]:
    pairs = zip(leaves(source), leaves(wanted), strict=True)
    return [dotted(new) for old, new in pairs if old[-1].type != new[-1].type]


def _columns(table: bigquery.Table | None) -> tuple[Column, ...]:
    return of_table(table) if table else ()


async def _check_view(warehouse: Warehouse, source: Source, own: str) -> None:
    """Refuse a view that leads to another organization's tables, before it is read."""
    statement = f"SELECT * FROM {sql.quoted(source.name)}"  # noqa: S608
    what = f"looking behind {source.name}"
    _, tables = await warehouse.dry_run(statement, location=source.location, what=what, right=READ_RIGHT)
    check_references(warehouse.settings.project, own, source.name, tables)


def _by_query(wish: str, source: Source, location: str, *, own_identity: bool) -> bool:
    same_place = source.location.upper() == location.upper()
    if wish == "query" and own_identity:
        raise ConfigError(
            "source.read is query, but the source is read with the organization's own service account: one query can't "
            "read with its rights and write with ours; set it to auto or storage"
        )
    if wish == "query" and not same_place:
        raise ConfigError(
            f"source.read is query, but {source.name} is in {source.location} and the target in {location}: "
            "a query works within one location; set it to auto or storage"
        )
    by_query = wish == "query" or (wish == "auto" and same_place and not own_identity)
    if not by_query and not source.is_table:
        raise ConfigError(
            f"{source.name} isn't a plain table; only a query within one location, with the installation's own rights, "
            "can read it"
        )
    for path in () if by_query else leaves(source.columns):
        if path[-1].type in _NOT_BY_FILE:
            raise ConfigError(
                f"column {dotted(path)} is {path[-1].type}, which the Storage Read API can't bring over; "
                "set source.read to query, with the source in the location of the target"
            )
    return by_query
