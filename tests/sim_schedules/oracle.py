"""What must never be, noticed where it happens: a run that is wrong, made twice, too early or out of order."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline_core.kube import names
from pipeline_core.kube.api import Json
from sim_schedules.clock import parse
from sim_schedules.truth import RunTruth, ScheduleTruth, Version

if TYPE_CHECKING:
    from sim_schedules.world import World

# Of each cause, by how much its priority is lower; none is under the least there is.
_BELOW = {"tick": 0, "trigger": 0, "catch-up": 100, "backfill": 200}
_LEAST = -1_000
# Catch-up runs of a schedule at a time.
_AT_A_TIME = {"Allow": 5}
_SECOND = 1.0


class Violation(NamedTuple):
    """A property that doesn't hold, and the name of the schedule concerned, "" where it concerns all."""

    prop: str
    schedule: str
    text: str

    def __str__(self) -> str:
        return f"{self.prop}: {self.schedule} {self.text}"


class Oracle:
    """Judges by what has happened in the world, sharing no code with what it judges."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.violations: list[Violation] = []
        self.status_writes = 0
        self._ids: set[str] = set()

    def violated(self, prop: str, schedule: str, text: str) -> None:
        """Note it once."""
        violation = Violation(prop, schedule, text)
        if violation not in self.violations:
            self._world.note("oracle", schedule, f"VIOLATED {prop}: {text}")
            self.violations.append(violation)

    def status_written(self, schedule: ScheduleTruth, before: Json, after: Json) -> None:
        """A status has changed."""
        self.status_writes += 1
        lost = before.get("missed", 0) - after.get("missed", 0)
        if lost > 0:
            self.violated("missed counts only grow", schedule.key[2], f"by {-lost}: {before} -> {after}")

    def run_made(self, schedule: ScheduleTruth, run: RunTruth, body: Json) -> None:
        """A run's object was created."""
        name, spec = schedule.key[2], body["spec"]
        known = run.run_id in self._ids
        self._ids.add(run.run_id)
        if known:
            self.violated("one run a tick", name, f"{run.name} was made again at {self._at(run.created)}")
        recent = schedule.over(self._since(run.created), run.created)
        wrong = [self._wrong(schedule, run, body, version) for version in recent]
        if all(wrong):
            self.violated("the right run", name, f"{run.name}: {'; '.join(wrong[-1])}: {spec}")
        if run.cause in {"tick", "catch-up"}:
            assert run.tick is not None, "each of these has one"
            schedule.by_tick.setdefault(run.tick, run)
            self._in_time(schedule, run, recent)
        if run.cause == "catch-up":
            self._in_order(schedule, run, recent)
        if run.cause == "backfill":
            self._backfill(schedule, run, recent)

    def _since(self, at: float) -> float:
        """Since when somebody who acts at this time may not have heard of anything."""
        since = at - self._lag()
        if self._world.dials.calm:
            return since
        # After an outage the first thing may be done from a view of before it.
        return min(since, self._world.able.begin_before(since) - self._world.dials.margin)

    def _lag(self) -> float:
        """How old a view of a schedule may be that somebody acts by."""
        if self._world.dials.calm:
            return self._world.dials.grace
        frozen = 700.0 if self._world.dials.freezes else 0.0
        return frozen + self._world.dials.margin + self._world.dials.grace

    def _wrong(self, schedule: ScheduleTruth, run: RunTruth, body: Json, version: Version) -> list[str]:
        """What is wrong with the run if it was made of this version of its schedule."""
        spec, metadata, wanted = body["spec"], body["metadata"], version.spec
        name, moment = schedule.key[2], parse(spec["logicalTime"])
        template = wanted.get("runTemplate") or {}
        base = template.get("priority", 0)
        expected: dict[str, Any] = {
            **{each: wanted[each] for each in ("org", "provider", "domain", "pipeline")},
            "scheduleRef": {"name": name, "uid": schedule.uid},
            "priority": max(_LEAST, base - _BELOW[run.cause]),
            "quotaPolicy": template.get("quotaPolicy", "Queue"),
        }
        values = wanted.get("parameters") or {}
        days = {"{{date}}": moment.date(), "{{yesterday}}": moment.date() - timedelta(days=1)}
        expected["parameters"] = {key: str(days.get(value, value)) for key, value in values.items()}
        given = {"parameters": {}, **spec}
        wrong = [f"{key} isn't {value}" for key, value in expected.items() if given.get(key) != value]
        labels = metadata["labels"]
        if (labels[names.LABEL_SCHEDULE], labels[names.LABEL_RUN_ID]) != (name, run.run_id):
            wrong.append("labels")
        if run.tick is not None:
            compact = f"{self._world.loop.moment(run.tick):%Y%m%dt%H%Mz}"
            wanted_name = f"{name}-{compact}"
            if run.cause == "backfill":
                wanted_name = f"{name}-{run.backfill}-{compact}-{run.run_id.removeprefix('run_')[:4]}"
            if metadata["name"] != wanted_name:
                wrong.append("its name")
            if moment != self._world.loop.moment(run.tick):
                wrong.append("logicalTime isn't the tick")
            due = self._world.loop.at(parse(metadata["annotations"][names.ANNOTATION_DUE_AT]))
            late = schedule.offset[wanted.get("staggerSeconds", 0)]
            if due != run.tick + (0.0 if run.cause == "backfill" else late) and run.cause != "backfill":
                wrong.append("dueAt isn't the tick and its offset")
        return wrong

    def _in_time(self, schedule: ScheduleTruth, run: RunTruth, recent: list[Version]) -> None:
        """No clock that anybody reads says that it is due already."""
        assert run.tick is not None, "a tick's run"
        late = min(schedule.offset[version.spec.get("staggerSeconds", 0)] for version in recent)
        clock, since = self._world.clock, run.created - self._lag()
        skews = [clock.skew, *(skew for at, before, after in clock.steps if at >= since for skew in (before, after))]
        if run.created + max(skews) + _SECOND < run.tick + late:
            self.violated("never early", schedule.key[2], f"{run.name} at {self._at(run.created)}")

    def _in_order(self, schedule: ScheduleTruth, run: RunTruth, recent: list[Version]) -> None:
        """Missed ticks are caught up one after the other, a few at a time."""
        assert run.tick is not None, "a tick's run"
        earlier = [each for each in schedule.runs if each.cause == "catch-up" and each is not run]
        clock = self._world.clock
        steady = not any(at > run.tick - 200_000 for at, _, _ in clock.steps) and not clock.skew
        if steady and any(each.tick is not None and each.tick > run.tick for each in earlier):
            self.violated("caught up in order", schedule.key[2], f"{run.name} at {self._at(run.created)}")
        at_most = max(_AT_A_TIME.get(version.spec.get("concurrencyPolicy", "Forbid"), 1) for version in recent)
        going_on = sum(not each.over_at(run.created) for each in earlier)
        if going_on + 1 > at_most:
            self.violated("catches up a few at a time", schedule.key[2], f"{going_on + 1} at {self._at(run.created)}")

    def _backfill(self, schedule: ScheduleTruth, run: RunTruth, recent: list[Version]) -> None:
        """Within its range, and no more at a time than it says."""
        specs = [version.spec["backfill"] for version in recent if version.spec.get("backfill")]
        of_it = [each for each in specs if each["id"] == run.backfill]
        if not of_it:
            self.violated("a backfill that somebody wants", schedule.key[2], f"{run.name} at {self._at(run.created)}")
            return
        going_on = sum(each.backfill == run.backfill and not each.over_at(run.created) for each in schedule.runs)
        if going_on > max(each["concurrency"] for each in of_it):
            self.violated("backfills a few at a time", schedule.key[2], f"{going_on} at {self._at(run.created)}")
        if all(each.get("paused") for each in of_it):
            self.violated("a paused backfill makes nothing", schedule.key[2], run.name)

    def _at(self, at: float) -> str:
        return f"{self._world.loop.moment(at):%m-%d %H:%M:%S}"
