"""A world in which something befalls the operator at its nth call: it dies, the call fails, another takes a pass."""

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any

from pipeline_core import identifiers
from pipeline_core.kube import names
from pipeline_core.kube.api import KubeUnavailableError
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.quota.settle import of_run
from pipeline_core.store.runs import StoredRun
from pipeline_operator.cluster import Cluster
from pipeline_operator.namespaces import Namespaces
from pipeline_operator.queue import WorkQueue
from pipeline_operator.sweep import Sweep
from support.operator_world import World

Befalls = Callable[[str], Awaitable[None]]


class Crash(BaseException):
    """The process is gone."""


class Stage(World):
    """A world in which something befalls the operator at its nth call."""

    def __init__(self) -> None:
        super().__init__()
        # The run that is told of, and the one before it where there are two.
        self.uid = self.first = ""
        self.calls = 0
        self.jobs_made: list[str] = []
        self.befalls: Befalls | None = None
        self.nth = 0
        self.after = False
        # Whether the watches have shown Jobs and pods; they begin at different times.
        self.shows_jobs = True
        self._request, self._create = self.kubernetes.request, self.kubernetes._post
        self.kubernetes.request = self._asked  # type: ignore[method-assign]
        self.kubernetes._post = self._made  # type: ignore[method-assign]
        self.rows = self.records.rows
        self.records = _Store(self.records, self)  # type: ignore[assignment]
        self.ledger = _Store(self.ledger, self)  # type: ignore[assignment]
        self.start_operator()
        self.other = (self.cache, self.reconciler)
        self.start_operator()

    async def call(self, what: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """One call of the operator."""
        self.calls += 1
        befalls = self.befalls if self.calls == self.nth else None
        if befalls is not None and not self.after:
            await befalls(what)
        result = await work()
        self.check_slots()
        if befalls is not None and self.after:
            await befalls(what)
        return result

    def watch(self) -> None:
        """What the watches show."""
        if self.shows_jobs:
            super().watch()
            return
        for (plural, _, _), body in list(self.kubernetes.objects.items()):
            if plural == names.RUNS:
                self.cache.put_run(body)

    async def turn(self, uid: str) -> None:
        """A pass over the run."""
        await self._until_done(lambda: self.reconcile(uid))

    async def call_waiting_until_done(self) -> None:
        """The waiting room calls."""
        await self._until_done(self.call_waiting)

    async def heal(self) -> None:
        """A round of healing."""
        await self._until_done(lambda: self.healing.round())

    async def come_to_rest(self) -> None:
        """What time brings by itself: a sweep, healing, the waiting room's calls, passes over every run."""
        await self.sweep()
        for _ in range(2):
            self.pass_time(61)
            await self.heal()
            await self.call_waiting_until_done()
            for row in list(self.rows.values()):
                await self.turn(row["object_uid"])

    def check_slots(self) -> None:
        """No pod lives without a slot, and no more of them than the plan allows."""
        alive = {
            body["metadata"]["labels"][names.LABEL_RUN_ID]
            for (plural, _, _), body in self.kubernetes.objects.items()
            if plural == "pods" and body["status"]["phase"] not in {"Succeeded", "Failed"}
        }
        holders = {run_id for run_id, row in self.ledger.rows.items() if row.held}
        assert alive <= holders
        assert len(alive) <= (self.plans.limits["acme"].concurrent or 0)

    def check_ledger(self) -> None:
        """Nothing is held by a run that is over, and its outcome is the record's."""
        for run_id, row in self.ledger.rows.items():
            record = StoredRun.from_row(self.rows[run_id])
            settled = of_run(record, frees=False)
            assert row.outcome == (settled and settled.outcome)
            assert not (row.held and (record.phase.is_final or record.undecided_since is not None))
        used = sum(row.outcome != "refunded" for row in self.ledger.rows.values())
        assert self.ledger.usage("acme").day_used == used
        assert len(self.room) == 0

    def made(self, name: str) -> int:
        """How many Jobs of this run have been made."""
        (run_id,) = [run_id for run_id, row in self.rows.items() if row["object_name"] == name]
        return self.jobs_made.count(identifiers.object_name(run_id))

    async def sweep(self) -> None:
        """A round of the sweep, which finds what no event has told of."""
        cluster = Cluster(self.kubernetes)
        everywhere = Namespaces(cluster, [], "pipelines")
        waits = self.room.__contains__
        await self._until_done(lambda: Sweep(cluster, self.cache, WorkQueue(), self.records, everywhere, waits).round())

    async def _until_done(self, work: Callable[[], Awaitable[object]]) -> None:
        """A new process does it again where this one dies, the same one where it fails."""
        for _ in range(3):
            try:
                await work()
            except Crash:
                self.start_operator()
            except (KubeUnavailableError, StoreUnavailableError):
                continue
            else:
                return

    async def other_takes_a_pass(self, _what: str) -> None:
        """A second operator, started by mistake, comes to the same run."""
        mine = (self.cache, self.reconciler)
        self.cache, self.reconciler = self.other
        try:
            await self.reconcile(self.uid)
        finally:
            self.cache, self.reconciler = mine

    async def _asked(self, method: str, path: str, **named: Any) -> Any:
        return await self.call("api", lambda: self._request(method, path, **named))

    def _made(self, plural: str, *rest: Any) -> Any:
        body = self._create(plural, *rest)
        if plural == "jobs":
            self.jobs_made.append(body["metadata"]["name"])
        return body


class _Store:
    """The records or the ledger, whose every method is a call."""

    def __init__(self, inner: Any, stage: Stage) -> None:
        self._inner = inner
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if not iscoroutinefunction(method):
            return method

        async def call(*arguments: Any, **named: Any) -> Any:
            return await self._stage.call("store", lambda: method(*arguments, **named))

        return call


async def dies(_what: str) -> None:
    raise Crash


async def fails(what: str) -> None:
    raise KubeUnavailableError("connection lost") if what == "api" else StoreUnavailableError("connection lost")
