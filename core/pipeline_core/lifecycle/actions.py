"""What can be done about a run, and the decision that says what, when, and on which facts."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline_core.lifecycle.observed import Observed
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason

# Progress alone is written to the object at most this often.
PROGRESS_INTERVAL = timedelta(seconds=5)
# A safety net for an event that never came; the watch is what normally wakes a run.
RECHECK = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a run may stay in states that Kubernetes itself would wait in for ever.

    `schedule`: its Job is refused, its Job has no pod, or no node takes the pod. `start`: a pod on a node whose
    container doesn't start (image, config, volume), or a Job that somebody has suspended.
    """

    schedule: timedelta = timedelta(minutes=15)
    start: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Start:
    """Admit the run, write its record, create its Job."""


@dataclass(frozen=True, slots=True)
class Report:
    """Write where the run stands."""

    phase: Phase
    reason: Reason
    message: str
    started_at: datetime | None
    progress: int
    records: int | None
    attempts: int


@dataclass(frozen=True, slots=True)
class StopJob:
    """Delete the run's Job and its pods."""

    message: str


@dataclass(frozen=True, slots=True)
class StopPods:
    """Delete the run's pods that go on without a Job."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Write the run's final record, then its status."""

    phase: Phase
    reason: Reason
    message: str
    started_at: datetime | None = None
    completed_at: datetime | None = None
    records: int | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Expire:
    """Delete the object: its time to live is over."""


@dataclass(frozen=True, slots=True)
class Release:
    """Give the slot back that the run, which is over, has held until its last pod stopped."""


Action = Start | Report | StopJob | StopPods | Finish | Expire | Release


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now (None: nothing) and when to look again without being woken (None: never).

    `explain` is the UID of an object whose newest warning would tell why the run waits (`Observed.words`).
    """

    action: Action | None = None
    look_again_at: datetime | None = None
    needs_live: bool = False
    explain: str | None = None


def report(observed: Observed, phase: Phase, reason: Reason, message: str, *, on_its_way: bool = False) -> Report:
    """A report of where the run stands, with all else that is known of it; `on_its_way` where it waits as all do."""
    before = observed.run.status.phase
    if before is not None and before.rank > phase.rank:
        phase = before  # a retry starts again from the beginning, but a phase never goes back
    progress = observed.progress
    # That the first pod has been made is no news by itself.
    told = not on_its_way or observed.started_at is not None or observed.attempts > 1
    return Report(
        phase,
        reason,
        message,
        observed.started_at,
        max(observed.run.status.progress, progress.percent if progress else 0),
        progress.records if progress else None,
        observed.attempts if told else 0,
    )


def seconds(delta: timedelta) -> int:
    """Whole seconds, as messages tell them."""
    return int(delta.total_seconds())
