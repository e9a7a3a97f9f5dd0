"""Reads a provider's usage and costs by its API, a few requests at a time: what all such processors share."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import structlog
from pydantic import SecretStr

from pipeline_runner.api.client import ApiClient, RateLimits
from pipeline_runner.api.dialect import Dialect
from pipeline_runner.api.envelope import Bucket
from pipeline_runner.api.pages import buckets
from pipeline_runner.api.spans import Span, in_parallel
from pipeline_runner.bigquery.rows import RowStaging, RowTable
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import ConfigError
from pipeline_runner.processors.api_reports import DAY, Report, asked_spans, check_begun, row_tables
from pipeline_runner.processors.api_results import Row, UnfitError, paths
from pipeline_runner.processors.api_source import ApiSource, ApiTarget
from pipeline_runner.processors.row_processor import RowProcessor
from pipeline_runner.progress import Stage
from pipeline_runner.settings import api_settings

_log = structlog.get_logger(__name__)

# Unknown fields that are told by name.
_MOST_NAMES = 50
_OTHERS = "others"

SourceT = TypeVar("SourceT", bound=ApiSource)


class ApiUsageProcessor(RowProcessor, Generic[SourceT]):
    """Asks for all spans of all reports. A subclass says which provider it is, what it asks for, how a key is sent."""

    # The provider, and the key that it wants, for messages.
    name: ClassVar[str]
    key_kind: ClassVar[str]
    dialect: ClassVar[Dialect]
    headers: ClassVar[Mapping[str, str]] = {}
    # Where its schema files are.
    package: ClassVar[Path]
    source_type: type[SourceT]

    def __init__(self, config: dict[str, Any], org_slug: str, run_id: str) -> None:
        super().__init__(config, org_slug, run_id)
        self.source = self.source_type.read(config)
        self._api_target = ApiTarget.read(config)
        self._further: Counter[str] = Counter()
        self._spans_done = self._rows_read = 0

    @abstractmethod
    def reports(self) -> Sequence[Report]:
        """What is asked for."""

    @abstractmethod
    def secret_headers(self, key: SecretStr) -> dict[str, SecretStr]:
        """The headers that the key goes into."""

    def tables(self) -> Sequence[RowTable]:
        return row_tables(self.package, self.name, self._api_target)

    def describe(self) -> dict[str, str]:
        return {"read": f"{self.source.base_url}, in {len(self._spans(self.due.windows))} requests or more"}

    async def validate(self, parameters: dict[str, Any]) -> None:
        await super().validate(parameters)
        check_begun(self.window, datetime.now(UTC))
        self._client = self._make_client()

    async def read(self, staging: RowStaging, windows: Sequence[Window]) -> None:
        spans = self._spans(windows)
        read_span = partial(self._read_span, staging, len(spans))
        async with self._client as client:
            await in_parallel([partial(read_span, client, *each) for each in spans], self.source.at_once)
            self.details["requests"] = client.requests_made
        if self._further:
            self.details["unknown_fields"] = dict(self._further)
            _log.warning("the provider reports fields that no column is for; they are kept in further",
                         fields=dict(self._further))  # fmt: skip

    def _spans(self, windows: Sequence[Window]) -> list[tuple[Report, Span]]:
        return asked_spans(self.reports(), windows, datetime.now(UTC))

    async def _read_span(self, staging: RowStaging, of: int, client: ApiClient, report: Report, span: Span) -> None:
        async with aclosing(buckets(client, report.path, report.query, span, self.dialect)) as found:
            async for bucket in found:
                await staging.add(report.table, self._rows(staging, report, bucket))
                del bucket  # it may be all of a page: not kept while the next is asked for
        self._spans_done += 1
        self.progress.report(Stage.EXTRACT, self._spans_done / of, self._rows_read)

    def _rows(self, staging: RowStaging, report: Report, bucket: Bucket) -> Iterator[Row]:
        """The bucket's results as rows; those that don't fit are set aside."""
        day = bucket.start.date()
        for result in bucket.results:
            try:
                row = report.reader.read(result)
            except UnfitError as error:
                staging.reject(report.table, result, str(error), day)
                continue
            if row["further"]:
                self._count(f"{report.path}: {path}" for path in paths(row["further"]))
            self._rows_read += 1
            yield {DAY: day, "bucket_start": bucket.start, "bucket_end": bucket.end, **row}

    def _count(self, names: Iterable[str]) -> None:
        """Count fields that no column is for: by name, unless there are too many, such as ids that serve as names."""
        for name in names:
            known = name in self._further or len(self._further) < _MOST_NAMES
            self._further[name if known else _OTHERS] += 1

    def _make_client(self) -> ApiClient:
        if self.credentials is None:
            raise ConfigError(f"{self.name}: there are no credentials to ask with")
        return ApiClient(
            name=self.name,
            base_url=self.source.base_url,
            headers=self.headers,
            secret_headers=self.secret_headers(self.credentials.secret("api_key")),
            limits=RateLimits(self.source.at_once),
            settings=api_settings(),
            key_kind=self.key_kind,
        )
