"""What the endpoints of schedules take and give."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from pipeline_bridge import schedule_fields as fields
from pipeline_bridge.models.absent import never_null
from pipeline_bridge.models.requests import RequestModel
from pipeline_bridge.run_objects import MAX_PARAMETERS
from pipeline_core.catalog.models import MAX_RETRIES, MAX_TIMEOUT_SECONDS
from pipeline_core.identifiers import OBJECT_NAME_MAX
from pipeline_core.schedules import cron

# The fields that null means something for: it takes the limit away, or leaves it to the pipeline's config.
_NULLABLE = frozenset(
    {"starting_deadline_seconds", "timeout_seconds", "max_retries", "priority", "queue_timeout_seconds"}
)
_ID = "sch_7c9e6679742540de944be07fc1f90ae7"
cron.time_zones()  # before the first request

CronExpression = Annotated[
    str,
    AfterValidator(cron.check_cron_expression),
    Field(
        max_length=cron.MAX_CRON,
        description="When runs are due: five fields (minute, hour, day of the month, month, day of the week), or "
        f"one of {', '.join(cron.CRON_NAMES)}.",
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


class _Changeable(RequestModel):
    nullable = _NULLABLE

    is_enabled: Annotated[bool | None, Field(description="Whether the schedule is on. Default: true.")] = None
    time_zone: Annotated[
        Annotated[str, AfterValidator(cron.check_time_zone), Field(max_length=cron.MAX_ZONE)] | None,
        Field(
            description="The time zone of the cron expression, a name of the IANA database. Default: Etc/UTC.",
            examples=["Europe/Madrid"],
        ),
    ] = None
    parameters: Annotated[
        Values | None,
        Field(
            description="What each run is given, for parameters that the pipeline declares. Texts may hold "
            "`{{date}}`, `{{yesterday}}` and the other variables of a config, of the run's tick. Replaced as a whole."
        ),
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
    catch_up_limit: Annotated[
        Annotated[int, Field(ge=1, le=fields.MAX_CATCH_UP_RUNS)] | None,
        Field(description="With `catch_up` All, how many of the newest missed ticks have a run. Default: 100."),
    ] = None
    stagger_seconds: Annotated[
        Annotated[int, Field(ge=0, le=fields.MAX_STAGGER_SECONDS)] | None,
        Field(
            description="The runs are due later than their ticks by up to so much: by how much, follows from the "
            "schedule's name, and stays. So schedules of one time don't start in the same second. Default: 0."
        ),
    ] = None
    successful_runs_history_limit: Annotated[
        Annotated[int, Field(ge=0, le=fields.MAX_HISTORY)] | None,
        Field(description="How many completed runs are kept as objects, with their logs. Default: 3."),
    ] = None
    failed_runs_history_limit: Annotated[
        Annotated[int, Field(ge=0, le=fields.MAX_HISTORY)] | None,
        Field(description="How many failed and cancelled runs are kept as objects, with their logs. Default: 3."),
    ] = None
    timeout_seconds: Annotated[
        Annotated[int, Field(ge=1, le=MAX_TIMEOUT_SECONDS)] | None,
        Field(description="How long a run may take, retries included. Null, the default: what the pipeline says."),
    ] = None
    max_retries: Annotated[
        Annotated[int, Field(ge=0, le=MAX_RETRIES)] | None,
        Field(description="How often a passing failure is tried again. Null, the default: what the pipeline says."),
    ] = None
    priority: Annotated[
        Annotated[int, Field(ge=-fields.MAX_PRIORITY, le=fields.MAX_PRIORITY)] | None,
        Field(description="Which of the organization's waiting runs goes first: the higher one. Null is 0."),
    ] = None
    quota_policy: Annotated[
        Literal["Reject", "Queue"] | None,
        Field(
            description="What a run does that finds as many others as the plan allows at a time: fail at once "
            "(Reject), or wait (Queue). Default: Queue."
        ),
    ] = None
    queue_timeout_seconds: Annotated[
        Annotated[int, Field(ge=1, le=fields.MAX_QUEUE_SECONDS)] | None,
        Field(description="How long a run waits with Queue before it fails. Null, the default, is a day."),
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


class TriggerRequest(RequestModel):
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
