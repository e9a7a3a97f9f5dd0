"""Keeps rows that don't fit their table where people can look at them: in the dataset's `_pipelines_quarantine`."""
# ruff: noqa: S608 - all names in the statements have been checked by pattern, all values are escaped by sql.text

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import structlog

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column, fields
from pipeline_runner.bigquery.encoding import json_value
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.parts import Parts
from pipeline_runner.bigquery.warehouse import WRITE_RIGHT, Warehouse

_log = structlog.get_logger(__name__)

QUARANTINE = "_pipelines_quarantine"
# How many rows a run keeps; it counts those beyond.
MAX_ROWS = 10_000
_KEPT = timedelta(days=90)
# A run's attempts are over after that.
_ATTEMPTS = "INTERVAL 7 DAY"
_MAX_CHARACTERS = 16_000
_MAX_REASON = 1_000
SCHEMA = (
    Column("run_id", "STRING", description="The run that met the row."),
    Column("target", "STRING", description="The table that it was meant for."),
    Column("day", "DATE", description="The day that it belongs to, if that is known."),
    Column("quarantined_at", "TIMESTAMP", description="When the run met it."),
    Column("reason", "STRING", description="Why it doesn't fit."),
    Column("row", "JSON", description="The row as it came; the beginning of its text where it is long."),
)


class Quarantine:
    """The rows that one attempt at a run has set aside."""

    def __init__(self, warehouse: Warehouse, dataset: str, *, location: str) -> None:
        self._warehouse = warehouse
        self._table = f"{dataset}.{QUARANTINE}"
        self._location = location
        self._parts = Parts(warehouse, "set-aside", self._table, SCHEMA, location=location)
        self.counts: Counter[str] = Counter()
        # The first reason of each table, for the error that the run may end with.
        self.reasons: dict[str, str] = {}

    @property
    def table(self) -> str:
        """Where the rows are kept."""
        return self._table

    def add(self, key: str, target: str, row: Mapping[str, object], reason: str, day: date | None) -> None:
        """Set a row aside; `key` says which table it is counted for."""
        self.counts[key] += 1
        self.reasons.setdefault(key, reason[:_MAX_REASON])
        if self.counts.total() > MAX_ROWS:
            return
        line = {
            "run_id": self._warehouse.identity.run_id,
            "target": target,
            "day": day.isoformat() if day else None,
            "quarantined_at": datetime.now(UTC).isoformat(),
            "reason": reason[:_MAX_REASON],
            "row": _shown(row),
        }
        # Not escaped: a row's characters would take up to six bytes each, or twelve, and there may be many rows.
        text = json.dumps(line, ensure_ascii=False)
        self._parts.write(text.encode(errors="backslashreplace") + b"\n")

    async def write(self) -> None:
        """Bring the rows into the table; those of an earlier attempt at the run go, even where there are none now."""
        if self.counts:
            _log.warning("rows were set aside", rows=self.counts.total(), table=self._table)
            await self._warehouse.create_table(_table(self._table), exists_ok=True)
        elif await self._warehouse.table(self._table, what="table", right=WRITE_RIGHT) is None:
            return
        run = sql.text(self._warehouse.identity.run_id)
        earlier = f"run_id = {run} AND quarantined_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), {_ATTEMPTS})"
        statement = f"DELETE FROM {sql.quoted(self._table)} WHERE {earlier}"
        await self._warehouse.query(
            "requarantine", statement, location=self._location, what=f"writing {self._table}", right=WRITE_RIGHT,
            wants_rows=False,
        )  # fmt: skip
        # crash here: the rows are missing until the next attempt, which meets them again
        await self._parts.load()

    def close(self) -> None:
        """Give up what wasn't written."""
        self._parts.close()


def _table(name: str) -> bigquery.Table:
    table = bigquery.Table(name, fields(SCHEMA))
    kept = _KEPT // timedelta(milliseconds=1)
    table.time_partitioning = bigquery.TimePartitioning(
        bigquery.TimePartitioningType.DAY, field="quarantined_at", expiration_ms=kept
    )
    return table


def _shown(row: Mapping[str, object]) -> object:
    """The row as JSON, or the beginning of its text; without halves of characters, which no table takes."""
    try:
        value = json_value(row, lenient=True)
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "(nested too deeply to be shown)"
    valid = text.encode(errors="backslashreplace").decode()
    if valid == text and len(text) <= _MAX_CHARACTERS:
        return value
    return valid[:_MAX_CHARACTERS]
