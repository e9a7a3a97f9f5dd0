"""Starts a run: admit it, reserve its slot, make its Job; a refused run ends as failed with the refusal's words."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from pipeline_core import identifiers
from pipeline_core.admission.tenancy import WrongNamespaceError
from pipeline_core.errors import PipelinesError
from pipeline_core.lifecycle.observed import Run
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.store.errors import RunIdTakenError, StoreUnavailableError
from pipeline_core.store.records import RunRecords
from pipeline_operator import status
from pipeline_operator.admission import Admission
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.ending import Ending, new_record
from pipeline_operator.job_making import JobMaking
from pipeline_operator.queueing import Queueing
from pipeline_operator.reading import read_bodies
from pipeline_operator.slots import Slots
from pipeline_operator.writer import StatusWriter

# Without the client's own words: they name the server and the account, which tenants have no business with.
_STORE_AWAY = "Waiting for PostgreSQL, which can't be reached"
# A run this young, which nobody has come to before, is taken at the watch's word: that it was cancelled or deleted
# meanwhile is about to be shown, and ends its Job as it would a moment later.
_NEW = timedelta(seconds=30)


class Starting:
    """Carries out `Start`. `now` is the wall clock in UTC."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        records: RunRecords,
        admission: Admission,
        slots: Slots,
        queueing: Queueing,
        jobs: JobMaking,
        ending: Ending,
        writer: StatusWriter,
        now: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._records = records
        self._admission = admission
        self._slots = slots
        self._queueing = queueing
        self._jobs = jobs
        self._ending = ending
        self._writer = writer
        self._now = now

    async def start(self, run: Run) -> float | None:
        """Start the run, or end it as refused. Repeating it after a crash at any line changes nothing.

        Returns in how many seconds to look again at a run that waits for a slot.
        """
        try:
            document = await self._admission.admit(run)
            # With the Job's name before there is a Job: a record that has one may have a runner that has published.
            name = identifiers.object_name(run.run_id)
            record = new_record(run, dict(document.parameters), document.pipeline, name)
            stored = await self._slots.reserve(run, record)
            if stored is None:
                return await self._queueing.wait(run, replace(record, job_name=None))
        except StoreUnavailableError:
            # Not a refusal: the run waits until PostgreSQL answers, and nothing is started unreserved.
            away = status.condition("Admitted", "Unknown", Reason.QUOTA_UNAVAILABLE, _STORE_AWAY, run.generation)
            await self._writer.write_wait(run, Phase.PENDING, Reason.PENDING, _STORE_AWAY, away)
            raise
        except RunIdTakenError as error:
            await self._ending.refuse_without_record(run, error)
            return None
        except PipelinesError as error:
            await self._reject(run, error)
            return None
        if stored.phase.is_final:
            # The run had ended before (a restored object, a status write that was lost): its record is the truth.
            await self._ending.publish(run, stored)
            return None
        if stored.was_bound and await self._is_under_way(run):
            return None
        # crash here: the next pass finds the record and the reservation, and goes on.
        is_new = not stored.was_bound and self._now() < run.created_at + _NEW
        if is_new or await self._jobs.still_wanted(run):
            await self._jobs.create(run, document)
        return None

    async def _reject(self, run: Run, error: PipelinesError) -> None:
        """End the run, which isn't admitted now; unless it was before: an answer was lost, and its Job is there."""
        stored = await self._records.get(run.run_id)
        own = stored if stored is not None and stored.object_uid == run.uid else None
        if own is not None and own.job_name is not None and await self._is_under_way(run):
            return
        if own is None and isinstance(error, WrongNamespaceError):
            await self._ending.refuse_without_record(run, error)
            return
        await self._ending.reject(run, error.reason, str(error))

    async def _is_under_way(self, run: Run) -> bool:
        """Whether an earlier process has started it: its Job may be deleted by now, and its pods not shown yet."""
        job, pods, version = await read_bodies(self._cluster, run.namespace, run.run_id, run.uid)
        self._cache.replace(run.uid, job=job, pods=pods, version=version)
        return job is not None or any(not pod.is_terminal for pod in self._cache.get(run.uid).pods.values())
