"""A window takes as few requests as its pages allow, and none for what hasn't begun."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline_runner.api.spans import Span
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import ConfigError
from pipeline_runner.processors.anthropic.usage_processor import AnthropicUsageProcessor
from pipeline_runner.processors.api_reports import Report, asked_spans, check_begun, row_tables
from pipeline_runner.processors.api_source import ApiTarget
from pipeline_runner.processors.openai.usage_processor import OpenAIUsageProcessor

LATER = datetime(2027, 1, 1, 12, tzinfo=UTC)
TARGET = {"type": "bigquery", "dataset": "acme_dev", "table": "c", "tables": {"usage": "u"}}


def reports(provider: str, **source: Any) -> list[Report]:
    kind = {"openai": OpenAIUsageProcessor, "anthropic": AnthropicUsageProcessor}[provider]
    config = {"source": {"type": provider, "base_url": "https://x.example", **source}, "target": TARGET}
    return list(kind(config, "acme", "run_1").reports())


def asked(provider: str, first: date, last: date, now: datetime = LATER, **source: Any) -> list[tuple[str, Span]]:
    spans = asked_spans(reports(provider, **source), [Window(first, last)], now)
    return [(report.path.rpartition("/")[2], span) for report, span in spans]


@pytest.mark.parametrize(
    ("provider", "days", "width", "expected"),
    [
        ("openai", 1, "1d", 11),
        ("openai", 31, "1d", 11),
        ("openai", 32, "1d", 21),
        ("openai", 7, "1h", 11),
        ("openai", 8, "1h", 21),
        ("openai", 180, "1d", 1 + 10 * 6),
        ("openai", 181, "1d", 2 + 10 * 6),
        ("anthropic", 31, "1d", 2),
        ("anthropic", 32, "1d", 4),
        ("anthropic", 90, "1h", 3 + 13),
    ],
)
def test_there_are_as_few_requests_as_pages(provider: str, days: int, width: str, expected: int) -> None:
    first = date(2026, 1, 1)
    found = asked(provider, first, first + timedelta(days=days - 1), bucket_width=width)
    assert len(found) == expected
    for path in {path for path, _ in found}:
        spans = [span for each, span in found if each == path]
        assert sum(((span.end - span.start) for span in spans), timedelta(0)) == timedelta(days=days)
        assert all(one.end == other.start for one, other in pairwise(spans))


def test_of_today_hours_are_asked_for_up_to_the_one_that_has_begun() -> None:
    today = date(2026, 11, 22)
    now = datetime(2026, 11, 22, 9, 59, tzinfo=UTC)
    found = dict(asked("anthropic", today, today, now, bucket_width="1h"))
    assert found["cost_report"].end == datetime(2026, 11, 23, tzinfo=UTC)
    assert found["messages"].end == datetime(2026, 11, 22, 10, tzinfo=UTC)
    midnight = dict(asked("anthropic", today, today, datetime(2026, 11, 22, tzinfo=UTC), bucket_width="1h"))
    assert midnight["messages"].intervals == 1
    # a week ends with today: its days before are whole
    week = dict(asked("anthropic", today - timedelta(days=6), today, now, bucket_width="1h"))
    assert week["messages"].intervals == 6 * 24 + 10


def test_a_span_that_has_not_begun_is_not_asked_for() -> None:
    today = date(2026, 11, 22)
    now = datetime(2026, 11, 22, 0, 30, tzinfo=UTC)
    messages = [
        span
        for path, span in asked("anthropic", date(2026, 11, 15), today, now, bucket_width="1h")
        if path == "messages"
    ]
    assert [span.intervals for span in messages] == [168, 1]


def test_a_day_that_has_not_begun_is_refused() -> None:
    now = datetime(2026, 11, 22, 23, 59, tzinfo=UTC)
    with pytest.raises(ConfigError, match="2026-11-23 hasn't begun yet in UTC; expected days until 2026-11-22"):
        check_begun(Window(date(2026, 11, 20), date(2026, 11, 23)), now)
    check_begun(Window(date(2026, 11, 20), date(2026, 11, 22)), now)


def test_the_query_of_a_report() -> None:
    costs, completions, *_ = reports("openai", bucket_width="1h")
    assert costs.query == [("bucket_width", "1d"), ("group_by[]", "project_id"), ("group_by[]", "line_item")]
    assert completions.query[0] == ("bucket_width", "1h")
    assert [value for _, value in completions.query[1:]] == [
        "project_id", "user_id", "api_key_id", "model", "batch", "service_tier",
    ]  # fmt: skip


def test_endpoints_left_out_are_not_asked_for() -> None:
    found = [report.path for report in reports("openai", endpoints="images")]
    assert found == ["/v1/organization/costs", "/v1/organization/usage/images"]


@pytest.mark.parametrize("processor", [OpenAIUsageProcessor, AnthropicUsageProcessor])
def test_the_tables_have_the_columns_of_their_schemas(processor: type[Any]) -> None:
    package: Path = processor.package
    tables = row_tables(package, processor.name, ApiTarget.read({"target": TARGET}))
    assert [(each.key, each.name, each.day) for each in tables] == [
        ("costs", "c", "usage_date"),
        ("usage", "u", "usage_date"),
    ]
    for table in tables:
        assert {"usage_date", "bucket_start", "bucket_end", "further"} <= {column.name for column in table.columns}
        assert all(column.description for column in table.columns)
