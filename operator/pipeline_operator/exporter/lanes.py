"""What is exported: the records of runs and the mirror of the schedules, each to its table."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar, Generic, Protocol, TypeVar

import structlog

from pipeline_core.store.bigquery.record_schema import RUNS, SCHEDULES
from pipeline_core.store.export_turn import ExportTurn
from pipeline_core.store.outbox import Outbox
from pipeline_core.store.runs import StoredRun
from pipeline_core.store.schedule_outbox import UnexportedSchedule

Row = TypeVar("Row")
# Beside what can be long: the values of all other columns, and the names that go with them.
_OTHER_CHARACTERS = 1000

log = structlog.get_logger(__name__)


class Target(Protocol):
    """Where rows go; its methods block. See pipeline_core.store.bigquery.record_tables."""

    def has_schedules(self) -> bool:
        """Whether the table of schedules is there."""

    def ensure_runs(self) -> None:
        """Make what is missing of the table of runs."""

    def ensure_schedules(self) -> None:
        """Make what is missing of the table of schedules."""

    def merge_runs(self, runs: Sequence[StoredRun], job_id: str) -> None:
        """Bring the rows of these runs to their present state."""

    def merge_schedules(self, schedules: Sequence[UnexportedSchedule], job_id: str) -> None:
        """Bring the rows of these schedules to their present state, or to an end."""

    def settle(self, job_id: str) -> None:
        """Return when this statement isn't running."""


class Lane(ABC, Generic[Row]):
    """Rows of one kind, from the outbox to their table; `is_ready` once that is known to be there as it should be."""

    table: ClassVar[str]

    def __init__(self, target: Target) -> None:
        self._target = target
        self.is_ready = False

    @abstractmethod
    async def make_ready(self, outbox: Outbox) -> None:
        """Make the table, or what is missing of it."""

    @abstractmethod
    async def due(
        self, turn: ExportTurn, limit: int, *, interval: timedelta, without: Collection[str]
    ) -> Sequence[Row]:
        """At most `limit` rows to send, without those of these ids."""

    @abstractmethod
    def merge(self, rows: Sequence[Row], job_id: str) -> None:
        """Send these in one statement, under this id; blocks."""

    @abstractmethod
    async def mark(self, turn: ExportTurn, rows: Sequence[Row]) -> None:
        """Record that these have been sent, and that no statement is under way."""

    @abstractmethod
    def id_of(self, row: Row) -> str:
        """The run's or schedule's id."""

    @abstractmethod
    def characters(self, row: Row) -> int:
        """How long the row is in a request, about."""


class RunsLane(Lane[StoredRun]):
    """`run_record` → `pipeline_runs`."""

    table = RUNS

    async def make_ready(self, outbox: Outbox) -> None:
        """A new table gets what changes from now on: the runs of months would be as many statements as they took."""
        await asyncio.to_thread(self._target.ensure_runs)
        self.is_ready = True

    async def due(
        self, turn: ExportTurn, limit: int, *, interval: timedelta, without: Collection[str]
    ) -> Sequence[StoredRun]:
        """Ended runs at once, live ones after `interval`."""
        return await turn.due(limit, interval=interval, without=without)

    def merge(self, rows: Sequence[StoredRun], job_id: str) -> None:
        self._target.merge_runs(rows, job_id)

    async def mark(self, turn: ExportTurn, rows: Sequence[StoredRun]) -> None:
        await turn.mark(rows)

    def id_of(self, row: StoredRun) -> str:
        return row.run_id

    def characters(self, row: StoredRun) -> int:
        return _length(row.parameters) + len(row.error_message or "")


class SchedulesLane(Lane[UnexportedSchedule]):
    """`schedule_record` → `pipeline_schedules`."""

    table = SCHEDULES

    async def make_ready(self, outbox: Outbox) -> None:
        """A new table is to have all of them: they change too seldom to be missed."""
        again = None
        if not await asyncio.to_thread(self._target.has_schedules):
            again = await outbox.send_schedules_again()
            # crash here: the table isn't there yet, so the next exporter begins here again
        await asyncio.to_thread(self._target.ensure_schedules)
        if again is not None:
            log.info("the table of schedules is made", schedules=again)
        self.is_ready = True

    async def due(
        self, turn: ExportTurn, limit: int, *, interval: timedelta, without: Collection[str]
    ) -> Sequence[UnexportedSchedule]:
        """All that have changed, once one of them has waited for `interval`."""
        return await turn.due_schedules(limit, interval=interval, without=without)

    def merge(self, rows: Sequence[UnexportedSchedule], job_id: str) -> None:
        self._target.merge_schedules(rows, job_id)

    async def mark(self, turn: ExportTurn, rows: Sequence[UnexportedSchedule]) -> None:
        await turn.mark_schedules(rows)

    def id_of(self, row: UnexportedSchedule) -> str:
        return row.schedule_id

    def characters(self, row: UnexportedSchedule) -> int:
        return _length(row.parameters)


def _length(parameters: Mapping[str, object]) -> int:
    return len(json.dumps(dict(parameters))) + _OTHER_CHARACTERS
