"""What has really happened: schedules with all their versions, and their runs; the oracle judges by this."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline_core.kube import names
from pipeline_core.kube.api import Json
from sim.api_server import Change, Key
from sim_schedules.clock import parse

if TYPE_CHECKING:
    from sim_schedules.world import World

_FINAL = {"Completed", "Failed", "Cancelled"}
# What makes the ticks, and what else decides whether there is a run; the rest of a spec is in the runs.
_TIMING = ("cronExpression", "timeZone", "enabled")
_POLICY = ("concurrencyPolicy", "startingDeadlineSeconds", "catchUp", "catchUpLimit", "staggerSeconds", "pipeline")


@dataclass(slots=True)
class Version:
    """A spec that stood from `at` on."""

    at: float
    spec: Json

    @property
    def timing(self) -> tuple[str, str] | None:
        """The cron expression and its zone; None while disabled."""
        if not self.spec.get("enabled", True):
            return None
        return self.spec["cronExpression"], self.spec.get("timeZone", "Etc/UTC")

    @property
    def policy(self) -> tuple[object, ...]:
        """What decides whether a tick has a run."""
        return tuple(self.spec.get(name) for name in _POLICY)


@dataclass(slots=True)
class RunTruth:
    """One PipelineRun. Times in seconds since the world began; `tick` None where it was triggered."""

    run_id: str
    name: str
    cause: str
    created: float
    by: str
    tick: float | None = None
    backfill: str | None = None
    priority: int = 0
    # When it was over, when its status said so, since when by its word, and how it ended.
    over: float | None = None
    ended: float | None = None
    completed: float | None = None
    phase: str = ""
    cancel_asked: float | None = None
    gone: float | None = None

    def over_at(self, moment: float) -> bool:
        """Whether it was no more going on."""
        end = min(self.over or self.ended or float("inf"), self.gone or float("inf"))
        return end <= moment


@dataclass(slots=True)
class ScheduleTruth:
    """One PipelineSchedule: another one of the same name is another."""

    uid: str
    key: Key
    created: float
    offset: dict[int, float]
    versions: list[Version]
    deleted: float | None = None
    # Every change of spec or metadata.
    touched: list[float] = field(default_factory=list)
    tokens: list[tuple[float, str]] = field(default_factory=list)
    # All that were ever made, in order; by tick those of ticks, by id the others.
    runs: list[RunTruth] = field(default_factory=list)
    by_tick: dict[float, RunTruth] = field(default_factory=dict)
    writes: list[float] = field(default_factory=list)
    # Everything that could be a reason for a status to change.
    stirred: float = 0.0

    @property
    def org(self) -> str:
        """Whose it is, for good."""
        return str(self.versions[0].spec["org"])

    def version_at(self, moment: float) -> Version:
        """The version that stood then."""
        return next((each for each in reversed(self.versions) if each.at <= moment), self.versions[0])

    def over(self, begin: float, end: float) -> list[Version]:
        """All versions that stood at some time between."""
        first = self.version_at(begin)
        return [first, *(each for each in self.versions if begin < each.at <= end)]


class Truth:
    """All schedules that ever were, by UID."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.schedules: dict[str, ScheduleTruth] = {}
        self.by_key: dict[Key, ScheduleTruth] = {}
        self._runs: dict[str, tuple[ScheduleTruth, RunTruth]] = {}
        self.of_id: dict[str, RunTruth] = {}
        world.server.listeners.append(self._changed)

    def of_run(self, uid: str) -> tuple[ScheduleTruth, RunTruth] | None:
        """The schedule's run of this UID."""
        return self._runs.get(uid)

    def _changed(self, change: Change) -> None:
        if change.key[0] == names.SCHEDULES:
            self._schedule(change)
        elif change.key[0] == names.RUNS:
            self._run(change)

    def _schedule(self, change: Change) -> None:
        now, body = self._world.loop.time(), change.body
        uid, metadata = body["metadata"]["uid"], body["metadata"]
        if change.kind == "ADDED":
            # As the object says it: to the second.
            created = self._world.loop.at(parse(metadata["creationTimestamp"]))
            offset = self._world.offsets(body["spec"]["org"], change.key)
            schedule = ScheduleTruth(uid, change.key, created, offset, [Version(created, body["spec"])], stirred=now)
            schedule.touched.append(now)
            self.schedules[uid] = self.by_key[change.key] = schedule
            self._token(schedule, metadata, now)
            return
        schedule = self.schedules[uid]
        if change.kind == "DELETED":
            schedule.deleted = schedule.stirred = now
            del self.by_key[change.key]
            return
        before = change.before or {}
        if before["status"] != body["status"]:
            schedule.writes.append(now)
            self._world.oracle.status_written(schedule, before["status"], body["status"])
        if before["spec"] != body["spec"]:
            schedule.versions.append(Version(now, body["spec"]))
            schedule.touched.append(now)
            schedule.stirred = now
        elif before["status"] == body["status"]:
            schedule.touched.append(now)
            schedule.stirred = now
        self._token(schedule, metadata, now)

    def _token(self, schedule: ScheduleTruth, metadata: Json, now: float) -> None:
        token = (metadata.get("annotations") or {}).get(names.ANNOTATION_TRIGGER)
        if token and (not schedule.tokens or schedule.tokens[-1][1] != token):
            schedule.tokens.append((now, token))
            schedule.stirred = now

    def _run(self, change: Change) -> None:
        now, body = self._world.loop.time(), change.body
        uid = body["metadata"]["uid"]
        if change.kind == "ADDED":
            schedule = self.schedules.get((body["spec"].get("scheduleRef") or {}).get("uid", ""))
            if schedule is not None:
                run = self._made(schedule, body, now)
                self._runs[uid] = schedule, run
                self._world.oracle.run_made(schedule, run, body)
                self._world.actor.begin(change.key, schedule, run)
            return
        if (found := self._runs.get(uid)) is None:
            return
        schedule, run = found
        schedule.stirred = now
        if change.kind == "DELETED":
            run.gone = now
            del self._runs[uid]
            return
        if run.ended is None and body["status"].get("phase") in _FINAL:
            run.ended, run.phase = now, body["status"]["phase"]
            run.completed = self._world.loop.at(parse(body["status"]["completedAt"]))
            self._world.actor.told(change.key, run)
        if run.cancel_asked is None and body["spec"].get("cancel"):
            run.cancel_asked = now
            self._world.actor.cancel(change.key, run)

    def _made(self, schedule: ScheduleTruth, body: Json, now: float) -> RunTruth:
        metadata, spec = body["metadata"], body["spec"]
        annotations = metadata.get("annotations") or {}
        tick = annotations.get(names.ANNOTATION_TICK)
        run = RunTruth(
            run_id=spec["runId"],
            name=metadata["name"],
            cause=annotations.get(names.ANNOTATION_CAUSE, "trigger"),
            created=now,
            by=self._world.writer,
            tick=None if tick is None else self._world.loop.at(parse(tick)),
            backfill=(metadata.get("labels") or {}).get(names.LABEL_BACKFILL),
            priority=spec.get("priority", 0),
        )
        schedule.runs.append(run)
        schedule.stirred = now
        return run
