"""Makes a staged window visible in the target: grows its schema, then replaces the window in one transaction.

The transaction also writes a row of `_pipelines_commits`, so that a run that is tried again after it had published
knows it, and a pod that was thought dead can't publish over its successor. It begins by changing the target's row of
`_pipelines_locks`: two inserts into an empty day don't conflict in BigQuery, two changes of one row do.
"""
# ruff: noqa: S608 - all names in the statements have been checked by pattern, all values are escaped by sql.text

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline_core import identifiers
from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column, by_name, merge, of_table
from pipeline_runner.bigquery.failures import STALE
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.threads import together
from pipeline_runner.bigquery.warehouse import Row, Warehouse
from pipeline_runner.bigquery.window import Window

COMMITS = identifiers.COMMITS_TABLE
LOCKS = "_pipelines_locks"
WRITE_RIGHT = "bigquery.tables.getData and bigquery.tables.updateData on it (role BigQuery Data Editor)"
# A marker is needed as long as its run may be tried again, and is of use to people somewhat longer.
_COMMITS_KEPT = timedelta(days=90)
_COMMITS_SCHEMA = (
    Column("run_id", "STRING", description="The run that published."),
    Column("target", "STRING", description="The table that it published into."),
    Column("window_start", "DATE", description="First day that was replaced."),
    Column("window_end", "DATE", description="Last day that was replaced, itself included."),
    Column("row_count", "INTEGER", description="Rows of the window since then."),
    Column("committed_at", "TIMESTAMP", description="When the transaction was made."),
    Column("read_at", "TIMESTAMP", description="When the source was read, or a moment before; NULL if not known."),
)
_LOCKS_SCHEMA = (
    Column("target", "STRING", description="The table whose publishers conflict on this row."),
    Column("run_id", "STRING", description="The run that published last."),
    Column("locked_at", "TIMESTAMP", description="When it did."),
)


@dataclass(frozen=True)
class Target:
    """A table as it is to be: `name` is project.dataset.table; `time` the column of its daily partitions."""

    name: str
    time: Column
    location: str
    cluster_by: tuple[str, ...] = ()

    @property
    def dataset(self) -> str:
        """project.dataset"""
        return self.name.rpartition(".")[0]

    @property
    def table(self) -> str:
        """The name within the dataset."""
        return self.name.rpartition(".")[2]

    @property
    def commits(self) -> str:
        """The dataset's table of commit markers."""
        return f"{self.dataset}.{COMMITS}"

    @property
    def locks(self) -> str:
        """The dataset's table with a row for each target, by which its publishers exclude each other."""
        return f"{self.dataset}.{LOCKS}"


class Publisher:
    """Publishes one run's window of one target."""

    def __init__(self, warehouse: Warehouse, target: Target, run_id: str) -> None:
        self._warehouse = warehouse
        self._target = target
        self._run_id = run_id
        self._here = f"target = {sql.text(target.table)}"
        self._mine = f"run_id = {sql.text(run_id)} AND {self._here}"

    async def committed_rows(self, step: str) -> int | None:
        """How many rows this run has published already; None if it hasn't. `step` names this look at the marker."""
        commits = self._target.commits
        if await self._warehouse.table(commits, what="table", right=WRITE_RIGHT) is None:
            return None
        statement = f"SELECT MAX(row_count) AS published FROM {sql.quoted(commits)} WHERE {self._mine}"
        rows = await self._query(step, statement, f"reading {commits}")
        return None if rows[0]["published"] is None else int(rows[0]["published"])

    async def prepare(self, existing: bigquery.Table | None, columns: tuple[Column, ...]) -> None:
        """Make the tables that are missing, and add the columns that are new. Every step may be repeated."""
        commits, _ = await together(
            self._warehouse.create_table(_commits_table(self._target.commits), exists_ok=True),
            self._warehouse.create_table(bigquery.Table(self._target.locks, _fields(_LOCKS_SCHEMA)), exists_ok=True),
        )
        await self._grow("grow_commits", commits, _COMMITS_SCHEMA)
        await self._query("lock", self._lock_row(), f"writing {self._target.locks}")
        if existing is None:
            # Another run may have made it since we looked, with other columns.
            existing = await self._warehouse.create_table(self._new_table(columns), exists_ok=True)
        await self._grow("grow_target", existing, columns)

    async def _grow(self, step: str, table: bigquery.Table, columns: tuple[Column, ...]) -> None:
        """Add what `table`, as it was seen, lacks of `columns`; no error if another run was quicker."""
        name = str(table.reference)
        known = by_name(of_table(table))
        if new := [column for column in columns if column.name.lower() not in known]:
            # One job; a statement for each, since the stand-in takes no more than one column in a statement.
            added = (f"{sql.quoted(column.name)} {column.sql_type(defining=True)}" for column in new)
            script = "\n".join(f"ALTER TABLE {sql.quoted(name)} ADD COLUMN IF NOT EXISTS {each};" for each in added)
            await self._query(step, script, f"adding {', '.join(column.name for column in new)} to {name}")
        kept = [column for column in columns if column.name.lower() in known]
        if any(merge((known[column.name.lower()],), (column,)) != (known[column.name.lower()],) for column in kept):
            # A field within a record can't be added by SQL. The schema is sent whole, so it has to be today's.
            fresh = await self._warehouse.table(name, what="target table", right=WRITE_RIGHT) or table
            merge(of_table(fresh), columns)  # raises where another run has given a column another type
            await self._warehouse.update_schema(fresh, columns)

    def _lock_row(self) -> str:
        """Makes the target's row. Runs at once may make several, which is as good: a publisher changes them all."""
        locks = sql.quoted(self._target.locks)
        return (
            f"INSERT INTO {locks} (target) SELECT {sql.text(self._target.table)} FROM (SELECT 1) "
            f"WHERE NOT EXISTS (SELECT 1 FROM {locks} WHERE {self._here})"
        )

    async def publish(self, staging: str, columns: sql.Values, window: Window, rows: int, read_at: datetime) -> None:
        """Replace the window by the staged rows; once for each run, however often it is called.

        `columns` are names in the target, and the values from `staging`, with the alias s, that belong there.
        `read_at` is when the rows were read. Raises TransientError if rows that were read later stand there already.
        """
        statements = self.statements(staging, columns, window, rows, read_at)
        await self._query("publish", statements, f"publishing {self._target.name}")

    def statements(self, staging: str, columns: sql.Values, window: Window, rows: int, read_at: datetime) -> str:
        """The transaction, as one script; a script that fails on its way is rolled back."""
        target, commits = sql.quoted(self._target.name), sql.quoted(self._target.commits)
        inside = window.contains(sql.quoted(self._target.time.name), self._target.time.type)
        names = ", ".join(sql.quoted(name) for name, _ in columns)
        values = ", ".join(value for _, value in columns)
        first, last = window.literal(window.first, "DATE"), window.literal(window.last, "DATE")
        run, at = sql.text(self._run_id), f"TIMESTAMP '{read_at.astimezone(UTC).isoformat(sep=' ')}'"
        newer = f"{self._here} AND read_at > {at} AND window_start <= {last} AND window_end >= {first}"
        stale = sql.text(f"{STALE} into {self._target.name} for days of {window}")
        differ = sql.text(f"the transaction would leave other than {rows} rows in {self._target.name} for {window}")
        return f"""\
BEGIN TRANSACTION;
UPDATE {sql.quoted(self._target.locks)} SET run_id = {run}, locked_at = CURRENT_TIMESTAMP() WHERE {self._here};
IF NOT EXISTS (SELECT 1 FROM {commits} WHERE {self._mine}) THEN
  IF EXISTS (SELECT 1 FROM {commits} WHERE {newer}) THEN
    SELECT ERROR({stale});
  END IF;
  DELETE FROM {target} WHERE {inside};
  INSERT INTO {target} ({names}) SELECT {values} FROM {sql.quoted(staging)} AS s;
  IF (SELECT COUNT(*) FROM {target} WHERE {inside}) != {rows} THEN
    SELECT ERROR({differ});
  END IF;
  INSERT INTO {commits} (run_id, target, window_start, window_end, row_count, committed_at, read_at)
  VALUES ({run}, {sql.text(self._target.table)}, {first}, {last}, {rows}, CURRENT_TIMESTAMP(), {at});
END IF;
COMMIT TRANSACTION;"""

    async def _query(self, step: str, statement: str, what: str) -> list[Row]:
        return await self._warehouse.query(
            step, statement, location=self._target.location, what=what, right=WRITE_RIGHT
        )

    def _new_table(self, columns: tuple[Column, ...]) -> bigquery.Table:
        table = bigquery.Table(self._target.name, _fields(columns))
        table.time_partitioning = bigquery.TimePartitioning(
            bigquery.TimePartitioningType.DAY, field=self._target.time.name
        )
        table.clustering_fields = list(self._target.cluster_by) or None
        return table


def _commits_table(name: str) -> bigquery.Table:
    table = bigquery.Table(name, _fields(_COMMITS_SCHEMA))
    kept = _COMMITS_KEPT // timedelta(milliseconds=1)
    table.time_partitioning = bigquery.TimePartitioning(
        bigquery.TimePartitioningType.DAY, field="committed_at", expiration_ms=kept
    )
    table.clustering_fields = ["run_id"]
    return table


def _fields(columns: tuple[Column, ...]) -> list[bigquery.SchemaField]:
    return [bigquery.SchemaField.from_api_repr(column.to_api()) for column in columns]
