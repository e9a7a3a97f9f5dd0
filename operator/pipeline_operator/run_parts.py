"""The parts that see to runs, wired."""

from collections.abc import Callable
from datetime import datetime, timedelta

from pipeline_core.catalog.watcher import CatalogWatcher
from pipeline_core.store.facts import AdmissionFacts
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.records import RunRecords
from pipeline_operator.admission import Admission
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.ending import Ending
from pipeline_operator.events import Events
from pipeline_operator.healing import Healing
from pipeline_operator.job_making import JobMaking
from pipeline_operator.queue import WorkQueue
from pipeline_operator.queueing import Queueing
from pipeline_operator.reconciler import Reconciler
from pipeline_operator.reporting import Reporting
from pipeline_operator.settings import OperatorSettings, RunnerTemplateFile
from pipeline_operator.settling import Settling
from pipeline_operator.slots import Slots
from pipeline_operator.starting import Starting
from pipeline_operator.tenancy import Tenancy
from pipeline_operator.waiting_room import WaitingRoom
from pipeline_operator.writer import StatusWriter

# How long a phase between a run's start and its end may go without a word.
_UNSAID_AT_FIRST = timedelta(seconds=1)
_UNSAID_WHEN_BUSY = timedelta(seconds=20)


class Runs:
    """What the operator does about runs. `knows_all` says whether the watches and a sweep have shown every run.

    `progress` is the address that runners report to and the key of their tokens, None where nothing listens. `now` is
    the wall clock in UTC, `clock` monotonic, in seconds.
    """

    def __init__(
        self,
        settings: OperatorSettings,
        cluster: Cluster,
        cache: Cache,
        queue: WorkQueue,
        catalog: CatalogWatcher,
        records: RunRecords,
        ledger: QuotaLedger,
        facts: AdmissionFacts,
        tenancy: Tenancy,
        events: Events,
        progress: tuple[str, str] | None,
        knows_all: Callable[[], bool],
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._queue = queue
        self.room = room = WaitingRoom(ledger, cache, queue.add, knows_all, clock, call=queue.add_first)
        self.healing = Healing(cluster, cache, ledger, now, room)
        writer = StatusWriter(cluster, cache, now)
        ending = Ending(records, cache, tenancy, writer, events, now, room.slot_freed)
        jobs = JobMaking(
            cluster,
            cache,
            records,
            ending,
            writer,
            events,
            template=RunnerTemplateFile(settings.runner_template).current,
            keyset_secret=settings.keyset_secret,
            progress=progress,
            now=now,
            deadline=settings.deadlines.schedule,
        )
        starting = Starting(
            cluster,
            cache,
            records,
            Admission(catalog, facts, settings.env, tenancy),
            Slots(ledger, cache, self.healing, room),
            Queueing(room, records, ending, writer, events, now),
            jobs,
            ending,
            writer,
            now,
        )
        self.reconciler = Reconciler(
            cluster,
            cache,
            records,
            ledger,
            room,
            starting,
            Reporting(records, ending, writer, now, self._unsaid),
            ending,
            Settling(cluster, cache, records, ledger, now, room.slot_freed),
            events,
            now,
            settings.deadlines,
        )

    def _unsaid(self, first: bool) -> timedelta:
        if self._queue.is_busy():
            return _UNSAID_WHEN_BUSY
        return _UNSAID_AT_FIRST if first else timedelta()
