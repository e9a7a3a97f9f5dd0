"""What is known of one schedule at one moment: its object and its runs, as plain values.

All times are aware and in UTC. A *tick* is a time that the cron expression names, a whole minute; its run is *due* a
fixed offset later (`staggerSeconds`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from pipeline_core.lifecycle.phases import Phase


class ConcurrencyPolicy(StrEnum):
    """What a tick means while the run of an earlier one goes on."""

    ALLOW = "Allow"
    FORBID = "Forbid"
    REPLACE = "Replace"


class CatchUp(StrEnum):
    """What missed ticks mean."""

    NONE = "None"
    LATEST = "Latest"
    ALL = "All"


class Cause(StrEnum):
    """Why a run of a schedule was made: the value of its annotation `pipelines.dev/cause`.

    A run without one was asked for by somebody: it counts as triggered.
    """

    TICK = "tick"
    CATCH_UP = "catch-up"
    BACKFILL = "backfill"
    TRIGGER = "trigger"


class MissedReason(StrEnum):
    """Why a tick has no run: a metric's label, and a word in the status."""

    STILL_RUNNING = "StillRunning"  # Forbid
    DEADLINE = "DeadlineExceeded"  # startingDeadlineSeconds
    NOT_CAUGHT_UP = "NotCaughtUp"  # catchUp None, or Latest and it wasn't the latest
    CATCH_UP_LIMIT = "CatchUpLimit"  # catchUp All, and older than catchUpLimit ticks
    ORGANIZATION_INACTIVE = "OrganizationInactive"
    INVALID = "Invalid"  # pipeline, parameters
    EDITED = "Edited"  # due before an edit of its times or enabled, or before edits that nobody saw; not made by then
    NAME_TAKEN = "NameTaken"  # another object has the run's name
    REFUSED = "Refused"  # the API server refuses the run for good (a policy)


@dataclass(frozen=True, slots=True)
class BackfillSpec:
    """`spec.backfill`. `first` and `last` are the texts of `from` and `to`: dates or times, see `backfill`."""

    id: str
    first: str
    last: str
    concurrency: int = 1
    paused: bool = False


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """What is asked for; defaults are the CRD's."""

    org: str
    provider: str
    domain: str
    pipeline: str
    cron_expression: str
    time_zone: str = "Etc/UTC"
    enabled: bool = True
    parameters: Mapping[str, int | str] = field(default_factory=dict)
    concurrency_policy: ConcurrencyPolicy = ConcurrencyPolicy.FORBID
    starting_deadline: timedelta | None = None
    catch_up: CatchUp = CatchUp.LATEST
    catch_up_limit: int = 100
    stagger_seconds: int = 0
    keep_successful: int = 3
    keep_failed: int = 3
    # spec.runTemplate as it stands: further fields of the runs' spec.
    run_template: Mapping[str, int | str] = field(default_factory=dict)
    backfill: BackfillSpec | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """Missed ticks that `catchUp: All` still makes runs for, in order: those in (after, until]."""

    after: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """`status.backfill`: every tick up to `done_until` has ended and is counted, in the same write.

    `covers` is what was counted from: `<from>/<to> <cron> <zone>`.
    """

    id: str
    state: str  # Running | Waiting | Paused | Completed | Stopped | Invalid
    total: int
    succeeded: int = 0
    failed: int = 0
    active: int = 0
    done_until: datetime | None = None
    message: str = ""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    covers: str = ""


@dataclass(frozen=True, slots=True)
class LastMissed:
    """The newest tick without a run, and why."""

    tick: datetime
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ConditionValue:
    """One condition as it is to be: `type` Ready, Suspended or Stalled; the shell adds generation and time."""

    type: str
    is_true: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """What the status says, or is to say.

    `handled_until`: each tick up to it has its run, or is missed for good (the fence). `observed_schedule` is what
    ticks were counted from: `<cron> <zone>`, or `disabled`. `handled_trigger` is the last value of the annotation
    `pipelines.dev/trigger` that was seen to. `missed` counts ticks.
    """

    observed_generation: int = 0
    observed_schedule: str | None = None
    handled_until: datetime | None = None
    last_run_at: datetime | None = None
    next_run_at: datetime | None = None
    active: int = 0
    last_outcome: Phase | None = None
    last_ended_at: datetime | None = None
    missed: int = 0
    last_missed: LastMissed | None = None
    backlog: Backlog | None = None
    backfill: BackfillProgress | None = None
    handled_trigger: str | None = None
    conditions: tuple[ConditionValue, ...] = ()


@dataclass(frozen=True, slots=True)
class Schedule:
    """A PipelineSchedule. `edited_at` is when its spec or metadata was changed last, by anyone, to the second.

    `trigger` is the annotation `pipelines.dev/trigger`.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    created_at: datetime
    edited_at: datetime
    spec: ScheduleSpec
    status: ScheduleStatus = ScheduleStatus()
    deleting: bool = False
    trigger: str | None = None


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """A PipelineRun of the schedule that has an object. `tick` is None where it was triggered.

    `is_settled` is whether it is over and holds no slot of its organization: nothing is lost with its object.
    """

    run_id: str
    name: str
    uid: str
    cause: Cause
    created_at: datetime
    tick: datetime | None = None
    backfill_id: str | None = None
    phase: Phase | None = None
    completed_at: datetime | None = None
    is_cancelled: bool = False  # asked to be
    is_settled: bool = False

    @property
    def is_over(self) -> bool:
        """Whether its status tells its end."""
        return self.phase is not None and self.phase.is_final
