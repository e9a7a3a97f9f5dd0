"""Tells of a live run: its record first, then its status; what moves but numbers, or is soon over, not at once."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from pipeline_core.lifecycle import actions
from pipeline_core.lifecycle.failures import explain_failed_pod, newest_failure
from pipeline_core.lifecycle.observed import Run
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.store.records import RunRecords
from pipeline_operator import status
from pipeline_operator.ending import Ending
from pipeline_operator.entry import Entry
from pipeline_operator.writer import StatusWriter

_log = structlog.get_logger(__name__)

_ONLY_PROGRESS = frozenset({"progress", "recordsProcessed"})


class Reporting:
    """Carries out `Report`. `now` is the wall clock in UTC.

    A phase that a run passes through may go `unsaid` for so long since the run's last report, or since its creation
    where it is the `first`: many are over by then, and starts and ends go before.
    """

    def __init__(
        self,
        records: RunRecords,
        ending: Ending,
        writer: StatusWriter,
        now: Callable[[], datetime],
        unsaid: Callable[[bool], timedelta] = lambda _first: timedelta(),
    ) -> None:
        self._records = records
        self._ending = ending
        self._writer = writer
        self._now = now
        self._unsaid = unsaid
        self._reported: dict[str, datetime] = {}

    def forget(self, uid: str) -> None:
        """The run has ended, or its object is gone."""
        self._reported.pop(uid, None)

    async def report(self, run: Run, entry: Entry, report: actions.Report) -> float | None:
        """Carry out the report; returns in how many seconds to look again where it is too early for it.

        Raises ConflictError where the object has changed.
        """
        conditions = [status.admitted(run), status.succeeded(run, report.phase, report.reason, report.message)]
        wanted = status.build_status(
            run,
            report.phase,
            conditions,
            message=report.message,
            started_at=report.started_at,
            records=report.records,
            progress=report.progress,
            attempts=report.attempts,
            job_name=entry.job.name if entry.job else None,
        )
        patch = self._writer.difference(run, wanted)
        if patch is None and run.uid in self._reported:
            return None
        # A process that has just begun asks the record once, though the object shows nothing to change.
        only_progress = patch is not None and patch.keys() <= _ONLY_PROGRESS
        if (wait := self._too_soon(run, report, only_progress)) > 0:
            return wait
        changed = await self._records.advance(
            run.run_id,
            phase=report.phase,
            at=self._now(),
            started_at=report.started_at,
            progress=report.progress,
            attempts=report.attempts,
            job_name=wanted.get("jobName"),
            message=report.message,
            object_uid=run.uid,
        )
        if not changed and (stored := await self._records.get(run.run_id)) and stored.phase.is_final:
            # The end was recorded, and the process died before the object heard of it.
            await self._ending.publish(run, stored)
            return None
        # crash here: the record is ahead of the object; the next pass writes the object.
        await self._writer.write(run, wanted)
        self._reported[run.uid] = self._now()
        if report.phase != run.status.phase:
            _log.info("run advanced", phase=report.phase.value, reason=report.reason.value, message=report.message)
        elif report.attempts > max(1, run.status.attempts):
            _log.info("run tried again", attempt=report.attempts, **_last_failure(entry))
        return None

    def _too_soon(self, run: Run, report: actions.Report, only_progress: bool) -> float:
        """How many seconds a report that moves but numbers, or tells of a phase between start and end, has to wait."""
        if report.reason is Reason.CANCELLING and not only_progress:
            return 0.0  # with the pods goes what shows that a container has started
        last = self._reported.get(run.uid)
        interval = actions.PROGRESS_INTERVAL if only_progress else self._unsaid(last is None)
        return ((last or run.created_at) + interval - self._now()) / timedelta(seconds=1)


def _last_failure(entry: Entry) -> dict[str, str]:
    """Why the attempt before this one failed, as far as it is known."""
    failed = newest_failure(entry.pods.values())
    if failed is None:
        return {}
    reason, message = explain_failed_pod(failed)
    return {"reason": reason.value, "message": message}
