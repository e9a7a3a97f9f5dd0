"""What discovery shows of the catalog: the specification's `PipelineConfig`."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from pipeline_bridge.models.absent import never_null
from pipeline_core.catalog import snapshot
from pipeline_core.parameter_types import ParameterType
from pipeline_core.parameters import Parameter, kind_of

_DATE: dict[str, JsonValue] = {
    "name": "date",
    "type": "date",
    "required": False,
    "default": "{{yesterday}}",
    "description": "The one day to copy, in UTC.",
}
_BILLING: dict[str, JsonValue] = {
    "name": "gcp_billing",
    "display_name": "GCP Billing Extraction",
    "provider": "gcp",
    "domain": "cost",
    "description": "Copies the Cloud Billing export of one day, or of a range of days, and replaces what stood there.",
    "parameters": [_DATE],
}


class ParameterDefinition(BaseModel):
    """A parameter that runs of a pipeline accept."""

    model_config = ConfigDict(json_schema_extra=never_null(examples=[_DATE]))

    name: Annotated[str, Field(description="The parameter's name, a field of the body that starts a run.")]
    type: Annotated[
        ParameterType,
        Field(description="What its values are. A date is text such as 2026-01-31; a number may be decimal text."),
    ]
    required: Annotated[bool, Field(description="Whether a run that doesn't set it is refused.")]
    default: Annotated[
        str | int | float | bool | None,
        Field(
            description="What it is where a run doesn't set it; absent where there is none. Variables such as "
            "{{yesterday}} stand for the run's own values."
        ),
    ] = None
    description: Annotated[str | None, Field(description="What it means.")] = None


class PipelineConfig(BaseModel):
    """A pipeline that organizations can run."""

    model_config = ConfigDict(json_schema_extra=never_null(examples=[_BILLING]))

    name: Annotated[str, Field(description="The pipeline's name. Paths and schedules accept it as {pipeline}.")]
    display_name: Annotated[str, Field(description="The name for people; the pipeline's name where it has no other.")]
    provider: Annotated[str, Field(description="Where the data comes from.")]
    domain: Annotated[str, Field(description="The kind of data.")]
    description: Annotated[str | None, Field(description="What the pipeline does.")] = None
    parameters: Annotated[
        list[ParameterDefinition] | None, Field(description="What a run may set; absent where that is nothing.")
    ] = None


class PipelineList(BaseModel):
    """The pipelines of the catalog, or of one provider, sorted by provider, domain and name."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"pipelines": [_BILLING]}]})

    pipelines: list[PipelineConfig]


def list_pipelines(configs: Iterable[snapshot.PipelineConfig]) -> PipelineList:
    """These configs as discovery shows them, sorted."""
    shown = sorted(configs, key=lambda config: (config.provider, config.domain, config.content.pipeline.name))
    return PipelineList(pipelines=[_pipeline(config) for config in shown])


def _pipeline(config: snapshot.PipelineConfig) -> PipelineConfig:
    section, declared = config.content.pipeline, config.content.parameters
    return PipelineConfig(
        name=section.name,
        display_name=section.display_name or section.name,
        provider=config.provider,
        domain=config.domain,
        description=section.description,
        parameters=[_parameter(name, parameter) for name, parameter in declared.items()] or None,
    )


def _parameter(name: str, parameter: Parameter) -> ParameterDefinition:
    default: Any = parameter.default
    return ParameterDefinition(
        name=name,
        # Not what the file says: `date` may be declared as a string, and is a date all the same.
        type=kind_of(name, parameter),
        required=parameter.required,
        default=default,
        description=parameter.description,
    )
