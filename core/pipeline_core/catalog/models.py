"""The shape of `configs/{provider}/{domain}/{pipeline}.yml` and `configs/system/providers.yml`.

Unknown fields are refused everywhere but in a source whose type isn't `bigquery`: what such a source needs is its
processor's to say.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag, model_validator

from pipeline_core.catalog.checks import ChecksSection as ChecksSection
from pipeline_core.catalog.days import CatchUpDays, RescanDays
from pipeline_core.catalog.fields import ClassName, Column, Cron, ModuleName, Name, SettingName, TargetDataset, Text
from pipeline_core.parameters import Parameter

MAX_TIMEOUT_SECONDS = 86_400
MAX_RETRIES = 10


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PipelineSection(_Model):
    """Who the pipeline is. `provider` and `domain` are those of the file's path."""

    name: Name
    provider: Name
    domain: Name
    display_name: Text | None = None
    description: Text | None = None
    version: Text | None = None


class ProcessorSection(_Model):
    """The class that runs the pipeline; `module` is already the real one, in an allowed package."""

    class_name: Annotated[ClassName, Field(alias="class")]
    module: ModuleName


class BigQuerySource(_Model):
    """A table to read. `read` says how: by a query job, by the Storage Read API, or whichever the locations allow."""

    type: Literal["bigquery"]
    project: Text
    dataset: Text
    table: Text
    time_column: Column | None = None
    read: Literal["auto", "query", "storage"] | None = None
    rescan_days: RescanDays | None = None
    catch_up_days: CatchUpDays | None = None

    @model_validator(mode="after")
    def _days_fit(self) -> Self:  # noqa: N804 - after validation it is the instance that is checked
        _check_days(self.rescan_days, self.catch_up_days)
        return self


class OpenSource(_Model):
    """A source of another type, such as an HTTP API; its processor checks the fields but those that all share."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    __pydantic_extra__: dict[str, JsonValue]

    type: Text
    rescan_days: RescanDays | None = None
    catch_up_days: CatchUpDays | None = None

    @model_validator(mode="after")
    def _days_fit(self) -> Self:  # noqa: N804 - after validation it is the instance that is checked
        _check_days(self.rescan_days, self.catch_up_days)
        return self


def _check_days(rescan_days: int | None, catch_up_days: int | None) -> None:
    if catch_up_days is not None and rescan_days is None:
        raise ValueError("catch_up_days counts only beside rescan_days, and there is none")


def _source_tag(source: Any) -> str:
    # Angle brackets keep the tag apart from any field's name: see the paths of problems in the loader.
    kind = source.get("type") if isinstance(source, dict) else getattr(source, "type", None)
    return "<bigquery>" if kind == "bigquery" else "<other>"


Source = Annotated[
    Annotated[BigQuerySource, Tag("<bigquery>")] | Annotated[OpenSource, Tag("<other>")], Discriminator(_source_tag)
]


class TargetSection(_Model):
    """The table to write, in the organization's dataset, and under `tables` those that the processor writes beside it,
    by keys of its own. `numeric` names further columns to keep as exact decimals.
    """

    type: Literal["bigquery"] = "bigquery"
    dataset: TargetDataset
    table: Text
    numeric: list[Column] | None = None
    tables: dict[Name, Text] | None = None


class ScheduleSection(_Model):
    """The schedule that an organization is offered."""

    default_cron: Cron
    enabled: bool = True


class RetrySection(_Model):
    """How often a run that failed for a passing reason is tried again."""

    max_retries: Annotated[int, Field(ge=0, le=MAX_RETRIES)]


class PipelineFile(_Model):
    """One pipeline's file."""

    pipeline: PipelineSection
    processor: ProcessorSection
    source: Source | None = None
    target: TargetSection
    checks: ChecksSection | None = None
    parameters: dict[Name, Parameter] = {}
    schedule: ScheduleSection | None = None
    timeout_seconds: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_SECONDS)] | None = None
    retry: RetrySection | None = None

    def to_document(self) -> dict[str, Any]:
        """Plain values in the file's own shape, with its field names; what the file leaves out is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class Setting(_Model):
    """What an integration may set: a template variable. Without a default, configs that use it need it set."""

    description: Text | None = None
    default: Annotated[str, Field(max_length=1_000)] | None = None


class Provider(_Model):
    """A source of data that organizations integrate with.

    Where `settings` is given, templates of the provider's configs may use no other setting; where it is left out, any
    variable might be one, so a misspelt one is only noticed by a run.
    """

    display_name: Text
    credential_kind: Literal["service_account", "admin_key", "none"]
    integration_required: bool = True
    settings: dict[SettingName, Setting] | None = None


class ProvidersFile(_Model):
    """The provider registry, by key."""

    providers: dict[Name, Provider]
