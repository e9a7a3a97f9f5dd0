"""The `source` and `target` of a pipeline that reads a provider's usage and costs by its API."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipeline_core.catalog.days import MAX_CATCH_UP_DAYS, CatchUpDays, RescanDays
from pipeline_runner.config_errors import wrong_fields
from pipeline_runner.errors import ConfigError

# The key of the table that `target.table` names; a further one stands in `target.tables` by its own.
COSTS = "costs"
USAGE = "usage"

BucketWidth = Literal["1d", "1h"]


def _without_version(address: str) -> str:
    """The paths that are asked for begin with /v1, though other clients want it in the address."""
    if address.rstrip("/").endswith("/v1"):
        # Not repeated: an address may hold a password, however wrong it is.
        raise ValueError("expected the address without /v1")
    return address


_Address = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_without_version)]
_Table = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=1024)]


class ApiSource(BaseModel):
    """Where the API is and how it is asked. `at_once`: requests on their way at the same time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    base_url: _Address
    bucket_width: BucketWidth = "1d"
    at_once: Annotated[int, Field(ge=1, le=16)] = 4
    rescan_days: RescanDays = 1
    # How far back days that were missed are looked for; the base of the processors does so.
    catch_up_days: CatchUpDays = MAX_CATCH_UP_DAYS

    @classmethod
    def read(cls, config: dict[str, Any]) -> Self:
        """The source of a resolved config. Raises ConfigError naming the fields that are wrong."""
        return _read(cls, config, "source")


class _FurtherTables(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    usage: _Table


class ApiTarget(BaseModel):
    """The tables to write: money to `table`, usage to `tables.usage`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    dataset: _Table
    table: _Table
    tables: _FurtherTables

    @classmethod
    def read(cls, config: dict[str, Any]) -> Self:
        """The target of a resolved config. Raises ConfigError naming the fields that are wrong."""
        target = _read(cls, config, "target")
        if target.table.lower() == target.tables.usage.lower():
            raise ConfigError(f"target.tables.usage: expected another table than target.table, got {target.table}")
        return target

    @property
    def names(self) -> dict[str, str]:
        """The tables by key."""
        return {COSTS: self.table, USAGE: self.tables.usage}


_ModelT = TypeVar("_ModelT", bound=BaseModel)


def _read(model: type[_ModelT], config: dict[str, Any], section: str) -> _ModelT:
    try:
        return model.model_validate(config.get(section, {}))
    except ValidationError as error:
        raise wrong_fields(error, model, section) from None
