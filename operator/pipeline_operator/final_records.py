"""Ends the record of a run as was decided, in the operator as in the exporter."""

from datetime import datetime

from pipeline_core.lifecycle.actions import Finish
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import StoredRun


def end_of_deleted(
    *,
    completed: bool,
    records: int | None = None,
    started_at: datetime | None = None,
    completed_at: datetime | None = None,
) -> Finish:
    """How a run ends whose object was deleted: as completed where its rows stand in the target, else as cancelled."""
    if completed:
        phase, reason = Phase.COMPLETED, Reason.COMPLETED
        message = "Completed; the PipelineRun was deleted before its status was written"
    else:
        phase, reason, message = Phase.CANCELLED, Reason.CANCELLED, "Cancelled: the PipelineRun was deleted"
    return Finish(phase, reason, message, started_at, completed_at, records)


async def end_record(
    records: RunRecords,
    run_id: str,
    object_uid: str | None,
    finish: Finish,
    now: datetime,
    *,
    frees: bool,
    refusal: str | None = None,
) -> StoredRun:
    """End the run's record, or return the end that it has; raises what `RunRecords.finish` raises."""
    return await records.finish(
        run_id,
        phase=finish.phase,
        at=finish.completed_at or now,
        records_processed=finish.records,
        error_message=None if finish.phase is Phase.COMPLETED else finish.message,
        attempts=finish.attempts,
        message=finish.message,
        started_at=finish.started_at,
        reason=finish.reason,
        refusal=refusal,
        object_uid=object_uid,
        frees=frees,
    )
