"""A run as the store knows it: what begins one, what is stored of it, and where a page of history ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from sqlalchemy import RowMapping

from pipeline_core.lifecycle.phases import Phase


class Transition(NamedTuple):
    """When a run entered a phase."""

    phase: Phase
    at: datetime


class HistoryCursor(NamedTuple):
    """The last run of a page of history: the next page begins after it."""

    created_at: datetime
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to be recorded as pending. `parameters` are the effective ones, defaults included, and hold no secret.

    The object's namespace, name and UID are None for a run whose object isn't made yet; the first to bring them binds
    the run to that object. `job_name` is that of the Job that may be made for the run; None for one that is refused.
    """

    run_id: str
    org_slug: str
    provider: str
    domain: str
    pipeline: str
    created_at: datetime
    created_by: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    schedule_id: str | None = None
    object_namespace: str | None = None
    object_name: str | None = None
    object_uid: str | None = None
    job_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun(NewRun):
    """A run's record.

    Times are in UTC; `reason` is that of the end, `refusal` that of a run that wasn't admitted; `progress` is 0 to 100;
    `transitions` has each phase once, in order. `undecided_since` is set while only the target can tell whether the
    run, whose object and pods are gone, had published. `was_there` is set by `RunRecords.begin` where the record had
    been begun before, and `was_bound` where this object had been bound to it as well, so that a Job may have been made;
    `took_slot` by `QuotaLedger.reserve` where the run has got its slot just now, and `reserved_at` where it has got or
    renewed it: by that the ledger tells this call's slot from one that somebody has renewed since.
    """

    phase: Phase
    started_at: datetime | None
    completed_at: datetime | None
    records_processed: int | None
    error_message: str | None
    reason: str | None
    progress: int
    attempts: int
    message: str | None
    transitions: tuple[Transition, ...]
    revision: int
    undecided_since: datetime | None = None
    refusal: str | None = None
    was_there: bool = field(default=False, compare=False)
    was_bound: bool = field(default=False, compare=False)
    took_slot: bool = field(default=False, compare=False)
    reserved_at: datetime | None = field(default=None, compare=False)

    @property
    def cursor(self) -> HistoryCursor:
        """Where this run stands in its organization's history."""
        return HistoryCursor(self.created_at, self.run_id)

    @classmethod
    def from_row(cls, row: RowMapping | Mapping[str, Any]) -> Self:
        """Read a row of `run_record`."""
        values = {name: row[name] for name in cls.__dataclass_fields__ if name in row}
        for name in ("created_at", "started_at", "completed_at", "undecided_since"):
            values[name] = (moment := values.get(name)) and moment.astimezone(UTC)
        values["phase"] = phase_of(row["status"])
        values["transitions"] = tuple(
            Transition(phase_of(entry["phase"]), datetime.fromisoformat(entry["at"])) for entry in row["transitions"]
        )
        return cls(**values)


def phase_of(status: str) -> Phase:
    """The phase of a status word: `pending` is Phase.PENDING."""
    return Phase(status.capitalize())


def utc(moment: datetime) -> datetime:
    """The same moment in UTC. Raises ValueError for a time without a zone, which names no moment."""
    if moment.tzinfo is None:
        raise ValueError(f"the time {moment.isoformat()} has no zone")
    return moment.astimezone(UTC)
