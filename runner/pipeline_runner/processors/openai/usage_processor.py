"""Reads an organization's usage and costs at OpenAI. docs/providers/openai.md describes what comes of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, SecretStr

from pipeline_core.wording import shorten
from pipeline_runner.processors.api_reports import Report
from pipeline_runner.processors.api_source import COSTS, USAGE, ApiSource
from pipeline_runner.processors.api_usage import ApiUsageProcessor
from pipeline_runner.processors.openai import rows
from pipeline_runner.processors.openai.dialect import COSTS_PAGE, OPENAI, USAGE_PAGE

_ALL = "all"


def _endpoints(value: object) -> tuple[str, ...]:
    """Names in a list, or in a text with commas between them, as a setting has them; "all" names all."""
    names = [each.strip() for each in value.split(",")] if isinstance(value, str) else value
    if names == [_ALL]:
        return tuple(rows.ENDPOINTS)
    if not isinstance(names, list | tuple) or not names or not all(each in rows.ENDPOINTS for each in names):
        raise ValueError(f"expected {_ALL}, or some of {', '.join(rows.ENDPOINTS)}, got {shorten(value)}")
    return tuple(dict.fromkeys(names))


class OpenAISource(ApiSource):
    """`endpoints`: the usage endpoints to read."""

    endpoints: Annotated[tuple[str, ...], BeforeValidator(_endpoints)] = tuple(rows.ENDPOINTS)


class OpenAIUsageProcessor(ApiUsageProcessor[OpenAISource]):
    """Usage and costs of each day, replaced whole. Parameters: `date`, or `start_date` and `end_date`."""

    name = "OpenAI"
    key_kind = "an admin key of the organization (sk-admin-…)"
    source_type = OpenAISource
    dialect = OPENAI
    package: ClassVar[Path] = Path(__file__).parent

    def reports(self) -> Sequence[Report]:
        width = self.source.bucket_width
        return (
            Report("/v1/organization/costs", COSTS, "1d", rows.COSTS_GROUP_BY, COSTS_PAGE, rows.COSTS),
            *(
                Report(
                    f"/v1/organization/usage/{endpoint}",
                    USAGE,
                    width,
                    rows.ENDPOINTS[endpoint],
                    USAGE_PAGE[width],
                    rows.usage(endpoint),
                )
                for endpoint in self.source.endpoints
            ),
        )

    def secret_headers(self, key: SecretStr) -> dict[str, SecretStr]:
        return {"Authorization": SecretStr(f"Bearer {key.get_secret_value()}")}
