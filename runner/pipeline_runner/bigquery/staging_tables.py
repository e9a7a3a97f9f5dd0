"""Makes the staging tables of one attempt at a run, and drops them at its end: none stays, whatever happens."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import structlog

from pipeline_runner.bigquery.columns import Column, fields
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.threads import together
from pipeline_runner.bigquery.warehouse import Warehouse
from pipeline_runner.errors import ProcessorError

_log = structlog.get_logger(__name__)

# They are dropped at the end of a run; one whose runner was killed goes by itself.
_LIFETIME = timedelta(hours=24)


class StagingTables:
    """Those in one dataset, `project.dataset`; `suffix` names run and pod.

    A pod that was thought dead can't write into its successor's table.
    """

    def __init__(self, warehouse: Warehouse, dataset: str, suffix: str) -> None:
        self._warehouse = warehouse
        self._prefix = f"{dataset}._staging_{suffix}"
        self._made: list[str] = []

    def name(self, key: str = "") -> str:
        """The name of a table, project.dataset.table; `key` tells those of one run apart."""
        return f"{self._prefix}_{key}" if key else self._prefix

    async def create(self, name: str, columns: Iterable[Column]) -> datetime:
        """Make a table; BigQuery's time when it did, to the millisecond below."""
        table = bigquery.Table(name, fields(columns))
        table.expires = self.expected(name)
        # crash here: the table expires by itself, and the next attempt's has another name
        created: datetime = (await self._warehouse.create_table(table, exists_ok=True)).created
        return created

    def expected(self, name: str) -> datetime:
        """Have a table dropped in the end that is about to be made by a statement; when it should expire."""
        self._made.append(name)
        return datetime.now(UTC) + _LIFETIME

    async def drop(self) -> None:
        """Drop what was made; called at the end, whatever happened."""
        made, self._made = self._made, []
        await together(*map(self._drop, made))

    async def _drop(self, name: str) -> None:
        try:
            await self._warehouse.drop_table(name)
        except ProcessorError as error:
            _log.warning("a staging table is left to expire", table=name, error=str(error))
