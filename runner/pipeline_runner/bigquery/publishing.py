"""Makes what a run has staged visible: grows its targets' schemas, then replaces their days in one transaction.

A run that is tried again after it had published finds its marker and publishes nothing, and a pod that was thought
dead can't publish over its successor.
"""
# ruff: noqa: S608 - all names in the statements have been checked by pattern, all values are escaped by sql.text

import asyncio
from collections.abc import Iterable, Sequence

import structlog

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column, by_name, fields, merge, of_table
from pipeline_runner.bigquery.evolution import Growth
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.markers import COMMITS_KEPT, COMMITS_SCHEMA, commits_table, locks_table
from pipeline_runner.bigquery.threads import together
from pipeline_runner.bigquery.transaction import LINEAGE, Publication, Target, published_rows, script
from pipeline_runner.bigquery.warehouse import WRITE_RIGHT, Row, Warehouse
from pipeline_runner.errors import ConfigError, ProcessorError

__all__ = ["LINEAGE", "WRITE_RIGHT", "Prepared", "Publication", "Publisher", "Target", "refuse_lineage"]

_log = structlog.get_logger(__name__)

# A target, the table as it was seen (None if there is none), and the columns that it is to have, lineage apart.
Prepared = tuple[Target, bigquery.Table | None, tuple[Column, ...]]

# A transaction on its way is let finish within this time when the run is told to stop.
_PUBLISH_SECONDS = 3.0


def refuse_lineage(columns: Iterable[Column], source: str) -> None:
    """Refuse columns that have the name of one that publishing sets. Raises ConfigError, naming it and `source`."""
    ours = by_name(LINEAGE)
    if taken := [column.name for column in columns if column.name.lower() in ours]:
        renamed = ", ".join(f"{name} AS source_{name}" for name in taken)
        names = ", ".join(taken)
        raise ConfigError(
            f"{source} has the columns {names}, which every target has for its own lineage; expected other names: make "
            f"a view with SELECT * EXCEPT ({names}), {renamed}, and name the view as the source"
        )


class Publisher:
    """Publishes one run, once: all its targets, which are tables of one dataset."""

    def __init__(self, warehouse: Warehouse, targets: Sequence[Target], run_id: str) -> None:
        if len({(each.dataset, each.location) for each in targets}) != 1:
            raise ValueError(f"the targets of {run_id} aren't of one dataset")
        self._warehouse = warehouse
        self._targets = tuple(targets)
        self._run_id = run_id
        self._growth = Growth(warehouse, targets[0].location)

    async def committed_rows(self, step: str) -> int | None:
        """How many rows this run has published already; None if it hasn't. `step` names this look at the marker."""
        commits = self._targets[0].commits
        if await self._warehouse.table(commits, what="table", right=WRITE_RIGHT) is None:
            return None
        return await self._marker(step)

    async def _marker(self, step: str) -> int | None:
        target = self._targets[0]
        return _published(await self._query(step, published_rows(self._run_id, target), f"reading {target.commits}"))

    async def prepare(self, prepared: Sequence[Prepared]) -> None:
        """Make the tables that are missing, and add the columns that are new. Every step may be repeated."""
        commits, _ = await together(
            self._warehouse.create_table(commits_table(self._targets[0].commits), exists_ok=True),
            self._warehouse.create_table(locks_table(self._targets[0].locks), exists_ok=True),
        )
        await together(
            self._prepare_commits(commits),
            self._query("lock", self._lock_rows(), f"writing {self._targets[0].locks}", wants_rows=False),
            together(*(self._prepare(each) for each in prepared)),
        )

    async def _prepare_commits(self, commits: bigquery.Table) -> None:
        try:
            # crash here: the next run finds it done or does it
            await self._warehouse.keep_longer(commits, COMMITS_KEPT)
        except ProcessorError as error:
            # Markers that go early are no reason to publish nothing.
            _log.warning(
                "commit markers go sooner than they should, until a run can change that",
                table=str(commits.reference),
                error=str(error),
            )
        await self._growth.grow("grow_commits", commits, COMMITS_SCHEMA)

    async def _prepare(self, prepared: Prepared) -> None:
        target, existing, columns = prepared
        # In the types that the values were made for: those that the table had when it was seen.
        wanted = merge(merge(of_table(existing) if existing else (), columns), LINEAGE)
        if existing is None:
            # Another run may have made it since we looked, with other columns.
            existing = await self._warehouse.create_table(_new_table(target, wanted), exists_ok=True)
        await self._growth.grow(f"grow_target_{target.table}", existing, wanted)

    async def publish(self, publications: Sequence[Publication]) -> int | None:
        """Replace the days of all targets by what is staged; once for each run, however often it is called.

        The rows of the run's marker: those of an earlier attempt, if that has published. Raises TransientError if rows
        that were read later stand there already.
        """
        if {each.target.name for each in publications} != {each.name for each in self._targets}:
            raise ValueError(f"expected a publication for each of {', '.join(each.name for each in self._targets)}")
        what = f"publishing {', '.join(each.target.name for each in publications)}"
        return _published(await self._query("publish", script(self._run_id, publications), what))

    async def commit(self, publications: Sequence[Publication]) -> int:
        """Publish; if the run is stopped meanwhile, what was committed decides how it ends. The rows committed."""
        publishing = asyncio.ensure_future(self.publish(publications))
        try:
            # crash here: once the marker is committed, the next attempt finds it and publishes nothing
            rows = await asyncio.shield(publishing)
        except asyncio.CancelledError:
            await asyncio.wait({publishing}, timeout=_PUBLISH_SECONDS)
            if publishing.done() and publishing.exception() is None:
                rows = publishing.result()
            else:
                publishing.cancel()
                await self._warehouse.stop()
                rows = await self._marker("marker_stopped")
            if rows is None:
                raise
        if rows is None:
            raise RuntimeError(f"the transaction of {self._run_id} ended without an error and without its marker")
        return rows

    def _lock_rows(self) -> str:
        """Makes the targets' rows. Runs at once may make several, which is as good: a publisher changes them all."""
        locks = sql.quoted(self._targets[0].locks)
        return "\n".join(
            f"INSERT INTO {locks} (target) SELECT {name} FROM (SELECT 1) "
            f"WHERE NOT EXISTS (SELECT 1 FROM {locks} WHERE target = {name});"
            for name in (sql.text(each.table) for each in self._targets)
        )

    async def _query(self, step: str, statement: str, what: str, *, wants_rows: bool = True) -> list[Row]:
        return await self._warehouse.query(
            step, statement, location=self._targets[0].location, what=what, right=WRITE_RIGHT, wants_rows=wants_rows
        )


def _published(rows: Sequence[Row]) -> int | None:
    return None if rows[0]["published"] is None else int(rows[0]["published"])


def _new_table(target: Target, columns: tuple[Column, ...]) -> bigquery.Table:
    table = bigquery.Table(target.name, fields(columns))
    table.description = target.description or None
    table.time_partitioning = bigquery.TimePartitioning(bigquery.TimePartitioningType.DAY, field=target.time.name)
    table.clustering_fields = list(target.cluster_by) or None
    return table
