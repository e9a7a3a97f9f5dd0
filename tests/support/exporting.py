"""An exporter between a database and a target in memory, with a clock that moves only when told to."""

from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.engine import transaction
from pipeline_core.store.outbox import Outbox
from pipeline_core.store.records import RunRecords
from pipeline_core.store.schedule_outbox import UnexportedSchedule
from pipeline_core.store.schedules import ScheduleRecords
from pipeline_operator.exporter.lanes import Target
from pipeline_operator.exporter.loop import Exporter
from pipeline_operator.exporter.metrics import ExporterMetrics
from pipeline_operator.exporter.settings import ExporterSettings
from support.runs import after, new_run
from support.targets import MemoryTarget


@dataclass
class Clock:
    """Time that moves only when told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """An exporter with all that it is connected to: the records of runs, the schedules' mirror, and its target."""

    engine: AsyncEngine
    target: MemoryTarget = field(default_factory=MemoryTarget)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.records = RunRecords(self.engine)
        self.schedules = ScheduleRecords(self.engine)
        self.outbox = Outbox(self.engine)
        self.exporter = self.make()

    def make(
        self, target: Target | None = None, clock: Callable[[], float] | None = None, **values: object
    ) -> Exporter:
        """Another exporter on the same database; what it tries again in time takes a clock that goes on."""
        clock = clock or self.clock
        settings = ExporterSettings(
            env="test",
            **{"database_url": "postgresql://h/d", "export_interval": 1e-9, "export_poll": 0.01, **values},  # type: ignore[arg-type]
        )
        return Exporter(
            self.outbox, target or self.target, settings, ExporterMetrics(CollectorRegistry(), clock), clock
        )

    async def ended(self, *run_ids: str) -> None:
        """Runs that have begun and ended."""
        for run_id in run_ids:
            await self.records.begin(new_run(run_id))
            await self.records.finish(run_id, phase=Phase.COMPLETED, at=after(3), records_processed=1)

    async def left(self) -> set[str]:
        """The ids of the schedules in PostgreSQL, those that are deleted included."""
        async with transaction(self.engine) as connection:
            return set(await connection.scalars(text("SELECT schedule_id FROM schedule_record")))

    async def age(self, schedule_id: str, seconds: float) -> None:
        """Make a schedule's change look as if it had been waiting this long."""
        statement = (
            "UPDATE schedule_record SET unexported_since = now() - make_interval(secs => :s) WHERE schedule_id = :id"
        )
        async with transaction(self.engine) as connection:
            await connection.execute(text(statement), {"s": seconds, "id": schedule_id})

    @property
    def exported(self) -> dict[str, UnexportedSchedule]:
        """The schedules in the target, by id."""
        assert self.target.schedules is not None
        return self.target.schedules
