"""What one pass has tried in vain, and the status that may be written all the same: of what was done, and no more."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.schedules.decision import Decision, Make, Missed, Room
from pipeline_core.schedules.observed import Cause, LastMissed, ScheduleStatus
from pipeline_operator.schedules.manifest import FOR_THE_PAST

# The queue's backoff brings the schedule back before this.
_LATEST = timedelta(minutes=1)
_INSTANT = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Failure:
    """The first call of a pass that was refused or not answered, and what it was about."""

    what: str
    error: KubeError | KubeUnavailableError


@dataclass(slots=True)
class Attempt:
    """One pass. `room` is what is left for the past once a run couldn't be made: none, in the API server's words."""

    failure: Failure | None = None
    # Runs that can't be made for now, by their ids.
    unmade: set[str] = field(default_factory=set)
    room: Room | None = None
    is_uncancelled: bool = False
    is_store_away: bool = False

    def failed_to_make(self, make: Make, error: KubeError | KubeUnavailableError, now: datetime) -> None:
        """The run can't be made for now: nor can any for the past."""
        self.unmade.add(make.run_id)
        self.room = self.room or Room(0, str(error), now + _LATEST)
        self.failure = self.failure or Failure(f"The run {make.name} can't be made for now", error)

    def failed_to_cancel(self, name: str, error: KubeError | KubeUnavailableError) -> None:
        """The run of an earlier tick goes on for now."""
        self.is_uncancelled = True
        self.failure = self.failure or Failure(f"The run {name} can't be cancelled for now", error)

    def left(self, makes: Sequence[Make]) -> Iterator[Make]:
        """Those to be made yet, those that somebody waits for first; looked at anew after each of them."""
        for make in sorted(makes, key=lambda each: each.cause in FOR_THE_PAST):
            if make.run_id not in self.unmade and not (self.room and make.cause in FOR_THE_PAST):
                yield make

    def may_cancel(self, decision: Decision) -> bool:
        """Whether the run is there that the earlier ones make way for."""
        is_there = all(make.run_id not in self.unmade for make in decision.makes if make.cause is Cause.TICK)
        return is_there and not self.is_uncancelled

    def status(self, before: ScheduleStatus, decision: Decision, not_made: Sequence[Missed]) -> ScheduleStatus:
        """The status that was decided on, where these of its runs can't be made, ever, and others can't for now.

        A tick without its run, or whose run has left an earlier one going on, isn't seen to yet; all before it are.
        So a later pass, of whichever process, finds that tick alone, and its run if it is there.
        """
        status = decision.status
        unmade = [make for make in decision.makes if make.run_id in self.unmade]
        if not_made:
            newest = max(not_made, key=lambda each: each.newest)
            status = replace(
                status,
                missed=status.missed + sum(each.count for each in not_made),
                last_missed=LastMissed(newest.newest, newest.reason, newest.message),
            )
        if unmade or not_made:
            is_any = len(not_made) + len(unmade) < len(decision.makes)
            last_run_at = status.last_run_at if is_any else before.last_run_at
            status = replace(status, last_run_at=last_run_at, active=status.active - len(unmade))
        if any(make.cause is Cause.TRIGGER for make in unmade):
            status = replace(status, handled_trigger=before.handled_trigger)
        is_open = any(make.cause is Cause.TICK for make in unmade) or (self.is_uncancelled and bool(decision.cancels))
        if is_open and status.handled_until is not None:
            status = replace(status, handled_until=status.handled_until - _INSTANT)
        return status
