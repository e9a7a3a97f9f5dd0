"""Reads an organization's usage and costs at Anthropic. docs/providers/anthropic.md describes what comes of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, SecretStr

from pipeline_core.wording import shorten
from pipeline_runner.processors.anthropic import rows
from pipeline_runner.processors.anthropic.dialect import ANTHROPIC, COSTS_PAGE, USAGE_PAGE, VERSION
from pipeline_runner.processors.api_reports import Report
from pipeline_runner.processors.api_source import COSTS, USAGE, ApiSource
from pipeline_runner.processors.api_usage import ApiUsageProcessor


def _known(dimension: str) -> str:
    if dimension not in rows.USAGE_DIMENSIONS:
        raise ValueError(f"expected some of {', '.join(rows.USAGE_DIMENSIONS)}, got {shorten(dimension)}")
    return dimension


_Dimension = Annotated[str, AfterValidator(_known)]


class AnthropicSource(ApiSource):
    """`group_by`: what usage is told apart by."""

    group_by: Annotated[tuple[_Dimension, ...], Field(min_length=1, max_length=rows.MOST_GROUPS)] = rows.USAGE_GROUP_BY


class AnthropicUsageProcessor(ApiUsageProcessor[AnthropicSource]):
    """Usage and costs of each day, replaced whole. Parameters: `date`, or `start_date` and `end_date`."""

    name = "Anthropic"
    key_kind = "an Admin API key of the organization (sk-ant-admin01-…)"
    source_type = AnthropicSource
    dialect = ANTHROPIC
    headers: ClassVar[Mapping[str, str]] = {"anthropic-version": VERSION}
    package: ClassVar[Path] = Path(__file__).parent

    def reports(self) -> Sequence[Report]:
        width = self.source.bucket_width
        usage = "/v1/organizations/usage_report/messages"
        return (
            Report("/v1/organizations/cost_report", COSTS, "1d", rows.COSTS_GROUP_BY, COSTS_PAGE, rows.COSTS),
            Report(usage, USAGE, width, self.source.group_by, USAGE_PAGE[width], rows.USAGE),
        )

    def secret_headers(self, key: SecretStr) -> dict[str, SecretStr]:
        return {"x-api-key": key}
