"""At the end, when all is calm: each schedule's runs against its ticks, and its status against both."""

from datetime import timedelta
from typing import TYPE_CHECKING

from pipeline_core import identifiers
from pipeline_core.kube.api import Json
from sim_schedules.clock import parse
from sim_schedules.judge import Judge, Judgement, Verdict
from sim_schedules.ticks import Ticks
from sim_schedules.truth import RunTruth, ScheduleTruth, Version

if TYPE_CHECKING:
    from sim_schedules.world import World

_DAYS = timedelta(days=45)
# How late the mirror may be: it looks as seldom as the simulation has it look.
_MIRROR_LATE = 60.0
# What a run in time may take from when it was surely seen to.
_LATE = 30.0


class Verdicts:
    """Counts what was judged, and notes what is wrong with the oracle."""

    def __init__(self, world: "World", end: float) -> None:
        self._world = world
        self._end = end
        loop = world.loop
        first, last = loop.beginning - _DAYS, loop.moment(end) + timedelta(days=70)
        self._ticks = Ticks(loop.beginning, first, last)
        self.counts = dict.fromkeys(Verdict, 0)

    def check(self) -> None:
        """All schedules that ever were."""
        for schedule in self._world.truth.schedules.values():
            self._check_ticks(schedule)
            self._check_triggers(schedule)
            self._check_backfills(schedule)
        self._check_mirror()

    def _check_ticks(self, schedule: ScheduleTruth) -> None:
        judge = Judge(self._world, self._ticks, schedule, self._end)
        least = most = 0
        accounted = set()
        for segment, tick in judge.ticks():
            accounted.add(tick)
            judged = judge.judge(segment, tick)
            self.counts[judged.verdict] += 1
            run = schedule.by_tick.get(tick)
            self._compare(schedule, tick, judged, run)
            if run is None:
                least += judged.counted is True
                most += judged.counted is not False
            elif schedule.version_at(tick).spec.get("concurrencyPolicy", "Forbid") == "Forbid":
                # One of two operators may have thought a run forbids it, and the other have known of its end.
                begin, end = run.created - self._world.dials.grace, run.created + self._world.dials.grace
                most += self._world.doubled.first_within(begin) <= end
        for tick, run in schedule.by_tick.items():
            if tick not in accounted and not judge.is_possible(tick):
                self._violated("no run without a tick", schedule, f"{run.name} was made at {self._at(run.created)}")
        if schedule.deleted is None and not judge.blurs and not self._world.clock.steps:
            missed = self._status(schedule).get("missed", 0)
            if not least <= missed <= most:
                self._violated("every tick is made or missed", schedule, f"missed {missed}, not {least} to {most}")

    def _compare(self, schedule: ScheduleTruth, tick: float, judged: Judgement, run: RunTruth | None) -> None:
        at = self._at(tick)
        if self._world.dials.calm and judged.verdict is Verdict.MAY and judged.counted is not None:
            self._world.note("oracle", schedule.key[2], f"{at} may have a run: {judged.why}")
        if judged.verdict is Verdict.MUST and run is None:
            self._violated("every tick has its run", schedule, f"{at} has none: {judged.why}")
        if judged.verdict is Verdict.NEVER and run is not None:
            self._violated("no tick that was missed has a run", schedule, f"{run.name}: {judged.why}")
        if judged.verdict is Verdict.MUST and run is not None and judged.by is not None:
            late = run.created - judged.by
            if late > _LATE or run.cause != "tick":
                self._violated(
                    "in time", schedule, f"{run.name} ({run.cause}) came {late:.0f} s too late: {judged.why}"
                )

    def _check_triggers(self, schedule: ScheduleTruth) -> None:
        """Each token once, unless nobody saw it before the next, or it was there when the schedule was made."""
        world, grace, margin = self._world, self._world.dials.grace, self._world.dials.margin
        runs = [run for run in schedule.runs if run.cause == "trigger"]
        must = may = 0
        first_seen = world.able.first_within(schedule.created, lasting=grace) + grace
        for index, (at, _token) in enumerate(schedule.tokens):
            seen = world.able.first_within(at, lasting=grace) + grace
            later = [each for each, _ in schedule.tokens[index + 1 :]]
            end = min([self._end, *later, *([schedule.deleted] if schedule.deleted is not None else [])])
            over = schedule.over(at - margin, seen + margin)
            valid = {version.spec["pipeline"] == "billing" for version in over}
            active = world.active[schedule.org].over(at - margin, seen + margin)
            first = world.alive.first_within(at)
            if at <= schedule.created + 1 or (valid == {False}):
                continue
            if not active & {True} and world.dials.calm:
                continue
            may += 1
            is_sure = valid == {True} and active == {True} and at > first_seen + margin
            must += is_sure and seen + margin < end and first < end
        if not must <= len(runs) <= may:
            self._violated("each trigger once", schedule, f"{len(runs)} runs, not {must} to {may}")

    def _check_backfills(self, schedule: ScheduleTruth) -> None:
        """Each interval of one that wasn't stopped; of one that was, none outside."""
        ids = {version.spec["backfill"]["id"] for version in schedule.versions if version.spec.get("backfill")}
        for backfill in ids:
            versions = [each for each in schedule.versions if (each.spec.get("backfill") or {}).get("id") == backfill]
            self._check_backfill(schedule, backfill, versions)

    def _check_backfill(self, schedule: ScheduleTruth, backfill: str, versions: list[Version]) -> None:
        spec = versions[0].spec
        cron, zone = spec["cronExpression"], spec.get("timeZone", "Etc/UTC")
        wanted = set(self._ticks.of_range(cron, zone, spec["backfill"]["from"], spec["backfill"]["to"]))
        runs = [run for run in schedule.runs if run.backfill == backfill]
        made = {run.tick for run in runs}
        if extra := made - wanted:
            self._violated("a backfill of its intervals", schedule, f"{backfill} has {len(extra)} others")
        if len(made) != len(runs):
            self._violated("a backfill makes each once", schedule, f"{backfill}: {len(runs)} runs of {len(made)}")
        last = schedule.versions[-1].spec
        is_over = schedule.deleted is not None or (last.get("backfill") or {}).get("id") != backfill
        if is_over or last["backfill"].get("paused") or last["pipeline"] != "billing":
            return
        if len(wanted - made):
            self._violated("a backfill of its intervals", schedule, f"{backfill} lacks {len(wanted - made)}")
        ends = [run.phase for run in runs]
        good = ends.count("Completed")
        told = self._status(schedule).get("backfill") or {}
        truth = ("Completed", len(wanted), good, len(ends) - good)
        if (told.get("state"), told.get("total"), told.get("succeeded"), told.get("failed")) != truth:
            self._violated("a backfill tells of itself", schedule, f"{told}, not {truth}")

    def check_quiet(self, schedule: ScheduleTruth, begin: float) -> None:
        """Its status was written since then, though nobody had done anything: a tick must have been due."""
        timing, skew = schedule.versions[-1].timing, self._world.clock.skew
        earliest = begin + skew - max(schedule.offset.values()) - 2 * self._world.dials.grace
        if timing is None or not self._ticks.between(*timing, earliest, self._end + skew):
            text = f"written, though nothing had happened since {self._at(schedule.stirred)}"
            self._violated("no status is written for nothing", schedule, text)

    def check_status(self, schedule: ScheduleTruth) -> list[str]:
        """What a status says that isn't so, once all is calm."""
        status, spec, now = self._status(schedule), schedule.versions[-1].spec, self._world.loop.time()
        wrong = []
        # It tells what the runs' statuses have told.
        active = sum(run.ended is None and run.gone is None for run in schedule.runs)
        if status.get("active", 0) != active:
            wrong.append(f"active {status.get('active')}, not {active}")
        timing = schedule.versions[-1].timing
        says = self._world.loop.at(parse(status["nextRunAt"])) if "nextRunAt" in status else None
        late = schedule.offset[spec.get("staggerSeconds", 0)]
        wall = now + self._world.clock.skew
        tick = None if timing is None else self._ticks.next(*timing, wall - late)
        due = None if tick is None else tick + late
        if says != due and spec["pipeline"] == "billing" and self._world.active[schedule.org].at(now):
            wrong.append(f"nextRunAt {status.get('nextRunAt')}, not {due and self._world.loop.moment(due)}")
        ended = [run for run in schedule.runs if run.ended is not None]
        if ended:
            # An end is told to the second.
            last = max(run.completed or 0.0 for run in ended)
            outcomes = {run.phase for run in ended if run.completed == last}
            if status.get("lastOutcome") not in outcomes:
                wrong.append(f"lastOutcome {status.get('lastOutcome')}, not {outcomes}")
        wrong += self._conditions(schedule, status)
        if "backlog" in status:
            wrong.append(f"backlog {status['backlog']}")
        return wrong

    def _conditions(self, schedule: ScheduleTruth, status: Json) -> list[str]:
        said = {each["type"]: each for each in status.get("conditions") or ()}
        if set(said) != {"Ready", "Suspended", "Stalled"}:
            return [f"conditions {sorted(said)}"]
        spec, now = schedule.versions[-1].spec, self._world.loop.time()
        works = spec["pipeline"] == "billing"
        rests = not spec.get("enabled", True)
        # That an organization may run nothing, or may again, is asked at a tick.
        last = max((tick for tick in schedule.by_tick), default=0.0)
        if False in self._world.active[schedule.org].over(last - self._world.dials.grace, now):
            return []
        wanted = {"Ready": works, "Suspended": rests, "Stalled": not works}
        wrong = [f"{kind} {said[kind]}" for kind, value in wanted.items() if said[kind]["status"] != str(value)]
        if status.get("observedGeneration") != self._generation(schedule):
            wrong.append(f"observedGeneration {status.get('observedGeneration')}")
        return wrong

    def _check_mirror(self) -> None:
        rows = self._world.mirror.rows
        there = {identifiers.schedule_id(each.uid): each for each in self._world.truth.by_key.values()}
        if set(rows) != set(there):
            self._world.oracle.violated("the mirror has each", "", f"{len(rows)} rows of {len(there)} schedules")
            return
        for key, schedule in there.items():
            if schedule.writes and schedule.writes[-1] > self._end - _MIRROR_LATE:
                continue
            row, spec, status = rows[key], schedule.versions[-1].spec, self._status(schedule)
            next_run_at = parse(status["nextRunAt"]) if "nextRunAt" in status else None
            said = (row.cron_expression, row.is_enabled, row.next_run_at)
            if said != (spec["cronExpression"], spec["enabled"], next_run_at):
                self._violated("the mirror says what the object says", schedule, f"{said}")

    def _generation(self, schedule: ScheduleTruth) -> int:
        return int(self._world.server.get(schedule.key)["metadata"]["generation"])

    def _status(self, schedule: ScheduleTruth) -> Json:
        return dict(self._world.server.get(schedule.key)["status"])

    def _violated(self, prop: str, schedule: ScheduleTruth, text: str) -> None:
        self._world.oracle.violated(prop, schedule.key[2], text)

    def _at(self, at: float) -> str:
        return f"{self._world.loop.moment(at):%Y-%m-%d %H:%M:%S}"
