"""Says of each tick whether it had to have a run: from edits, runs, and when an operator was there to see to it."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from sim_schedules.ticks import Ticks
from sim_schedules.timeline import NEVER
from sim_schedules.truth import RunTruth, ScheduleTruth, Version

if TYPE_CHECKING:
    from sim_schedules.world import World

# A run this much later than due was missed, for catchUp None.
# A schedule that nobody has seen yet begins so long before it is seen, at the most.
_BEFORE_FIRST_LOOK = 86_400.0
_IN_TIME = 300.0
# For so long a new process looks whether a run that forbids another has ended; it takes less in a calm world.
_PATIENCE = 20.0


class Verdict(Enum):
    """Whether a tick has a run."""

    MUST = "must"
    MAY = "may"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of one tick. `by`: a run in time is made by then; `counted`: whether it counts as missed without a run (None:
    nobody can say)."""

    verdict: Verdict
    why: str
    by: float | None = None
    counted: bool | None = True


@dataclass(frozen=True, slots=True)
class Segment:
    """From one edit of expression, zone or enabled to the next, or to the end."""

    begin: float
    end: float
    timing: tuple[str, str] | None


class Judge:
    """Of one schedule."""

    def __init__(self, world: "World", ticks: Ticks, schedule: ScheduleTruth, end: float) -> None:
        self._world = world
        self._ticks = ticks
        self._schedule = schedule
        self._grace = world.dials.grace
        self._margin = world.dials.margin
        self._end = min(end, schedule.deleted if schedule.deleted is not None else end)
        self._is_gone = schedule.deleted is not None
        self.segments = self._segments()
        # Ticks of these times were blurred by several edits in a row, or before anybody had looked at the first.
        self.blurs = self._blurs()

    def ticks(self) -> list[tuple[Segment, int]]:
        """Every tick of every enabled segment, ascending."""
        found = []
        for segment in self.segments:
            if segment.timing is not None:
                until = min(segment.end, self._end)
                found += [(segment, tick) for tick in self._ticks.between(*segment.timing, segment.begin, until)]
        return found

    def is_possible(self, tick: float) -> bool:
        """Whether a run of this time may have been made by somebody whose view was old."""
        margin = self._margin + self._reach(tick)
        near = [each for each in self.segments if each.begin - margin <= tick <= each.end + margin]
        if self.is_blurred(tick):
            near = self.segments
        return any(each.timing is not None and self._ticks.has(*each.timing, tick) for each in near)

    def is_blurred(self, tick: float) -> bool:
        """See `blurs`."""
        return any(begin <= tick <= end for begin, end in self.blurs)

    def judge(self, segment: Segment, tick: float) -> Judgement:
        """What has to become of a tick of this segment."""
        version = self._schedule.version_at(max(tick, segment.begin))
        due = tick + self._schedule.offset[version.spec.get("staggerSeconds", 0)]
        if self._is_stepped(tick, due):
            return Judgement(Verdict.MAY, "the clock was set", counted=None)
        if self.is_blurred(tick):
            return Judgement(Verdict.MAY, "edited twice before anybody looked", counted=None)
        reach = self._reach(tick) + self._margin
        if reach > self._margin and not segment.begin + reach < tick < segment.end - reach:
            return Judgement(Verdict.MAY, "edited near it, by a clock that was wrong", counted=None)
        seen = max(due - self._skew(due), segment.begin)
        first, last = self._window(seen)
        if self._world.dials.calm and tick < self._first_look() - _BEFORE_FIRST_LOOK:
            return Judgement(Verdict.NEVER, "a day or more before anybody had seen the schedule", counted=False)
        if due < self._first_look() - _BEFORE_FIRST_LOOK + self._margin:
            return Judgement(Verdict.MAY, "long before anybody had seen the schedule", counted=None)
        if (cut := self._is_cut(segment, tick, due, first, last)) is not None:
            return cut
        versions = self._schedule.over(first - self._margin, last + self._margin)
        if len({each.policy for each in versions}) > 1:
            return Judgement(Verdict.MAY, "its policies were edited at that time")
        if (refused := self._refusal(versions[-1], first, last)) is not None:
            return refused
        return self._share(segment, versions[-1], tick, due, first, last)

    def _share(
        self, segment: Segment, version: Version, tick: float, due: float, first: float, last: float
    ) -> Judgement:
        """Where nothing forbids it: in time, late, or late by a tick or more."""
        spec, skew = version.spec, self._skew(due)
        deadline, catch_up = spec.get("startingDeadlineSeconds"), spec.get("catchUp", "Latest")
        earliest, latest = first + skew - due, last + skew - due
        if deadline is not None and latest > deadline:
            known = earliest > deadline
            return Judgement(Verdict.NEVER if known else Verdict.MAY, "later than its deadline")
        after = self._after(segment, tick, due, first), self._after(segment, tick, due, last)
        if catch_up != "All":
            if after[0]:
                return Judgement(Verdict.NEVER, "a later one was due when it was seen")
            if after[1]:
                return Judgement(Verdict.MAY, "a later one may have been due when it was seen")
            if catch_up == "None" and latest > _IN_TIME:
                return Judgement(Verdict.NEVER if earliest > _IN_TIME else Verdict.MAY, "too late, catchUp None")
            return self._concurrency(segment, version, tick, due, first, last)
        limit = spec.get("catchUpLimit", 100)
        if after[1] >= limit or (after[1] and self._has_backlog(tick, first)):
            if after[0] > limit and not self._has_backlog(tick, first):
                return Judgement(Verdict.NEVER, "more than catchUpLimit came after it")
            if after[0] != limit or after[1] != limit or self._has_backlog(tick, first):
                return Judgement(Verdict.MAY, "catchUpLimit, perhaps")
            newest = self._is_caught_up(segment, version, due - tick, first, last)
            if newest is not False:
                verdict = Verdict.MAY if newest is None else Verdict.NEVER
                return Judgement(verdict, "more than catchUpLimit, with the newest")
        if after[0] or earliest > _IN_TIME:
            return self._caught_up(segment, version, tick, first)
        in_time = self._concurrency(segment, version, tick, due, first, last)
        if not after[1] and latest <= _IN_TIME:
            return in_time
        if in_time.verdict is Verdict.MUST:
            return self._caught_up(segment, version, tick, first)
        return Judgement(Verdict.MAY, f"{in_time.why}; or it was seen late, and caught up")

    def _is_caught_up(self, segment: Segment, version: Version, late: float, first: float, last: float) -> bool | None:
        """Whether the newest tick, too, is caught up: seen late, or kept from being made by a run (None: perhaps)."""
        assert segment.timing is not None, "it has ticks"
        skew = self._skew(first)
        newest = self._ticks.between(*segment.timing, segment.begin, min(first + skew - late, segment.end))[-1]
        lateness = {each + skew - newest - late > _IN_TIME for each in (first, last)}
        if len(lateness) > 1:
            return None
        if True in lateness or version.spec.get("concurrencyPolicy", "Forbid") != "Forbid":
            return True in lateness
        near = [
            run
            for run in self._schedule.runs
            if run.cause in {"tick", "catch-up"} and run.created < first and not run.over_at(first - self._margin)
        ]
        return all(not run.over_at(last + self._margin) for run in near) or None if near else False

    def _concurrency(
        self, segment: Segment, version: Version, tick: float, due: float, first: float, last: float
    ) -> Judgement:
        """A tick in time: the runs of those before it."""
        policy = version.spec.get("concurrencyPolicy", "Forbid")
        if policy != "Forbid":
            return Judgement(Verdict.MUST, "due", by=last)
        begin, end = first - self._margin, last + self._margin
        before = [run for run in self._schedule.runs if run.tick is not None and run.tick < tick]
        near = [
            run for run in before if run.created <= end and (not run.over_at(begin) or self._is_told_late(run, first))
        ]
        surely = [run for run in near if run.created < begin and not run.over_at(end)]
        is_all = version.spec.get("catchUp") == "All"
        if not near:
            return Judgement(Verdict.MUST, "due, and nothing goes on", by=None if is_all else last)
        near = [run for run in near if run.cause in {"tick", "catch-up"}]
        surely = [run for run in surely if run in near]
        if not near:
            return Judgement(Verdict.MUST, "due, and nothing of ticks goes on", by=last)
        if is_all and not self._world.dials.calm:
            return Judgement(Verdict.MAY, "a run goes on, and perhaps there is a backlog")
        if is_all:
            # Those that were seen together with the tick of the oldest run are before it.
            since = min(self._world.able.begin_before(run.tick or 0.0) for run in near)
            is_queued = self._was_queued(segment, since, tick, due - tick)
            if is_queued or not any(run.cause == "tick" for run in near) or self._is_pending(tick, end):
                return self._caught_up(segment, version, tick, first)
            if self._is_pending(tick, begin) or any(run.cause == "catch-up" for run in near):
                return Judgement(Verdict.MAY, "a run, and perhaps a backlog")
        return Judgement(Verdict.NEVER if surely else Verdict.MAY, f"{near[0].name} goes on")

    def _is_told_late(self, run: RunTruth, first: float) -> bool:
        """Whether the end of a run that was over by then was told only once a new process had lost its patience.

        Or it was over while an operator was there that couldn't hear of it, nor of anything else.
        """
        if self._world.dials.calm:
            return False
        told = min(run.ended or NEVER, run.gone or NEVER)
        heard = NEVER if run.over is None else self._world.able.first_within(run.over) + self._margin
        return told > first + _PATIENCE or heard > first

    def _was_queued(self, segment: Segment, after: float, tick: float, late: float) -> bool:
        """Whether one of the ticks between was seen so late that it is caught up, or was to be."""
        assert segment.timing is not None, "it has ticks"
        for each in self._ticks.between(*segment.timing, after, tick - 1):
            seen = max(each + late - self._skew(each + late), segment.begin)
            first, _ = self._window(seen)
            if first - seen > _IN_TIME or self._after(segment, each, each + late, first):
                return True
        return False

    def _fell_off(self, segment: Segment, version: Version, tick: float) -> bool:
        """Whether as many as may be caught up joined the backlog after it, before one of them had its turn."""
        assert segment.timing is not None, "it has ticks"
        limit, made = version.spec.get("catchUpLimit", 100), self._schedule.by_tick
        later = self._ticks.between(*segment.timing, tick, min(segment.end, self._end))
        queued = [each for each in later if (run := made.get(each)) is None or run.cause != "tick"][:limit]
        turns = [run.created for each in queued if (run := made.get(each)) is not None]
        return len(queued) == limit and (not turns or min(turns) > queued[-1] - self._margin)

    def _caught_up(self, segment: Segment, version: Version, tick: float, first: float) -> Judgement:
        """A tick of a backlog, unless something came between."""
        deadline = version.spec.get("startingDeadlineSeconds")
        made = self._schedule.by_tick.get(tick)
        if made is not None:
            late = made.created + self._skew(made.created) - tick
            if deadline is not None and late > deadline + self._grace + self._latest_offset():
                return Judgement(Verdict.NEVER, "caught up after its deadline")
            return Judgement(Verdict.MUST, "in the backlog")
        if deadline is not None and self._goes_on(tick + deadline):
            return Judgement(Verdict.NEVER, "in the backlog until its deadline")
        if self._fell_off(segment, version, tick):
            return Judgement(Verdict.NEVER, "in the backlog, until too many came after it")
        if not self._world.dials.calm and version.spec.get("catchUpLimit", 100) < 100:
            return Judgement(Verdict.MAY, "in the backlog, of which much came after it")
        if self._is_gone or self._is_disturbed(first, self._end):
            return Judgement(Verdict.NEVER, "in the backlog, which was dropped")
        if deadline is not None:
            return Judgement(Verdict.MAY, "in the backlog, with a deadline")
        return Judgement(Verdict.MUST, "in the backlog")

    def _latest_offset(self) -> float:
        return max(self._schedule.offset.values())

    def _goes_on(self, at: float) -> bool:
        """Whether runs of other ticks kept it waiting then."""
        return any(
            run.cause in {"tick", "catch-up"} and run.created < at + self._margin and not run.over_at(at - self._margin)
            for run in self._schedule.runs
        )

    def _is_disturbed(self, begin: float, end: float) -> bool:
        begin -= self._margin
        over = self._schedule.over(begin, end)
        edited = len({(each.timing, each.policy) for each in over}) > 1
        stepped = any(begin <= at <= end for at, _, _ in self._world.clock.steps)
        return edited or stepped or False in self._world.active[self._schedule.org].over(begin, end)

    def _is_pending(self, tick: float, at: float) -> bool:
        """Whether one before it was still to be caught up."""
        return any(
            run.cause == "catch-up" and run.created > at and run.tick is not None and run.tick < tick
            for run in self._schedule.runs
        )

    def _has_backlog(self, tick: float, at: float) -> bool:
        """Whether there may have been a backlog already that this one is added to."""
        return any(run.cause == "catch-up" and not run.over_at(at - self._margin) and run.tick is not None
                   and run.tick < tick and self._window(run.tick)[0] < at - self._grace - self._margin
                   for run in self._schedule.runs)  # fmt: skip

    def _after(self, segment: Segment, tick: float, due: float, at: float) -> int:
        """How many ticks after it are due at this time."""
        assert segment.timing is not None, "it has ticks"
        ticks = self._ticks.of(*segment.timing)
        until = min(at + self._skew(due) - (due - tick), segment.end)
        return max(0, bisect_right(ticks, until) - bisect_right(ticks, tick))

    def _refusal(self, version: Version, first: float, last: float) -> Judgement | None:
        if version.spec["pipeline"] != "billing":
            return Judgement(Verdict.NEVER, "no such pipeline")
        states = self._world.active[self._schedule.org].over(first - self._margin, last + self._margin)
        if states == {True}:
            return None
        # Where PostgreSQL gives no answer a run is made all the same.
        unsure = True in states or not self._world.dials.calm
        return Judgement(Verdict.MAY if unsure else Verdict.NEVER, "the organization is inactive")

    def _is_cut(self, segment: Segment, tick: float, due: float, first: float, last: float) -> Judgement | None:
        """Whether an edit, the deletion or the end came before anybody had to see to it."""
        end = min(segment.end, self._end)
        if last + self._margin < end:
            return None
        is_over = end == self._end
        if is_over and not self._is_gone:
            return Judgement(Verdict.MAY, "it was due at the end", counted=None)
        # As it counts from the operator's clock.
        edge = self._margin + self._reach(tick)
        counted = True if end - due > edge else None
        if first > end + edge:
            return Judgement(Verdict.NEVER, "edited or deleted before it was seen", counted=counted)
        if self._world.dials.calm and due > end:
            return Judgement(Verdict.NEVER, "edited or deleted before it was due", counted=None)
        return Judgement(Verdict.MAY, "edited or deleted when it was seen", counted=counted)

    def _window(self, seen: float) -> tuple[float, float]:
        """From when on it may have been seen to, and until when it must have been."""
        after_kill = 0.0 if self._world.dials.calm else 60.0
        first = self._world.alive.first_within(seen, longer_by=after_kill)
        return first, self._world.able.first_within(seen, lasting=self._grace) + self._grace

    def _skew(self, at: float) -> float:
        skew = 0.0
        for step, _, after in self._world.clock.steps:
            if step + max(0.0, skew) <= at:
                skew = after
        return skew

    def _reach(self, at: float) -> float:
        """By how much a clock was wrong in the days around."""
        steps = self._world.clock.steps
        return max(
            (max(abs(before), abs(after)) for step, before, after in steps if step - 200_000 <= at),
            default=0.0,
        )

    def _is_stepped(self, tick: float, due: float) -> bool:
        """Whether a clock passed over it, or showed it twice, or it was unseen for some time and then the clock set."""
        margin = self._margin + self._grace
        for step, before, after in self._world.clock.steps:
            begin = step + min(before, after, 0.0) - margin
            end = step + max(before, after, 0.0) + margin
            # Nobody may have seen to anything for some time before, nor for some time after.
            begin = min(begin, self._world.able.begin_before(step) + min(before, after) - margin)
            seen = self._world.able.first_within(step, lasting=self._grace)
            end = max(end, (seen if seen != NEVER else step) + max(before, after) + margin)
            if tick <= end and due >= begin:
                return True
        return False

    def _segments(self) -> list[Segment]:
        versions = self._schedule.versions
        begins = [
            (each.at, each.timing)
            for index, each in enumerate(versions)
            if index == 0 or each.timing != versions[index - 1].timing
        ]
        ends = [*(at for at, _ in begins[1:]), NEVER]
        return [Segment(at, end, timing) for (at, timing), end in zip(begins, ends, strict=True)]

    def _first_look(self) -> float:
        """When an operator saw the schedule for the first time."""
        return self._world.able.first_within(self._schedule.created, lasting=self._grace)

    def _blurs(self) -> list[tuple[float, float]]:
        """Where there were two changes and one look: from before the first that nobody has seen to the last."""
        touched, found = self._schedule.touched, []
        able, margin = self._world.able, self._margin
        for index, first in enumerate(touched[:-1]):
            seen = able.first_within(first, lasting=self._grace) + self._grace + margin
            last = touched[bisect_left(touched, min(seen, NEVER)) - 1] if seen > touched[index + 1] else first
            if last > first:
                begin = able.begin_before(first) - margin - self._grace - self._reach(first)
                found.append((begin, last + margin + self._reach(last)))
        return found


__all__ = ["Judge", "Judgement", "RunTruth", "Verdict"]
