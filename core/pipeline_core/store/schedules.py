"""The mirror of the schedules: one row a PipelineSchedule, from which the exporter keeps BigQuery's table up to date.

The objects are the truth. Whoever watches them says again and again how they stand, and this writes what is new: rows
are put and removed in any order and any number of times, by two operators at once too, and end as the objects are.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Text,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.elements import KeyedColumnElement

from pipeline_core.store.clean import clean_text, clean_value
from pipeline_core.store.engine import transaction
from pipeline_core.store.runs import utc
from pipeline_core.store.tables import schedule_record


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow:
    """A schedule as it stands; times are aware, parameters hold no secret.

    `updated_at` is when the object was edited last: it counts where one of the columns that mirror its spec differs
    from the row that is there, so that an edit of something else, or a run, doesn't move it.
    """

    schedule_id: str
    org_slug: str
    provider: str
    domain: str
    pipeline: str
    cron_expression: str
    is_enabled: bool
    last_run_at: datetime | None
    next_run_at: datetime | None
    parameters: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    object_namespace: str
    object_name: str

    @classmethod
    def from_row(cls, row: RowMapping) -> Self:
        """Read a row of `schedule_record`; its times in UTC."""
        values = {name: row[name] for name in cls.__dataclass_fields__}
        for name in _TIMES:
            values[name] = (moment := values[name]) and moment.astimezone(UTC)
        return cls(**values)


_TIMES = ("last_run_at", "next_run_at", "created_at", "updated_at")
_COLUMNS = tuple(ScheduleRow.__dataclass_fields__)
_OF_SPEC = ("org_slug", "provider", "domain", "pipeline", "cron_expression", "is_enabled", "parameters")
_SAID = tuple(name for name in _COLUMNS if name not in ("schedule_id", "updated_at"))

_given = (
    func.jsonb_populate_recordset(
        literal_column("null::schedule_record"), cast(bindparam("given", type_=Text), JSONB(none_as_null=True))
    )
    .table_valued(*(column(name, schedule_record.columns[name].type) for name in _COLUMNS))
    .alias("given")
)

_NewRow = ReadOnlyColumnCollection[str, KeyedColumnElement[Any]]


def _differs(names: Sequence[str], new: _NewRow) -> ColumnElement[bool]:
    there = tuple_(*(schedule_record.c[name] for name in names))
    return there.is_distinct_from(tuple_(*(new[name] for name in names)))


def _changes(new: _NewRow) -> ColumnElement[bool]:
    """Whether a row that is there says something else than the new one, or that the schedule is gone."""
    return or_(schedule_record.c.deleted_at.is_not(None), _differs(_SAID, new))


# The outbox: since when BigQuery hasn't heard of this schedule's oldest change.
_CHANGED = {
    "revision": schedule_record.c.revision + 1,
    "unexported_since": func.coalesce(schedule_record.c.unexported_since, func.clock_timestamp()),
}
# Rows that say nothing new are left out before the insert: ON CONFLICT would lock them, which is a write each. All that
# lock several rows do so in the order of their ids: they don't wait for each other in a circle.
_NEWS = (
    select(*(_given.c[name] for name in _COLUMNS))
    .select_from(_given.outerjoin(schedule_record, schedule_record.c.schedule_id == _given.c.schedule_id))
    .where(or_(schedule_record.c.schedule_id.is_(None), _changes(_given.c)))
    .order_by(_given.c.schedule_id)
)
_INSERT = insert(schedule_record).from_select(_COLUMNS, _NEWS, include_defaults=False)
_UPDATED_AT = case(
    (
        _differs(_OF_SPEC, _INSERT.excluded),
        func.greatest(schedule_record.c.updated_at, _INSERT.excluded.updated_at),
    ),
    else_=schedule_record.c.updated_at,
)
_PUT = _INSERT.on_conflict_do_update(
    index_elements=[schedule_record.c.schedule_id],
    set_={name: _INSERT.excluded[name] for name in _SAID}
    | {"updated_at": _UPDATED_AT, "deleted_at": null()}
    | _CHANGED,
    # Again, since it may have come between.
    where=_changes(_INSERT.excluded),
).execution_options(preserve_rowcount=True)


class ScheduleRecords:
    """Reads and writes `schedule_record`. Every method raises StoreUnavailableError when PostgreSQL is away."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def put_many(self, rows: Sequence[ScheduleRow]) -> int:
        """Have the mirror say this of these schedules, in one transaction; returns how many rows were written.

        What says nothing new isn't written. Of several rows of one schedule the last counts. A schedule that was
        removed is there again. Raises ValueError for a time without a zone.
        """
        values = list({row.schedule_id: _values(row) for row in rows}.values())
        if not values:
            return 0
        async with transaction(self._engine) as connection:
            return (await connection.execute(_PUT, {"given": json.dumps(values)})).rowcount

    async def remove_many(self, schedule_ids: Collection[str]) -> int:
        """Say that these schedules are gone; returns of how many that is new. Their rows go when BigQuery's have."""
        if not schedule_ids:
            return 0
        there = (
            select(schedule_record.c.schedule_id)
            .where(
                schedule_record.c.schedule_id == func.any(list(schedule_ids)), schedule_record.c.deleted_at.is_(None)
            )
            .order_by(schedule_record.c.schedule_id)
            .with_for_update()
            .cte("there")
        )
        statement = (
            update(schedule_record)
            .where(schedule_record.c.schedule_id == there.c.schedule_id)
            .values({"deleted_at": func.clock_timestamp()} | _CHANGED)
        )
        async with transaction(self._engine) as connection:
            return (await connection.execute(statement)).rowcount

    async def listed(self, namespaces: Sequence[str] | None = None) -> set[str]:
        """The ids of the schedules that the mirror knows and that aren't removed, of all or of these namespaces.

        Several installations may share a database: each has to ask for the namespaces that it watches, before it takes
        a schedule that it doesn't see for one that is gone.
        """
        query = select(schedule_record.c.schedule_id).where(schedule_record.c.deleted_at.is_(None))
        if namespaces is not None:
            query = query.where(schedule_record.c.object_namespace == func.any(list(namespaces)))
        async with transaction(self._engine) as connection:
            return set((await connection.scalars(query)).all())


def _values(row: ScheduleRow) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in _COLUMNS:
        value = getattr(row, name)
        if isinstance(value, datetime):
            values[name] = utc(value).isoformat()
        else:
            values[name] = clean_text(value) if isinstance(value, str) else value
    return values | {"parameters": clean_value(dict(row.parameters))}
