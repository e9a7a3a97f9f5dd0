"""The record tables as the schema files describe them, and the statements that merge runs and schedules into theirs.

`schemas/*.json` are in BigQuery's own format (`bq mk --schema`).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from google.cloud import bigquery

from pipeline_core.store.runs import StoredRun
from pipeline_core.store.schedule_outbox import UnexportedSchedule

RUNS: Final = "pipeline_runs"
SCHEDULES: Final = "pipeline_schedules"

_SCHEMAS = Path(__file__).parent / "schemas"
# A run's identity, which no later state of it changes.
_FIXED = frozenset({"run_id", "org_slug", "created_at"})
# JSON travels as text and is parsed in the statement: every client and the stand-in know text.
_PARAMETER_TYPES = {"INTEGER": "INT64", "BOOLEAN": "BOOL", "JSON": "STRING"}


@cache
def schema(name: str) -> tuple[bigquery.SchemaField, ...]:
    """The columns of a record table, in the file's order."""
    fields = json.loads((_SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    return tuple(bigquery.SchemaField.from_api_repr(field) for field in fields)


def runs_statement(table: str, earliest: datetime, latest: datetime) -> str:
    """The MERGE of `@rows` into `table` for runs created from `earliest` to `latest`.

    The bounds are constants of the statement, so that BigQuery reads only those days' partitions; a run's row is never
    outside them, since created_at doesn't change. A row that has completed_at is final and stays as it is: repeating a
    statement, or an older one that comes late, can't undo an outcome.
    """
    first = earliest.astimezone(UTC).date()
    end = latest.astimezone(UTC).date() + timedelta(days=1)
    names = [field.name for field in schema(RUNS)]
    return f"""
MERGE `{table}` AS t
USING (SELECT {_expressions(RUNS)} FROM UNNEST(@rows) AS r) AS s
ON t.run_id = s.run_id
  AND t.created_at >= TIMESTAMP '{first} 00:00:00+00:00' AND t.created_at < TIMESTAMP '{end} 00:00:00+00:00'
WHEN MATCHED AND t.completed_at IS NULL THEN
  UPDATE SET {", ".join(f"{name} = s.{name}" for name in names if name not in _FIXED)}
WHEN NOT MATCHED THEN
  INSERT ({", ".join(names)}) VALUES ({", ".join(f"s.{name}" for name in names)})
"""  # noqa: S608 - the table and two dates; every value is a parameter


def schedules_statement(table: str) -> str:
    """The MERGE of `@rows` into `table`: each schedule's row becomes as it is said, or goes where it is deleted.

    Repeating the newest statement changes nothing; that an older one can't come after it is the exporter's to see to.
    """
    names = [field.name for field in schema(SCHEDULES)]
    return f"""
MERGE `{table}` AS t
USING (SELECT {_expressions(SCHEDULES)}, r.is_deleted FROM UNNEST(@rows) AS r) AS s
ON t.schedule_id = s.schedule_id
WHEN MATCHED AND s.is_deleted THEN
  DELETE
WHEN MATCHED THEN
  UPDATE SET {", ".join(f"{name} = s.{name}" for name in names if name != "schedule_id")}
WHEN NOT MATCHED AND NOT s.is_deleted THEN
  INSERT ({", ".join(names)}) VALUES ({", ".join(f"s.{name}" for name in names)})
"""  # noqa: S608 - the table; every value is a parameter


def _expressions(table: str) -> str:
    return ", ".join(_expression(field) for field in schema(table))


def _expression(field: bigquery.SchemaField) -> str:
    if field.field_type == "JSON":
        # Numbers that a double can't hold are rounded; by default the whole statement would be refused for one.
        return f"PARSE_JSON(r.{field.name}, wide_number_mode => 'round') AS {field.name}"
    return f"r.{field.name}"


def runs_parameter(runs: Sequence[StoredRun]) -> bigquery.ArrayQueryParameter:
    """`@rows`: an array with one struct a run, its fields those of the table."""
    structs = []
    for run in runs:
        struct = _struct(RUNS, run, {"status": run.phase.word, "parameters": _json(run.parameters)})
        structs.append(bigquery.StructQueryParameter(None, *struct))
    return bigquery.ArrayQueryParameter("rows", "STRUCT", structs)


def schedules_parameter(schedules: Sequence[UnexportedSchedule]) -> bigquery.ArrayQueryParameter:
    """`@rows`: an array with one struct a schedule, its fields those of the table and whether it is deleted."""
    structs = []
    for each in schedules:
        struct = _struct(SCHEDULES, each, {"parameters": _json(each.parameters)})
        deleted = bigquery.ScalarQueryParameter("is_deleted", "BOOL", each.is_deleted)
        structs.append(bigquery.StructQueryParameter(None, *struct, deleted))
    return bigquery.ArrayQueryParameter("rows", "STRUCT", structs)


def _struct(table: str, row: object, derived: Mapping[str, Any]) -> list[bigquery.ScalarQueryParameter]:
    return [
        bigquery.ScalarQueryParameter(
            field.name,
            _PARAMETER_TYPES.get(field.field_type, field.field_type),
            derived[field.name] if field.name in derived else getattr(row, field.name),
        )
        for field in schema(table)
    ]


def _json(parameters: Mapping[str, object]) -> str:
    return json.dumps(dict(parameters), ensure_ascii=False)
