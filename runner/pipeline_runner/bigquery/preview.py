"""Tells people what a copy would do."""
# ruff: noqa: S608 - all names in the statements come from schemas or have been checked by pattern

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column, by_name, dotted, leaves
from pipeline_runner.bigquery.planning import Plan
from pipeline_runner.bigquery.source import READ_RIGHT
from pipeline_runner.bigquery.warehouse import Warehouse
from pipeline_runner.bigquery.window import listed


async def describe(warehouse: Warehouse, plan: Plan, reader: Warehouse | None = None) -> dict[str, str]:
    """What a run would read, write and replace, as labels and texts. Nothing is written."""
    reader = reader or warehouse
    source, copy, target = plan.source, plan.copy, plan.target
    count = f"SELECT COUNT(*) AS n FROM {sql.quoted(source.name)} AS s WHERE {copy.condition}"
    what = f"counting the rows of source table {source.name}"
    (found,) = await reader.query("preview_source", count, location=source.location, what=what, right=READ_RIGHT)
    values = ", ".join(value for _, value in sql.copied_columns(source.columns, copy.columns))
    select = f"SELECT {values} FROM {sql.quoted(source.name)} AS s WHERE {copy.condition}"
    size, _ = await reader.dry_run(select, location=source.location, what=what, right=READ_RIGHT)
    way = "a query, within BigQuery" if plan.by_query else "the Storage Read API, through this process"
    standing = "the table is new"
    if plan.existing is not None:
        inside = target.inside(plan.windows)
        statement = f"SELECT COUNT(*) AS n FROM {sql.quoted(target.name)} WHERE {inside}"
        what = f"counting the rows of {target.name}"
        (there,) = await warehouse.query("preview_target", statement, location=target.location, what=what)
        standing = f"{there['n']:,} rows of these days"
    known = by_name(plan.standing)
    added = [each.name for each in copy.columns if each.name.lower() not in known] if plan.existing else []
    return {
        "read": f"{source.name} ({source.location}), by {way}",
        "days": f"{listed(plan.windows)} (UTC, by {source.time.name})",
        "rows": f"{found['n']:,}, a scan of {size:,} bytes",
        "write": f"{target.name} ({target.location})",
        "replace": standing,
        "new columns": ", ".join(added) or ("all" if plan.existing is None else "none"),
        "FLOAT to NUMERIC": ", ".join(_converted(source.columns, copy.wanted)) or "none",
    }


def _converted(source: tuple[Column, ...], wanted: tuple[Column, ...]) -> list[str]:
    pairs = zip(leaves(source), leaves(wanted), strict=True)
    return [dotted(new) for old, new in pairs if old[-1].type != new[-1].type]
