"""What the endpoints of schedules take and give."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema

from pipeline_bridge import schedule_fields as fields
from pipeline_bridge.models.absent import never_null
from pipeline_bridge.run_objects import MAX_PARAMETERS
from pipeline_core.identifiers import OBJECT_NAME_MAX

# The one field that null means something for: it takes the limit away.
_NULLABLE = "starting_deadline_seconds"
_ID = "sch_7c9e6679742540de944be07fc1f90ae7"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


CronExpression = Annotated[
    str,
    AfterValidator(fields.check_cron_expression),
    Field(
        max_length=fields.MAX_CRON,
        description="When runs are due: five fields (minute, hour, day of the month, month, day of the week), or "
        f"one of {', '.join(fields.CRON_NAMES)}.",
        examples=["0 */6 * * *"],
    ),
]
Values = Annotated[
    dict[str, str | int | bool],
    PlainValidator(fields.check_parameters),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_PARAMETERS,
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        }
    ),
]


class _Changeable(_Model):
    is_enabled: Annotated[bool | None, Field(description="Whether the schedule is on. Default: true.")] = None
    time_zone: Annotated[
        Annotated[str, AfterValidator(fields.check_time_zone), Field(max_length=fields.MAX_ZONE)] | None,
        Field(
            description="The time zone of the cron expression, a name of the IANA database. Default: Etc/UTC.",
            examples=["Europe/Madrid"],
        ),
    ] = None
    parameters: Annotated[
        Values | None,
        Field(description="What each run is given, for parameters that the pipeline declares. Replaced as a whole."),
    ] = None
    concurrency_policy: Annotated[
        Literal["Allow", "Forbid", "Replace"] | None,
        Field(
            description="What a tick means while the schedule's previous run goes on: another run (Allow), none "
            "(Forbid), or another in place of the previous one, which is cancelled (Replace). Default: Forbid."
        ),
    ] = None
    catch_up: Annotated[
        Literal["None", "Latest", "All"] | None,
        Field(description="What missed ticks mean: no run, one for the latest, or one for each. Default: Latest."),
    ] = None
    starting_deadline_seconds: Annotated[
        Annotated[int, Field(ge=1, le=fields.MAX_DEADLINE_SECONDS)] | None,
        Field(description="How late the run of a tick may still be made. Null, the default, is no limit."),
    ] = None


class ScheduleCreate(_Changeable):
    """A schedule to make."""

    model_config = ConfigDict(json_schema_extra=never_null(but=_NULLABLE))

    provider: Annotated[str, Field(description="The provider's key.", examples=["gcp"])]
    domain: Annotated[str, Field(description="The kind of data.", examples=["cost"])]
    pipeline: Annotated[str, Field(description="The pipeline within provider and domain.", examples=["billing"])]
    cron_expression: CronExpression
    name: Annotated[
        Annotated[str, AfterValidator(fields.check_object_name), Field(max_length=OBJECT_NAME_MAX)] | None,
        Field(
            description="The name of the schedule's PipelineSchedule object, which nothing else may have: with it, the "
            "same request sent twice makes one schedule. Default: provider, domain, pipeline and a random end.",
            examples=["nightly-billing"],
        ),
    ] = None


class ScheduleChange(_Changeable):
    """What to change of a schedule: at least one field."""

    model_config = ConfigDict(json_schema_extra=never_null(but=_NULLABLE, minProperties=1))

    cron_expression: CronExpression | None = None


class TriggerRequest(_Model):
    """Which schedule to start a run of."""

    schedule_id: Annotated[str, Field(description="The schedule's id.", examples=[_ID])]


class TriggerAnswer(BaseModel):
    """The run that was started."""

    run_id: Annotated[str, Field(description="The run's id.", examples=["run_0f4c4a3e5d0a4c399d5b5a0f1c7d9e21"])]


class ScheduleCreated(BaseModel):
    """The schedule was made."""

    success: Literal[True]
    schedule_id: Annotated[str, Field(description="The schedule's id.", examples=[_ID])]


class Success(BaseModel):
    """It was done."""

    success: Literal[True]


class PipelineSchedule(BaseModel):
    """A schedule of the organization."""

    model_config = ConfigDict(json_schema_extra=never_null())

    schedule_id: Annotated[str, Field(description="The schedule's id.", examples=[_ID])]
    provider: Annotated[str, Field(description="Where the data comes from.", examples=["gcp"])]
    domain: Annotated[str, Field(description="The kind of data.", examples=["cost"])]
    pipeline: Annotated[str, Field(description="The pipeline within provider and domain.", examples=["billing"])]
    cron_expression: Annotated[str, Field(description="When runs are due.", examples=["0 */6 * * *"])]
    is_enabled: Annotated[bool, Field(description="Whether the schedule is on.", examples=[True])]
    last_run_at: Annotated[datetime | None, Field(description="When the last run was made; absent where none was.")] = (
        None
    )
    next_run_at: Annotated[
        datetime | None, Field(description="When the next run is due; absent where that isn't known, or it is off.")
    ] = None


class ScheduleList(BaseModel):
    """The schedules of the organization, sorted by provider, domain and pipeline."""

    schedules: list[PipelineSchedule]


Model = TypeVar("Model", bound=_Model)


def parse(model: type[Model], body: Mapping[str, object]) -> Model:
    """The body as that model. Raises RequestValidationError, which names each wrong field."""
    # Left out and null are different things, of which the model's None is the first.
    errors: list[Any] = [
        {"type": "value_error", "loc": ("body", name), "msg": "a value other than null", "input": None}
        for name, value in body.items()
        if value is None and name in model.model_fields and name != _NULLABLE
    ]
    try:
        found = model.model_validate(body)
    except ValidationError as error:
        errors += [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
    if errors:
        raise RequestValidationError(errors)
    return found
