"""All parts of the world, made from one seed."""

from collections.abc import Callable
from datetime import date
from random import Random

from pipeline_core.kube import names
from pipeline_core.schedules.stagger import offset
from sim.api_server import Change, Key
from sim.base import BaseWorld
from sim.virtual_time import stamp
from sim_schedules.actor import Actor
from sim_schedules.chaos import Chaos
from sim_schedules.clock import Loop, WallClock
from sim_schedules.dials import Dials
from sim_schedules.operators import Operators
from sim_schedules.oracle import Oracle
from sim_schedules.server import Server
from sim_schedules.shell import Mirror
from sim_schedules.timeline import Intervals, Steps
from sim_schedules.truth import ScheduleTruth, Truth
from sim_schedules.users import Users
from sim_schedules.watches import Feed

# How many schedules share one of the organizations whose subscriptions may end.
_SHARE = 8
_ACME = 40


class World(BaseWorld):
    """What the parts know each other by. Each kind of chance has a stream of its own."""

    def __init__(self, loop: Loop, seed: int, dials: Dials, *, traced: bool) -> None:
        super().__init__(loop, seed)
        self.dials = dials
        self._traced = traced
        self._waiting: list[tuple[float, Callable[..., object], tuple[object, ...]]] = []
        self._feeds: dict[str, list[Feed]] = {}
        # Who makes the call that the API server carries out now.
        self.writer = ""
        self.busy_share = 0.3
        self.orgs = ["acme", *(f"org{number}" for number in range(max(1, dials.schedules // _SHARE)))]
        self.limited_org = self.orgs[-1]
        self.active = {org: Steps([(0.0, True)]) for org in self.orgs}
        self.used: dict[tuple[str, date], int] = {}
        # When an operator was there, and when one surely worked.
        self.alive = Intervals()
        self.able = Intervals()
        # More than one at a time, each with a view of its own.
        self.doubled = Intervals()
        self.clock = WallClock(loop)
        self.server = Server(loop, Random(f"uids {seed}"))
        self.chaos = Chaos(self, dials, Random(f"chaos {seed}"))
        self.mirror = Mirror(self.chaos.store_fails)
        self.oracle = Oracle(self)
        self.actor = Actor(self, Random(f"actor {seed}"))
        self.truth = Truth(self)
        self.users = Users(self, Random(f"users {seed}"))
        self.operators = Operators(self)
        self.server.listeners.append(self._feed_watches)

    def note(self, who: str, schedule: str, text: str) -> None:
        """A line of the trace."""
        if self._traced:
            self.trace.add(self.loop.time(), who, schedule, f"{self.loop.now():%m-%d %H:%M:%S} {text}")

    def stamp(self) -> str:
        """True time as Kubernetes writes it."""
        return stamp(self.loop.now())

    def calmly(self, at: float) -> float:
        """At this time or, where the seed is calm, soon after: far from when anything is due.

        Then ticks are due in the first ten seconds of a minute, and everything else happens in its middle.
        """
        if not self.dials.calm:
            return at
        into = at % 60
        return at - into + (27 if into <= 27 else 87) + self.random.uniform(0, 6)

    def feed(self, plural: str) -> Feed:
        """The changes of a kind from now on."""
        feed = Feed(self)
        self._feeds.setdefault(plural, []).append(feed)
        return feed

    def org_of(self, name: str) -> str:
        """Whose schedule it is: half of the first ones are acme's."""
        number = int(name[1:])
        return self.orgs[number // _SHARE % len(self.orgs)] if number % 2 or number > _ACME else "acme"

    def offsets(self, org: str, key: Key) -> dict[int, float]:
        """How long after its ticks a schedule's runs are due, by `staggerSeconds`.

        Where a hash puts them is nothing that could be wrong; the oracle takes it as given.
        """
        return {each: offset(org, key[1], key[2], each).total_seconds() for each in (0, 10, 50, 600)}

    def set_active(self, org: str, active: bool) -> None:
        """Its subscription begins or ends."""
        self.active[org].put(active, self.loop.time())
        for schedule in self.truth.by_key.values():
            if schedule.org == org:
                schedule.stirred = self.loop.time()

    def unsettled(self, schedule: ScheduleTruth) -> bool:
        """Whether runs for the past may be about to be made for it."""
        return any(run.cause == "catch-up" and run.ended is None for run in schedule.runs[-5:])

    def look_who_is_able(self) -> None:
        """Something has changed about who works."""
        now, instances = self.loop.time(), self.operators.instances
        self.alive.put(any(each.process.alive for each in instances), now)
        self.doubled.put(sum(each.process.alive for each in instances) > 1, now)
        works = any(each.is_able for each in instances)
        self.able.put(works and not self.chaos.api_away and not self.chaos.store_away, now)
        if self.works_now():
            waiting, self._waiting = self._waiting, []
            for delay, do, arguments in waiting:
                self.later(delay, do, *arguments)

    def works_now(self) -> bool:
        """Whether an operator works."""
        return self.able.first_within(self.loop.time()) == self.loop.time()

    def alive_now(self) -> bool:
        """Whether an operator is there, able to work or not."""
        return len(self.alive.begins) > len(self.alive.ends)

    def when_it_works(self, delay: float, do: Callable[..., object], *arguments: object) -> None:
        """Something that happens `delay` seconds after an operator has begun to work."""
        self._waiting.append((delay, do, arguments))

    def _feed_watches(self, change: Change) -> None:
        if change.key[0] == names.RUNS and change.kind == "ADDED":
            day = change.body["spec"]["org"], self.loop.now().date()
            self.used[day] = self.used.get(day, 0) + 1
        for feed in self._feeds.get(change.key[0], ()):
            feed.put(change)

    def drop_feeds(self, gone: list[Feed]) -> None:
        """Nobody watches them any more."""
        for feeds in self._feeds.values():
            feeds[:] = [feed for feed in feeds if feed not in gone]

    def begin(self) -> None:
        """Everything starts."""
        self.note("world", "", f"{self.dials}")
        self.users.begin()
        for part in (self.operators.keep_one(), self.operators.suffer(), self.users.run(), self.chaos.run()):
            self.spawn(part)

    def heal(self) -> None:
        """The faults stop; what they have done stays."""
        self.note("world", "", "heals")
        self.chaos.stop()
        self.operators.heal()

    def close(self) -> None:
        """Take apart what is left."""
        self.take_apart([*self.operators.buried, *(each.process for each in self.operators.instances)])
