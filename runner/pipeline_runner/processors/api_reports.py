"""The reports of a provider's API, the requests that they take, and the tables that their rows go into."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline_runner.api.spans import Span, spans
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.rows import RowTable
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import ConfigError
from pipeline_runner.processors.api_results import ResultReader
from pipeline_runner.processors.api_source import ApiTarget, BucketWidth

# The column that says which day a row belongs to; days are replaced by it.
DAY = "usage_date"
_WIDTHS: Mapping[BucketWidth, timedelta] = {"1d": timedelta(days=1), "1h": timedelta(hours=1)}


@dataclass(frozen=True)
class Report:
    """One endpoint: `table` is the key of the table that its rows go into, `page` the most buckets of an answer."""

    path: str
    table: str
    bucket_width: BucketWidth
    group_by: tuple[str, ...]
    page: int
    reader: ResultReader

    @property
    def query(self) -> list[tuple[str, str]]:
        """What each request of the report has in its query, beside its span."""
        return [("bucket_width", self.bucket_width), *(("group_by[]", name) for name in self.group_by)]


def check_begun(window: Window, now: datetime) -> None:
    """Raise ConfigError for a window with a day that hasn't begun."""
    if window.last > now.astimezone(UTC).date():
        raise ConfigError(f"parameters: {window.last} hasn't begun yet in UTC; expected days until {now:%Y-%m-%d}")


def asked_spans(reports: Sequence[Report], windows: Sequence[Window], now: datetime) -> list[tuple[Report, Span]]:
    """The requests that windows take, each of a whole page, if the provider leaves none of them short.

    Of a day that isn't over, hours are asked for up to the one that `now` is in: the rest isn't there yet.
    """
    return [(report, span) for report in reports for window in windows for span in _begun(report, window, now)]


def _begun(report: Report, window: Window, now: datetime) -> Iterator[Span]:
    for span in spans(window.first, window.last, _WIDTHS[report.bucket_width], report.page):
        begun = min(span.intervals, (now - span.start) // span.width + 1)
        if begun > 0:
            yield replace(span, end=span.start + begun * span.width)


def row_tables(package: Path, provider: str, target: ApiTarget) -> tuple[RowTable, ...]:
    """The tables of a provider, by their schema files: BigQuery's own format (`bq mk --schema`)."""
    return tuple(
        _row_table(package / "schemas" / f"{key}.json", key, name, f"{provider}: {key}.")
        for key, name in target.names.items()
    )


def _row_table(schema: Path, key: str, name: str, description: str) -> RowTable:
    fields = json.loads(schema.read_text(encoding="utf-8"))
    return RowTable(
        key,
        name,
        tuple(Column.from_api(field) for field in fields),
        DAY,
        description=description,
        required=tuple(field["name"] for field in fields if field["mode"] == "REQUIRED"),
    )
