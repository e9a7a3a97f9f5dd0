"""Plays the runs, in the run operator's place: they wait, work, end well or badly, and their objects go."""

from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline_core.lifecycle.phases import Phase
from sim.api_server import Key
from sim_schedules.truth import RunTruth, ScheduleTruth

if TYPE_CHECKING:
    from sim_schedules.world import World


class Status(NamedTuple):
    """As much of a run's status as is asked for."""

    phase: Phase


class Actor:
    """The phases of all runs by their ids are the records, which outlive the objects."""

    def __init__(self, world: "World", random: Random) -> None:
        self._world = world
        self._random = random
        self.phases: dict[str, Phase] = {}

    def begin(self, key: Key, schedule: ScheduleTruth, run: RunTruth) -> None:
        """The run has an object. One that has ended already, of which there was an object before, ends as it did."""
        random, world = self._random, self._world
        known = self.phases.get(run.run_id)
        if known is not None and known.is_final:
            world.later(1.0, self._end, key, run, known)
            return
        start = random.uniform(0.5, 20.0)
        world.later(start, self._start, key, run)
        long = random.random() < schedule.versions[-1].spec["runTemplate"]["maxRetries"] / 10
        seconds = random.uniform(2_000, 20_000) if long else random.uniform(40, 1_200)
        if run.cause in {"backfill", "catch-up"}:
            seconds = random.uniform(40, 300)
        failed = random.random() < 0.15
        end = world.calmly(world.loop.time() + start + seconds)
        world.later(end - world.loop.time(), self._end, key, run, Phase.FAILED if failed else Phase.COMPLETED)
        if random.random() < 0.02:
            at = world.calmly(world.loop.time() + random.uniform(1, seconds))
            world.later(at - world.loop.time(), self._ask_to_cancel, key, run)

    def cancel(self, key: Key, run: RunTruth) -> None:
        """Somebody asks for its end."""
        world = self._world
        at = world.calmly(world.loop.time() + self._random.uniform(1, 30))
        world.later(at - world.loop.time(), self._end, key, run, Phase.CANCELLED)

    def _ask_to_cancel(self, key: Key, run: RunTruth) -> None:
        if (body := self._find(key, run)) is not None and run.ended is None:
            self._world.note("user", body["spec"]["scheduleRef"]["name"], f"cancels {key[2]}")
            self._world.server.update(key, spec={**body["spec"], "cancel": True})

    def _start(self, key: Key, run: RunTruth) -> None:
        if run.run_id not in self.phases and (body := self._find(key, run)) is not None:
            self.phases[run.run_id] = Phase.RUNNING
            self._world.server.update(key, status={**body["status"], "phase": "Running", "runId": run.run_id})

    def _end(self, key: Key, run: RunTruth, phase: Phase) -> None:
        world, known = self._world, self.phases.get(run.run_id)
        if known is None or not known.is_final:
            self.phases[run.run_id] = known = phase
        if run.over is None:
            run.over = world.loop.time()
        late = 0.0 if world.dials.calm else self._random.choice((0.0, 0.0, 1.0, 30.0))
        world.later(late, self._say_end, key, run, known)

    def _say_end(self, key: Key, run: RunTruth, phase: Phase) -> None:
        body, world = self._find(key, run), self._world
        if body is None or run.ended is not None:
            return
        if world.dials.late_ends and not world.alive_now():
            return  # it is the next operator that says so, see `runs`
        said = {"phase": phase.value, "runId": run.run_id, "completedAt": world.stamp()}
        world.note("runs", body["spec"]["scheduleRef"]["name"], f"{key[2]} ends: {phase.value}")
        world.server.update(key, status={**body["status"], **said})

    def told(self, key: Key, run: RunTruth) -> None:
        """Its status has told its end."""
        world = self._world
        if self._random.random() < 0.3:
            # Objects of runs that just ended don't go at once: whoever has just read of them acts by it.
            world.later(self._random.choice((1_000.0, 8_000.0, 90_000.0)), self._expire, key, run)

    def _expire(self, key: Key, run: RunTruth) -> None:
        """An operator deletes it, once it has seen it."""
        world = self._world
        if self._find(key, run) is None:
            return
        if world.works_now():
            world.server.remove(key)
        else:
            world.when_it_works(100.0, self._expire, key, run)

    def _find(self, key: Key, run: RunTruth) -> dict[str, Any] | None:
        body = self._world.server.objects.get(key)
        return body if body is not None and body["spec"]["runId"] == run.run_id else None
