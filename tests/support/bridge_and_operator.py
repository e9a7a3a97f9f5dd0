"""The bridge and the operator over one API server and one PostgreSQL in memory, and what befalls the bridge's calls."""

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

import pytest

from pipeline_bridge.auth import Principal
from pipeline_bridge.cancelling import Cancelled, Cancelling
from pipeline_bridge.cluster import BridgeCluster
from pipeline_bridge.parts import Parts
from pipeline_bridge.placement import Placement
from pipeline_bridge.run_objects import Trace
from pipeline_bridge.starting import Starting
from pipeline_bridge.wanted import IdempotencyKey, Wanted
from pipeline_core.api_keys import Scope
from pipeline_core.kube import names
from pipeline_core.kube.api import Json
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.outcome import Outcome
from pipeline_core.store.runs import StoredRun
from support.bridge import FakeIdempotencyKeys, FakeRunRecords, settings
from support.fake_ledger import FakeFacts, FakeLedger
from support.operator_world import CATALOG, World

WHO = Principal("k1", "acme", frozenset({Scope.RUN}))
KEY = IdempotencyKey("nightly", b"f" * 32)
# Is called with the part and the method, before the call and after it (`after`), and may raise.
Fault = Callable[[str, str, bool], None]


class CrashError(BaseException):
    """The process is gone."""


def well(_part: str, _method: str, _after: bool) -> None:
    """Nothing befalls the bridge."""


class Both(World):
    """An operator's world with a bridge in it; `acme` is known and may run."""

    def __init__(self) -> None:
        super().__init__()
        self.records = FakeRunRecords()
        self.ledger = FakeLedger(self.records, self.plans, self.now)
        self.idempotency = FakeIdempotencyKeys()
        self.start_operator()
        self.fault: Fault = well
        self.calls: list[str] = []
        self.parts = self.bridge()

    def bridge(self, **changes: Any) -> Parts:
        """A process of the bridge; `changes` are of its settings."""
        chosen = settings(**changes)
        cluster = _Part("cluster", BridgeCluster(self.kubernetes), self)  # type: ignore[arg-type]
        return Parts(
            settings=chosen,
            catalog=CATALOG,
            facts=_Part("facts", FakeFacts(self.plans), self),  # type: ignore[arg-type]
            ledger=_Part("ledger", self.ledger, self),  # type: ignore[arg-type]
            records=_Part("records", self.records, self),  # type: ignore[arg-type]
            keys=None,  # type: ignore[arg-type]
            idempotency=_Part("idempotency", self.idempotency, self),  # type: ignore[arg-type]
            cluster=cluster,  # type: ignore[arg-type]
            placement=Placement(cluster, chosen),  # type: ignore[arg-type]
            now=self.now,
        )

    async def post(self, key: IdempotencyKey | None = None, **changes: Any) -> str:
        """A run asked for; returns its id."""
        wanted = {"provider": "gcp", "domain": "cost", "pipeline": "billing", "parameters": {}, "request_id": "r1"}
        return await Starting(self.parts).start(WHO, Wanted(**{**wanted, "idempotency_key": key, **changes}))

    async def reserve(self) -> str:
        """A run whose PipelineRun isn't made: the bridge dies before; returns its id."""

        def dies(part: str, _method: str, _after: bool) -> None:
            if part == "cluster":
                raise CrashError

        self.fault = dies
        with pytest.raises(CrashError):
            await self.post(KEY)
        self.fault = well
        (run_id,) = self.held()
        return run_id

    async def cancel(self, run_id: str, who: Principal = WHO) -> Cancelled:
        """A run's cancellation asked for."""
        return await Cancelling(self.parts).cancel(who, run_id, Trace("r2"))

    def objects(self) -> list[Json]:
        """The PipelineRuns that are there."""
        return [body for (plural, _, _), body in self.kubernetes.objects.items() if plural == names.RUNS]

    def stored(self, run_id: str) -> StoredRun:
        """The record of the run."""
        return StoredRun.from_row(self.records.rows[run_id])

    def live(self) -> list[str]:
        """The runs that haven't ended, by id."""
        return [run_id for run_id in self.records.rows if not self.stored(run_id).phase.is_final]

    def held(self) -> list[str]:
        """The runs that hold a slot, by id."""
        return [run_id for run_id, row in self.ledger.rows.items() if row.held]

    async def operate(self) -> None:
        """The operator has a pass over every object."""
        for body in self.objects():
            await self.reconcile(body["metadata"]["uid"])

    async def come_to_rest(self) -> None:
        """Time passes, and the operator does what it does by itself: every run ends."""
        for _ in range(3):
            await self.operate()
            self.start_pods()
            await self.operate()
            self.end_pods_well()
            await self.operate()
            self.pass_time(61)
            await self.healing.round()

    def end_pods_well(self) -> None:
        """Every running pod succeeds."""
        self.end_pods(Outcome(status="succeeded", records_processed=42))

    def phases(self) -> list[Phase]:
        """How the runs stand, by their records."""
        return [self.stored(run_id).phase for run_id in self.records.rows]


class _Part:
    """A part of the bridge whose calls are counted, and befallen by faults."""

    def __init__(self, name: str, part: object, both: Both) -> None:
        self._name, self._part, self._both = name, part, both

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._part, method)
        if not iscoroutinefunction(found):
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            both = self._both
            both.calls.append(f"{self._name}.{method}")
            both.fault(self._name, method, False)
            result = await found(*arguments, **named)
            both.fault(self._name, method, True)
            return result

        return call
