"""Ends a run: its final record first, then its status from that record, so that the two always agree."""

from collections.abc import Callable
from datetime import datetime

import structlog

from pipeline_core import identifiers
from pipeline_core.admission.tenancy import WrongNamespaceError
from pipeline_core.errors import PipelinesError
from pipeline_core.lifecycle.actions import Finish
from pipeline_core.lifecycle.observed import Run
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.store.errors import RunIdTakenError, RunNotRecordedError
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import NewRun, StoredRun
from pipeline_operator import metrics, status
from pipeline_operator.cache import Cache
from pipeline_operator.events import Events
from pipeline_operator.final_records import end_record
from pipeline_operator.tenancy import Tenancy
from pipeline_operator.writer import StatusWriter

_log = structlog.get_logger(__name__)


def new_record(
    run: Run, parameters: dict[str, object], pipeline: str | None = None, job_name: str | None = None
) -> NewRun:
    """The record that begins a run; `job_name` where a Job is going to be made."""
    return NewRun(
        run_id=run.run_id,
        org_slug=run.spec.org,
        provider=run.spec.provider,
        domain=run.spec.domain,
        pipeline=pipeline or run.spec.pipeline,
        created_at=run.created_at,
        created_by=run.spec.created_by or "system",
        parameters=parameters,
        schedule_id=identifiers.schedule_id(run.spec.schedule_uid) if run.spec.schedule_uid else None,
        object_namespace=run.namespace,
        object_name=run.name,
        object_uid=run.uid,
        job_name=job_name,
    )


class Ending:
    """Carries out `Finish`, and the refusal of a run that never started."""

    def __init__(
        self,
        records: RunRecords,
        cache: Cache,
        tenancy: Tenancy,
        writer: StatusWriter,
        events: Events,
        now: Callable[[], datetime],
        slot_freed: Callable[[], None],
    ) -> None:
        self._records = records
        self._cache = cache
        self._tenancy = tenancy
        self._slot_freed = slot_freed
        self._writer = writer
        self._events = events
        self._now = now

    async def finish(self, run: Run, finish: Finish, *, refusal: str | None = None, frees: bool = True) -> None:
        """End the run; `refusal` is the reason for which it isn't admitted, where it ends by that.

        It gives its slot back with that if this `frees` it: none of its pods is alive. Raises KubeUnavailableError or
        KubeError where the namespace of a run that isn't recorded can't be read, so that it has to wait.
        """
        try:
            stored = await self._record(run, finish, refusal, frees)
        except (RunNotRecordedError, RunIdTakenError):
            # The run ends before it was begun (cancelled at once, refused), or its record was lost with a restore; or
            # the record was begun before there was an object, by the bridge, and isn't bound to it yet.
            try:
                # Not every run that ends was asked for this before: one cancelled at once was never admitted.
                await self._tenancy.check(run)
                await self._records.begin(new_record(run, dict(run.spec.parameters), job_name=run.status.job_name))
                stored = await self._record(run, finish, refusal, frees)
            except (RunIdTakenError, WrongNamespaceError) as error:
                await self.refuse_without_record(run, error)
                return
        self._cache.get(run.uid).holds_slot = not frees
        if frees:
            self._slot_freed()
        # crash here: the next pass decides some end again, and the record answers with the one that it holds.
        await self.publish(run, stored)

    async def reject(self, run: Run, reason: str, message: str) -> None:
        """End a run that isn't admitted, and so has used nothing."""
        await self.finish(run, Finish(Phase.FAILED, Reason.REJECTED, message), refusal=reason)

    async def _record(self, run: Run, finish: Finish, refusal: str | None, frees: bool) -> StoredRun:
        return await end_record(self._records, run.run_id, run.uid, finish, self._now(), frees=frees, refusal=refusal)

    async def publish(self, run: Run, stored: StoredRun) -> None:
        """Write the object's final status as the record has it, and tell of it."""
        phase, message = stored.phase, stored.message or stored.error_message or ""
        reason = stored.reason or phase.value
        not_admitted = _why_not_admitted(stored)
        conditions = [
            status.admitted(run, (not_admitted, message) if not_admitted else None),
            status.succeeded(run, phase, reason, message),
        ]
        wanted = status.build_status(
            run,
            phase,
            conditions,
            message=message,
            started_at=stored.started_at,
            completed_at=stored.completed_at,
            progress=stored.progress,
            attempts=stored.attempts,
            job_name=stored.job_name,
        )
        # None takes away what progress had said: object and record agree.
        wanted["recordsProcessed"] = stored.records_processed
        await self._writer.write(run, wanted)
        if stored.refusal is not None:
            metrics.RUNS_REJECTED.labels(stored.refusal).inc()
        metrics.run_ended(stored, self._now())
        _log.info("run ended", run_id=run.run_id, org=run.spec.org, phase=phase.value, reason=reason, message=message)
        good = phase is Phase.COMPLETED or reason == Reason.CANCELLED
        self._events.tell(run, stored.refusal or reason, message, "Normal" if good else "Warning")

    async def refuse_without_record(self, run: Run, error: PipelinesError) -> None:
        """Refuse a run whose id, or organization, is another's: nothing may be written to what is theirs."""
        self._cache.get(run.uid).holds_slot = False  # nor their slot given back
        metrics.RUNS_REJECTED.labels(error.reason).inc()
        conditions = [
            status.admitted(run, (error.reason, str(error))),
            status.succeeded(run, Phase.FAILED, Reason.REJECTED, str(error)),
        ]
        wanted = status.build_status(run, Phase.FAILED, conditions, message=str(error), completed_at=self._now())
        await self._writer.write(run, wanted)
        self._events.tell(run, error.reason, str(error), "Warning")


def _why_not_admitted(stored: StoredRun) -> str | None:
    """The reason of `Admitted=False`; None for a run that was admitted: its record names the Job that it was given."""
    if stored.refusal is None and stored.job_name is None and stored.reason in {Reason.REJECTED, Reason.CANCELLED}:
        return stored.reason  # cancelled before its turn, or refused by a version that didn't record why
    return stored.refusal
