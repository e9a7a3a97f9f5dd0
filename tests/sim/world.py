"""All parts of the world, made from one seed."""

import asyncio
from random import Random

from sim.api_server import ApiServer, Change
from sim.base import BaseWorld
from sim.chaos import Chaos
from sim.dials import Dials
from sim.exporter import start_exporter
from sim.garbage_collector import GarbageCollector
from sim.job_controller import JobController
from sim.nodes import Nodes
from sim.operators import Operators
from sim.oracle import Oracle
from sim.tenants import Tenants
from sim.truth import Truth
from sim.users import Users
from sim.virtual_time import VirtualLoop
from support.fake_ledger import FakeLedger
from support.operator_world import FakeRecords


class World(BaseWorld):
    """What the parts know each other by. Each kind of chance has a stream of its own."""

    def __init__(self, loop: VirtualLoop, seed: int, dials: Dials) -> None:
        super().__init__(loop, seed)
        self.dials = dials
        self._awaited: dict[str, list[asyncio.Future[None]]] = {}
        self.reconciles: dict[str, int] = {}
        # Since when slots, by run id, are known to be held by nothing.
        self.idle_slots: dict[str, float] = {}
        self.records = FakeRecords()
        self.rows = self.records.rows
        self.tenants = Tenants(self, Random(f"tenants {seed}"))
        self.ledger = FakeLedger(self.records, self.tenants.plans, self.loop.now)
        self.server = ApiServer(loop, Random(f"uids {seed}"))
        self.truth = Truth(self)
        self.oracle = Oracle(self)
        self.chaos = Chaos(self, dials, Random(f"chaos {seed}"))
        self.garbage = GarbageCollector(self)
        self.jobs = JobController(self)
        self.nodes = Nodes(self)
        self.users = Users(self, Random(f"users {seed}"))
        self.operators = Operators(self)
        self.server.listeners.append(self._wake_watches)

    def changed(self, plural: str) -> "asyncio.Future[None]":
        """Done at the next change of an object of this kind."""
        waiter: asyncio.Future[None] = self.loop.create_future()
        self._awaited.setdefault(plural, []).append(waiter)
        return waiter

    def _wake_watches(self, change: Change) -> None:
        for waiter in self._awaited.pop(change.key[0], ()):
            if not waiter.done():
                waiter.set_result(None)

    def begin(self) -> None:
        """Everything starts."""
        self.note("world", "", f"{self.dials}")
        self.exporter = start_exporter(self)
        people = (self.users.run(), self.tenants.run())
        for part in (self.operators.keep_one(), self.operators.suffer(), *people, self.chaos.run()):
            self.spawn(part)

    def heal(self) -> None:
        """The faults stop; what they have done stays."""
        self.note("world", "", "heals")
        self.chaos.stop()
        self.nodes.heal()
        self.spawn(self.users.lose_patience())
        for instance in self.operators.instances:
            instance.process.doom = None
            instance.process.doomed_by_giving_up = False
            instance.process.thaw()

    def close(self) -> None:
        """Take apart what is left."""
        instances = (instance.process for instance in self.operators.instances)
        self.take_apart([self.exporter, *self.operators.buried, *instances])
