"""Ends a run that somebody reserved a slot for and then made no object of, and gives its slot back."""

from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.store import changes
from pipeline_core.store.engine import transaction
from pipeline_core.store.quota.settle import of_run, settle_within
from pipeline_core.store.records import locked_within, write_within

# A slot this young is being used: its object, or the Job for it, is about to be made.
YOUNG = timedelta(seconds=60)
NEVER_MADE = "The PipelineRun that this run was asked for with was never made"

_SINCE = text("SELECT reserved_at FROM quota_reservation WHERE run_id = :run_id AND state = 'held' FOR UPDATE")


class Reserved(Protocol):
    """A run's slot as somebody knows it: a HeldSlot, or the StoredRun that `reserve` has returned."""

    @property
    def run_id(self) -> str:
        """The run's id."""

    @property
    def reserved_at(self) -> datetime | None:
        """When it was taken or renewed last; None where that isn't known, and nothing is ended by it."""


async def end_unmade(engine: AsyncEngine, slot: Reserved, *, at: datetime, message: str) -> bool:
    """End the run's record as failed, and free its slot; returns whether it did.

    Only as long as all is as it was when the run's object was looked for, or refused: an object hasn't been bound to
    the record, and nobody has asked for the slot again, who would be about to make the object.

    Raises RunNotRecordedError if the run was never begun, StoreUnavailableError when PostgreSQL is away.
    """
    async with transaction(engine) as connection:
        run = await locked_within(connection, slot.run_id)
        since = await connection.scalar(_SINCE, {"run_id": slot.run_id})
        if run.phase.is_final or run.object_uid is not None or since is None or since != slot.reserved_at:
            return False
        end = changes.finished(
            run,
            phase=Phase.FAILED,
            at=at,
            error_message=message,
            message=message,
            reason=Reason.REJECTED,
        )
        ended = await write_within(connection, run.run_id, end)
        if settlement := of_run(ended, frees=True):
            await settle_within(connection, [settlement])
        return True
