"""People and Git: schedules are made, edited, triggered, backfilled, deleted, made again under their name."""

import asyncio
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from pipeline_core.kube import names
from pipeline_core.kube.api import Json
from sim.api_server import Key
from sim_schedules.truth import ScheduleTruth

if TYPE_CHECKING:
    from sim_schedules.world import World

_ZONES = ("Etc/UTC", "Etc/UTC", "Europe/Madrid", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
_PARAMETERS: tuple[Json, ...] = ({}, {"date": "{{date}}"}, {"date": "{{yesterday}}"}, {"start_date": "{{yesterday}}"})


class Users:
    """Every draw is made from a stream of its own. `full` is how often a day schedules fire: about four times."""

    def __init__(self, world: "World", random: Random) -> None:
        self._world = world
        self._random = random
        self._made = 0
        self._named = 0
        # A schedule that nobody has looked after yet is touched once at most, where the seed is calm.
        self._touched_down: dict[str, int] = {}

    def begin(self) -> None:
        """The schedules that are there from the start."""
        for _ in range(self._world.dials.schedules):
            self._make(self._name())

    async def run(self) -> None:
        """Deeds, one after the other."""
        world, random, dials = self._world, self._random, self._world.dials
        gap = 86_400.0 / (dials.deeds * dials.schedules)
        while (at := world.calmly(world.loop.time() + random.expovariate(1 / gap))) < dials.seconds_in_all:
            await asyncio.sleep(at - world.loop.time())
            keys = list(world.truth.by_key)
            if keys:
                self._do(random.choice(keys))

    def _do(self, key: Key) -> None:
        schedule = self._world.truth.by_key[key]
        if not self._may_touch(schedule):
            return
        deeds = [self._edit] * 5 + [self._set_policy] * 3 + [self._trigger] * 3 + [self._backfill] * 3
        deed = self._random.choice([*deeds, self._delete, self._break])
        deed(schedule)

    def _may_touch(self, schedule: ScheduleTruth) -> bool:
        """In a calm world nobody does a second thing before the operator has seen to the first."""
        world = self._world
        if not world.dials.calm:
            return True
        body = world.server.get(schedule.key)
        if "backlog" in body["status"] or world.unsettled(schedule):
            return False
        down = len(world.able.ends)
        if world.able.first_within(world.loop.time()) == world.loop.time():
            return world.loop.time() > world.able.begins[-1] + 2 * world.dials.grace
        if self._touched_down.get(schedule.uid) == down or schedule.touched[-1] > world.able.ends[-1] - 60:
            return False
        self._touched_down[schedule.uid] = down
        return True

    def _edit(self, schedule: ScheduleTruth) -> None:
        spec = self._spec_of(schedule)
        what = self._random.choice(("cron", "zone", "enabled", "enabled", "parameters"))
        if spec.get("backfill") and what in {"cron", "zone"}:
            what = "parameters"
        if what == "cron":
            spec["cronExpression"] = self._cron()
        elif what == "zone":
            spec["timeZone"] = self._random.choice(_ZONES)
        elif what == "enabled":
            spec["enabled"] = not spec.get("enabled", True)
        else:
            spec["parameters"] = self._random.choice(_PARAMETERS)
        self._write(schedule, f"edits {what}", spec)

    def _set_policy(self, schedule: ScheduleTruth) -> None:
        self._write(schedule, "sets policies", {**self._spec_of(schedule), **self._policies()})

    def _break(self, schedule: ScheduleTruth) -> None:
        spec = self._spec_of(schedule)
        spec["pipeline"] = "billing" if spec["pipeline"] != "billing" else "missing"
        self._write(schedule, f"sets the pipeline {spec['pipeline']}", spec)

    def _trigger(self, schedule: ScheduleTruth) -> None:
        self._made += 1
        self._note(schedule, f"triggers t{self._made}")
        self._world.server.edit(schedule.key, "kubectl", annotations={names.ANNOTATION_TRIGGER: f"t{self._made}"})

    def _backfill(self, schedule: ScheduleTruth) -> None:
        spec, random = self._spec_of(schedule), self._random
        now = spec.get("backfill")
        if now is not None and random.random() < 0.6:
            choice = random.choice(("pause", "pause", "stop", "concurrency"))
            if choice == "pause":
                spec["backfill"] = {**now, "paused": not now.get("paused", False)}
            elif choice == "stop":
                del spec["backfill"]
            else:
                spec["backfill"] = {**now, "concurrency": random.randint(1, 10)}
            self._write(schedule, f"backfill: {choice}", spec)
            return
        self._made += 1
        world = self._world
        days = random.randint(1, 4)
        last = world.loop.now() - timedelta(days=random.randint(1, 20))
        first = last - timedelta(days=days)
        form = random.choice(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"))
        spec["backfill"] = {
            "id": f"b{self._made}",
            "from": first.strftime(form),
            "to": last.strftime(form),
            "concurrency": random.randint(1, 4),
        }
        self._write(schedule, f"backfill {spec['backfill']}", spec)

    def _delete(self, schedule: ScheduleTruth) -> None:
        self._note(schedule, "deletes it")
        self._world.server.delete(schedule.key)
        if self._random.random() < 0.7:
            world = self._world
            at = world.calmly(world.loop.time() + self._random.choice((1.0, 70.0, 5_000.0, 50_000.0)))
            world.later(at - world.loop.time(), self._make_again, schedule.key[2])

    def _make_again(self, name: str) -> None:
        if self._world.loop.time() < self._world.dials.seconds_in_all:
            self._make(name)

    def _make(self, name: str) -> None:
        random, world = self._random, self._world
        spec: Json = {
            "org": world.org_of(name),
            "provider": "gcp",
            "domain": "cost",
            "pipeline": "billing",
            "cronExpression": self._cron(),
            "timeZone": random.choice(_ZONES),
            "enabled": random.random() < 0.9,
            "parameters": random.choice(_PARAMETERS),
            "staggerSeconds": self._stagger(),
            # How likely its runs take long is drawn from the retries.
            "runTemplate": {"priority": random.choice((0, 0, 50, -950)), "maxRetries": random.choice((0, 1, 4))},
            **self._policies(),
        }
        metadata: Json = {"name": name}
        if random.random() < 0.1:
            metadata["annotations"] = {names.ANNOTATION_TRIGGER: "restored"}
        world.note("user", name, f"makes it: {spec}")
        world.server.create(names.SCHEDULES, "pipelines", {"metadata": metadata, "spec": spec})

    def _policies(self) -> Json:
        random = self._random
        policies: Json = {
            "concurrencyPolicy": random.choice(("Forbid", "Forbid", "Allow", "Replace")),
            "catchUp": random.choice(("None", "Latest", "All")),
            "catchUpLimit": random.choice((2, 5, 100)),
            "successfulRunsHistoryLimit": random.choice((0, 1, 3)),
            "failedRunsHistoryLimit": random.choice((0, 3)),
        }
        if random.random() < 0.2:
            policies["startingDeadlineSeconds"] = random.choice((3_600, 30_000))
        return policies

    def _stagger(self) -> int:
        if self._world.dials.calm:
            return self._random.choice((0, 0, 10))
        return self._random.choice((0, 0, 10, 50, 600))

    def _cron(self) -> str:
        random = self._random
        minute, hour = random.randint(0, 59), random.randint(0, 23)
        kind = random.random()
        if kind < 0.1:
            return "@daily"
        if kind < 0.5:
            return f"{minute} {random.choice((hour, 0, 1, 2, 2))} * * *"
        if kind < 0.6:
            return f"{minute} {hour} * * {random.choice(('1-5', 'sun', '3'))}"
        if kind < 0.85:
            return f"{minute} */{random.choice((4, 6, 8, 12))} * * *"
        if kind < 0.9:
            return f"{minute} {hour} {random.randint(1, 31)} * *"
        if kind < 0.97 or self._world.busy_share < random.random():
            return random.choice((f"{minute} * * * *", f"{minute} 1-3 * * *", "@hourly"))
        return random.choice(("*/15 * * * *", "*/20 0-6 * * *", "*/5 * * * *"))

    def _name(self) -> str:
        self._named += 1
        return f"s{self._named}"

    def _spec_of(self, schedule: ScheduleTruth) -> dict[str, Any]:
        return dict(self._world.server.get(schedule.key)["spec"])

    def _write(self, schedule: ScheduleTruth, what: str, spec: Json) -> None:
        self._note(schedule, f"{what}: {spec}")
        self._world.server.edit(schedule.key, self._random.choice(("kubectl", "flux")), spec=spec)

    def _note(self, schedule: ScheduleTruth, text: str) -> None:
        self._world.note("user", schedule.key[2], text)
