"""What every part of a schedule's decision asks about its runs and its ticks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, lru_cache

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.cron import check_cron_expression, check_time_zone
from pipeline_core.schedules.decision import Known, Make, Missed, Needs
from pipeline_core.schedules.ids import tick_run_id, tick_run_name
from pipeline_core.schedules.observed import CatchUp, Cause, MissedReason, Schedule, ScheduledRun, ScheduleSpec
from pipeline_core.schedules.stagger import lateness
from pipeline_core.schedules.timetable import Timetable
from pipeline_core.wording import shorten

# A year of minutes is half a million ticks: no more than these are told apart.
MOST_TICKS = 1_001
# A tick that is this late may have had its run from an earlier process, or one that died before it told.
PROMPT = timedelta(seconds=10)
# A tick that is later than this was missed, whether it is caught up or not.
IN_TIME = timedelta(minutes=5)
# The status tells of a run seconds after it is made. So what an earlier process made and didn't tell of is among the
# first ticks after the fence, or, if it was there for a moment between two outages, among the newest.
_FEW = 12
LOWEST_PRIORITY = -1_000
NO_NEEDS = Needs()
DISABLED = "disabled"
_LONGEST_OFFSET = timedelta(hours=1)  # the schema's
_TIMETABLES = 10_000


@dataclass(frozen=True)
class Facts:
    """A schedule, its runs and what was looked up, at `now`. `problem` is why no run of it could start."""

    schedule: Schedule
    runs: Sequence[ScheduledRun]
    now: datetime
    known: Known
    timetable: Timetable | None
    problem: tuple[str, str] | None

    @property
    def spec(self) -> ScheduleSpec:
        return self.schedule.spec

    @cached_property
    def second(self) -> datetime:
        """`now` as a status holds it."""
        return self.now.replace(microsecond=0)

    @cached_property
    def offset(self) -> timedelta:
        return lateness(self.schedule)

    @cached_property
    def by_id(self) -> Mapping[str, ScheduledRun]:
        return {run.run_id: run for run in self.runs}

    @cached_property
    def base_priority(self) -> int:
        return int(self.spec.run_template.get("priority", 0))

    @property
    def refusal(self) -> tuple[MissedReason, str] | None:
        """Why no run may be made now, as far as it was looked up."""
        if self.problem is not None:
            return MissedReason.INVALID, self.problem[1]
        return (MissedReason.ORGANIZATION_INACTIVE, self.known.inactive) if self.known.inactive else None

    def due(self, tick: datetime) -> datetime:
        return tick + self.offset

    @cached_property
    def _promised_offset(self) -> timedelta:
        """By how much the status says that a tick not seen to is due after it: more than now, if `staggerSeconds` was
        lowered since.

        It is no more than it ever was, whoever edits what: an edit's own time would make old ticks new.
        """
        status = self.schedule.status
        if self.timetable is None or status.handled_until is None or status.next_run_at is None:
            return self.offset
        tick = self.timetable.next(status.handled_until)
        if tick is None or status.observed_schedule != observed_schedule(self.spec):
            return self.offset
        return max(self.offset, min(status.next_run_at - tick, _LONGEST_OFFSET))

    def lateness(self, tick: datetime) -> timedelta:
        """How late it is; where its offset was made smaller while it waited for that, after what was said before."""
        return self.now - (tick + self._promised_offset)

    def is_expired(self, tick: datetime) -> bool:
        """Whether it is later than `startingDeadlineSeconds` allows."""
        deadline = self.spec.starting_deadline
        return deadline is not None and self.lateness(tick) > deadline

    def tick_id(self, tick: datetime) -> str:
        return tick_run_id(self.schedule.uid, tick)

    def unended(self, *causes: Cause) -> list[ScheduledRun]:
        return [run for run in self.runs if run.cause in causes and not run.is_over]

    def phase(self, run_id: str) -> Phase | None:
        """What the object says of the run, else its record; None if neither is known."""
        run = self.by_id.get(run_id)
        return self.known.outcomes.get(run_id) if run is None else run.phase or Phase.PENDING

    def is_orphan(self, run_id: str) -> bool:
        """Whether a run has no object, though its record hasn't ended: its object was deleted just now."""
        phase = self.phase(run_id)
        return run_id not in self.by_id and phase is not None and not phase.is_final

    def is_made(self, tick: datetime) -> bool:
        return self.phase(self.tick_id(tick)) is not None

    def is_made_live(self, tick: datetime) -> bool:
        """Whether its run was made in time: then it is none of the backlog's."""
        run = self.by_id.get(self.tick_id(tick))
        return run is not None and run.cause is Cause.TICK

    def unmade(self, ticks: Iterable[datetime]) -> list[datetime]:
        return [tick for tick in ticks if not self.is_made(tick)]

    def unsure(self, run_ids: Iterable[str]) -> tuple[str, ...]:
        """Those that have no object, and whose record wasn't looked up."""
        return tuple(key for key in run_ids if key not in self.by_id and key not in self.known.outcomes)

    def unsure_ticks(self, ticks: Iterable[datetime]) -> tuple[str, ...]:
        return self.unsure(map(self.tick_id, ticks))

    def doubtful(self, ticks: Sequence[datetime]) -> list[datetime]:
        """Those of ticks after the fence, ascending, that an earlier process may have made, or that may be made now."""
        newest = _FEW + (self.spec.catch_up_limit if self.spec.catch_up is CatchUp.ALL else 0)
        begins = max(_FEW, len(ticks) - newest)
        last_run_at = self.schedule.status.last_run_at
        # By a clock that was set back they come again.
        again = [tick for tick in ticks[_FEW:begins] if last_run_at is not None and tick <= last_run_at]
        return [*ticks[:_FEW], *again, *ticks[begins:]]

    def make(self, tick: datetime, cause: Cause, below: int = 0) -> Make:
        """The run of a tick; `below` is by how much its priority is lower than that of the schedule's other runs."""
        name = tick_run_name(self.schedule.name, tick)
        return Make(self.tick_id(tick), name, cause, tick, self.due(tick), self.priority(below))

    def priority(self, below: int = 0) -> int:
        return max(self.base_priority - below, LOWEST_PRIORITY)


def observed_schedule(spec: ScheduleSpec) -> str:
    """What ticks are counted from, as the status keeps it."""
    return f"{' '.join(spec.cron_expression.split())} {spec.time_zone}" if spec.enabled else DISABLED


def gather(schedule: Schedule, runs: Sequence[ScheduledRun], now: datetime, known: Known) -> Facts:
    """Read the schedule's expression and zone beside what was looked up; total."""
    spec = schedule.spec
    timetable, problem = read_timetable(spec.cron_expression, spec.time_zone)
    return Facts(schedule, runs, now, known, timetable, problem or known.problem)


@lru_cache(_TIMETABLES)
def read_timetable(expression: str, time_zone: str) -> tuple[Timetable | None, tuple[str, str] | None]:
    """The timetable, or why there is none: a reason and a message."""
    try:
        expression = check_cron_expression(expression)
    except ValueError as error:
        return None, ("InvalidCron", f"spec.cronExpression: {shorten(expression)}, expected {error}")
    try:
        check_time_zone(time_zone)
    except ValueError as error:
        return None, ("InvalidTimeZone", f"spec.timeZone: {shorten(time_zone)}, expected {error}")
    try:
        return Timetable(expression, time_zone), None
    except ValueError as error:
        return None, ("InvalidCron", f"spec.cronExpression: {shorten(expression)}, expected {error}")


def tell(reason: MissedReason, ticks: Sequence[datetime], message: str) -> list[Missed]:
    """What is said of these ticks, which have no run; nothing of none."""
    return [Missed(reason, len(ticks), max(ticks), message)] if ticks else []


def merge(*needs: Needs) -> Needs:
    """All of them, to be looked up at once."""
    return Needs(
        any(need.organization for need in needs),
        tuple(dict.fromkeys(run_id for need in needs for run_id in need.outcomes)),
        any(need.room for need in needs),
    )
