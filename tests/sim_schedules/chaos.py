"""What breaks, when: the faults of calls, and those that have a time of their own."""

import asyncio

from sim.faults import CallFaults

_STEPS = (-86_400.0, -7_200.0, -3_600.0, -600.0, -90.0, 90.0, 900.0, 3_600.0, 7_200.0, 86_400.0)


class Chaos(CallFaults):
    """See `CallFaults`."""

    refusals = ("429", "503")
    conflicting = frozenset({"PATCH"})

    def store_fails(self) -> bool:
        """Whether PostgreSQL gives no answer to this call."""
        return self.store_away or (self.on and self._random.random() < self._dials.store_fails)

    def event_delay(self) -> float:
        """How late an event is."""
        if self.on and self._random.random() < self._dials.event_late:
            return self._random.choice((0.5, 2.0, 10.0, 45.0))
        return self._random.uniform(0.002, 0.05)

    def event_twice(self) -> bool:
        """Whether it comes twice."""
        return self.on and self._random.random() < self._dials.event_twice

    async def run(self) -> None:
        """The faults that have a time of their own, spread over the time that there is for them."""
        dials, world = self._dials, self._world
        planned = [
            *[self._api_outage] * dials.api_outages,
            *[self._store_outage] * dials.store_outages,
            *[self._clock_step] * dials.clock_steps,
            *[self._nap] * dials.naps,
        ]
        times = sorted(self._random.uniform(600, dials.seconds_in_all) for _ in planned)
        self._random.shuffle(planned)
        for at, incident in zip(times, planned, strict=True):
            await asyncio.sleep(world.calmly(at) - world.loop.time())
            world.spawn(incident())

    async def _api_outage(self) -> None:
        self._world.note("chaos", "", "API server away")
        self.api_away = True
        self._world.look_who_is_able()
        await asyncio.sleep(self._random.choice((5.0, 300.0, 7_000.0)))
        self.api_away = False
        self._world.look_who_is_able()
        self._world.note("chaos", "", "API server back")

    async def _store_outage(self) -> None:
        self._world.note("chaos", "", "PostgreSQL away")
        self.store_away = True
        self._world.look_who_is_able()
        await asyncio.sleep(self._random.choice((5.0, 300.0, 7_000.0)))
        self.store_away = False
        self._world.look_who_is_able()
        self._world.note("chaos", "", "PostgreSQL back")

    async def _clock_step(self) -> None:
        """Each second step mends what the one before it did."""
        clock = self._world.clock
        skew = 0.0 if clock.skew else self._random.choice(_STEPS) + self._random.randint(0, 50)
        self._world.note("chaos", "", f"the operators' clocks are {skew:+.0f} s from true time")
        clock.step(skew)

    async def _nap(self) -> None:
        """An organization's subscription ends, and is renewed."""
        world, org = self._world, self._random.choice(self._world.orgs[1:])
        world.note("chaos", "", f"{org} is inactive")
        world.set_active(org, False)
        end = world.calmly(world.loop.time() + self._random.uniform(600, 100_000))
        await asyncio.sleep(end - world.loop.time())
        world.set_active(org, True)
        world.note("chaos", "", f"{org} is active")

    def stop(self) -> None:
        """The faults are over. A clock that was set wrong stays so."""
        self.on = self.api_away = self.store_away = False
        self._world.look_who_is_able()
