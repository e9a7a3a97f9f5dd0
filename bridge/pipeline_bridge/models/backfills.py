"""What the endpoints of backfills take and give."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipeline_bridge.models.absent import never_null
from pipeline_bridge.models.requests import RequestModel
from pipeline_core.schedules.backfill import MAX_CONCURRENCY
from pipeline_core.schedules.ids import BACKFILL_ID

_BOUND = "a day of the schedule's time zone (`2026-10-01`), or a time with its offset (`2026-10-01T06:00:00Z`)"
_ID = "20261001-20261031"
# The limits of crds/pipelineschedules.yaml.
_MAX_BOUND = 32
_MAX_ID = 32
# For readers of the description; what is wrong with a value is said by whoever reads it, in words.
_BOUND_PATTERN = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2}))?$"
)


def check_backfill_id(text: str) -> str:
    """An id as it may be. Raises ValueError, which says what is expected."""
    if not BACKFILL_ID.fullmatch(text):
        raise ValueError(f"at most {_MAX_ID} lower-case letters, digits and '-', which stands at neither end")
    return text


Concurrency = Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)]
BackfillId = Annotated[
    str,
    AfterValidator(check_backfill_id),
    Field(max_length=_MAX_ID, json_schema_extra={"pattern": f"^{BACKFILL_ID.pattern}$"}),
]
State = Literal["pending", "running", "waiting", "paused", "completed", "stopped", "invalid"]


class BackfillRequest(RequestModel):
    """A backfill to begin: a run for each tick of a range."""

    model_config = ConfigDict(json_schema_extra=never_null())

    first: Annotated[
        str,
        Field(alias="from", max_length=_MAX_BOUND, description=f"Where the range begins: {_BOUND}.",
              examples=["2026-10-01"], json_schema_extra={"pattern": _BOUND_PATTERN}),
    ]  # fmt: skip
    last: Annotated[
        str,
        Field(alias="to", max_length=_MAX_BOUND, description=f"Where it ends, itself included: {_BOUND}.",
              examples=["2026-10-31"], json_schema_extra={"pattern": _BOUND_PATTERN}),
    ]  # fmt: skip
    concurrency: Annotated[
        Concurrency | None, Field(description="How many of its runs go on at a time. Default: 1.", examples=[2])
    ] = None
    id: Annotated[
        BackfillId | None,
        Field(
            description="Names the backfill, and is part of its runs' names: with another id the same range has runs "
            "once more. Default: made of the range.",
            examples=["october"],
        ),
    ] = None
    dry_run: Annotated[
        bool | None,
        Field(description="Only say what it would be, of a schedule that is kept in Git as well. Default: false."),
    ] = None


class BackfillChange(RequestModel):
    """What to change of a backfill that is under way: at least one field."""

    model_config = ConfigDict(json_schema_extra=never_null(minProperties=1))

    paused: Annotated[
        bool | None, Field(description="Whether it makes no more runs for now; those that go on, go on.")
    ] = None
    concurrency: Annotated[
        Concurrency | None, Field(description="How many of its runs go on at a time.", examples=[2])
    ] = None


class QuotaUse(BaseModel):
    """A limit of the organization's plan."""

    model_config = ConfigDict(json_schema_extra=never_null())

    limit: Annotated[
        int | None, Field(description="Absent where none is set, which allows no runs.", examples=[20])
    ] = None
    used: Annotated[int, Field(description="How many runs are used of it by now.", examples=[3])]


class QuotaNeeded(BaseModel):
    """What the backfill takes of the organization's quota."""

    model_config = ConfigDict(json_schema_extra=never_null())

    daily: Annotated[QuotaUse, Field(description="Of the organization's day.")]
    monthly: Annotated[QuotaUse, Field(description="Of its month.")]
    days_at_least: Annotated[
        int | None,
        Field(
            description="How many days it takes at the daily limit, today included, if nothing else runs; absent where "
            "the limit allows no runs.",
            examples=[2],
        ),
    ] = None


class BackfillBegun(BaseModel):
    """What the backfill is."""

    success: Literal[True]
    backfill_id: Annotated[str, Field(description="The backfill's id.", examples=[_ID])]
    runs: Annotated[int, Field(description="How many runs it makes: one for each tick up to now.", examples=[31])]
    first: Annotated[datetime, Field(description="The first tick that has a run.", examples=["2026-10-01T06:00:00Z"])]
    last: Annotated[datetime, Field(description="The last tick that has a run.", examples=["2026-10-31T06:00:00Z"])]
    left_out: Annotated[
        int,
        Field(
            description="Ticks of the range that are still to come, and that the backfill leaves alone.", examples=[0]
        ),
    ]
    quota: QuotaNeeded


class BackfillStatus(BaseModel):
    """How far a backfill is."""

    model_config = ConfigDict(json_schema_extra=never_null(), populate_by_name=True)

    backfill_id: Annotated[str, Field(description="The backfill's id.", examples=[_ID])]
    state: Annotated[
        State,
        Field(
            description="pending: the operator hasn't seen it yet; running; waiting: for quota, or until its "
            "organization or pipeline can be used again; paused; or, for good, completed, stopped or invalid.",
            examples=["running"],
        ),
    ]
    first: Annotated[str | None, Field(alias="from", description="As it was asked for; absent once it is stopped.")] = (
        None
    )
    last: Annotated[str | None, Field(alias="to", description="As it was asked for; absent once it is stopped.")] = None
    concurrency: Annotated[
        int | None, Field(description="How many runs go on at a time; absent once it is stopped.")
    ] = None
    total: Annotated[int | None, Field(description="How many runs it is; absent while it is pending.")] = None
    succeeded: Annotated[int, Field(description="Runs that have completed.")] = 0
    failed: Annotated[int, Field(description="Runs that have failed, or were cancelled.")] = 0
    active: Annotated[int, Field(description="Runs that go on.")] = 0
    done_until: Annotated[
        datetime | None, Field(description="The runs of all ticks up to this one have ended; absent where none has.")
    ] = None
    message: Annotated[str | None, Field(description="More about its state, where there is more to say.")] = None
    started_at: Annotated[datetime | None, Field(description="When it was begun.")] = None
    completed_at: Annotated[datetime | None, Field(description="When it ended; absent until then.")] = None
