"""Tells of a run that waits for a slot: its record, its condition with its place in the queue, its time limit."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from pipeline_core.lifecycle.actions import seconds
from pipeline_core.lifecycle.observed import Run
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import NewRun
from pipeline_operator import status
from pipeline_operator.ending import Ending
from pipeline_operator.events import Events
from pipeline_operator.waiting_room import WaitingRoom
from pipeline_operator.writer import StatusWriter

_log = structlog.get_logger(__name__)

TIMED_OUT = "QueueTimeout"
# A place moves with every slot that is freed, and each run's status is a write: it is told again after this, and with
# many runs so seldom that they make ten writes in a second.
_TELL_AGAIN = timedelta(seconds=30)
_BETWEEN_RUNS = timedelta(seconds=0.1)


class Queueing:
    """`now` is the wall clock in UTC."""

    def __init__(
        self,
        room: WaitingRoom,
        records: RunRecords,
        ending: Ending,
        writer: StatusWriter,
        events: Events,
        now: Callable[[], datetime],
    ) -> None:
        self._room = room
        self._records = records
        self._ending = ending
        self._writer = writer
        self._events = events
        self._now = now

    async def wait(self, run: Run, record: NewRun) -> float | None:
        """Have a run in the waiting room say that it waits; returns in how many seconds to look again.

        Ends it where it has waited for too long. `record` is what it is recorded with until it gets its slot.
        """
        now, is_open = self._now(), self._room.is_open
        next_time = now + max(_TELL_AGAIN, len(self._room) * _BETWEEN_RUNS)
        # Before the room is open a run that is new says nothing, as it may be called in a moment; and one that waits
        # has said so to an earlier process.
        tell_at = self._room.tell_at.setdefault(run.uid, next_time)
        is_overdue = now >= run.waits_until
        if is_overdue and (is_open or now >= tell_at):
            message = self._room.words(run)
            self._room.leave(run.uid)
            waited = seconds(run.waits_until - run.created_at)
            await self._ending.reject(run, TIMED_OUT, f"No slot was free within {waited}s ({message})")
            return None
        if now >= tell_at or (is_open and not run.status.waits_for_quota):
            if not await self._tell(run, record):
                return None
            tell_at = self._room.tell_at[run.uid] = next_time
        # One whose time was over before the room is open may be the first, and get its slot yet.
        look_at = now + _TELL_AGAIN if is_overdue else run.waits_until
        return max(0.0, (min(tell_at, look_at) - self._now()) / timedelta(seconds=1))

    async def _tell(self, run: Run, record: NewRun) -> bool:
        """Say on the object where the run stands; False where its record has its end instead."""
        message = self._room.words(run)
        if not run.status.waits_for_quota:
            stored = await self._records.begin(record)
            if stored.phase.is_final:
                self._room.leave(run.uid)
                await self._ending.publish(run, stored)
                return False
        # crash here: the next process begins the same record and writes the same status.
        waiting = status.condition("Admitted", "False", Reason.WAITING_FOR_QUOTA, message, run.generation)
        await self._writer.write_wait(run, Phase.PENDING, Reason.PENDING, message, waiting)
        if not run.status.waits_for_quota:
            _log.info("run waits for a slot", run_id=run.run_id, org=run.spec.org, message=message)
            self._events.tell(run, Reason.WAITING_FOR_QUOTA, message)
        return True
