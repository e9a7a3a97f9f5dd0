"""Makes a staged window visible in the target: grows its schema, then replaces the window in one transaction.

The transaction also writes a row of `_pipelines_commits`, so that a run that is tried again after it had published
knows it, and a pod that was thought dead can't publish over its successor.
"""
# ruff: noqa: S608 - all names in the statements have been checked by pattern, all values are escaped by sql.text

from dataclasses import dataclass
from datetime import timedelta

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column, by_name
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.warehouse import Row, Warehouse
from pipeline_runner.bigquery.window import Window

COMMITS = "_pipelines_commits"
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


class Publisher:
    """Publishes one run's window of one target."""

    def __init__(self, warehouse: Warehouse, target: Target, run_id: str) -> None:
        self._warehouse = warehouse
        self._target = target
        self._run_id = run_id
        self._mine = f"run_id = {sql.text(run_id)} AND target = {sql.text(target.table)}"

    async def committed_rows(self) -> int | None:
        """How many rows this run has published already; None if it hasn't."""
        commits = self._target.commits
        if await self._warehouse.table(commits, what="table", right=WRITE_RIGHT) is None:
            return None
        statement = f"SELECT MAX(row_count) AS published FROM {sql.quoted(commits)} WHERE {self._mine}"
        rows = await self._query("marker", statement, f"reading {commits}")
        return None if rows[0]["published"] is None else int(rows[0]["published"])

    async def prepare(self, existing: bigquery.Table | None, columns: tuple[Column, ...]) -> None:
        """Make the tables that are missing, and add the columns that are new. Every step may be repeated."""
        await self._warehouse.create_table(_commits_table(self._target.commits), exists_ok=True)
        if existing is None:
            await self._warehouse.create_table(self._new_table(columns), exists_ok=True)
            return
        present = tuple(Column.from_api(field.to_api_repr()) for field in existing.schema)
        known = by_name(present)
        for number, column in enumerate(columns):
            if column.name.lower() not in known:
                # One statement each, and no error if another run was quicker.
                statement = (
                    f"ALTER TABLE {sql.quoted(self._target.name)} "
                    f"ADD COLUMN IF NOT EXISTS {sql.quoted(column.name)} {column.sql_type(defining=True)}"
                )
                what = f"adding column {column.name} to {self._target.name}"
                await self._query(f"add{number}", statement, what)
        kept = tuple(column for column in columns if column.name.lower() in known)
        if any(not column.same_shape(known[column.name.lower()]) for column in kept):
            # A field within a record can't be added by SQL.
            table = await self._warehouse.table(self._target.name, what="target table", right=WRITE_RIGHT)
            await self._warehouse.update_schema(table or existing, columns)

    async def publish(self, staging: str, columns: list[str], window: Window, rows: int) -> None:
        """Replace the window by the staged rows; once for each run, however often it is called."""
        await self._query("publish", self.statements(staging, columns, window, rows), f"publishing {self._target.name}")

    def statements(self, staging: str, columns: list[str], window: Window, rows: int) -> str:
        """The transaction, as one script; a script that fails on its way is rolled back."""
        target, commits = sql.quoted(self._target.name), sql.quoted(self._target.commits)
        inside = window.contains(sql.quoted(self._target.time.name), self._target.time.type)
        names = ", ".join(sql.quoted(name) for name in columns)
        first, last = window.literal(window.first, "DATE"), window.literal(window.last, "DATE")
        differ = sql.text(f"the transaction would leave other than {rows} rows in {self._target.name} for {window}")
        return f"""\
BEGIN TRANSACTION;
IF NOT EXISTS (SELECT 1 FROM {commits} WHERE {self._mine}) THEN
  DELETE FROM {target} WHERE {inside};
  INSERT INTO {target} ({names}) SELECT {names} FROM {sql.quoted(staging)};
  IF (SELECT COUNT(*) FROM {target} WHERE {inside}) != {rows} THEN
    SELECT ERROR({differ});
  END IF;
  INSERT INTO {commits} (run_id, target, window_start, window_end, row_count, committed_at)
  VALUES ({sql.text(self._run_id)}, {sql.text(self._target.table)}, {first}, {last}, {rows}, CURRENT_TIMESTAMP());
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
