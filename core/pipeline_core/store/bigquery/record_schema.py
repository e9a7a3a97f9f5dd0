"""The record tables as the schema files describe them, and the statement that merges runs into theirs.

`schemas/*.json` are in BigQuery's own format (`bq mk --schema`).
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

from google.cloud import bigquery

from pipeline_core.store.runs import StoredRun

RUNS: Final = "pipeline_runs"
SCHEDULES: Final = "pipeline_schedules"

_SCHEMAS = Path(__file__).parent / "schemas"
# A run's identity, which no later state of it changes.
_FIXED = frozenset({"run_id", "org_slug", "created_at"})
# JSON travels as text and is parsed in the statement: every client and the stand-in know text.
_PARAMETER_TYPES = {"INTEGER": "INT64", "JSON": "STRING"}


@cache
def schema(name: str) -> tuple[bigquery.SchemaField, ...]:
    """The columns of a record table, in the file's order."""
    fields = json.loads((_SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    return tuple(bigquery.SchemaField.from_api_repr(field) for field in fields)


def merge_statement(table: str, earliest: datetime, latest: datetime) -> str:
    """The MERGE of `@runs` into `table` for runs created from `earliest` to `latest`.

    The bounds are constants of the statement, so that BigQuery reads only those days' partitions; a run's row is never
    outside them, since created_at doesn't change. A row that has completed_at is final and stays as it is: repeating a
    statement, or an older one that comes late, can't undo an outcome.
    """
    first = earliest.astimezone(UTC).date()
    end = latest.astimezone(UTC).date() + timedelta(days=1)
    names = [field.name for field in schema(RUNS)]
    return f"""
MERGE `{table}` AS t
USING (SELECT {", ".join(_expression(field) for field in schema(RUNS))} FROM UNNEST(@runs) AS r) AS s
ON t.run_id = s.run_id
  AND t.created_at >= TIMESTAMP '{first} 00:00:00+00:00' AND t.created_at < TIMESTAMP '{end} 00:00:00+00:00'
WHEN MATCHED AND t.completed_at IS NULL THEN
  UPDATE SET {", ".join(f"{name} = s.{name}" for name in names if name not in _FIXED)}
WHEN NOT MATCHED THEN
  INSERT ({", ".join(names)}) VALUES ({", ".join(f"s.{name}" for name in names)})
"""  # noqa: S608 - the table and two dates; every value is a parameter


def _expression(field: bigquery.SchemaField) -> str:
    if field.field_type == "JSON":
        # Numbers that a double can't hold are rounded; by default the whole statement would be refused for one.
        return f"PARSE_JSON(r.{field.name}, wide_number_mode => 'round') AS {field.name}"
    return f"r.{field.name}"


def runs_parameter(runs: Sequence[StoredRun]) -> bigquery.ArrayQueryParameter:
    """`@runs`: an array with one struct a run, its fields those of the table."""
    return bigquery.ArrayQueryParameter("runs", "STRUCT", [_struct(run) for run in runs])


def _struct(run: StoredRun) -> bigquery.StructQueryParameter:
    derived = {"status": run.phase.word, "parameters": json.dumps(dict(run.parameters), ensure_ascii=False)}
    return bigquery.StructQueryParameter(
        None,
        *(
            bigquery.ScalarQueryParameter(
                field.name,
                _PARAMETER_TYPES.get(field.field_type, field.field_type),
                derived[field.name] if field.name in derived else getattr(run, field.name),
            )
            for field in schema(RUNS)
        ),
    )
