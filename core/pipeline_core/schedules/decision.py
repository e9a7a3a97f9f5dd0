"""What is to be done about a schedule now, and what has to be known before that can be said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.observed import Cause, MissedReason, ScheduleStatus


@dataclass(frozen=True, slots=True)
class Make:
    """Make the PipelineRun of this id and name, unless it is there. `due_at` is when it was due."""

    run_id: str
    name: str
    cause: Cause
    logical_time: datetime
    due_at: datetime
    priority: int
    backfill_id: str | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask the run to be cancelled (`concurrencyPolicy: Replace`)."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Prune:
    """Delete the object of a settled run, of which the history keeps no more."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Missed:
    """Ticks that have no run for this reason; `newest` is the last of them."""

    reason: MissedReason
    count: int
    newest: datetime
    message: str


@dataclass(frozen=True, slots=True)
class Room:
    """How many runs the organization's quota leaves for catching up and backfills now, beside its live ticks.

    `message` and `again_at` say why there is none, and when to ask again.
    """

    runs: int
    message: str = ""
    again_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What was looked up, beside the object and its runs.

    `problem` is why no run of it could start, whatever the organization (reason, message): a pipeline or parameter that
    isn't there. `inactive` is why its organization may run nothing, "" where it may or nobody can say, None where it
    wasn't looked up. `outcomes` has, by run id, the phase that the record of a run says, None where there is no record;
    a run that isn't in it wasn't looked up. `room` None: it wasn't looked up.
    `is_first_look` is whether this process decides about the schedule for the first time: then a late tick may have had
    its run already, whose object is gone. `is_store_away` is whether PostgreSQL couldn't be asked for outcomes or room:
    then nothing is caught up, no backfill goes on and no trigger is pulled; what a tick needs is needed all the same.
    """

    problem: tuple[str, str] | None = None
    inactive: str | None = None
    outcomes: Mapping[str, Phase | None] = field(default_factory=dict)
    room: Room | None = None
    is_first_look: bool = False
    is_store_away: bool = False


@dataclass(frozen=True, slots=True)
class Needs:
    """What has to be looked up before anything can be decided; the decision is asked for again then."""

    organization: bool = False
    outcomes: tuple[str, ...] = ()
    room: bool = False

    def __bool__(self) -> bool:
        return self.organization or bool(self.outcomes) or self.room


@dataclass(frozen=True, slots=True)
class Decision:
    """In this order: makes, cancels, the status, prunes. With `needs`, nothing else is in it.

    `look_again_at` is when time alone brings something new; None: never.
    """

    status: ScheduleStatus
    makes: Sequence[Make] = ()
    cancels: Sequence[Cancel] = ()
    prunes: Sequence[Prune] = ()
    missed: Sequence[Missed] = ()
    look_again_at: datetime | None = None
    needs: Needs = Needs()
