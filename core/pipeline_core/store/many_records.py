"""Begins and changes many records in one transaction, as far as nothing stands in the way.

What does (a row that another transaction holds, or that isn't there, an error of one of them) is left out, and done by
itself by whoever asked: so one run never keeps the others waiting, and no two transactions wait for each other's rows.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Text, bindparam, case, column, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.store import changes
from pipeline_core.store.engine import compiled, fetch, transaction
from pipeline_core.store.quota import settle
from pipeline_core.store.runs import NewRun, StoredRun
from pipeline_core.store.tables import run_record


class Change(NamedTuple):
    """What `decide` says of a run's record, if `object_uid` is None or its object's; it may free the run's slot."""

    run_id: str
    object_uid: str | None
    decide: Callable[[StoredRun], changes.Columns]
    frees: bool = False


# The outbox's own columns are the exporter's, but for `unexported_since`, which follows from the revision.
_OUTBOX = frozenset({"exported_revision", "unexported_since"})
_COLUMNS = tuple(each.name for each in run_record.columns if each.name not in _OUTBOX)
# What one of many can be the cause of: a value that the database or JSON doesn't take, a phase that can't be.
OF_ONE = (DBAPIError, ValueError, TypeError)
_given = (
    func.jsonb_populate_recordset(
        literal_column("null::run_record"), bindparam("given", type_=Text).cast(JSONB(none_as_null=True))
    )
    .table_valued(*(column(name, run_record.columns[name].type) for name in _COLUMNS))
    .alias("given")
)
# Writes those of `new_rows` that aren't there.
INSERT = compiled(
    insert(run_record)
    .from_select(_COLUMNS, select(*(_given.c[name] for name in _COLUMNS)), include_defaults=False)
    .on_conflict_do_nothing()
    .returning(run_record)
)
_LOCK = compiled(
    select(run_record).where(run_record.c.run_id == func.any(bindparam("ids"))).with_for_update(skip_locked=True)
)
_UPDATE = compiled(
    update(run_record)
    .where(run_record.c.run_id == _given.c.run_id)
    .values(
        {name: _given.c[name] for name in _COLUMNS if name != "run_id"}
        | {
            # The outbox: since when BigQuery hasn't heard of this run's oldest change.
            "unexported_since": case(
                (
                    _given.c.revision > run_record.c.revision,
                    func.coalesce(run_record.c.unexported_since, func.clock_timestamp()),
                ),
                else_=run_record.c.unexported_since,
            )
        }
    )
    .returning(run_record)
)


async def begin_many(engine: AsyncEngine, records: Sequence[NewRun]) -> list[StoredRun | None]:
    """The new records; None for one that is there already, or that couldn't be written with the others.

    Raises StoreUnavailableError when PostgreSQL is away.
    """
    try:
        async with transaction(engine) as connection:
            rows = await fetch(connection, INSERT, {"given": new_rows(records)})
    except OF_ONE:
        return [None] * len(records)
    stored = stored_runs(rows)
    return [stored.pop(record.run_id, None) for record in records]


def new_rows(records: Sequence[NewRun]) -> str:
    """What `INSERT` is given. Raises TypeError and ValueError for what can't be JSON."""
    # In the order of their ids: two processes that begin the same runs don't wait for each other in a circle.
    return _json([changes.begun(record) for record in sorted(records, key=lambda record: record.run_id)])


def stored_runs(rows: Sequence[Mapping[str, Any]]) -> dict[str, StoredRun]:
    """What rows with all columns of `run_record` say, by run id."""
    return {row["run_id"]: StoredRun.from_row(row) for row in rows}


async def change_many(engine: AsyncEngine, wanted: Sequence[Change]) -> list[tuple[StoredRun, bool] | None]:
    """Each record and whether it was changed; None for one that couldn't be told or written with the others.

    Raises StoreUnavailableError when PostgreSQL is away.
    """
    first = {change.run_id: change for change in reversed(wanted)}
    results: dict[str, tuple[StoredRun, bool]] = {}
    rows: list[dict[str, Any]] = []
    try:
        async with transaction(engine) as connection:
            locked = await fetch(connection, _LOCK, {"ids": list(first)})
            for row, stored in zip(locked, stored_runs(locked).values(), strict=True):
                change = first[stored.run_id]
                if change.object_uid is not None and change.object_uid != stored.object_uid:
                    continue
                if columns := change.decide(stored):
                    rows.append({**row, **columns})
                else:
                    results[stored.run_id] = (stored, False)
            if rows:
                changed = stored_runs(await fetch(connection, _UPDATE, {"given": _json(rows)}))
                results |= {run_id: (stored, True) for run_id, stored in changed.items()}
            told = (settle.of_run(stored, frees=first[run_id].frees) for run_id, (stored, _) in results.items())
            if settlements := [each for each in told if each is not None]:
                await settle.settle_within(connection, settlements)
    except OF_ONE:
        return [None] * len(wanted)
    return [results.get(change.run_id) if change is first[change.run_id] else None for change in wanted]


def _json(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, default=_text)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} isn't expected in a record")
