"""The world around one schedule, in memory: object, runs, records, a clock; and who carries decisions out.

Runs are made, end and lose their objects as they do in a cluster. That no run is ever made twice is checked at each
creation, whatever else a test looks at.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.decide import decide
from pipeline_core.schedules.decision import Decision, Known, Make, Missed, Needs, Room
from pipeline_core.schedules.observed import (
    CatchUp,
    Cause,
    ConcurrencyPolicy,
    MissedReason,
    Schedule,
    ScheduledRun,
    ScheduleSpec,
)

T0 = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
UID = "6f1c0f9e-7f52-4a57-9d0e-3f1f1f6f0a01"
SPEC = ScheduleSpec("acme_corp", "gcp", "cost", "billing", "0 * * * *")
ALLOW, FORBID, REPLACE = ConcurrencyPolicy
NONE, LATEST, ALL = CatchUp
# As often as the operator asks for a decision again that has to have something looked up.
_ROUNDS = 8


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def new_schedule(created_at: datetime = T0, **fields: object) -> Schedule:
    spec = replace(SPEC, **fields)  # type: ignore[arg-type]
    return Schedule("default", "nightly", UID, "1", 1, created_at, created_at, spec)


class AwayError(Exception):
    """A tick can't be decided about before PostgreSQL is back."""


@dataclass
class World:
    """`made` are the makes carried out, in order; `records` has every run there ever was."""

    schedule: Schedule
    now: datetime = T0
    runs: dict[str, ScheduledRun] = field(default_factory=dict)
    records: dict[str, Phase] = field(default_factory=dict)
    made: list[Make] = field(default_factory=list)
    missed: Counter[MissedReason] = field(default_factory=Counter)
    inactive: str = ""
    problem: tuple[str, str] | None = None
    slots: int = 1_000
    is_first_look: bool = True
    is_store_away: bool = False
    asked: list[Needs] = field(default_factory=list)

    # What is decided, and carried out

    def ask(self) -> Decision:
        """The decision, with all looked up that it needs."""
        known = Known(self.problem, is_first_look=self.is_first_look, is_store_away=self.is_store_away)
        for _ in range(_ROUNDS):
            decision = decide(self.schedule, tuple(self.runs.values()), self.now, known)
            if not decision.needs:
                return decision
            assert [*decision.makes, *decision.cancels, *decision.prunes, *decision.missed] == []
            known = self._look_up(known, decision.needs)
        raise AssertionError("it never has what it needs")

    def look(self, crash_after: int | None = None) -> Decision:
        """One pass; it dies after so many steps, where a step is a make, a cancel, the status or a deletion."""
        decision = self.ask()
        steps: list[Callable[[], object]] = [
            *[lambda make=make: self._make(make) for make in decision.makes],
            *[lambda cancel=cancel: self._cancel(cancel.name) for cancel in decision.cancels],
            lambda: self._write(decision),
            *[lambda prune=prune: self.runs.pop(prune.name) for prune in decision.prunes],
        ]
        for step in steps[:crash_after]:
            step()
        self.is_first_look = crash_after is not None and crash_after < len(steps)
        return decision

    def run_until(self, end: datetime) -> None:
        """An operator that is always there: it looks whenever the last decision told it to."""
        decision = self.look()
        while decision.look_again_at is not None and decision.look_again_at <= end:
            assert decision.look_again_at > self.now
            self.now = decision.look_again_at
            decision = self.look()
        self.now = end

    # What happens

    def edit(self, **fields: object) -> None:
        spec = replace(self.schedule.spec, **fields)  # type: ignore[arg-type]
        self.schedule = replace(
            self.schedule,
            spec=spec,
            generation=self.schedule.generation + 1,
            edited_at=self.now.replace(microsecond=0),
        )

    def annotate(self, token: str) -> None:
        self.schedule = replace(self.schedule, trigger=token, edited_at=self.now.replace(microsecond=0))

    def end(self, name: str, phase: Phase = Phase.COMPLETED) -> None:
        run = replace(self.runs[name], phase=phase, completed_at=self.now.replace(microsecond=0), is_settled=True)
        self.runs[name], self.records[run.run_id] = run, phase

    def end_all(self, phase: Phase = Phase.COMPLETED) -> None:
        for run in self.going_on():
            self.end(run.name, phase)

    # What there is

    def going_on(self, *causes: Cause) -> list[ScheduledRun]:
        return [run for run in self.runs.values() if not run.is_over and (not causes or run.cause in causes)]

    def ticks(self, *causes: Cause) -> list[datetime]:
        """The ticks that runs were made of, in the order they were made."""
        return [make.logical_time for make in self.made if make.cause in (causes or (Cause.TICK, Cause.CATCH_UP))]

    def _look_up(self, known: Known, needs: Needs) -> Known:
        self.asked.append(needs)
        if self.is_store_away and (needs.outcomes or needs.room):
            raise AwayError
        assert set(needs.outcomes).isdisjoint(known.outcomes), "asked twice"
        return replace(
            known,
            inactive=self.inactive if needs.organization else known.inactive,
            outcomes={**known.outcomes, **{run_id: self.records.get(run_id) for run_id in needs.outcomes}},
            room=self._room() if needs.room else known.room,
        )

    def _room(self) -> Room:
        left = self.slots - len(self.going_on(Cause.CATCH_UP, Cause.BACKFILL))
        return Room(left) if left > 0 else Room(0, "Daily pipeline limit (20) reached", self.now + hours(1))

    def _make(self, make: Make) -> None:
        existing = self.runs.get(make.name)
        assert existing is None or existing.run_id != make.run_id, f"{make.name} is there and was made again"
        assert make.run_id not in self.records, f"{make.name} was made twice"
        tick = None if make.cause is Cause.TRIGGER else make.logical_time
        created_at = self.now.replace(microsecond=0)
        uid = f"uid-{len(self.records)}"
        run = ScheduledRun(make.run_id, make.name, uid, make.cause, created_at, tick, make.backfill_id, Phase.PENDING)
        self.runs[make.name], self.records[make.run_id] = run, Phase.PENDING
        self.made.append(make)

    def _cancel(self, name: str) -> None:
        self.runs[name] = replace(self.runs[name], is_cancelled=True)

    def _write(self, decision: Decision) -> None:
        self._count(decision.missed)
        self.schedule = replace(self.schedule, status=decision.status)

    def _count(self, missed: Sequence[Missed]) -> None:
        for each in missed:
            self.missed[each.reason] += each.count


def world(**fields: object) -> World:
    """A schedule that was looked at when it was made, at 03:00; hourly unless told otherwise."""
    made = World(new_schedule(**fields))
    made.look()
    return made


def later(made: World, after: timedelta) -> World:
    """The same, looked at so long after T0."""
    made.now = T0 + after
    made.look()
    return made
