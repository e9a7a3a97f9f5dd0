"""How a record changes as its run goes on: pure functions from a record and a report to the columns that change.

Reports come late, twice and out of order. A run never goes back, ends once, and has each phase it passed on record.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.clean import clean_text, clean_value
from pipeline_core.store.errors import RunIdTakenError
from pipeline_core.store.runs import NewRun, StoredRun, Transition, utc

Columns = dict[str, Any]

# A change of one of these is a change for BigQuery; progress and messages stay in PostgreSQL.
_EXPORTED = frozenset({"status", "started_at", "completed_at", "records_processed", "error_message"})
_LIVE_PHASES = tuple(phase for phase in Phase if not phase.is_final)
_INT64_MAX = 2**63 - 1


def begun(record: NewRun) -> Columns:
    """All columns of a new record, pending since its creation."""
    created_at = utc(record.created_at)
    return {
        "run_id": record.run_id,
        "org_slug": record.org_slug,
        "provider": clean_text(record.provider),
        "domain": clean_text(record.domain),
        "pipeline": clean_text(record.pipeline),
        "status": Phase.PENDING.word,
        "created_at": created_at,
        "parameters": clean_value(dict(record.parameters)),
        "created_by": clean_text(record.created_by),
        "schedule_id": record.schedule_id,
        "object_namespace": record.object_namespace,
        "object_name": record.object_name,
        "object_uid": record.object_uid,
        "job_name": record.job_name,
        "progress": 0,
        "attempts": 0,
        "transitions": _entries((Transition(Phase.PENDING, created_at),)),
        "revision": 1,
    }


def bound(run: StoredRun, record: NewRun) -> Columns:
    """The columns that change when a run that is recorded is begun again: by its object, or before its Job is made.

    Raises RunIdTakenError if the id belongs to another organization or another object.
    """
    if run.org_slug != record.org_slug:
        raise RunIdTakenError(record.run_id)
    columns: Columns = {}
    if record.object_uid is not None and run.object_uid != record.object_uid:
        if run.object_uid is not None:
            raise RunIdTakenError(record.run_id)
        columns = {name: getattr(record, name) for name in ("object_namespace", "object_name", "object_uid")}
    if run.job_name is None and not run.phase.is_final and record.job_name is not None:
        columns["job_name"] = record.job_name
    return columns


def advanced(
    run: StoredRun,
    *,
    phase: Phase,
    at: datetime,
    started_at: datetime | None = None,
    progress: int | None = None,
    attempts: int | None = None,
    job_name: str | None = None,
    message: str | None = None,
) -> Columns:
    """The columns that a report of a live run changes; empty if it says nothing new or the run is over.

    A new attempt starts its progress over, but the run's phase stays where the earlier attempt had come.
    Raises ValueError if `phase` is final.
    """
    if phase.is_final:
        raise ValueError(f"{phase} is final: finish the run instead")
    if run.phase.is_final:
        return {}
    new_attempt = attempts is not None and attempts > run.attempts
    current = phase.rank >= run.phase.rank or new_attempt
    columns: Columns = {}
    if phase.rank > run.phase.rank:
        columns |= _passage(run, phase, utc(at), started_at)
        columns["status"] = phase.word
    if new_attempt:
        columns |= {"attempts": attempts, "progress": _percent(progress or 0)}
    elif current and progress is not None:
        columns["progress"] = max(_percent(progress), run.progress)
    if job_name is not None:
        columns["job_name"] = job_name
    if current and message is not None:
        columns["message"] = clean_text(message)
    return _revised(run, columns)


def finished(
    run: StoredRun,
    *,
    phase: Phase,
    at: datetime,
    records_processed: int | None = None,
    error_message: str | None = None,
    attempts: int | None = None,
    message: str | None = None,
    started_at: datetime | None = None,
    reason: str | None = None,
    refusal: str | None = None,
) -> Columns:
    """The columns that the end of a run changes; empty if it is over already: the first end stands.

    Raises ValueError if `phase` isn't final.
    """
    if not phase.is_final:
        raise ValueError(f"{phase} isn't final: advance the run instead")
    if run.phase.is_final:
        return {}
    at = utc(at)
    reached = run.phase
    if phase is Phase.COMPLETED:
        reached = Phase.PROCESSING  # whoever has loaded has come through every phase before
    elif started_at is not None and run.phase.rank < Phase.RUNNING.rank:
        reached = Phase.RUNNING
    columns = _passage(run, reached, at, started_at)
    passed = columns.get("transitions") or _entries(run.transitions)
    columns |= {
        "status": phase.word,
        "completed_at": at,
        "transitions": [*passed, *_entries((Transition(phase, at),))],
        "records_processed": None if records_processed is None else min(records_processed, _INT64_MAX),
        "error_message": clean_text(error_message),
        "reason": reason,
        "refusal": refusal,
        "progress": 100 if phase is Phase.COMPLETED else run.progress,
        "attempts": max(run.attempts, attempts or 0),
        "message": run.message if message is None else clean_text(message),
        "undecided_since": None,
    }
    return _revised(run, columns)


def undecided(run: StoredRun, *, at: datetime, message: str) -> Columns:
    """The columns that change when nothing but the target can tell any more how the run ended."""
    if run.phase.is_final or run.undecided_since is not None:
        return {}
    return {"undecided_since": utc(at), "message": clean_text(message)}


def _percent(progress: int) -> int:
    return min(max(progress, 0), 100)


def _passage(run: StoredRun, phase: Phase, at: datetime, started_at: datetime | None) -> Columns:
    """The transitions through every phase up to `phase`, and when the container started, if it is known by now.

    A phase passed unseen gets the latest time it can have had: the container's start for those up to Running.
    """
    columns: Columns = {}
    started = run.started_at or (min(utc(started_at), at) if started_at else None)
    if started is None and phase.rank >= Phase.RUNNING.rank:
        started = at
    if run.started_at is None and started is not None:
        columns["started_at"] = started
    passed = [
        Transition(each, (started or at) if each.rank <= Phase.RUNNING.rank else at)
        for each in _LIVE_PHASES
        if run.phase.rank < each.rank <= phase.rank
    ]
    if passed:
        columns["transitions"] = _entries((*run.transitions, *passed))
    return columns


def _revised(run: StoredRun, columns: Columns) -> Columns:
    """Only what differs from the record, with the next revision if BigQuery is to hear of it."""
    changed = {name: value for name, value in columns.items() if value != _stored(run, name)}
    if _EXPORTED & changed.keys():
        changed["revision"] = run.revision + 1
    return changed


def _stored(run: StoredRun, name: str) -> object:
    if name == "status":
        return run.phase.word
    if name == "transitions":
        return _entries(run.transitions)
    return getattr(run, name)


def _entries(transitions: tuple[Transition, ...]) -> list[Mapping[str, str]]:
    return [{"phase": entry.phase.word, "at": entry.at.isoformat()} for entry in transitions]
