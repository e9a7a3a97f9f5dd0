"""Tables and datasets of BigQuery, by its REST interface; awaited without blocking."""

from datetime import timedelta

from google.api_core.exceptions import NotFound
from google.auth.credentials import Credentials

from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.columns import Column, grown
from pipeline_runner.bigquery.failures import explained
from pipeline_runner.bigquery.library import bigquery, bigquery_client
from pipeline_runner.bigquery.threads import in_thread

REQUEST_SECONDS = 30.0
# How long one call is tried again by Google's client, unless a setting says otherwise.
RETRY_SECONDS = 240.0
# What can wait is tried for a moment only: staging tables expire, and a later run may do the rest.
BRIEF_RETRY = bigquery.DEFAULT_RETRY.with_timeout(3.0)
BRIEF_SECONDS = 5.0


class Tables:
    """BigQuery's tables, as the installation sees them, or whoever `credentials` belong to.

    Methods raise TransientError, ConfigError or DataError.
    """

    def __init__(
        self, settings: BigQuerySettings, *, retry_seconds: float = RETRY_SECONDS,
        credentials: Credentials | None = None,
    ) -> None:  # fmt: skip
        with explained("connecting to BigQuery"):
            self.client = bigquery_client(settings, identity=credentials)
        self.settings = settings
        # Whose these are, where it isn't the installation that works here.
        self.credentials = credentials
        self._retry = bigquery.DEFAULT_RETRY.with_timeout(retry_seconds)

    @property
    def is_stand_in(self) -> bool:
        """Whether this isn't BigQuery itself: a stand-in knows no identities."""
        return self.settings.credentials == "anonymous"

    async def dataset_location(self, dataset: str) -> str:
        """Where a dataset is."""
        with explained(f"dataset {dataset}", right=f"bigquery.datasets.get on {dataset}"):
            found = await in_thread(
                lambda: self.client.get_dataset(dataset, retry=self._retry, timeout=REQUEST_SECONDS)
            )
        return found.location or self.settings.location

    async def table(self, name: str, *, what: str, right: str) -> bigquery.Table | None:
        """A table's description, None if there is no such table."""
        with explained(f"{what} {name}", right=right):
            try:
                return await in_thread(lambda: self.client.get_table(name, retry=self._retry, timeout=REQUEST_SECONDS))
            except NotFound:
                return None

    async def create_table(self, table: bigquery.Table, *, exists_ok: bool = False) -> bigquery.Table:
        """Make a table; the one that is there, made now or (if `exists_ok`) before."""
        right = f"bigquery.tables.create on {table.project}.{table.dataset_id}"
        with explained(f"making table {table.full_table_id or table.reference}", right=right):
            return await in_thread(
                lambda: self.client.create_table(table, exists_ok, retry=self._retry, timeout=REQUEST_SECONDS)
            )

    async def update_schema(self, table: bigquery.Table, columns: tuple[Column, ...]) -> None:
        """Add what is new in `columns` to a table; refused (transient) if somebody changed it since it was read."""
        fields = grown(table.to_api_repr()["schema"]["fields"], columns)
        table.schema = [bigquery.SchemaField.from_api_repr(field) for field in fields]
        with explained(f"adding columns to {table.reference}", right="bigquery.tables.update"):
            await in_thread(
                lambda: self.client.update_table(table, ["schema"], retry=self._retry, timeout=REQUEST_SECONDS)
            )

    async def keep_longer(self, table: bigquery.Table, kept: timedelta) -> None:
        """Have a table keep its partitions for `kept`, if it drops them sooner.

        Refused (transient) if somebody changed the table since it was read.
        """
        partitioning, wanted = table.time_partitioning, kept // timedelta(milliseconds=1)
        if partitioning is None or partitioning.expiration_ms is None or partitioning.expiration_ms >= wanted:
            return
        partitioning.expiration_ms = wanted
        table.time_partitioning = partitioning
        with explained(f"keeping the partitions of {table.reference} for longer", right="bigquery.tables.update"):
            await in_thread(
                lambda: self.client.update_table(table, ["time_partitioning"], retry=BRIEF_RETRY, timeout=BRIEF_SECONDS)
            )

    async def drop_table(self, name: str) -> None:
        """Drop a table; harmless if it isn't there."""
        with explained(f"dropping {name}", right="bigquery.tables.delete"):
            await in_thread(
                lambda: self.client.delete_table(name, not_found_ok=True, retry=BRIEF_RETRY, timeout=BRIEF_SECONDS)
            )
