"""The `source` and `target` of a pipeline that copies a BigQuery table."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline_core.catalog.checks import ChecksSection
from pipeline_core.catalog.days import CatchUpDays, RescanDays
from pipeline_runner.config_errors import wrong_fields

# What may stand between backticks in SQL: nothing that could end them.
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]+$", max_length=1024)]
_Part = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=1024)]
_Column = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=300)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class SourceConfig(_Section):
    """The table to read. `read` says how: by a query, by the Storage Read API, or whichever the locations allow.

    `rescan_days`: how many days a run looks at, of which it copies those that have changed; unset, it copies its day.
    `catch_up_days`: how far back it looks for days that were missed.
    """

    type: Literal["bigquery"]
    project: _Name
    dataset: _Part
    table: _Part
    time_column: _Column | None = None
    read: Literal["auto", "query", "storage"] | None = None
    rescan_days: Annotated[RescanDays, Field(strict=True)] | None = None
    catch_up_days: Annotated[CatchUpDays, Field(strict=True)] | None = None

    @property
    def name(self) -> str:
        """project.dataset.table"""
        return f"{self.project}.{self.dataset}.{self.table}"


class TargetConfig(_Section):
    """The table to write; `numeric` names further FLOAT columns to keep as exact decimals."""

    type: Literal["bigquery"] = "bigquery"
    dataset: _Part
    table: _Part
    numeric: list[str] | None = None


class CopyConfig(_Section):
    """Both ends of the copy, and what the rows must satisfy before they are published."""

    source: SourceConfig
    target: TargetConfig
    checks: ChecksSection = ChecksSection()

    @classmethod
    def read(cls, config: dict[str, Any]) -> Self:
        """Read a resolved config. Raises ConfigError naming the fields that are wrong."""
        try:
            return cls.model_validate(config)
        except ValidationError as error:
            raise wrong_fields(error, cls) from None
