"""Organizations: what their plans allow, and when that changed; whether a refusal for it was right."""

import asyncio
import re
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from pipeline_core.admission.subscription import Limits
from pipeline_core.kube.api import Json
from sim.truth import RunTruth
from support.fake_ledger import FakePlans

if TYPE_CHECKING:
    from sim.world import World

PLENTY = 1_000
KNOWN = ("acme", "initech")
_LIMIT = re.compile(r"(Daily|Concurrent) pipeline limit \((\d+)\) reached")
_TIMED_OUT = re.compile(r"No slot was free within (\d+)s")


class Plan(NamedTuple):
    """What an organization might do since a time, in seconds since the world began."""

    since: float
    limits: Limits
    status: str


class Tenants:
    """The subscriptions, and their history; every draw is made from a stream of its own."""

    def __init__(self, world: "World", random: Random) -> None:
        self._world = world
        self._random = random
        self.history: dict[str, list[Plan]] = {}
        self.plans = FakePlans(limits={}, integrated=set(KNOWN))
        for org in KNOWN:
            self._set(org, Limits(self._daily(), PLENTY, self._concurrent()), "ACTIVE")

    async def run(self) -> None:
        """Plans change while the faults last, and are as they were in the end, or with room for all."""
        dials, random = self._world.dials, self._random
        deeds = [self._change_limit] * dials.limit_changes + [self._suspend] * dials.suspensions
        for at, deed in sorted(((random.uniform(0, dials.chaos_seconds), deed) for deed in deeds), key=lambda d: d[0]):
            await asyncio.sleep(max(0.0, at - self._world.loop.time()))
            self._world.spawn(deed(random.choice(KNOWN)))

    def now(self, org: str) -> Plan:
        """What the organization may do."""
        return self.history[org][-1]

    def limit_at(self, org: str, at: float) -> int:
        """How many of its runs might be under way at a time."""
        return next(plan.limits.concurrent or 0 for plan in reversed(self.history[org]) if plan.since <= at)

    def missing(self, run: RunTruth, message: str) -> list[str]:
        """What speaks against the refusal of a run that could be admitted but for its organization's plan."""
        plans = [
            plan
            for plan, follower in zip(self.history[run.org], [*self.history[run.org][1:], None], strict=True)
            if follower is None or follower.since >= run.created
        ]
        if run.pods:
            return ["a pod of it had been made"]
        if "not allowed for SUSPENDED" in message:
            return [] if any(plan.status == "SUSPENDED" for plan in plans) else ["nobody had suspended it"]
        if timed_out := _TIMED_OUT.match(message):
            waited = self._world.loop.time() - run.created
            # The object's time of creation is to the second.
            enough = run.queues and waited > int(timed_out[1]) - 1
            return [] if enough else [f"it might wait for longer than {waited:.0f}s"]
        limit = _LIMIT.match(message)
        if limit is None:
            return ["it could be admitted"]
        number = int(limit[2])
        reserved = sum(row.org_slug == run.org for row in self._world.ledger.rows.values())
        if limit[1] == "Daily":
            right = any(plan.limits.per_day == number for plan in plans) and reserved >= number
        else:
            right = any(plan.limits.concurrent == number for plan in plans) and reserved >= number and not run.queues
        return [] if right else ["no such limit was reached"]

    def spec(self) -> Json:
        """What a run asks for of its organization's plan."""
        random, spec = self._random, dict[str, object](org=random_org(self._random))
        if random.random() < self._world.dials.queues:
            spec |= {"quotaPolicy": "Queue", "priority": random.choice((0, 0, 0, 5))}
            if random.random() < 0.3:
                spec["queueTimeoutSeconds"] = random.choice((5, 30, 120))
        return spec

    def _set(self, org: str, limits: Limits, status: str) -> None:
        self.history.setdefault(org, []).append(Plan(self._world.loop.time(), limits, status))
        self.plans.limits[org], self.plans.status[org] = limits, status
        self._world.note("plans", "", f"{org}: {limits.concurrent} at a time, {limits.per_day} a day, {status}")

    async def _change_limit(self, org: str) -> None:
        before = self.now(org)
        self._set(org, Limits(before.limits.per_day, PLENTY, self._random.choice((1, 2, 3, 4))), before.status)

    async def _suspend(self, org: str) -> None:
        self._set(org, self.now(org).limits, "SUSPENDED")
        await asyncio.sleep(self._random.choice((2.0, 20.0, 60.0)))
        self._set(org, self.now(org).limits, "ACTIVE")

    def _concurrent(self) -> int:
        return self._world.dials.concurrent or PLENTY

    def _daily(self) -> int:
        return self._world.dials.daily or PLENTY


def random_org(random: Random) -> str:
    """One of the organizations, the first more often."""
    return random.choice((KNOWN[0], KNOWN[0], KNOWN[1]))
